"""Ends background tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["end"]

_ASK_AGAIN_AFTER: Final = 0.2


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
