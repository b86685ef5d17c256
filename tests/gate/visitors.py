"""Visitors of a gated site: they keep their cookies, and speak ASGI to the middleware as a server would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ropeline.gate.asgi import Application, Message, Receive, Scope, Send
from ropeline.gate.gate import Gate
from ropeline.gate.line import Line
from ropeline.gate.middleware import GateMiddleware
from ropeline.gate.settings import GateSettings, TenantSettings
from ropeline.lua.results import LineHead

KEYS = ("the only key of these tests",)
PREFIX = "/.well-known/waiting-room/"
HTML = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
JSON = "application/json"
UNPRINTED = 25
"""Seconds after which a test that waits for an answer is told so, whatever it waits for."""

Headers = Sequence[tuple[bytes, bytes]]


def tenant(name: str, **settings: Any) -> TenantSettings:
    """A tenant at NAME.example.com with room for one, where all times are as in production unless set."""
    settings.setdefault("host", f"{name}.example.com")
    settings.setdefault("total_active_users", 1)
    settings.setdefault("recheck", 0)
    return TenantSettings(name=name, **settings)


QUICK: dict[str, Any] = {
    "poll": {"floor": 0.1, "ceiling": 0.1},
    "waiting_ttl": 0.6,
    "confirm_within": 0.6,
    "claim_within": 0.6,
    "return_within": 0.6,
    "session_duration": 0.01,
    "leave_hold": 0.3,
    "recovery_hold": 0.0,
}
"""Settings under which a hold is over within a second: 0.6 s each, for `from_mapping`."""


def quick_tenant(name: str, **settings: Any) -> TenantSettings:
    """As `tenant`, with holds of 0.6 s."""
    mapping = {"name": name, "host": f"{name}.example.com", "total_active_users": 1, "recheck": 0, **QUICK, **settings}
    return TenantSettings.from_mapping(mapping, source="a test")


@dataclass
class Answer:
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes = b""

    def header(self, name: str) -> str:
        """The one value of a header, empty when it is absent."""
        values = self.all(name)
        if len(values) > 1:
            raise AssertionError(f"{name} came {len(values)} times")
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    @property
    def room(self) -> dict[str, Any]:
        """The status that a JSON answer carries."""
        room = json.loads(self.body)["waitingRoom"]
        if not isinstance(room, dict):
            raise TypeError("waitingRoom: expected an object")
        return room

    @property
    def told(self) -> str:
        """What the gate says it decided."""
        return self.header("waiting-room").partition(";")[0]


class Site:
    """The site behind the gate: it notes the requests that reach it and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[Scope] = []
        self.answer_headers: list[tuple[bytes, bytes]] = []
        self.events: list[str] = []
        self.release = asyncio.Event()

    @property
    def paths(self) -> list[str]:
        return [scope["path"] for scope in self.requests]

    def seen(self, name: str) -> list[str]:
        """The values of a header in the last request."""
        return [value.decode() for key, value in self.requests[-1]["headers"] if key == name.encode()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        self.requests.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "headers": list(self.answer_headers)})
            while (message := await receive())["type"] != "websocket.disconnect":
                await send({"type": "websocket.send", "text": f"echo {message['text']}"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": list(self.answer_headers)})
        if scope["path"] == "/stream":
            await send({"type": "http.response.body", "body": b"first ", "more_body": True})
            await self.release.wait()
        await send({"type": "http.response.body", "body": f"site {scope['path']}".encode()})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = (await receive())["type"].removeprefix("lifespan.")
            self.events.append(event)
            await send({"type": f"lifespan.{event}.complete"})
            if event == "shutdown":
                return


@dataclass
class Visitor:
    """One browser, or one program. `token`: of a client that keeps no cookies."""

    app: Application
    host: str
    cookies: dict[str, str] = field(default_factory=dict)
    keeps_cookies: bool = True
    token: str = ""
    address: str = "192.0.2.1"
    scheme: str = "https"
    accept: str = HTML

    async def get(self, path: str = "/", **headers: str) -> Answer:
        return await self.ask("GET", path, **headers)

    async def post(self, path: str, **headers: str) -> Answer:
        return await self.ask("POST", path, **headers)

    async def submit(self, path: str, form: str) -> Answer:
        """Post a form from a page of the site."""
        return await self.send("POST", path, [("sec-fetch-site", "same-origin")], form.encode())

    async def poll(self) -> dict[str, Any]:
        """The visitor's status."""
        return (await self.get(f"{PREFIX}status")).room

    async def ask(self, method: str, path: str, **headers: str) -> Answer:
        """Send a request; `sec_fetch_dest=` is a header's name here."""
        return await self.send(method, path, _named(headers))

    async def send(self, method: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> Answer:
        """Send a request and keep what the answer sets."""
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        async def send(message: Message) -> None:
            sent.append(message)

        async with asyncio.timeout(UNPRINTED):
            await self.app(self.scope(method, path, headers), receive, send)
        answer = Answer(
            sent[0]["status"],
            sent[0].get("headers") or [],
            b"".join(message.get("body", b"") for message in sent[1:]),
        )
        self.keep(answer)
        return answer

    def scope(self, method: str, path: str, headers: Sequence[tuple[str, str]] = (), kind: str = "http") -> Scope:
        """The ASGI scope of a request."""
        raw_path, _, query = path.partition("?")
        all_headers = [("host", self.host)]
        if not any(name == "accept" for name, _ in headers):
            all_headers.append(("accept", self.accept))
        if self.cookies:
            all_headers.append(("cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        if self.token:
            all_headers.append(("waiting-room-token", self.token))
        scope: Scope = {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": self.scheme.replace("http", "ws") if kind == "websocket" else self.scheme,
            "path": raw_path,
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in (*all_headers, *headers)],
            "client": (self.address, 12345),
            "server": ("127.0.0.1", 443),
        }
        if kind == "http":
            scope["method"] = method
        return scope

    def keep(self, answer: Answer) -> None:
        """Take the cookies of an answer as a browser would."""
        if not self.keeps_cookies:
            return
        for line in answer.all("set-cookie"):
            pair, *attributes = line.split("; ")
            name, _, value = pair.partition("=")
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    @property
    def ticket(self) -> str:
        """The value of the only cookie."""
        (value,) = self.cookies.values()
        return value


class Socket:
    """A WebSocket handshake, and what follows."""

    def __init__(self, visitor: Visitor, path: str = "/ws", *, extensions: Sequence[str] = (), **headers: str) -> None:
        self.scope = visitor.scope("GET", path, _named(headers), kind="websocket")
        self.scope["extensions"] = {name: {} for name in extensions}
        self.scope["subprotocols"] = []
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self._to_app.put_nowait({"type": "websocket.connect"})
        self._running = asyncio.ensure_future(visitor.app(self.scope, self._to_app.get, self._from_app.put))

    async def next(self) -> Message:
        """The next message from the application."""
        async with asyncio.timeout(UNPRINTED):
            return await self._from_app.get()

    async def echo(self, text: str) -> str:
        self._to_app.put_nowait({"type": "websocket.receive", "text": text})
        return str((await self.next())["text"])

    async def close(self) -> None:
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        async with asyncio.timeout(UNPRINTED):
            await self._running


class Stream:
    """A request whose answer is read as it comes."""

    def __init__(self, visitor: Visitor, path: str, *, method: str = "GET", **headers: str) -> None:
        self._gone = asyncio.Event()
        self._sent: asyncio.Queue[Message] = asyncio.Queue()
        self._asked = False
        self._visitor = visitor
        scope = visitor.scope(method, path, _named(headers))
        self._running = asyncio.ensure_future(visitor.app(scope, self._receive, self._sent.put))

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def begin(self) -> Answer:
        """The status and headers."""
        message = await self._next()
        answer = Answer(message["status"], message["headers"])
        self._visitor.keep(answer)
        return answer

    async def chunk(self) -> bytes | None:
        """The next piece of the body, None at its end."""
        message = await self._next()
        body: bytes = message.get("body", b"")
        return body if body or message.get("more_body") else None

    async def disconnect(self) -> None:
        """The client goes away; returns when the application has noticed."""
        self._gone.set()
        async with asyncio.timeout(UNPRINTED):
            await self._running

    async def _next(self) -> Message:
        async with asyncio.timeout(UNPRINTED):
            return await self._sent.get()


def _named(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name.replace("_", "-"), value) for name, value in headers.items()]


@dataclass
class Gated:
    """A running gate with its site."""

    app: GateMiddleware
    site: Site

    @property
    def gate(self) -> Gate:
        return self.app.gate

    def line(self, name: str) -> Line:
        """The line of a tenant in this process."""
        return self.gate.directory.tenants[name].line

    def head(self, name: str) -> LineHead:
        """How the line stood at the last reply."""
        head = self.line(name).head
        if head is None:
            raise AssertionError("nobody has asked yet")
        return head

    def visitor(self, name: str, **changes: Any) -> Visitor:
        """Somebody at NAME.example.com; `cookies` are copied."""
        changes.setdefault("host", f"{name}.example.com")
        changes["cookies"] = dict(changes.get("cookies", {}))
        return Visitor(self.app, **changes)


def settings(url: str, namespace: str, **changes: Any) -> GateSettings:
    """Of a gate process whose keys belong to one test, and which no busy machine takes for a failing store."""
    return GateSettings(
        **{"redis_url": url, "secret_keys": KEYS, "namespace": namespace, "deadline_ms": 10_000, **changes}
    )


@asynccontextmanager
async def lifespan(app: Application) -> AsyncIterator[None]:
    """Start an application as a server does, and stop it on leaving; fails when it refuses to start."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    running = asyncio.ensure_future(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, to_app.get, from_app.put)
    )
    try:
        to_app.put_nowait({"type": "lifespan.startup"})
        async with asyncio.timeout(UNPRINTED):
            answer = await from_app.get()
        if answer["type"] != "lifespan.startup.complete":
            raise RuntimeError(answer.get("message", ""))
        try:
            yield
        finally:
            to_app.put_nowait({"type": "lifespan.shutdown"})
            async with asyncio.timeout(UNPRINTED):
                stopped = await from_app.get()
                await running
        if stopped["type"] != "lifespan.shutdown.complete":
            raise RuntimeError("the application did not stop")
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@asynccontextmanager
async def running(
    url: str, namespace: str, tenants: Sequence[TenantSettings] = (), *, site: Application | None = None, **changes: Any
) -> AsyncIterator[Gated]:
    """A gate in front of a site, started and in the end stopped."""
    own = Site()
    app = GateMiddleware(site or own, settings(url, namespace, **changes), tenants=tenants)
    async with lifespan(app):
        yield Gated(app, own)
