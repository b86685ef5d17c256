"""A launch for the fault command: a full house and a line behind a real gate, on a store that fails on command."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ropeline.bench.fault_proxy import FaultProxy
from ropeline.bench.site import SECRET, hello
from ropeline.gate import GateMiddleware, GateSettings, TenantSettings
from ropeline.gate.asgi import Message
from ropeline.gate.line import Line
from ropeline.server import find_server_binary, free_port
from ropeline.server_process import ServerProcess

__all__ = ["HOST", "Launch", "Store", "Visitor", "launch", "wait_for"]

HOST: Final = "launch.example.com"
_TENANT: Final = "launch"
_PATIENCE: Final = 30.0


async def wait_for(what: str, is_so: Callable[[], Awaitable[bool]]) -> None:
    """Ask `is_so` until it says True; raises TimeoutError, which names `what`."""
    try:
        async with asyncio.timeout(_PATIENCE):
            while not await is_so():  # noqa: ASYNC110 - a server's state has no event to wait for
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"not within {_PATIENCE:g} s: {what}") from None


@dataclass
class Store:
    """A server of our own behind a proxy that can fail too."""

    process: ServerProcess
    proxy: FaultProxy
    folder: Path
    port: int

    def command(self, *arguments: str | int) -> object:
        """Send one command past the proxy and return its plain reply."""
        client = redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0), socket_timeout=60)
        try:
            return client.execute_command(*arguments)  # type: ignore[no-untyped-call]
        finally:
            client.close()

    async def refuses_with(self, code: str) -> bool:
        """Whether a write is answered with this error code."""
        try:
            self.command("SET", "written", 1)
        except redis.RedisError as error:
            return code in str(error) or (code == "LOADING" and isinstance(error, redis.BusyLoadingError))
        return False


class Visitor:
    """A browser that keeps its cookie."""

    def __init__(self, app: GateMiddleware) -> None:
        self._app = app
        self._cookie = b""
        self._body = b""

    @property
    def position(self) -> int | None:
        """What the last answer said; None: nothing."""
        try:
            position = json.loads(self._body)["waitingRoom"]["position"]
        except (ValueError, KeyError):
            return None
        return position if isinstance(position, int) else None

    async def ask(self, path: str = "/") -> str:
        """Send a request; what the gate says it decided."""
        headers = [(b"host", HOST.encode()), (b"accept", b"application/json")]
        if self._cookie:
            headers.append((b"cookie", self._cookie))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
            "client": ("192.0.2.7", 50_000),
        }
        answer: dict[bytes, bytes] = {}

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.update(message["headers"])
            else:
                self._body = message["body"]

        await self._app(scope, receive, send)
        if cookie := answer.get(b"set-cookie"):
            self._cookie = cookie.partition(b";")[0]
        return answer[b"waiting-room"].partition(b";")[0].decode()


@dataclass
class Launch:
    """One visitor on the site, the others in line in this order."""

    app: GateMiddleware
    store: Store
    admitted: Visitor
    waiting: Sequence[Visitor]

    @property
    def line(self) -> Line:
        return self.app.gate.directory.tenants[_TENANT].line

    def newcomer(self) -> Visitor:
        return Visitor(self.app)

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Wait that long for the store and no longer, meanwhile; before and after, no busy machine looks like a failing store."""
        patient, self.line.deadline = self.line.deadline, seconds
        yield
        self.line.deadline = patient


@asynccontextmanager
async def launch(waiting: int) -> AsyncIterator[Launch]:
    """A launch with `waiting` visitors in line, on a server that starts now and ends with it."""
    async with AsyncExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        process = ServerProcess(
            [
                *(find_server_binary(), "--bind", "127.0.0.1", "--port", str(port), "--dir", os.fspath(folder)),
                *("--save", "", "--maxmemory-policy", "noeviction"),
                *("--enable-debug-command", "local", "--enable-protected-configs", "local"),
            ],
            f"redis://127.0.0.1:{port}/0",
        )
        process.start()
        ending.callback(process.kill)
        proxy = await ending.enter_async_context(FaultProxy(port))
        app = GateMiddleware(
            hello,
            GateSettings(redis_url=proxy.url, secret_keys=(SECRET,), deadline_ms=10_000),
            tenants=[
                TenantSettings(
                    name=_TENANT,
                    host=HOST,
                    total_active_users=1,
                    join_limit_per_ip=0,
                    recheck=0,
                    recovery_hold=1,
                    emergency_rate=1,
                )
            ],
        )
        ending.push_async_callback(app.gate.stop)
        await app.gate.start()
        store = Store(process, proxy, folder, port)
        scene = Launch(app, store, Visitor(app), [Visitor(app) for _ in range(waiting)])
        await _bring(scene.admitted, "admitted")
        for visitor in scene.waiting:
            await _bring(visitor, "queued")
        yield scene


async def _bring(visitor: Visitor, told: str) -> None:
    """Two visits: the second one shows the cookie."""
    if [await visitor.ask(), await visitor.ask()] != [told, told]:
        raise RuntimeError(f"a launch that did not begin as it should: a visitor was not {told}")
