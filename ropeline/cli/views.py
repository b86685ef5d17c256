"""Shows how the lines stand, again and again: as plain lines, as JSON, or on one screen of the terminal."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ropeline.gate.deadline import within
from ropeline.gate.snapshot import Snapshot
from ropeline.lua.errors import RopelineError

__all__ = ["Board", "JsonView", "PlainView", "View", "is_screen", "watch"]

_EVERY: Final = 1.0
_PATIENCE: Final = 2.0
_PLAIN_EVERY: Final = 5.0


@dataclass(frozen=True, slots=True)
class Board:
    """What there is to show. `problem`: why the store could not be asked, empty when it could; `reply_ms`: how long it took.

    `notes`: what else changes, each a label and a text.
    """

    snapshots: Sequence[Snapshot]
    problem: str
    reply_ms: float
    notes: Sequence[tuple[str, str]]


class View(Protocol):
    """Shows one board after the other."""

    def show(self, board: Board) -> None:
        """Show this board instead of the one before."""


class PlainView:
    """A line for each tenant, when something has changed, at most every five seconds; a problem at once."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._told_at = -_PLAIN_EVERY

    def show(self, board: Board) -> None:
        lines = [f"store: {board.problem}"] if board.problem else [snapshot.line() for snapshot in board.snapshots]
        lines += [f"{label}: {text}" for label, text in board.notes]
        now = time.monotonic()
        if lines != self._told and (board.problem or now - self._told_at >= _PLAIN_EVERY):
            self._told, self._told_at = lines, now
            moment = time.strftime("%H:%M:%S")
            print("\n".join(f"{moment} {line}" for line in lines), flush=True)


class JsonView:
    """A JSON object a line, for each board."""

    def show(self, board: Board) -> None:
        document: dict[str, object] = {"tenants": [snapshot.to_mapping() for snapshot in board.snapshots]}
        if board.problem:
            document["problem"] = board.problem
        print(json.dumps(document), flush=True)


async def watch(
    read: Callable[[], Awaitable[Sequence[Snapshot]]],
    view: View,
    notes: Callable[[], Sequence[tuple[str, str]]] = tuple,
) -> None:
    """Show what `read` says each second, until cancelled; a store that does not answer, or has lost what it had, is shown too."""
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        snapshots: Sequence[Snapshot] = ()
        problem = ""
        try:
            snapshots = await within(_PATIENCE, read())
        except RopelineError as error:
            problem = str(error)
        view.show(Board(snapshots, problem, (loop.time() - started) * 1000, notes()))
        await asyncio.sleep(max(0.0, started + _EVERY - loop.time()))


def is_screen() -> bool:
    """Whether standard output is a terminal that can redraw what it shows."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
