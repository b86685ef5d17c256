"""What the handlers of one process share: the settings, the store and who looks after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ropeline.admin_api.access import Access
from ropeline.admin_api.key_store import KeyStore
from ropeline.admin_api.snapshots import Snapshots
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.client import connect

if TYPE_CHECKING:
    from starlette.requests import Request

    from ropeline.admin_api.settings import AdminSettings
    from ropeline.lua.client import Client

__all__ = ["Context", "context_of"]


@dataclass(frozen=True, slots=True)
class Context:
    """Made once for each application; `client` connects when it is first used."""

    settings: AdminSettings
    client: Client
    tenants: TenantStore
    keys: KeyStore
    access: Access
    snapshots: Snapshots

    @classmethod
    def of(cls, settings: AdminSettings) -> Context:
        """Everything that the handlers need, from the settings."""
        client = connect(settings.store())
        keys = KeyStore(client, settings.namespace, settings.secret_keys)
        tenants = TenantStore(client, settings.namespace)
        return cls(settings, client, tenants, keys, Access(settings, keys), Snapshots(tenants))


def context_of(request: Request) -> Context:
    """The context of the application that serves a request."""
    context: Context = request.app.state.context
    return context
