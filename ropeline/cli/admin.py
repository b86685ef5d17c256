"""`ropeline admin`: serves the operators' API by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ropeline.admin_api.settings import AdminSettings
from ropeline.cli.data_folder import KEY_FILE
from ropeline.cli.errors import MissingExtra
from ropeline.cli.listening import ending_signals, listen, loopback
from ropeline.cli.place import URL_FILE, Place, find_place
from ropeline.gate.hosts import is_loopback

if TYPE_CHECKING:
    from argparse import Namespace

__all__ = ["admin_settings", "serve"]

_log = logging.getLogger("ropeline.admin")

_EXTRA: Final = ("fastapi", "uvicorn")


def serve(options: Namespace) -> int:
    """Serve until a signal asks for the end; 0 then."""
    for package in _EXTRA:
        if find_spec(package) is None:
            raise MissingExtra("ropeline admin", package, "admin")
    place = find_place(options)
    settings = admin_settings(place, options.data)
    with listen(options.host, options.port) as listener:
        asyncio.run(_serve(settings, place, listener))
    return 0


def admin_settings(place: Place, folder: Path) -> AdminSettings:
    """The settings of an API on that store: from the environment; the key of a running `ropeline up` stands in for its own."""
    environ = {**os.environ, "ROPELINE_REDIS_URL": place.url}
    path = folder / KEY_FILE
    if not environ.get("ROPELINE_SECRET_KEYS") and place.origin.endswith(URL_FILE) and path.exists():
        environ["ROPELINE_SECRET_KEYS"] = path.read_text(encoding="utf-8").strip()
    return AdminSettings.from_env(environ)


async def _serve(settings: AdminSettings, place: Place, listener: socket.socket) -> None:
    from ropeline.cli.admin_server import AdminServer

    server = AdminServer(settings)

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    for number in ending_signals():
        asyncio.get_running_loop().add_signal_handler(number, stop)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    opening = asyncio.create_task(server.is_open.wait())
    await asyncio.wait({serving, opening}, return_when=asyncio.FIRST_COMPLETED)
    if not is_loopback(loopback(listener)[2].encode()):
        _log.warning("keys travel over plain http: put a proxy with TLS in front")
    print(f"The operators' API of the store at {place.shown}: http://{loopback(listener)[2]}/", flush=True)
    await serving
