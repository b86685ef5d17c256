"""What a line holds in plain Python, with the rules that every script on it shares: clock, epochs, tokens, ends.

Times: `now`, places and epochs are microseconds, everything else is milliseconds of the tenant clock.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ropeline.lua.line_settings import LineSettings, Method, Turn
from ropeline.lua.results import BOUNDS
from ropeline.lua.visits import Visit
from tests.line.sorted_set import SortedSet

SECOND = 1_000_000
BAND = 10**14
"""Scores below -BAND are called sessions, from there to 0 admitted ones, above 0 waiting ones."""

FRONT = 10**15
"""How much earlier a place at the front is than the own one, us: 31 years."""

UNCONFIRMED, WAITING, ADMITTED, EMERGENCY = range(4)


@dataclass
class Config:
    """What the `config` hash holds."""

    numbers: LineSettings
    version: int
    generation: int
    worthless: int
    keep: int
    turns: Sequence[Turn] = ()
    turn: int = 0  # us
    seeds: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def turns_at(self) -> int:
        """When the next phase begins, us; 0: never."""
        return next((turn.at * 1_000_000 for turn in self.turns if turn.at * 1_000_000 > self.turn), 0)

    def turned(self, now: int) -> Config:
        """The same with what is in force at `now`, us."""
        at, numbers = max([turn for turn in self.turns if turn.at * 1_000_000 <= now], default=Turn(0, self.numbers))
        return replace(self, numbers=numbers, turn=at * 1_000_000)


@dataclass
class State:
    """What the `state` hash holds; the counters come last, under the names of `Counters`."""

    clock: int = 0  # us
    last: int = 0
    sequence: int = 0
    epoch: int = 0
    formers: dict[int, int] = field(default_factory=dict)
    closed_until: int = 0
    place: int = 0
    tokens: float = 0.0
    unconfirmed: int = 0
    sampled: int = 0
    sampled_called: int = 0
    fast: float = 0.0
    slow: float = 0.0
    samples: int = 0
    run: str = ""
    joined: int = 0
    called: int = 0
    admitted: int = 0
    abandoned: int = 0
    missed: int = 0
    ended: int = 0
    left: int = 0
    revoked: int = 0
    restored: int = 0
    limited: int = 0
    waited_ms: int = 0
    estimates: int = 0
    estimate_error_ms: int = 0
    steered: int = 0
    tallies: dict[str, list[int]] = field(default_factory=dict)
    """By the name of a histogram: of each bucket how many, and the sum in ms."""

    def tally(self, name: str, ms: int) -> None:
        numbers = self.tallies.setdefault(name, [0] * (len(BOUNDS) + 2))
        numbers[sum(bound * 1000 < ms for bound in BOUNDS)] += 1
        numbers[-1] += ms


class LineState:
    """A line between two calls, and what a call does before and beside deciding on visits."""

    def __init__(self) -> None:
        self.sessions = SortedSet()
        self.pool = SortedSet()
        self.gone = SortedSet()
        self.spent = SortedSet()
        self.missed = SortedSet()
        self.joins: dict[str, tuple[int, int, int]] = {}
        self.history: list[int] = []
        self.loop: dict[str, int] = {}
        self.steps: list[dict[str, int | str]] = []
        self.stored: State | None = None
        self.stored_config: Config | None = None

    # -- clock and epoch

    @property
    def config(self) -> Config:
        if self.stored_config is None:
            raise LookupError("the tenant has no settings")
        return self.stored_config

    @property
    def numbers(self) -> LineSettings:
        return self.config.numbers

    @property
    def state(self) -> State:
        if self.stored is None:
            raise LookupError("the line has no state")
        return self.stored

    @property
    def quota(self) -> int:
        """The quota in force."""
        least = max(self.numbers.lowest, self.state.steered)
        return min(self.numbers.quota, least) if self.numbers.lowest else self.numbers.quota

    @property
    def clock(self) -> int:
        return self.state.clock // 1000

    def _read(self, now: int, run: str, caller_clock: int) -> None:
        """The tenant clock goes on by what the server's clock did, never back and at most one step, or to the caller's."""
        self.now, self.run = now, run
        self.is_missing, self.elapsed = self.stored is None, 0
        if self.stored is None:
            self.stored = State(clock=caller_clock * 1000 if caller_clock else now)
        else:
            self.elapsed = max(0, min(now - self.stored.last, self.numbers.clock_step * 1000))
            self.stored.clock = max(self.stored.clock + self.elapsed, caller_clock * 1000)
        self.stored.last = now
        before = self.config
        if before.turns_at and now >= before.turns_at:
            self.stored_config = before.turned(now)
            if not self.is_missing:
                worthless = max(before.worthless, self.clock - before.numbers.return_within)
                self.stored_config = replace(self.stored_config, worthless=worthless)

    def _open(self, is_known: bool, evidence: Iterable[int] = (), valid: Sequence[Visit] = ()) -> None:
        self._refill()
        self._begin_epoch(is_known, list(evidence), valid)
        self._judge()

    def _judge(self) -> None:
        self.is_recovering = self.clock < self.state.closed_until
        self.is_closed = self.is_recovering or self.numbers.closed or self.numbers.method is Method.REJECT

    def _refill(self) -> None:
        state, rate = self.state, self.numbers.rate
        if rate < 0:
            state.tokens = 500
            return
        burst = max(1, rate / 60) if rate else 0
        if self.is_missing:
            state.tokens = burst
        state.tokens = min(burst, state.tokens + self.elapsed * rate / 60_000_000)

    def _begin_epoch(self, is_known: bool, evidence: list[int], valid: Sequence[Visit]) -> None:
        state = self.state
        if not (self.is_missing or state.run != self.run or evidence):
            return
        newest = max([state.epoch, *evidence])
        if state.epoch:
            state.formers[state.epoch] = self.clock
        state.formers.update(dict.fromkeys(evidence, self.clock))
        state.epoch = max(self.now, newest + 1 + self.now % 1_000_000)
        state.run = self.run
        if self.is_missing and not is_known:
            state.place = self.now
            return
        state.formers = {
            epoch: ended for epoch, ended in state.formers.items() if ended + self.config.keep > self.clock
        }
        state.place = max([state.place, self.now, *(ticket.place for ticket in valid)]) + 5_000_000
        state.sequence = max([state.sequence, *(ticket.sequence for ticket in valid)])
        state.closed_until = self.clock + self.numbers.recovery_hold
        state.unconfirmed = self.clock
        state.tokens = 0

    def _is_worth_something(self, ticket: Visit) -> bool:
        return ticket.end > self.config.worthless and ticket.end + self.numbers.return_within > self.clock

    def _tells_of_a_loss(self, ticket: Visit) -> bool:
        if ticket.epoch == self.state.epoch:
            return ticket.sequence > self.state.sequence
        return ticket.epoch not in self.state.formers

    # -- places

    def _draw_place(self) -> int:
        """The next place by arrival; a whole second is none."""
        place = max(self.now, self.state.place + 1)
        if self.numbers.reserved and place // SECOND == self.numbers.reserved:
            place = (self.numbers.reserved + 1) * SECOND
        self.state.place = place + (place % SECOND == 0)
        return self.state.place

    def _place_of(self, ticket: Visit) -> int:
        """Where a ticket's holder belongs: as it says, or by lot, or behind all who are there."""
        return self._lot_of(ticket) or (ticket.place if ticket.place % SECOND else self._draw_place())

    def _lot_of(self, ticket: Visit) -> int | None:
        """The place by lot of a ticket whose place is a whole second, which names a shuffled pre-queue; None: it has none."""
        opened = ticket.place // SECOND
        is_late = ticket.state == UNCONFIRMED and self.numbers.window != opened
        if ticket.place % SECOND or is_late or opened not in self.config.seeds:
            return None
        drawn = hmac.digest(self.config.seeds[opened], ticket.id, "sha1").hex()
        return ticket.place + 1 + int(drawn[:13], 16) % 999_999

    # -- sessions

    def _put(self, session: bytes, score: int, ends: int) -> None:
        self.sessions.add(session, score)
        self.pool.add(session, ends)

    def _forget(self, session: bytes) -> None:
        self.sessions.remove(session)
        self.pool.remove(session)

    def _has_ended(self, session: bytes) -> bool:
        ends = self.pool.score_of(session)
        return ends is not None and ends <= self.clock

    def _retire(self, ids: Iterable[bytes]) -> None:
        """A visit that ran out is spent, a call in vain is missed the first time and spent the second time."""
        retired = {session: self.sessions.scores[session] for session in ids}
        missed_before = set(self.missed.scores)
        for session, score in retired.items():
            self._forget(session)
            if score > 0:
                self.state.abandoned += 1
            elif score > -BAND:
                self.state.ended += 1
                self.state.tally("visit_times", self.clock + score)
                self.spent.add(session, self.clock)
            else:
                self.state.missed += 1
                (self.spent if session in missed_before else self.missed).add(session, self.clock)

    def _purge(self, most: int) -> bool:
        ended = self.pool.up_to(self.clock, most)
        self._retire(ended)
        return len(ended) == most

    def _empty(self, generation: int) -> None:
        for emptied in (self.sessions, self.pool, self.gone, self.spent, self.missed):
            emptied.clear()
        self.joins.clear()
        self.stored_config = replace(self.config, generation=generation)

    def _is_moved(self, place: int) -> bool:
        return place < self.now - FRONT // 2

    def _session_end(self, since: int) -> int:
        """When a visit that began at `since` ends if it is seen now."""
        ends = (self.clock if self.numbers.renew else since) + self.numbers.session_ttl
        return min(ends, since + self.numbers.session_max) if self.numbers.session_max else ends

    def _promised_end(self, ticket: Visit) -> int:
        """The same for an admitted ticket, and not before what it says unless that is past `session_max`."""
        ends = max(ticket.end, self._session_end(ticket.since))
        return min(ends, ticket.since + self.numbers.session_max) if self.numbers.session_max else ends
