"""What the scripts on a line answer, as frozen values with names; no caller sees a raw reply."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "BOUNDS",
    "Configured",
    "Counters",
    "LineHead",
    "Outcome",
    "StaleSettings",
    "Status",
    "Step",
    "Ticked",
    "Times",
    "TimesCounted",
    "Verdict",
]

BOUNDS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
"""Upper bounds of the buckets in which the scripts count times, seconds: those of lua/includes/tally.lua."""


class Verdict(IntEnum):
    """What became of one visit."""

    UNCONFIRMED = 0
    """A place was drawn and nothing stored: it counts once the ticket comes back."""
    WAITING = 1
    """In line."""
    ADMITTED = 2
    """On the site."""
    CALLED = 3
    """First contact that found room: on the site, with a waiting ticket until the cookie is seen again."""
    ENDED = 4
    """The ticket is worthless, and this visit may not get a new one."""
    LIMITED = 5
    """Too many new tickets from this client prefix."""
    REJECTED = 6
    """The tenant takes nobody new."""
    FULL = 7
    """The server has no memory left for anybody new."""


@dataclass(frozen=True, slots=True)
class LineHead:
    """How a line stood at the end of a call.

    `version`, `generation`: of the settings and of the flushes. `sequence`: of this call, in the order in which the
    server carried them out. `epoch`: microseconds at which this life of the data began. `clock`: tenant clock, ms. `now`:
    the server's time, us. `active`: sessions called or admitted. `waiting`: sessions in line. `recovering`: the data was
    lost and tickets are coming back; nobody is admitted and no position is known. `closed`: nobody is admitted, for
    whatever reason. `fast`, `slow`: admissions per 1,000 s over the last 20 and 120 s. `samples`: how many ten-second
    samples these speeds rest on. `turn`: the server's time (us) from which the settings in force are, 0 always.
    """

    version: int
    generation: int
    sequence: int
    epoch: int
    clock: int
    now: int
    active: int
    waiting: int
    recovering: bool
    closed: bool
    fast: int
    slow: int
    samples: int
    turn: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision on one visit.

    `is_new`: the id that was offered for a new ticket was taken. `place`: us, 0 none. `since`: start of the visit to the
    site, tenant ms, 0 not begun. `end`: of the hold, tenant ms, 0 none. `position`: people ahead + 1, 0 on the site, -1
    not known.
    """

    verdict: Verdict
    is_new: bool
    place: int
    since: int
    end: int
    position: int


@dataclass(frozen=True, slots=True)
class StaleSettings:
    """The store has older settings than the caller, or none (`version` -1): nothing was done; write them back first."""

    version: int


@dataclass(frozen=True, slots=True)
class Configured:
    """Whether settings were written, and the version that is now in force.

    `sequence`: of this call, 0 when it changed nothing or nobody has visited the line yet.
    """

    written: bool
    version: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals of a line since its state began; `unseen` alone is of now: called sessions that have not been seen.

    `waited_ms`: sum of the waits of all admitted. `estimates`, `estimate_error_ms`: admissions for which a wait had been
    foretold, and the sum of how wrong that was.
    """

    joined: int
    called: int
    admitted: int
    abandoned: int
    missed: int
    ended: int
    left: int
    revoked: int
    restored: int
    limited: int
    waited_ms: int
    estimates: int
    estimate_error_ms: int
    unseen: int


@dataclass(frozen=True, slots=True)
class TimesCounted:
    """How many times fell into each bucket, and one more for those above the last bound; `sum_ms`: of all of them."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    sum_ms: int = 0

    @classmethod
    def read(cls, text: bytes) -> TimesCounted:
        """From what the scripts keep in the state; empty: nothing was counted yet."""
        *counts, sum_ms = map(int, text.split() or (0,) * (len(BOUNDS) + 2))
        return cls(tuple(counts), sum_ms)


@dataclass(frozen=True, slots=True)
class Times:
    """The histograms of a line since its state began.

    `waits`: of each admission, from the place to the admission. `visits`: of each visit that ran out, was left or was
    revoked, from the admission until the slot was free. `estimate_errors`: of each admission for which a wait had been
    foretold, how wrong that was, in either direction.
    """

    waits: TimesCounted = TimesCounted()
    visits: TimesCounted = TimesCounted()
    estimate_errors: TimesCounted = TimesCounted()


@dataclass(frozen=True, slots=True)
class Status:
    """The numbers of a line as they stand. `quota`: what admission goes by; the closed loop may ask for less than is set."""

    head: LineHead
    counters: Counters
    quota: int
    times: Times = Times()


class Ticked(NamedTuple):
    """What a tick has done. `has_more`: more has ended than it removed. `steered`: the closed loop's quota, 0 none."""

    head: LineHead
    has_more: bool
    steered: int


@dataclass(frozen=True, slots=True)
class Step:
    """How the closed loop changed the quota in force.

    `at`: ms since 1970. `reason`: `slow` or `failing` down, `well` up; `begun` or `restored` the first one, without or with what a
    gate process remembered of a store that lost it. `calls`, `near`, `slow`, `failed`: what was measured in that interval.
    `active`, `waiting`: how the line stood.
    """

    at: int
    before: int
    after: int
    reason: str
    calls: int
    near: int
    slow: int
    failed: int
    active: int
    waiting: int
