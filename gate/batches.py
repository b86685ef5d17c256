"""Lets what arrives one by one travel to the store in batches: one call for all that arrive in one turn of the event loop.

A bounded number of calls is under way, and the next batch grows meanwhile, so that the busier a process is the fewer
calls each visitor costs, and no crowd takes more connections than that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ropeline.lua.errors import StoreError, StoreTimeout
from ropeline.lua.visits import LARGEST_BATCH

__all__ = ["Batches", "again"]

_log = logging.getLogger("ropeline.gate.batches")

_Item = TypeVar("_Item")
_Reply = TypeVar("_Reply")


class Batches(Generic[_Item, _Reply]):
    """Calls of one kind for one tenant. `send` takes 1 to 128 items and gives a reply for each, in the same order.

    `deadline`: seconds for one call, over waiting for a connection, connecting and the call. `under_way`: most calls at
    once. `on_failure` is told of each call that failed, before those who wait for it are.
    """

    def __init__(
        self,
        tenant: str,
        send: Callable[[list[_Item]], Awaitable[Sequence[_Reply]]],
        *,
        deadline: Callable[[], float],
        under_way: int,
        on_failure: Callable[[StoreError], object],
    ) -> None:
        self._tenant = tenant
        self._send = send
        self._deadline = deadline
        self._most_under_way = under_way
        self._on_failure = on_failure
        self._waiting: list[tuple[_Item, asyncio.Future[_Reply]]] = []
        self._under_way = 0
        self._is_scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, item: _Item) -> asyncio.Future[_Reply]:
        """Put an item into the next call; the reply to it, or StoreError."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Reply] = loop.create_future()
        self._waiting.append((item, future))
        if not self._is_scheduled and self._under_way < self._most_under_way:
            self._is_scheduled = True
            loop.call_soon(self._start_calls)
        return future

    def refuse(self, error: StoreError) -> None:
        """Tell those who wait for a later call that there will be none."""
        refused, self._waiting = self._waiting, []
        _tell(refused, error)

    async def close(self) -> None:
        """Let the calls under way end."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start_calls(self) -> None:
        self._is_scheduled = False
        while self._waiting and self._under_way < self._most_under_way:
            batch, self._waiting = self._waiting[:LARGEST_BATCH], self._waiting[LARGEST_BATCH:]
            self._under_way += 1
            task = asyncio.create_task(self._call(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _call(self, batch: list[tuple[_Item, asyncio.Future[_Reply]]]) -> None:
        loop = asyncio.get_running_loop()
        seconds = self._deadline()
        ends_at = loop.time() + seconds
        deadline = loop.call_at(ends_at, self._give_up, batch, seconds, asyncio.current_task())
        try:
            replies = await self._send([item for item, _ in batch])
            for (_, future), reply in zip(batch, replies, strict=True):
                if not future.done():
                    future.set_result(reply)
        except asyncio.CancelledError:
            if loop.time() < ends_at:
                raise
        except StoreError as error:
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, no visitor may wait for an answer that never comes
            _log.exception("tenant %s: a call of the line went wrong", self._tenant)
            self._fail(batch, StoreError(f"{type(error).__name__}: {error}"))
        finally:
            deadline.cancel()
            self._under_way -= 1
        self._start_calls()

    def _give_up(
        self, batch: list[tuple[_Item, asyncio.Future[_Reply]]], seconds: float, call: asyncio.Task[None] | None
    ) -> None:
        """The deadline has passed. The visitors are told so here, since a call does not always notice that it is cancelled."""
        self._fail(batch, StoreTimeout(f"no answer within {round(seconds * 1000)} ms"))
        if call is not None:
            call.cancel()

    def _fail(self, batch: list[tuple[_Item, asyncio.Future[_Reply]]], error: StoreError) -> None:
        self._on_failure(error)
        _tell(batch, error)


def again(error: StoreError) -> StoreError:
    """The same failure for somebody else: one exception raised many times would collect a traceback of all of them."""
    return type(error)(*error.args)


def _tell(batch: list[tuple[_Item, asyncio.Future[_Reply]]], error: StoreError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(again(error))
