"""`python -m loadtests.flood`: hits without cookies at a full room, and what they leave behind in the store's memory.

Each hit comes from another address, through the whole middleware. Nothing of them is stored but counts per hashed address,
in a number of counters that is fixed, so the memory is flat once those are there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from redis.asyncio import Redis

from ropeline.bench.site import SECRET, hello
from ropeline.gate import GateMiddleware, GateSettings, TenantSettings
from ropeline.gate.asgi import Message
from ropeline.server import EmbeddedServer

__all__ = ["flood"]

_HOST = b"flood.example.com"
_AT_ONCE = 128
_WARM_UP = 20_000
_KEYS_MAY_GROW = 64 * 1024
"""Bytes for the history, which takes a sample every ten seconds."""
_SERVER_MAY_GROW = 1024 * 1024


async def flood(redis_url: str, hits: int, *, warm_up: int = _WARM_UP) -> dict[str, int]:
    """Send the hits after a warm-up that fills every counter; by how many bytes the keys and the server grew, and more."""
    tenant = TenantSettings(name="flood", host=_HOST.decode(), total_active_users=1)
    settings = GateSettings(redis_url=redis_url, secret_keys=(SECRET,), namespace="flood", deadline_ms=10_000)
    app = GateMiddleware(hello, settings, tenants=[tenant])
    client: Redis = Redis.from_url(redis_url)
    await app.gate.start()
    try:
        answers = {200: 0, 503: 0, 429: 0}
        await _send(app, range(warm_up), answers)
        before = await _used(client)
        await _send(app, range(warm_up, warm_up + hits), answers)
        after = await _used(client)
        waiting = app.gate.directory.tenants["flood"].line.head
        return {
            "hits": hits,
            "bytes_grown": after[0] - before[0],
            "server_bytes_grown": after[1] - before[1],
            "keys": await client.dbsize(),
            "stored_visitors": 0 if waiting is None else waiting.waiting + waiting.active,
            "passed": answers[200],
            "waiting_pages": answers[503],
            "limited": answers[429],
        }
    finally:
        await client.aclose()
        await app.gate.stop()


async def _send(app: GateMiddleware, numbers: range, answers: dict[int, int]) -> None:
    turns = iter(numbers)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answers[message["status"]] += 1

    async def one_after_another() -> None:
        for number in turns:
            await app(_scope(number), receive, send)

    await asyncio.gather(*(one_after_another() for _ in range(_AT_ONCE)))


def _scope(number: int) -> dict[str, Any]:
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", _HOST), (b"accept", b"application/json")],
        "client": (address, 50_000),
    }


async def _used(client: Redis) -> tuple[int, int]:
    """Bytes of the keys, and of the whole server with what connections and scripts take and give back."""
    keys = [int(await client.memory_usage(key, samples=0) or 0) for key in await client.keys("*")]
    return sum(keys), int((await client.info("memory"))["used_memory"])


def main() -> int:
    """Flood and report; 1 when the memory was not flat, or a visitor was stored."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.flood", description=__doc__)
    parser.add_argument("--hits", type=int, default=50_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    started = time.monotonic()
    with EmbeddedServer() as server:
        figures = asyncio.run(flood(server.url, options.hits))
    is_flat = (
        figures["bytes_grown"] <= _KEYS_MAY_GROW
        and figures["server_bytes_grown"] <= _SERVER_MAY_GROW
        and figures["stored_visitors"] <= 1
    )
    seconds = round(time.monotonic() - started, 1)
    if options.json:
        print(json.dumps({**figures, "seconds": seconds, "ok": is_flat}))
    else:
        print(f"{figures['hits']:,} hits in {seconds} s: {figures['bytes_grown']:,} bytes, {figures['keys']} keys")
    return 0 if is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
