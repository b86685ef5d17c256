"""What signals mean to a worker process, and what it shows of itself when one asks."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from ropeline.jobs.worker.run import Run
    from ropeline.jobs.worker.worker import Worker

__all__ = ["DRAIN_SIGNALS", "describe_runs", "heeded"]

_log = logging.getLogger("ropeline.jobs.worker.signals")

DRAIN_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
"""Ask a worker to end: it claims nothing more and lets what runs finish. The second one ends it at once."""


@contextmanager
def heeded(worker: Worker, loop: asyncio.AbstractEventLoop, stream: TextIO | None = None) -> Iterator[None]:
    """While the context lasts: TERM and INT drain the worker, TSTP makes it quiet, USR2 writes what it does to `stream`.

    `stream`: standard error by default; with USR2 it also gets the stacks of all threads, even when the event loop is
    blocked. Of the main thread alone.
    """
    told = stream or sys.stderr
    for number in DRAIN_SIGNALS:
        loop.add_signal_handler(number, _drain, worker)
    loop.add_signal_handler(signal.SIGTSTP, worker.quiet)
    loop.add_signal_handler(signal.SIGUSR2, lambda: print(describe_runs(worker.running), file=told, flush=True))
    faulthandler.register(signal.SIGUSR2, file=told, all_threads=True, chain=True)
    try:
        yield
    finally:
        faulthandler.unregister(signal.SIGUSR2)
        for number in (*DRAIN_SIGNALS, signal.SIGTSTP, signal.SIGUSR2):
            loop.remove_signal_handler(number)


def _drain(worker: Worker) -> None:
    if worker.is_draining:
        _log.info("the worker ends at once")
    else:
        _log.info("the worker ends when its %d running jobs have ended", worker.metrics.used)
    worker.drain()


def describe_runs(runs: list[Run]) -> str:
    """Each job that runs, since when, and where its handler stands now."""
    now = time.monotonic()
    threads = sys._current_frames()  # noqa: SLF001 - documented, in spite of its name
    lines = [f"{len(runs)} jobs run in tasks and threads"]
    for run in runs:
        lines.append(f"job {run.id.hex()} {run.task} of {run.queue}, for {now - run.started:.1f} s{_flags(run)}")
        if run.thread:
            frames = list(_frames_of_thread(threads.get(run.thread)))
        else:
            frames = list(_frames_of_coroutine(run.coroutine))
        lines += [f"  {line.rstrip()}" for line in traceback.format_list(traceback.StackSummary.extract(iter(frames)))]
    return "\n".join(lines)


def _flags(run: Run) -> str:
    flags = {"cancelled": run.is_cancelled, "timed out": run.is_timed_out, "lost": run.is_lost, "told": run.is_ended}
    shown = ", ".join(name for name, is_set in flags.items() if is_set)
    return f" ({shown})" if shown else ""


def _frames_of_coroutine(awaited: Any) -> Iterator[tuple[FrameType, int]]:
    """The frames from a coroutine down to what it waits for, the innermost last."""
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            return
        yield frame, frame.f_lineno
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)


def _frames_of_thread(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    return reversed(list(traceback.walk_stack(frame))) if frame is not None else iter(())
