"""Keeps a lock while a block of code runs: extends it in time, stops the block when it is lost, gives it up at the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ropeline.jobs.errors import LockLost
from ropeline.lua.errors import StoreError

if TYPE_CHECKING:
    from types import TracebackType

    from ropeline.jobs.locks.locks import Lock, Locks

__all__ = ["Hold", "safe_seconds"]

_log = logging.getLogger("ropeline.jobs.locks")

_RENEWALS: Final = 3
_LONGEST_RETRY: Final = 1.0


def safe_seconds(ttl: float) -> float:
    """How long after sending a call the hold of `ttl` seconds that it brought may be relied on: clocks run apart a little."""
    return ttl - min(5.0, ttl / 6)


class Hold:
    """The context that `Locks.hold` gives: entered once, it acquires the lock; left, it gives it up. `ttl`: seconds.

    Raises LockLost on leaving when the lock was lost meanwhile, unless the block ends with an error of its own.
    """

    def __init__(self, locks: Locks, acquire: Callable[[], Awaitable[Lock]], ttl: float) -> None:
        self._locks = locks
        self._acquire = acquire
        self._ttl = ttl
        self._lock: Lock | None = None
        self._lost: LockLost | None = None
        self._is_ending = False
        self._cancelling = 0
        self._block: asyncio.Task[object] | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Lock:
        if self._block is not None:
            raise RuntimeError("a hold is entered once; call hold(...) again for another one")
        self._block = asyncio.current_task()
        self._cancelling = self._block.cancelling() if self._block else 0
        self._lock = await self._acquire()
        self._keeper = asyncio.create_task(self._keep(self._lock))
        return self._lock

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_ending = True
        if self._lock is None or self._keeper is None or self._block is None:
            raise RuntimeError("a hold is left after it was entered")
        self._keeper.cancel()
        if self._lost is not None:
            # The cancellation was this hold's own, unless somebody else wants the task to end as well.
            is_only_ours = self._block.uncancel() <= self._cancelling
            if error is None or (kind is asyncio.CancelledError and is_only_ours):
                raise self._lost from error
            return
        giving_up = asyncio.create_task(self._give_up(self._lock))
        lost = await asyncio.shield(giving_up)
        if lost is not None and error is None:
            raise lost

    async def _keep(self, lock: Lock) -> None:
        """Extend the hold until it is given up or lost; when the store does not answer, try again until it cannot be relied on."""
        pause, safe_until = self._ttl / _RENEWALS, lock.safe_until
        while True:
            await asyncio.sleep(max(0.0, min(pause, safe_until - time.monotonic())))
            sent = time.monotonic()
            if sent >= safe_until:
                self._lose(LockLost(lock.name))
                return
            try:
                async with asyncio.timeout(safe_until - sent):
                    await self._locks.extend(lock.name, lock.token, ttl=self._ttl)
            except LockLost as lost:
                self._lose(lost)
                return
            except (StoreError, TimeoutError) as error:
                _log.warning("lock %s: could not be extended: %s", lock.name, str(error) or "no answer")
                pause = min(self._ttl / _RENEWALS / 4, _LONGEST_RETRY)
            else:
                pause, safe_until = self._ttl / _RENEWALS, sent + safe_seconds(self._ttl)

    def _lose(self, lost: LockLost) -> None:
        if not self._is_ending and self._block is not None:
            self._lost = lost
            self._block.cancel()

    async def _give_up(self, lock: Lock) -> LockLost | None:
        if self._keeper is not None:
            with suppress(asyncio.CancelledError):
                await self._keeper
        try:
            await self._locks.release(lock.name, lock.token)
        except LockLost as lost:
            return lost
        except StoreError:
            # What the block did is done; the lock is given up in the background, or runs out.
            self._locks.give_up_later(lock.name, lock.token)
        return None
