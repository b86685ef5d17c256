"""What a worker tells over HTTP: whether it is well, what its queues hold, and its metrics. Standard library only."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ropeline.exposition import CONTENT_TYPE, write_families
from ropeline.jobs.background import end
from ropeline.jobs.worker.metrics import health_families, oldest_age, schedule_families
from ropeline.lua.errors import StoreError, StoreTimeout

if TYPE_CHECKING:
    from ropeline.jobs.records import Depths
    from ropeline.jobs.worker.worker import Worker

__all__ = ["OLDEST_LOOP", "Health", "serve_health"]

_log = logging.getLogger("ropeline.jobs.worker.health")

OLDEST_LOOP: Final = 15.0
"""Seconds after which a claim loop that has not gone round is no longer well."""

_STORE_SECONDS: Final = 2.0
_FRESH_SECONDS: Final = 1.0
_REQUEST_SECONDS: Final = 5.0
_LARGEST_HEAD: Final = 8192
_JSON: Final = "application/json"
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class _Answer(NamedTuple):
    status: int
    body: bytes
    content_type: str = _JSON


class Health:
    """Answers about one worker. What it asks the store is kept for a second, whoever asks how often."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._started = time.monotonic()
        self._depths: dict[str, Depths] = {}
        self._problem = ""
        self._asked = -_FRESH_SECONDS
        self._asking = asyncio.Lock()
        self._pages: dict[str, Callable[[], Awaitable[_Answer]]] = {
            "/healthz": self.healthz,
            "/stats": self.stats,
            "/metrics": self.metrics,
        }

    async def answer(self, method: str, path: str) -> _Answer:
        """The answer to one request, an error one when there is no such page."""
        page = self._pages.get(path)
        if page is None:
            return _json(404, {"error": f"no such page; there are {', '.join(self._pages)}"})
        if method not in ("GET", "HEAD"):
            return _json(405, {"error": "GET or HEAD only"})
        return await page()

    async def healthz(self) -> _Answer:
        """200 while the claim loop goes round and the store answers, else 503."""
        _, problem = await self._look()
        age = self._worker.loop_age()
        is_well = not problem and age <= OLDEST_LOOP and self._worker.state != "ended"
        return _json(
            200 if is_well else 503,
            {
                "status": "ok" if is_well else "failing",
                "state": self._worker.state,
                "loop_age_seconds": round(age, 3),
                "store": problem or "ok",
                "worker": self._worker.id.hex(),
                "uptime_seconds": round(time.monotonic() - self._started, 1),
            },
        )

    async def stats(self) -> _Answer:
        """The depth of each queue of this worker, and what this process has done; 503 when the store does not answer."""
        depths, problem = await self._look()
        metrics, schedule = self._worker.metrics, self._worker.schedule_counts
        return _json(
            503 if problem else 200,
            {
                "store": problem or "ok",
                "queues": {queue: _shown(depth) for queue, depth in depths.items()},
                "worker": {
                    "id": self._worker.id.hex(),
                    "state": self._worker.state,
                    "slots": metrics.slots,
                    "used": metrics.used,
                    "finished": metrics.totals(),
                    "stale": sum(metrics.stale.values()),
                    "round_trips": metrics.round_trips,
                    "step_failures": metrics.step_failures,
                },
                "schedule": None if schedule is None else asdict(schedule),
            },
        )

    async def metrics(self) -> _Answer:
        """Everything for Prometheus; without the queues' figures while the store does not answer."""
        depths, problem = await self._look()
        own = health_families(is_up=not problem, loop_age=self._worker.loop_age())
        if self._worker.schedule_counts is not None:
            own += schedule_families(self._worker.schedule_counts)
        text = write_families([*self._worker.metrics.families({} if problem else depths), *own])
        return _Answer(200, text, CONTENT_TYPE)

    async def _look(self) -> tuple[Mapping[str, Depths], str]:
        """The depths of the queues as of a second ago at most, and why the store did not tell them, else empty."""
        async with self._asking:
            if time.monotonic() - self._asked > _FRESH_SECONDS:
                try:
                    self._depths, self._problem = await self._ask(), ""
                except StoreError as error:
                    self._problem = str(error)
                self._asked = time.monotonic()
        return self._depths, self._problem

    async def _ask(self) -> dict[str, Depths]:
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                return await self._worker.depths()
        except TimeoutError:
            raise StoreTimeout(f"no answer within {_STORE_SECONDS:g} s") from None


@asynccontextmanager
async def serve_health(health: Health, host: str, port: int) -> AsyncIterator[int]:
    """Serve while the context lasts; gives the port, which is a free one for 0. Raises OSError when it is taken."""
    connections: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            connections.add(task)
            task.add_done_callback(connections.discard)
        await _serve_one(health, reader, writer)

    server = await asyncio.start_server(serve, host, port, limit=_LARGEST_HEAD)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await end(connections)
        await server.wait_closed()


async def _serve_one(health: Health, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request and close the connection; whoever says nothing is not waited for."""
    try:
        with suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_REQUEST_SECONDS):
                method, answer = await _read_and_answer(health, reader)
                writer.write(_head(answer) + (b"" if method == "HEAD" else answer.body))
                await writer.drain()
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _read_and_answer(health: Health, reader: asyncio.StreamReader) -> tuple[str, _Answer]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return "GET", _json(431, {"error": f"at most {_LARGEST_HEAD} bytes of request head"})
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "GET", _json(400, {"error": "not an HTTP/1 request"})
    method, target = words[0], words[1].split("?", 1)[0]
    try:
        return method, await health.answer(method, target)
    except Exception:  # noqa: BLE001 - whoever asks is told that there is no answer
        _log.exception("%s could not be answered", target)
        return method, _json(503, {"error": "see the worker's log"})


def _head(answer: _Answer) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _json(status: int, value: Mapping[str, object]) -> _Answer:
    return _Answer(status, json.dumps(value).encode() + b"\n")


def _shown(depth: Depths) -> dict[str, object]:
    paused = [pause._asdict() for pause in depth.paused_tasks]
    return {**depth._asdict(), "paused_tasks": paused, "oldest_pending_age_seconds": oldest_age(depth)}
