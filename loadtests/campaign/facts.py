"""What an onlooker knows of a line between two calls: who is where, and what has happened to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ropeline.lua.line_settings import LineSettings, Turn
from ropeline.lua.results import LineHead, Outcome, Verdict
from ropeline.lua.visits import Visit

__all__ = [
    "ADMITTED",
    "EMERGENCY",
    "UNCONFIRMED",
    "WAITING",
    "Call",
    "Caller",
    "Facts",
    "Sight",
    "Violation",
    "require",
]

_BAND = 10**14
"""Scores below -_BAND are called sessions, from there to 0 admitted ones, above 0 waiting ones."""

UNCONFIRMED, WAITING, ADMITTED, EMERGENCY = range(4)


class Violation(Exception):
    """A promise of the line was broken."""


def require(is_kept: bool, promise: str) -> None:  # noqa: FBT001 - reads as a sentence where it stands
    """Raise Violation with what happened instead, unless the promise is kept."""
    if not is_kept:
        raise Violation(promise)


class Caller(NamedTuple):
    """What the process knows that makes a call: highest tenant clock, version of the settings, flush generation."""

    clock: int
    version: int
    generation: int


@dataclass(frozen=True)
class Sight:
    """The sessions as the store had them at one moment: id -> score, id -> end."""

    scores: dict[bytes, int] = field(default_factory=dict)
    ends: dict[bytes, int] = field(default_factory=dict)

    @classmethod
    def read(cls, sessions: Sequence[bytes], pool: Sequence[bytes]) -> Sight:
        """From the flat replies of ZRANGE ... WITHSCORES."""
        return cls(
            {sessions[index]: int(sessions[index + 1]) for index in range(0, len(sessions), 2)},
            {pool[index]: int(pool[index + 1]) for index in range(0, len(pool), 2)},
        )

    def of(self, who: bytes) -> tuple[int, int] | None:
        """Score and end of a session, None when there is none."""
        return (self.scores[who], self.ends[who]) if who in self.scores else None

    def is_active(self, who: bytes) -> bool:
        return self.scores.get(who, 1) < 0

    def is_admitted(self, who: bytes) -> bool:
        return -_BAND < self.scores.get(who, 1) < 0

    def is_called(self, who: bytes) -> bool:
        return self.scores.get(who, 1) < -_BAND

    def is_place(self, who: bytes) -> bool:
        """Whether the score tells a place: in line, or called from there."""
        return self.is_waiting(who) or self.is_called(who)

    def is_waiting(self, who: bytes) -> bool:
        return self.scores.get(who, -1) > 0

    def has_ended(self, who: bytes, clock: int) -> bool:
        return who in self.ends and self.ends[who] <= clock

    def is_live(self, who: bytes, clock: int) -> bool:
        return who in self.ends and self.ends[who] > clock

    @property
    def active(self) -> set[bytes]:
        return {who for who, score in self.scores.items() if score < 0}

    @property
    def waiting(self) -> dict[bytes, int]:
        """Ids in line and their places."""
        return {who: score for who, score in self.scores.items() if score > 0}


@dataclass(frozen=True)
class Call:
    """One call as an onlooker sees it: what was there before and after it, and what it answered.

    `ended`, `kind`: whom it was to end, and how: "leave", "close" or "revoke". `purges`: whether it removes all that ended.
    """

    before: Sight
    after: Sight
    head: LineHead
    visits: Sequence[Visit] = ()
    outcomes: Sequence[Outcome] = ()
    ended: frozenset[bytes] = frozenset()
    kind: str = ""
    purges: bool = False

    @property
    def shown(self) -> set[bytes]:
        """Ids of the tickets in this call."""
        return {visit.id for visit in self.visits if visit.ticketed}

    @property
    def first(self) -> set[bytes]:
        """Ids of first contacts that were let through."""
        pairs = zip(self.visits, self.outcomes, strict=True)
        return {visit.fresh for visit, outcome in pairs if outcome.verdict is Verdict.CALLED}

    @property
    def emergencies(self) -> set[bytes]:
        """Ids that a process let in while it could not reach the store."""
        return {visit.id for visit in self.visits if visit.ticketed and visit.state == EMERGENCY}


def _longest_hold(numbers: LineSettings) -> int:
    longest = max(numbers.waiting_ttl, numbers.session_ttl, numbers.claim_within, numbers.confirm_within)
    return longest + numbers.return_within


@dataclass
class Facts:
    """What is true of one life of the store's data; a failover takes it back to the snapshot's.

    `over`: visits that ran out, or were called in vain twice -> when. `lapses`: calls in vain -> when the last was.
    `unsure`: called in vain a second time so late that the first time may be forgotten. `left`: ids that left for good.
    `closing`: ids whose last tab closed. `revoked`: ids revoked in this life. `first_contacts`: let through and not seen
    since. `worthless`: tickets that ended before this stay worthless. `keep`: longest time that an id has to be
    remembered. `opens`: when admission may go on after a loss. `draws`: when places were drawn because the room was full.
    `level`, `level_at`: admissions above what the rate allowed, and when that was (us). `is_disturbed`: the data was lost
    or taken back since the last call, and the next one has to notice.
    """

    sight: Sight = field(default_factory=Sight)
    clock: int = 0
    last: int = 0
    sequence: int = 0
    epoch: int = 0
    epochs: set[int] = field(default_factory=set)
    generation: int = 0
    place: int = 0
    settings: LineSettings | None = None
    version: int = 0
    turns: Sequence[Turn] = ()
    turn: int = 0
    windows: set[int] = field(default_factory=set)
    over: dict[bytes, int] = field(default_factory=dict)
    lapses: dict[bytes, int] = field(default_factory=dict)
    unsure: set[bytes] = field(default_factory=set)
    left: set[bytes] = field(default_factory=set)
    closing: set[bytes] = field(default_factory=set)
    revoked: set[bytes] = field(default_factory=set)
    first_contacts: set[bytes] = field(default_factory=set)
    worthless: int = 0
    keep: int = 0
    opens: int = 0
    draws: list[int] = field(default_factory=list)
    level: float = 0.0
    level_at: int = 0
    is_disturbed: bool = False

    @property
    def numbers(self) -> LineSettings:
        """The settings in force."""
        if self.settings is None:
            raise LookupError("the store has no settings")
        return self.settings

    def configure(self, numbers: LineSettings, version: int, *, turns: Sequence[Turn], now: int) -> None:
        """Other settings are in force now, and turn into others from the time of each turn on."""
        phases = (Turn(0, numbers), *turns)
        self.keep = max([self.keep, *(_longest_hold(phase.numbers) for phase in phases)])
        self.version, self.turns = version, phases
        self._go_by(max(phase for phase in phases if phase.at * 1_000_000 <= now), self.clock)

    def take_turn(self, now: int, clock: int) -> None:
        """The phase that has begun by the server's time `now` is in force; none ever comes back."""
        begun = [phase for phase in self.turns if self.turn < phase.at * 1_000_000 <= now]
        if begun:
            self._go_by(max(begun), clock if self.clock else 0)

    def pass_to(self, now: int) -> None:
        """Time has passed, in which the rate allows more admissions."""
        passed, self.level_at = max(0, now - self.level_at), now
        self.level = max(0.0, self.level - passed * max(0, self.numbers.rate) / 60_000_000)

    def _go_by(self, phase: Turn, clock: int) -> None:
        numbers = phase.numbers
        if self.settings is not None and clock:
            self.worthless = max(self.worthless, clock - self.settings.return_within)
        if self.settings is None or numbers.rate != self.settings.rate:
            self.level = 0.0
        self.settings, self.turn = numbers, phase.at * 1_000_000

    def forget_ids(self) -> None:
        """A flush: nothing of earlier sessions counts any more."""
        for ids in (self.unsure, self.left, self.closing, self.revoked, self.first_contacts):
            ids.clear()
        self.over.clear()
        self.lapses.clear()

    def note_what_ran_out(self, call: Call) -> None:
        """Remember whose visit is over, who did not come when called, and whose last tab is closed for good."""
        clock = call.head.clock
        for who in call.before.scores:
            is_removed = call.purges or who in call.ended or who in call.shown
            if not call.before.has_ended(who, clock) or not is_removed:
                continue
            if call.before.is_admitted(who):
                self.over[who] = clock
            elif call.before.is_called(who):
                if who in self.lapses and self.lapses[who] > clock - self.keep:
                    self.over[who] = clock
                elif who in self.lapses:
                    self.unsure.add(who)
                self.lapses[who] = clock
            if who in self.closing and call.before.is_active(who):
                self.left.add(who)

    def is_valid(self, ticket: Visit, head: LineHead) -> bool:
        """Whether a ticket can prove anything."""
        is_in_time = ticket.end + self.numbers.return_within > head.clock and ticket.end > self.worthless
        return is_in_time and ticket.generation >= head.generation

    def is_worth_a_place(self, ticket: Visit, head: LineHead) -> bool | None:
        """Whether the ticket alone puts its holder back; None: it may."""
        who, clock, longest = ticket.id, head.clock, self.numbers.session_max
        if ticket.generation != head.generation or ticket.end <= self.worthless:
            return False
        if who in self.left or who in self.revoked:
            return False
        is_former = ticket.epoch != head.epoch
        in_visit = ticket.state == ADMITTED and ticket.end > clock
        if in_visit and is_former and (not longest or ticket.since + longest > clock):
            self.over.pop(who, None)
            return True
        if who in self.over:
            return False
        is_in_time = ticket.end + self.numbers.return_within > clock
        if ticket.state == UNCONFIRMED or (ticket.state == ADMITTED and not is_former):
            is_in_time = ticket.end > clock
        return None if is_in_time and who in self.unsure else is_in_time
