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
_owners: weakref.WeakSet[LoopThread] = weakref.WeakSet()


class LoopThread:
    """Runs coroutines for threads that have no event loop; starts with the first one, and anew in a forked process.

    The thread does not keep a process from ending. Every method may be called from any thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: _Running | None = None
        _owners.add(self)

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the loop, and return its result or raise its error."""
        with self._changed:
            if self._running is None:
                self._running = _Running(self)
            running = self._running
            running.calls += 1
        try:
            return running.call(make)
        finally:
            with self._changed:
                running.calls -= 1
                self._changed.notify_all()

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let what runs come to its end, 2 seconds at most, run one last coroutine and end the thread, if there is one.

        Calls that come meanwhile start another thread.
        """
        with self._changed:
            running, self._running = self._running, None
            if running is None:
                return
            self._changed.wait_for(lambda: not running.calls, _LONGEST_GOODBYE)
        with suppress(TimeoutError):
            running.call(last, _LONGEST_GOODBYE)
        running.end()

    def _forget_thread(self) -> None:
        """The thread stayed in the parent of this process, and its lock may be held for ever."""
        if self._running is not None:
            self._running.end.detach()
        self._changed = threading.Condition()
        self._running = None


class _Running:
    """A thread and its loop; they end with `owner`, or when the interpreter does. `calls`: how many are under way."""

    def __init__(self, owner: LoopThread) -> None:
        self.calls = 0
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_serve, args=(self._loop,), name="ropeline-jobs-sync", daemon=True)
        thread.start()
        self.end = weakref.finalize(owner, _end, self._loop, thread)

    def call(self, make: Callable[[], Coroutine[Any, Any, T]], seconds: float | None = None) -> T:
        future = asyncio.run_coroutine_threadsafe(make(), self._loop)
        try:
            return future.result(seconds)
        except BaseException:
            # A caller that was interrupted does not wait any longer, and its coroutine does not go on behind its back.
            future.cancel()
            raise


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
    loop.call_soon_threadsafe(loop.stop)
    # The owner may be collected in any thread, this one too.
    if thread is not threading.current_thread():
        thread.join(_LONGEST_GOODBYE)


def _forget_all() -> None:
    for owner in list(_owners):
        owner._forget_thread()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_forget_all)
