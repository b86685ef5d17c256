"""Runs tasks beside something else, and ends them for certain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

__all__ = ["end", "in_background"]

_ASK_AGAIN_AFTER: Final = 0.2


@asynccontextmanager
async def in_background(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run these as tasks while the context lasts."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        await end(tasks)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, whatever they are doing, and return when all have ended; their failures are dropped.

    They are asked until they end: on Python 3.11 `asyncio.wait_for`, which redis-py sends every command through,
    loses a cancellation that arrives in the moment in which the command has just been sent.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=_ASK_AGAIN_AFTER)
        for task in done:
            if not task.cancelled():
                task.exception()
