"""The operators' API beside the demo: where it listens, and the first key to it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from ropeline.admin_api.key_store import KeyStore
from ropeline.admin_api.operators import KeyDraft
from ropeline.admin_api.settings import AdminSettings
from ropeline.cli.listening import listen
from ropeline.lua.audit import Author
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.cli.data_folder import DataFolder
    from ropeline.gate.settings import GateSettings
    from ropeline.lua.client import Client

__all__ = ["api_settings", "first_key", "listen_beside"]

# Keys travel with each call, and the demo has no TLS: this machine alone, wherever the shop listens.
_HOST: Final = "127.0.0.1"
_LAST_PORT: Final = 65_535


def listen_beside(shop: socket.socket, port: int | None) -> socket.socket:
    """The socket of the API: on `port`; when none is named on the one after the shop's, or a free one where that is taken."""
    if port is not None:
        return listen(_HOST, port, port_option="--admin-port")
    beside = shop.getsockname()[1] + 1
    try:
        return listen(_HOST, beside if beside <= _LAST_PORT else 0)
    except ConfigurationError:
        return listen(_HOST, 0)


def api_settings(gate: GateSettings) -> AdminSettings:
    """The settings of an API on the same store, under the same keys."""
    return AdminSettings(
        redis_url=gate.redis_url,
        secret_keys=gate.secret_keys,
        trusted_proxies=gate.trusted_proxies,
        namespace=gate.namespace,
    )


async def first_key(client: Client, settings: AdminSettings, folder: DataFolder) -> str:
    """The key of the folder's owner, who may do everything: made when the folder has none that is in force."""
    keys = KeyStore(client, settings.namespace, settings.secret_keys)
    kept = folder.admin_key()
    if kept and await keys.recognise(kept) is not None:
        return kept
    draft = KeyDraft(name="whoever runs `ropeline up`", role="superuser", expires_in_days=None)
    text, _ = await keys.create(draft, Author("up", "create_key"))
    folder.keep_admin_key(text)
    return text
