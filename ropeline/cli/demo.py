"""The demo: a shop and its tenant, with times short enough to watch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ropeline.gate.hosts import is_loopback
from ropeline.gate.settings import CookieAttributes, GateSettings, Poll, Route, TenantSettings
from ropeline.gate.tenant_store import StoredTenant, TenantStore
from ropeline.lua.audit import Author

if TYPE_CHECKING:
    from ropeline.cli.data_folder import DataFolder

__all__ = ["DEMO_TENANT", "demo_tenant", "gate_settings", "put_tenant"]

DEMO_TENANT: Final = "demo"
_UP: Final = Author("up", "change", "--quota")
_SMALL_QUOTA: Final = 1
_LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")


def gate_settings(url: str, folder: DataFolder, environ: Mapping[str, str] = os.environ) -> GateSettings:
    """The settings of the gate process: from the environment, but for the store and a missing key or token."""
    given = {name: value for name, value in environ.items() if name != "ROPELINE_TENANTS_FILE"}
    given["ROPELINE_REDIS_URL"] = url
    if not given.get("ROPELINE_SECRET_KEYS"):
        given["ROPELINE_SECRET_KEYS"] = folder.secret_key()
    if not given.get("ROPELINE_METRICS_TOKEN"):
        given["ROPELINE_METRICS_TOKEN"] = folder.metrics_token()
    return GateSettings.from_env(given)


def demo_tenant(hosts: Sequence[str], *, crowd: int = 0) -> TenantSettings:
    """The demo's tenant for this machine's own names and `hosts`; with a crowd a tenth of it is let in at once."""
    known = dict.fromkeys((*_LOOPBACK_HOSTS, *hosts))
    first, *others = known
    is_local = all(is_loopback(host.encode()) for host in known)
    return TenantSettings(
        name=DEMO_TENANT,
        title="Acme Tickets",
        host=first,
        additional_routes=tuple(Route(host=host) for host in others),
        total_active_users=max(_SMALL_QUOTA, crowd // 10),
        session_duration=2,
        waiting_ttl=90,
        claim_within=30,
        leave_hold=10,
        recovery_hold=10,
        poll=Poll(floor=2, ceiling=5),
        # Every visitor of the demo comes from this machine.
        join_limit_per_ip=0,
        # Over plain http a browser drops a Secure cookie of any other machine.
        cookie_attributes=CookieAttributes(secure="auto" if is_local else "never"),
    )


async def put_tenant(store: TenantStore, wanted: TenantSettings, *, quota: int | None) -> StoredTenant:
    """Write the demo's tenant into the store and return what is in force.

    What an operator has changed since the last start stays, unless the command line asks for something else than then;
    a `quota` that it names goes before everything.
    """
    await store.apply_file([wanted])
    stored = await store.read(wanted.name)
    if quota is None or stored.settings.quota == quota:
        return stored
    changed = replace(stored.settings, total_active_users=quota)
    return await store.save(changed, expected=stored.version, file_digest=stored.file_digest, author=_UP)
