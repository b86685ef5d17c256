"""What the gate adds to a request: CPU microseconds in process, and requests a second over sockets."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from redis.asyncio import Redis

from ropeline.bench.measure import CONCURRENCY, Case, alternate, cpu_us
from ropeline.bench.site import HOSTS, browser_scope, gated, hello, ticket_of
from ropeline.gate.asgi import Application, Message
from ropeline.server import free_port

__all__ = ["measure_added", "measure_rps"]

_VISITORS = 512


async def measure_added(
    redis_url: str, *, rounds: int, count: int, told: Callable[[str], None]
) -> tuple[float, dict[str, float]]:
    """CPU microseconds of an awaited PING, and those that the gate adds in each case, all in this process."""
    app = gated(redis_url)
    await app.gate.start()
    client = Redis.from_url(redis_url)
    try:
        cases: dict[str, Case] = {"bare": _requests(hello, [browser_scope("bare")])}
        for case in HOSTS:
            cookies = [""] if case == "exempt" else [await ticket_of(app, case) for _ in range(_VISITORS)]
            cases[case] = _requests(app, [browser_scope(case, cookie) for cookie in cookies])
        pings: list[float] = []

        async def ping(round_: str) -> None:
            # One after another, as a program that waits for each reply pays for them.
            pings.append(await cpu_us(client.ping, count // 8, concurrency=1))
            told(round_)

        figures = await alternate(cases, rounds=rounds, count=count, after_round=ping)
    finally:
        await client.aclose()
        await app.gate.stop()
    bare = figures["bare"]
    added = {
        case: round(statistics.median(one - other for one, other in zip(figures[case], bare, strict=True)), 2)
        for case in HOSTS
    }
    return round(statistics.median(pings), 2), added


def _requests(app: Application, scopes: list[dict[str, Any]]) -> Case:
    turn = itertools.cycle(scopes)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        pass

    async def request() -> None:
        await app(dict(next(turn)), receive, send)

    return request


async def measure_rps(redis_url: str, *, rounds: int, seconds: float, told: Callable[[str], None]) -> dict[str, float]:
    """Requests a second through uvicorn on one core, bare and gated, over keep-alive connections."""
    port = free_port()
    environment = {**os.environ, "ROPELINE_BENCH_REDIS": redis_url}
    command = [sys.executable, "-m", "uvicorn", "--factory", "ropeline.bench.requests:serve", "--port", str(port)]
    server = subprocess.Popen([*command, "--log-level", "error", "--no-access-log"], env=environment)  # noqa: ASYNC220, S603
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(server.pid, {0})
        await _until_open(port)
        figures: dict[str, list[float]] = {case: [] for case in ("bare", *HOSTS)}
        cookies = {case: await _cookies(port, case) for case in HOSTS if case != "exempt"}
        for turn in range(rounds):
            for case, values in figures.items():
                values.append(await _load(port, case, cookies.get(case, [""]), seconds))
            told(f"over sockets, round {turn + 1} of {rounds}")
    finally:
        server.terminate()
        server.wait(timeout=10)
    return {case: round(statistics.median(values)) for case, values in figures.items()}


def serve() -> Application:
    """The application that the socket benchmark loads: the gated site, and the bare one under its own host."""
    app = gated(os.environ["ROPELINE_BENCH_REDIS"])

    async def both(scope: Any, receive: Any, send: Any) -> None:
        bare = scope["type"] == "http" and any(value == b"bare.example.com" for _, value in scope["headers"][:3])
        await (hello if bare else app)(scope, receive, send)

    return both


def _raw(case: str, cookie: str) -> bytes:
    scope = browser_scope(case, cookie)
    query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
    lines = [f"GET {scope['path']}{query} HTTP/1.1"]
    lines += [f"{name.decode()}: {value.decode()}" for name, value in scope["headers"]]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class _Client(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it has been answered."""

    def __init__(self, requests: list[bytes]) -> None:
        self.answered = 0
        self.cookie = ""
        self._requests = itertools.cycle(requests)
        self._data = b""
        self._transport: asyncio.WriteTransport | None = None
        self.once: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - asyncio's own promise
        self._transport = transport
        transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._data += data
        head = self._data.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._data.find(b"content-length: ", 0, head)
        length = int(self._data[at + 16 : self._data.find(b"\r\n", at)])
        if len(self._data) < head + 4 + length:
            return
        if self.once is not None:
            at = self._data.find(b"set-cookie: ", 0, head)
            if at >= 0:
                self.cookie = self._data[at + 12 : self._data.find(b";", at)].decode()
            self.once.set_result(None)
            return
        self._data = b""
        self.answered += 1
        if self._transport is not None:
            self._transport.write(next(self._requests))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def _load(port: int, case: str, cookies: list[str], seconds: float) -> float:
    loop = asyncio.get_running_loop()
    clients = []
    for number in range(CONCURRENCY):
        requests = [_raw(case, cookie) for cookie in cookies[number::CONCURRENCY] or cookies[:1]]
        _, client = await loop.create_connection(partial(_Client, requests), "127.0.0.1", port)
        clients.append(client)
    await asyncio.sleep(seconds / 4)
    before, began = sum(client.answered for client in clients), loop.time()
    await asyncio.sleep(seconds)
    answered, passed = sum(client.answered for client in clients) - before, loop.time() - began
    for client in clients:
        client.close()
    return answered / passed


async def _cookies(port: int, case: str) -> list[str]:
    loop = asyncio.get_running_loop()
    cookies = []
    for _ in range(_VISITORS // 4):
        cookie = ""
        for _ in range(2):
            transport, client = await loop.create_connection(partial(_Client, [_raw(case, cookie)]), "127.0.0.1", port)
            client.once = loop.create_future()
            await client.once
            cookie = client.cookie or cookie
            transport.close()
        cookies.append(cookie)
    return cookies


async def _until_open(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise TimeoutError(f"no server on port {port} within 10 s")
