"""One line on a terminal that says each second what a worker does."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TextIO

from ropeline.jobs.background import in_background
from ropeline.lua.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ropeline.jobs.worker import Worker

__all__ = ["StatusLine"]

_EVERY: Final = 1.0
_ERASE: Final = "\r\x1b[K"


class StatusLine:
    """Writes the line to `stream` (default: standard error), and over itself; log lines meanwhile appear above it."""

    def __init__(self, worker: Worker, stream: TextIO | None = None) -> None:
        self._worker = worker
        self._stream = stream or sys.stderr
        self._ended = 0
        self._at = time.monotonic()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Show it while the context lasts."""
        handlers = logging.getLogger().handlers
        for handler in handlers:
            handler.addFilter(self._make_room)
        try:
            async with in_background(self._show_always()):
                yield
        finally:
            for handler in handlers:
                handler.removeFilter(self._make_room)
            self._write("")

    def text(self, pending: int | None) -> str:
        """The line as of now. `pending`: jobs that wait in the worker's queues, None unknown."""
        totals = self._worker.metrics.totals()
        ended, now = sum(totals.values()), time.monotonic()
        rate = (ended - self._ended) / max(now - self._at, 0.001)
        self._ended, self._at = ended, now
        failed = totals["retried"] + totals["dead"]
        parts = [
            f"{totals['completed']:,} done",
            f"{rate:,.0f}/s",
            f"{self._worker.metrics.used:,} running",
            f"{failed:,} failed",
            "the store does not answer" if pending is None else f"{pending:,} pending",
        ]
        state = self._worker.state
        return " · ".join(parts if state == "running" else [state, *parts])

    async def _show_always(self) -> None:
        while True:
            self._write(self.text(await self._pending()))
            await asyncio.sleep(_EVERY)

    async def _pending(self) -> int | None:
        try:
            async with asyncio.timeout(_EVERY):
                return sum(depths.pending for depths in (await self._worker.depths()).values())
        except (StoreError, TimeoutError):
            return None

    def _make_room(self, record: logging.LogRecord) -> bool:
        del record
        self._write("")
        return True

    def _write(self, text: str) -> None:
        self._stream.write(f"{_ERASE}{text}")
        self._stream.flush()
