"""Keeps an effect from being repeated by a second run: it is done, then marked as done, and a later run sees the mark."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ropeline.jobs.durations import to_ms
from ropeline.jobs.ids import derived_id

if TYPE_CHECKING:
    from datetime import timedelta

    from ropeline.jobs.broker import Broker

__all__ = ["once"]


@asynccontextmanager
async def once(broker: Broker, *name: str | bytes, keep: timedelta | float) -> AsyncIterator[bool]:
    """Whether the effect of this name is still to be had; a block that ends without an exception marks it as done.

    `keep`: how long the mark is kept, seconds or a timedelta: longer than the job can come again. What it cannot do: a
    process that dies between the effect and the mark lets the effect happen twice, and so do two runs at the same time,
    which only happens when a lease was lost; hold a lock as well where that matters.

    Raises:
        ConfigurationError: a name or time that is none.
        StoreError: the store did not answer; before the block, nothing was done, after it, the mark may be missing.

    """
    kept = to_ms("keep", keep, least=1)
    key = derived_id("once", *name)
    if await broker.is_marked(key):
        yield False
        return
    yield True
    await broker.mark(key, kept)
