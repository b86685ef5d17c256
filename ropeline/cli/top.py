"""`ropeline jobs top`: how the queues stand, on one screen of the terminal, as lines, or as JSON."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from signal import SIGTERM
from typing import TYPE_CHECKING, Final, Protocol

from ropeline.cli.job_rows import depths_document, pause_words
from ropeline.cli.job_store import JobStore, with_jobs
from ropeline.cli.tables import aligned
from ropeline.cli.times import age
from ropeline.cli.views import is_screen
from ropeline.gate.deadline import within
from ropeline.lua.errors import RopelineError

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.jobs.records import Depths

__all__ = ["Queues", "Rates", "run", "screen_lines"]

_EVERY: Final = 1.0
_PATIENCE: Final = 2.0
_PLAIN_EVERY: Final = 5.0
_RATE_OVER_MS: Final = 10_000
_RATES: Final = ("enqueued", "completed", "failed")
_ENTER: Final = "\033[?1049h\033[?25l"
_LEAVE: Final = "\033[?25h\033[?1049l"


@dataclass(frozen=True, slots=True)
class Queues:
    """How the queues stand. `problem`: why the store could not be asked, empty when it could; `reply_ms`: how long it took.

    `rates`: of each queue, how often a second each of `enqueued`, `completed` and `failed` happened lately; None: not known yet.
    """

    stage: str
    place: str
    depths: Mapping[str, Depths]
    rates: Mapping[str, Mapping[str, float] | None]
    problem: str
    reply_ms: float


class Rates:
    """What happened a second, over the last ten, from the counters of one queue."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, Mapping[str, int]]] = deque()

    def after(self, depths: Depths) -> Mapping[str, float] | None:
        """The rates now, None until there are two moments to compare. A store that lost its counters begins anew."""
        if self._seen and any(depths.counters.get(name, 0) < self._seen[-1][1].get(name, 0) for name in _RATES):
            self._seen.clear()
        self._seen.append((depths.now, depths.counters))
        while len(self._seen) > 2 and self._seen[1][0] <= depths.now - _RATE_OVER_MS:
            self._seen.popleft()
        since, before = self._seen[0]
        if depths.now <= since:
            return None
        seconds = (depths.now - since) / 1000
        return {name: (depths.counters.get(name, 0) - before.get(name, 0)) / seconds for name in _RATES}


class _View(Protocol):
    def show(self, queues: Queues) -> None: ...


class _Screen:
    """Draws over what it drew before, as far as the terminal is wide and high."""

    def show(self, queues: Queues) -> None:
        size = shutil.get_terminal_size()
        # One row and one column stay free: writing into the last one can move the picture.
        lines = screen_lines(queues, size.columns - 1, size.lines - 1)
        print("\033[H" + "\n".join(f"{line}\033[K" for line in lines) + "\033[J", end="", flush=True)


