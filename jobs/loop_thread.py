"""One event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

__all__ = ["LoopThread"]

T = TypeVar("T")

_LONGEST_GOODBYE: Final = 2.0
_threads: weakref.WeakSet[LoopThread] = weakref.WeakSet()


class LoopThread:
    """Runs coroutines for threads that have no event loop; starts with the first one, and anew in a forked process.

    The thread does not keep a process from ending. Every method may be called from any thread.
    """

    _lock: threading.Lock
    _loop: asyncio.AbstractEventLoop | None
    _stop: weakref.finalize[[asyncio.AbstractEventLoop, threading.Thread], LoopThread] | None

    def __init__(self) -> None:
        self._forget()
        _threads.add(self)

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the loop, and return its result or raise its error."""
        future = asyncio.run_coroutine_threadsafe(make(), self._started())
        try:
            return future.result()
        except BaseException:
            # An interrupted caller does not wait any longer, and its coroutine does not go on behind its back.
            future.cancel()
            raise

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one last coroutine and end the thread, if there is one; the next `run` starts another."""
        with self._lock:
            if self._loop is None or self._stop is None:
                return
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(last(), self._loop).result(_LONGEST_GOODBYE)
            self._loop = None
            self._stop()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_serve, args=(self._loop,), name="ropeline-jobs-sync", daemon=True)
                thread.start()
                # Also when the owner is collected, and when the interpreter ends.
                self._stop = weakref.finalize(self, _end, self._loop, thread)
            return self._loop

    def _forget(self) -> None:
        """Of a thread that this process does not have, nothing can be stopped; its lock may be held for ever."""
        self._lock = threading.Lock()
        self._loop = None
        self._stop = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    with suppress(RuntimeError):  # it was closed already
        loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join(_LONGEST_GOODBYE)


def _forget_all() -> None:
    for each in list(_threads):
        each._forget()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_forget_all)
