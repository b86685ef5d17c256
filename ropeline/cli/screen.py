"""The live status on one screen of the terminal; needs rich, of the `up` extra."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ropeline.cli.views import Board
from ropeline.gate.snapshot import Snapshot
from ropeline.logs import configure_logging

__all__ = ["Screen", "sparkline"]

_SECONDS_SHOWN: Final = 60
_BAR_WIDTH: Final = 30
_WIDEST: Final = 110
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_COLOURS: Final = {"open": "green", "passthrough": "green", "suspended": "yellow", "queue_all": "yellow"}


class Screen:
    """Redraws the boards in place, as a context manager; log lines meanwhile appear above it.

    `facts`: lines at the foot that do not change, each a label and a text.
    """

    def __init__(self, facts: Sequence[tuple[str, str]], console: Console | None = None) -> None:
        self._facts = facts
        self._live = Live(console=console or Console(), auto_refresh=False)
        self._history: dict[str, deque[int]] = {}
        self._last: Sequence[Snapshot] = ()

    def __enter__(self) -> Self:
        self._live.start()
        # To the standard error that the live display has put in the place of the real one.
        configure_logging()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        configure_logging()

    def show(self, board: Board) -> None:
        """Draw the board; what the store said last stays while it does not answer."""
        if not board.problem:
            self._last = board.snapshots
            for snapshot in board.snapshots:
                seen = self._history.setdefault(snapshot.name, deque(maxlen=_SECONDS_SHOWN))
                seen.append(snapshot.status.head.waiting)
        body = self._one(self._last[0]) if len(self._last) == 1 else self._many()
        foot = Table.grid(padding=(0, 2))
        answers = Text(f"answers in {board.reply_ms:.1f} ms", "green")
        foot.add_row("store is", Text(f"away: {board.problem}", "bold red") if board.problem else answers)
        for label, text in (*board.notes, *self._facts):
            foot.add_row(label, Text(text))
        # Room at the right edge for the ^C that the terminal echoes there, which would move the whole picture otherwise.
        width = min(_WIDEST, self._live.console.width - 4)
        panel = Panel(Group(body, Text(), foot), title="Ropeline", title_align="left", width=width)
        self._live.update(panel, refresh=True)

    def _one(self, snapshot: Snapshot) -> Table:
        head, counters, settings = snapshot.status.head, snapshot.status.counters, snapshot.settings
        grid = Table.grid(padding=(0, 2))
        grid.add_row("tenant", Text(f"{snapshot.name}  {settings.title}", "bold"))
        grid.add_row("state", Text(snapshot.state_words, _COLOURS.get(snapshot.state, "red")))
        waiting = Text(f"{head.waiting:>6}  ", "bold")
        grid.add_row("waiting", waiting.append(sparkline(self._history[snapshot.name]), "cyan"))
        on_site = Text(f"{head.active:>6}  ", "bold").append(_bar(head.active, snapshot.status.quota), "green")
        on_site.append(snapshot.on_site_words.removeprefix(str(head.active)))
        if counters.unseen:
            on_site.append(f", {counters.unseen} called and not seen yet")
        grid.add_row("on the site", on_site)
        for words in snapshot.step_words[:1]:
            grid.add_row("closed loop", words)
        grid.add_row("admitted", f"{snapshot.speed_words:>6}  a minute ({snapshot.limit_words})")
        grid.add_row("newcomer", f"waits: {snapshot.wait_words}")
        grid.add_row(
            "so far",
            f"{counters.joined} joined, {counters.admitted} admitted, {counters.left} left, {counters.ended} ran out,"
            f" {counters.missed} missed their call, {counters.abandoned} gave up",
        )
        return grid

    def _many(self) -> Table:
        table = Table(
            "tenant", "waiting", "", "on the site", "quota", "admitted/min", "newcomer waits", "state", box=None
        )
        for snapshot in self._last:
            head = snapshot.status.head
            table.add_row(
                snapshot.name,
                str(head.waiting),
                Text(sparkline(list(self._history[snapshot.name])[-20:]), "cyan"),
                str(head.active),
                str(snapshot.status.quota),
                snapshot.speed_words,
                snapshot.wait_words,
                Text(snapshot.state_words, _COLOURS.get(snapshot.state, "red")),
            )
        return table


def sparkline(numbers: Sequence[int]) -> str:
    """The numbers as a row of bars, the highest one full."""
    most = max(numbers, default=0)
    return "".join(_BLOCKS[number * (len(_BLOCKS) - 1) // most] if most else _BLOCKS[0] for number in numbers)


def _bar(part: int, whole: int) -> str:
    full = min(_BAR_WIDTH, part * _BAR_WIDTH // whole) if whole else 0
    return "█" * full + "░" * (_BAR_WIDTH - full)
