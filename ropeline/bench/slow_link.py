"""A process of its own that passes traffic to a store and holds each reply back: `python -m ropeline.bench.slow_link PORT MS`.

It prints the port on which it listens, and ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ropeline.bench.fault_proxy import Fault, FaultProxy

__all__ = ["slow_link"]


@asynccontextmanager
async def slow_link(port: int, milliseconds: float) -> AsyncIterator[str]:
    """The URL of a way to the store at `port` that adds this to each round trip. A process of its own costs ours nothing."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ropeline.bench.slow_link",
        str(port),
        str(milliseconds),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a child process without the pipes that it was started with")
    try:
        yield f"redis://127.0.0.1:{int(await process.stdout.readline())}/0"
    finally:
        process.stdin.close()
        await process.wait()


async def _serve(port: int, milliseconds: float) -> None:
    async with FaultProxy(port, delay=milliseconds / 1000) as proxy:
        await proxy.set(Fault.DELAY)
        sys.stdout.write(f"{proxy.port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