class _Lines:
    """A line for each queue when something has changed, at most every five seconds; a problem at once."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._told_at = -_PLAIN_EVERY

    def show(self, queues: Queues) -> None:
        if queues.problem:
            lines = [f"store: {queues.problem}"]
        else:
            lines = [
                f"{name}: {depths.pending} pending, {depths.active} active, {depths.scheduled} scheduled,"
                f" {depths.retry} in retry, {depths.parked} parked, {depths.dead} dead; {pause_words(depths)}"
                for name, depths in queues.depths.items()
            ]
        now = time.monotonic()
        if lines != self._told and (queues.problem or now - self._told_at >= _PLAIN_EVERY):
            self._told, self._told_at = lines, now
            moment = time.strftime("%H:%M:%S")
            print("\n".join(f"{moment} {line}" for line in lines), flush=True)


class _Json:
    """A JSON object a line."""

    def show(self, queues: Queues) -> None:
        rows = [
            {**depths_document(name, each), "per_second": queues.rates[name]} for name, each in queues.depths.items()
        ]
        document: dict[str, object] = {"store": queues.place, "stage": queues.stage, "queues": rows}
        if queues.problem:
            document["problem"] = queues.problem
        print(json.dumps(document), flush=True)


def run(options: Namespace) -> int:
    """Show how the queues stand, each second, until Ctrl-C."""

    async def work(store: JobStore) -> int:
        # What is wrong with the command line is told before the screen is taken.
        await store.queues(options.queue)
        watching = asyncio.create_task(_watch(store, options.queue, as_json=options.json))
        # The terminal is left as it was, however the command is ended.
        asyncio.get_running_loop().add_signal_handler(SIGTERM, watching.cancel)
        await asyncio.wait([watching])
        if not watching.cancelled():
            watching.result()
        return 0

    try:
        return with_jobs(options, work)
    except KeyboardInterrupt:
        return 0


def screen_lines(queues: Queues, width: int, height: int) -> list[str]:
    """What the screen shows, at most `height` lines of `width` characters."""
    head = ["QUEUE", "PENDING", "OLDEST", "ACTIVE", "SCHEDULED", "RETRY", "HELD", "PARKED", "DEAD"]
    rows = [[*head, "IN/S", "DONE/S", "FAILED/S", "STATE"]]
    for name, depths in queues.depths.items():
        rates = queues.rates[name]
        oldest = age(depths.now - depths.oldest_pending) if depths.oldest_pending else "-"
        numbers = (depths.active, depths.scheduled, depths.retry, depths.held, depths.parked, depths.dead)
        speeds = ["-" if rates is None else f"{rates[each]:,.1f}" for each in _RATES]
        rows.append([name, str(depths.pending), oldest, *map(str, numbers), *speeds, pause_words(depths)])
    store = f"away: {queues.problem}" if queues.problem else f"answers in {queues.reply_ms:.1f} ms"
    lines = [
        f"Ropeline jobs, stage {queues.stage}   {time.strftime('%H:%M:%S')}   store {queues.place} {store}",
        "",
        *(aligned(rows) if len(rows) > 1 else ["no jobs yet"]),
    ]
    foot = ["", "Ctrl-C ends it."]
    room = max(1, height - len(foot))
    if len(lines) > room:
        hidden = len(lines) - room + 1
        lines = [*lines[: room - 1], f"... and {hidden} more queues; --queue shows one"]
    return [line[:width] for line in (*lines, *foot)]


async def _watch(store: JobStore, queue: str | None, *, as_json: bool) -> None:
    with _view(as_json=as_json) as view:
        await _show_each_second(store, queue, view)


async def _show_each_second(store: JobStore, queue: str | None, view: _View) -> None:
    """Show the queues until cancelled; a store that does not answer is shown too."""
    loop = asyncio.get_running_loop()
    kept: dict[str, Rates] = {}
    depths: dict[str, Depths] = {}
    rates: dict[str, Mapping[str, float] | None] = {}

    async def read() -> dict[str, Depths]:
        names: Sequence[str] = await store.broker.queues() if queue is None else [queue]
        return {name: await store.broker.depths(name) for name in names}

    while True:
        started = loop.time()
        problem = ""
        try:
            # What the store said last stays on the screen while it does not answer.
            depths = await within(_PATIENCE, read())
            rates = {name: kept.setdefault(name, Rates()).after(each) for name, each in depths.items()}
        except RopelineError as error:
            problem = " ".join(str(error).split())
        reply_ms = (loop.time() - started) * 1000
        view.show(Queues(store.stage, str(store.place), depths, rates, problem, reply_ms))
        await asyncio.sleep(max(0.0, started + _EVERY - loop.time()))


@contextmanager
def _view(*, as_json: bool) -> Iterator[_View]:
    if as_json or not is_screen():
        yield _Json() if as_json else _Lines()
        return
    print(_ENTER, end="", flush=True)
    try:
        yield _Screen()
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
