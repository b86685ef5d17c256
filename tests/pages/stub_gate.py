"""A gate that says what a test tells it to: real HTTP on loopback, scripted answers, every call written down."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self, cast

from playwright.sync_api import Page

from ropeline.pages import ASSETS, CONTENT_SECURITY_POLICY

PREFIX = "/.well-known/waiting-room/"

_NOW = datetime(2031, 5, 4, 18, 30, tzinfo=UTC)

Status = Mapping[str, object] | int | None


@dataclass(frozen=True)
class Call:
    """One call that reached the stub: `target` is path and query."""

    method: str
    target: str
    body: str


@dataclass(frozen=True)
class Reply:
    """A page as the stub serves it."""

    body: bytes
    status: int = 200
    policy: str = CONTENT_SECURITY_POLICY
    headers: tuple[tuple[str, str], ...] = ()


class StubGate:
    """Serves `pages` by path, the assets, and the status, which is the next of `statuses` (the last one stays).

    A status is the object under `waitingRoom`, a number to answer with that code and no JSON, or None to hang up.
    `keepalive` is what the keep-alive answers, a status too.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[Call], Reply]] = {}
        self.statuses: list[Status] = []
        self.keepalive: Status = 404
        self.calls: list[Call] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self._server.server_address[1]}{path}"

    def show(self, path: str, body: bytes, policy: str = CONTENT_SECURITY_POLICY) -> None:
        self.pages[path] = lambda _call: Reply(body, policy=policy)

    def count(self, method: str, target: str) -> int:
        """Calls to exactly that path and query."""
        return sum(call.method == method and call.target == target for call in list(self.calls))

    @property
    def polls(self) -> int:
        return self.count("GET", f"{PREFIX}status")

    @property
    def keepalives(self) -> int:
        return sum(call.target.startswith(f"{PREFIX}keepalive") for call in list(self.calls))

    @property
    def beacons(self) -> int:
        return self.count("POST", f"{PREFIX}leave?beacon=1")


def hold_time(tab: Page) -> None:
    """In all tabs beside this one and all pages that they open, time passes only when the test says so."""
    if len(tab.context.pages) == 1:
        tab.clock.install(time=_NOW)
        tab.clock.pause_at(_NOW + timedelta(hours=1))  # never the past, however late this is run


def let_the_page_act(tab: Page) -> None:
    """Waits until the page has done what was due before, such as reading an answer that has arrived."""
    tab.evaluate(
        """() => new Promise(resolve => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = resolve;
            port2.postMessage(null);
        })"""
    )


def _handler_for(gate: StubGate) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            call = Call(self.command, self.path, self.rfile.read(length).decode())
            gate.calls.append(call)
            path = self.path.partition("?")[0]
            if path == f"{PREFIX}status":
                self._send_status(gate.statuses.pop(0) if len(gate.statuses) > 1 else gate.statuses[0])
            elif path == f"{PREFIX}keepalive":
                self._send_status(gate.keepalive)
            elif call.target == f"{PREFIX}leave?beacon=1":
                self._send(204, "text/plain", b"")
            elif path.startswith(PREFIX) and path.removeprefix(PREFIX) in ASSETS:
                asset = ASSETS[path.removeprefix(PREFIX)]
                self._send(200, asset.content_type, asset.body)
            elif path in gate.pages:
                reply = gate.pages[path](call)
                headers = (("Content-Security-Policy", reply.policy), *reply.headers)
                self._send(reply.status, "text/html; charset=utf-8", reply.body, headers)
            else:
                self._send(404, "text/plain", b"")

        def _send_status(self, status: Status) -> None:
            if status is None:
                self.close_connection = True
            elif isinstance(status, int):
                self._send(status, "text/plain", b"no JSON here")
            else:
                self._send(503, "application/json", json.dumps({"waitingRoom": status}).encode())

        def _send(self, status: int, kind: str, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
            self.send_response(status)
            for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *headers):
                self.send_header(name, value)
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

    return cast("type[BaseHTTPRequestHandler]", Handler)
