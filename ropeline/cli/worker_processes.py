"""Looks after several worker processes: starts them, starts them again when they crash, and hands signals on."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

__all__ = ["PARENT_VARIABLE", "supervise"]

_log = logging.getLogger("ropeline.worker")

PARENT_VARIABLE: Final = "ROPELINE_WORKER_PARENT"
"""Tells a worker process the file descriptor that is closed when whoever looks after it is gone."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_WELL_AFTER: Final = 60.0
_WRONG_INPUT: Final = 2
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
_HANDED_ON: Final = (*_ENDING, signal.SIGTSTP, signal.SIGUSR2)


def supervise(commands: Sequence[Sequence[str]]) -> int:
    """Run a process for each command until TERM or INT, and return the worst of their exit statuses.

    A process that ends by itself is started again, after half a second that doubles up to 30 s; not one that says by
    exit status 2 that its command line is wrong: then all end.
    """
    return asyncio.run(_Processes(commands).run())


class _Processes:
    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._commands = commands
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._ending = asyncio.Event()
        self._alive, self._lifeline = os.pipe()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in _HANDED_ON:
            loop.add_signal_handler(number, self._hand_on, number)
        try:
            statuses = await asyncio.gather(*(self._keep(place) for place in range(len(self._commands))))
        finally:
            for number in _HANDED_ON:
                loop.remove_signal_handler(number)
            os.close(self._lifeline)
            os.close(self._alive)
        return max(map(abs, statuses))

    async def _keep(self, place: int) -> int:
        """Run one process, again and again; its last exit status."""
        pause = _FIRST_PAUSE
        while True:
            started = time.monotonic()
            status = await self._run_once(place)
            if self._ending.is_set():
                # One that the signal itself has ended had not begun yet, and has left nothing behind.
                return 0 if -status in _ENDING else status
            if status == _WRONG_INPUT:
                self._hand_on(signal.SIGTERM)
                return status
            if time.monotonic() - started > _WELL_AFTER:
                pause = _FIRST_PAUSE
            _log.warning("worker process %d %s; it is started again in %.1f s", place, _told(status), pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), pause)
                return 0
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _run_once(self, place: int) -> int:
        child = await asyncio.create_subprocess_exec(
            *self._commands[place],
            env={**os.environ, PARENT_VARIABLE: str(self._alive)},
            pass_fds=(self._alive,),
            # A terminal sends its signals to us alone, or each child would get every one twice.
            process_group=0,
        )
        self._children[place] = child
        try:
            if self._ending.is_set():
                child.send_signal(signal.SIGTERM)
            return await child.wait()
        finally:
            del self._children[place]

    def _hand_on(self, number: signal.Signals) -> None:
        if number in _ENDING:
            self._ending.set()
        for child in self._children.values():
            with suppress(ProcessLookupError):
                child.send_signal(number)


def _told(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"has ended with exit status {status}"
