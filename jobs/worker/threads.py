"""Runs sync handlers in threads, and hands what became of them to the event loop, many in one turn."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

__all__ = ["HandlerThreads"]


class _Work(NamedTuple):
    context: Context
    call: Callable[[], Any]
    on_start: Callable[[int], object]
    on_end: Callable[[Any, BaseException | None], object]


class HandlerThreads:
    """At most `most` threads, started when they are needed; they do not keep a process from ending.

    A pool of the standard library costs three times as much a call, and would wait for a hung handler when the process ends.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        self._ended: deque[tuple[_Work, Any, BaseException | None]] = deque()
        self._is_told = False
        self._under_way = 0
        self._threads = 0
        self._loop = asyncio.get_running_loop()

    def start(
        self,
        context: Context,
        call: Callable[[], Any],
        *,
        on_start: Callable[[int], object],
        on_end: Callable[[Any, BaseException | None], object],
    ) -> None:
        """Call `call` within `context` in a thread, then `on_end` in the event loop with its value or its error.

        `on_start` is called in the thread, with the thread's number.
        """
        self._under_way += 1
        if self._threads < min(self._under_way, self._most):
            self._threads += 1
            threading.Thread(target=self._run, name=f"ropeline-handler-{self._threads}", daemon=True).start()
        self._waiting.put(_Work(context, call, on_start, on_end))

    def close(self) -> None:
        """Let each thread end with what it does now."""
        for _ in range(self._threads):
            self._waiting.put(None)

    def _run(self) -> None:
        number = threading.get_ident()
        while (work := self._waiting.get()) is not None:
            value, failure = None, None
            try:
                work.on_start(number)
                value = work.context.run(work.call)
            except BaseException as error:  # noqa: BLE001 - whatever a handler raises is told as the end of its run
                failure = error
            self._ended.append((work, value, failure))
            del work, value, failure
            if not self._is_told:
                self._is_told = True
                # The loop is closed when the worker has ended without waiting for this handler.
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_told = False
        while self._ended:
            work, value, failure = self._ended.popleft()
            self._under_way -= 1
            work.on_end(value, failure)
