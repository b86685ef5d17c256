"""The line in plain Python: for the same calls it gives the same replies as the scripts, number for number.

It is the executable form of what `lua/` promises. It shares no code with the scripts, only the names of what goes in
and comes out. Times: `now`, places and epochs are microseconds, everything else is milliseconds of the tenant clock.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

from ropeline.lua.line_settings import LineSettings, Method, Turn
from ropeline.lua.measured import Measured
from ropeline.lua.results import (
    BOUNDS,
    Configured,
    Counters,
    LineHead,
    Outcome,
    StaleSettings,
    Status,
    Ticked,
    Times,
    TimesCounted,
    Verdict,
)
from ropeline.lua.visits import Departure, Visit
from tests.line.line_state import ADMITTED, BAND, EMERGENCY, FRONT, SECOND, UNCONFIRMED, Config, LineState
from tests.line.loop_model import steer


def _longest_hold(numbers: LineSettings) -> int:
    """How long an id has to be known after its end under these settings."""
    longest = max(numbers.waiting_ttl, numbers.session_ttl, numbers.claim_within, numbers.confirm_within)
    return longest + numbers.return_within


@dataclass
class _Guest:
    """One visit while a call decides on it."""

    visit: Visit
    met: bool = False
    verdict: Verdict | None = None
    place: int = 0
    drawn: int = 0
    is_renamed: bool = False


def _renamed(visit: Visit) -> Visit:
    """Who confirms in a shuffled pre-queue is given the new id."""
    names_window = visit.ticketed and visit.state == UNCONFIRMED and visit.place % SECOND == 0
    return visit._replace(id=visit.fresh) if names_window else visit


class LineModel(LineState):
    """One tenant's line. Each method takes the server's time and run id beside the arguments of its script."""

    def visit(
        self,
        visits: Sequence[Visit],
        *,
        now: int,
        run: str,
        caller_clock: int = 0,
        known_version: int = 0,
        known_generation: int = 0,
        full: bool = False,
    ) -> tuple[LineHead, list[Outcome]] | StaleSettings:
        config = self.stored_config
        if config is None or config.version < known_version or config.generation < known_generation:
            return StaleSettings(-1 if config is None else config.version)
        self._read(now, run, caller_clock)
        visits = [_renamed(visit) for visit in visits]
        tickets = [visit for visit in visits if visit.ticketed]
        valid = [
            ticket for ticket in tickets if ticket.generation >= config.generation and self._is_worth_something(ticket)
        ]
        evidence = {ticket.epoch for ticket in valid if ticket.epoch > 0 and self._tells_of_a_loss(ticket)}
        self._open(bool(tickets) or caller_clock > 0, evidence, valid)
        generation = max((ticket.generation for ticket in valid), default=0)
        if generation > config.generation:
            self._empty(generation)
        self._retire(ticket.id for ticket in tickets if self._has_ended(ticket.id))
        self._purge(200)
        guests = [_Guest(visit, place=visit.place, is_renamed=visit.id == visit.fresh) for visit in visits]
        present: dict[bytes, _Guest] = {}
        for guest in guests:
            if not guest.visit.ticketed:
                continue
            if guest.visit.id in self.sessions:
                guest.met = True
                self._touch(guest.visit)
            elif full and guest.visit.state in {UNCONFIRMED, EMERGENCY}:
                guest.verdict = Verdict.FULL
            else:
                guest.met = self._put_back(guest.visit)
            if guest.met:
                present[guest.visit.id] = guest
            else:
                present.pop(guest.visit.id, None)
        self._admit(present)
        for guest in guests:
            if not guest.met and guest.verdict is None:
                is_over = guest.visit.no_new or guest.is_renamed
                guest.verdict = Verdict.ENDED if is_over else self._receive(guest, full=full)
        self._write()
        return self._head(), [self._outcome(guest) for guest in guests]

    def tick(self, *, now: int, run: str, caller_clock: int = 0, measured: Measured | None = None) -> Ticked | None:
        if self.stored_config is None or (self.stored is None and caller_clock == 0):
            return None
        self._read(now, run, caller_clock)
        self._open(True)
        more = self._purge(500)
        for forgettable in (self.gone, self.spent, self.missed):
            old = forgettable.up_to(self.clock - self.config.keep, 200)
            for member in old:
                forgettable.remove(member)
            more = len(old) == 200 or more
        steer(self, measured)
        self._admit({})
        self._write()
        return Ticked(self._head(), more, self.state.steered)

    def leave(
        self, departures: Sequence[Departure], *, now: int, run: str, caller_clock: int = 0
    ) -> tuple[LineHead, list[bool]] | None:
        if self.stored_config is None:
            return None
        self._read(now, run, caller_clock)
        self._open(True)
        live = [self._depart(session, closing=closing) for session, closing in departures]
        self._admit({})
        self._write()
        return self._head(), live

    def _depart(self, session: bytes, *, closing: bool) -> bool:
        if self._has_ended(session):
            self._retire([session])
        score = self.sessions.score_of(session)
        if score is not None and not closing:
            self._end_visit(session)
            self.gone.add(session, self.clock)
            self.state.left += 1
        elif score is not None and score < 0:
            self.pool.add(session, min(self.pool.scores[session], self.clock + self.numbers.leave_hold))
            self.gone.add(session, self.clock)
        return score is not None

    def revoke(self, ids: Sequence[bytes], *, now: int, run: str, caller_clock: int = 0) -> tuple[LineHead, int] | None:
        if self.stored_config is None:
            return None
        self._read(now, run, caller_clock)
        self._open(caller_clock > 0)
        live = sum(session in self.sessions for session in set(ids))
        for session in ids:
            self._end_visit(session)
            self.gone.add(session, self.clock)
        self.state.revoked += len(ids)
        self._admit({})
        self._write()
        return self._head(), live

    def _end_visit(self, session: bytes) -> None:
        """Forget a session; when it was admitted, its time on the site is counted."""
        score = self.sessions.score_of(session)
        if score is not None and -BAND < score < 0:
            self.state.tally("visit_times", self.clock + score)
        self._forget(session)

    def front(self, session: bytes, *, now: int, run: str, caller_clock: int = 0) -> tuple[int, int, int] | None:
        """Whether it is done, the score then and the position."""
        if self.stored_config is None:
            return None
        self._read(now, run, caller_clock)
        self._open(caller_clock > 0)
        score = 0 if self._has_ended(session) else self.sessions.score_of(session) or 0
        is_done = score > 0 and not self._is_moved(score)
        if is_done:
            self.sessions.add(session, score - FRONT)
            self._admit({})
            score = self.sessions.scores[session]
        self._write()
        position = 0
        if score > 0:
            rank = self.sessions.rank(session)
            position = -1 if self.is_recovering else rank - self.sessions.count_below(0) + 1
        return int(is_done), score, position

    def page(
        self,
        *,
        state: int,
        backward: bool,
        after: tuple[int, bytes] | None,
        limit: int,
        now: int,
        run: str,
        caller_clock: int = 0,
    ) -> tuple[LineHead, list[tuple[bytes, int, int]]] | None:
        """The head, and of each session of the page its id, score and end."""
        if self.stored_config is None:
            return None
        bands = ((-math.inf, math.inf), (0, math.inf), (-math.inf, -BAND), (-BAND, 0))
        low, high = bands[state]
        every = sorted((score, session) for session, score in self.sessions.scores.items() if low <= score < high)
        if after is not None:
            every = [each for each in every if (each < after if backward else each > after)]
        page = every[-limit:] if backward else every[:limit]
        kept, kept_config = copy.deepcopy(self.stored), self.stored_config
        self._read(now, run, caller_clock)
        self._judge()
        head = self._head()
        self.stored, self.stored_config = kept, kept_config
        return head, [(session, score, self.pool.scores[session]) for score, session in page]

    def flush(self, *, now: int, run: str, caller_clock: int = 0) -> LineHead | None:
        if self.stored_config is None:
            return None
        self._read(now, run, caller_clock)
        self._open(caller_clock > 0)
        self._empty(self.config.generation + 1)
        self._write()
        return self._head()

    def configure(
        self,
        *,
        expected: int,
        version: int,
        numbers: LineSettings,
        turns: Sequence[Turn] = (),
        seeds: Mapping[int, bytes] = MappingProxyType({}),
        reached: int = 0,
        now: int,
        run: str,
        generation: int = 0,
        caller_clock: int = 0,
    ) -> Configured:
        config = self.stored_config
        found = 0 if config is None else config.version
        is_newer = found < version and expected in (-1, found)
        is_flushed = config is not None and config.generation < generation
        if not (is_newer or is_flushed):
            return Configured(False, found, 0)
        has_lived = config is not None and self.stored is not None
        if has_lived:
            self._read(now, run, caller_clock)
            self._open(True)
        if is_newer:
            keep, worthless = max(_longest_hold(phase.numbers) for phase in (Turn(0, numbers), *turns)), 0
            if config is not None:
                keep, worthless = max(keep, self.config.keep), self.config.worthless
                if has_lived:
                    worthless = max(worthless, self.clock - self.numbers.return_within)
            generation_now = generation if config is None else config.generation
            made = Config(numbers, version, generation_now, worthless, keep, tuple(turns), seeds=dict(seeds))
            self.stored_config = made.turned(max(now, reached))
        if is_flushed:
            self._empty(generation)
        if has_lived:
            self._write()
        return Configured(is_newer, version if is_newer else found, self.state.sequence if has_lived else 0)

    def status(self, *, now: int, run: str, caller_clock: int = 0) -> Status | None:
        if self.stored_config is None:
            return None
        kept, kept_config = copy.deepcopy(self.stored), self.stored_config
        self._read(now, run, caller_clock)
        self._judge()
        unseen = self.sessions.count_below(-BAND)
        counted = {counter.name: getattr(self.state, counter.name, unseen) for counter in fields(Counters)}
        tallies = self.state.tallies
        times = Times(
            *(
                TimesCounted(tuple(numbers[:-1]), numbers[-1])
                for name in ("wait_times", "visit_times", "estimate_errors")
                for numbers in (tallies.get(name) or [0] * (len(BOUNDS) + 2),)
            )
        )
        status = Status(self._head(), Counters(**counted), self.quota, times)
        self.stored, self.stored_config = kept, kept_config
        return status

    # -- the decision on a visit

    def _is_former_visit(self, ticket: Visit) -> bool:
        """Whether the ticket proves a visit that an earlier epoch admitted and that has not ended."""
        return (
            ticket.state == ADMITTED
            and ticket.epoch in self.state.formers
            and ticket.end > self.clock
            and self._promised_end(ticket) > self.clock
        )

    def _restore(self, ticket: Visit) -> None:
        self._put(ticket.id, -ticket.since, self._promised_end(ticket))
        self.state.restored += 1

    def _enter(self, ticket: Visit) -> None:
        """Begin the visit to the site now."""
        self._put(ticket.id, -self.clock, self._session_end(self.clock))
        self._count_admission(ticket)

    def _count_admission(self, ticket: Visit) -> None:
        self.state.admitted += 1
        arrived = ticket.place + FRONT if self._is_moved(ticket.place) else ticket.place
        waited = max(0, (self.now - arrived) // 1000)
        self.state.waited_ms += waited
        self.state.tally("wait_times", waited)
        if ticket.estimate:
            self.state.estimates += 1
            wrong = abs(self.clock - ticket.estimate)
            self.state.estimate_error_ms += wrong
            self.state.tally("estimate_errors", wrong)

    def _touch(self, ticket: Visit) -> None:
        """The store knows the session: holds are renewed by a quarter or more, and what the ticket says of its end holds."""
        session, score = ticket.id, self.sessions.scores[ticket.id]
        ends = self.pool.scores[session]
        self.gone.remove(session)
        is_admitted = -BAND < score < 0
        if not is_admitted and self._is_former_visit(ticket):
            self._restore(ticket)
        elif score < -BAND:
            self._enter(ticket)
        elif score > 0:
            if self._is_moved(ticket.place) and ticket.place < score:
                self.sessions.add(session, ticket.place)
            later = self.clock + self.numbers.waiting_ttl
            if later - ends >= self.numbers.waiting_ttl / 4:
                self.pool.add(session, later)
        else:
            since = -score
            promised = ticket.end if ticket.state == ADMITTED else 0
            later = max(self._session_end(since), promised)
            is_last = self.numbers.session_max > 0 and later == since + self.numbers.session_max
            if later - ends >= self.numbers.session_ttl / 4 or ((is_last or promised > ends) and later > ends):
                self.pool.add(session, later)

    def _put_back(self, ticket: Visit) -> bool:
        """The store does not know the session: back where the ticket says it belongs, or False when it has ended."""
        session, clock = ticket.id, self.clock
        if session in self.gone or ticket.generation != self.config.generation or ticket.end <= self.config.worthless:
            return False
        if self._is_former_visit(ticket):
            self._restore(ticket)
            return True
        if session in self.spent:
            return False
        in_time = ticket.end + self.numbers.return_within > clock
        if ticket.state == UNCONFIRMED or (ticket.state == ADMITTED and ticket.epoch not in self.state.formers):
            in_time = ticket.end > clock
        if not in_time:
            return False
        if ticket.state == EMERGENCY and not self.is_closed and self.sessions.count_below(0) < self.quota:
            self._enter(ticket)
            return True
        place = self._place_of(ticket)
        self._put(session, place, clock + self.numbers.waiting_ttl)
        self.state.place = max(self.state.place, place)
        if ticket.state == UNCONFIRMED:
            self.state.joined += 1
        else:
            self.state.restored += 1
        return True

    def _admit(self, present: dict[bytes, _Guest]) -> None:
        """Each free slot goes to the lowest place; who is in this call enters, the others hold it for `claim_within`."""
        if self.is_closed:
            return
        numbers, state, left = self.numbers, self.state, 500
        passes_all = numbers.method is Method.PASSTHROUGH
        for _ in range(4):
            active = self.sessions.count_below(0)
            room = left if passes_all else min(left, math.floor(state.tokens), self.quota - active)
            found = self.sessions.slice(active, room) if room > 0 else []
            if not found:
                return
            ended = [session for _, session in found if self._has_ended(session)]
            called = [(place, session) for place, session in found if not self._has_ended(session)]
            for place, session in called:
                if session in present:
                    self._enter(present[session].visit)
                else:
                    self._put(session, -place, self.clock + numbers.claim_within)
            left -= len(called)
            state.called += len(called)
            if numbers.rate >= 0 and not passes_all:
                state.tokens -= len(called)
            if not ended:
                return
            self._retire(ended)

    def _receive(self, guest: _Guest, *, full: bool) -> Verdict:
        """First contact: in at once when nothing speaks against it, else a place that is stored when it comes back."""
        numbers, state, clock = self.numbers, self.state, self.clock
        if numbers.method is Method.REJECT:
            return Verdict.REJECTED
        if full:
            return Verdict.FULL
        if not self._count_join(guest.visit):
            return Verdict.LIMITED
        guest.place = numbers.window * SECOND or self._draw_place()
        guest.drawn = clock + numbers.confirm_within
        if numbers.method is Method.PASSTHROUGH:
            return Verdict.UNCONFIRMED
        active = self.sessions.count_below(0)
        if self.is_closed or len(self.sessions) > active or active >= self.quota or state.tokens < 1:
            state.unconfirmed = clock
            return Verdict.UNCONFIRMED
        is_somebody_confirming = clock - state.unconfirmed < numbers.confirm_within
        if is_somebody_confirming or self.sessions.count_below(-BAND) >= max(10, self.quota // 10):
            return Verdict.UNCONFIRMED
        self._put(guest.visit.fresh, -guest.place, clock + min(60_000, numbers.claim_within))
        state.called += 1
        state.joined += 1
        if numbers.rate >= 0:
            state.tokens -= 1
        return Verdict.CALLED

    def _count_join(self, visit: Visit) -> bool:
        if self.numbers.join_limit == 0:
            return True
        window, share = self.clock // 60_000, 1 - (self.clock % 60_000) / 60_000
        buckets = (f"0:{visit.first}", f"1:{visit.second}")
        counts: list[tuple[int, int]] = []
        for bucket in buckets:
            at, current, previous = self.joins.get(bucket, (0, 0, 0))
            counts.append((current, previous) if at == window else (0, current) if at == window - 1 else (0, 0))
        if min(current + previous * share for current, previous in counts) >= self.numbers.join_limit:
            self.state.limited += 1
            return False
        for bucket, (current, previous) in zip(buckets, counts, strict=True):
            self.joins[bucket] = (window, current + 1, previous)
        return True

    # -- the answer

    def _write(self) -> None:
        """Take the next sequence number, and every ten seconds a sample of the line."""
        state, clock = self.state, self.clock
        state.sequence += 1
        elapsed = clock - state.sampled
        if state.sampled == 0:
            state.sampled, state.sampled_called = clock, state.called
        elif elapsed >= 10_000:
            calls = state.called - state.sampled_called
            if calls > 0 or len(self.sessions) > self.sessions.count_below(0):
                speed = calls * 1000 / elapsed
                if state.samples == 0:
                    state.fast = state.slow = speed
                else:
                    state.fast += (speed - state.fast) * elapsed / (elapsed + 20_000)
                    state.slow += (speed - state.slow) * elapsed / (elapsed + 120_000)
                state.samples += 1
            state.sampled, state.sampled_called = clock, state.called
            self.history.append(clock)

    def _head(self) -> LineHead:
        state, active = self.state, self.sessions.count_below(0)
        return LineHead(
            self.config.version,
            self.config.generation,
            state.sequence,
            state.epoch,
            self.clock,
            self.now,
            active,
            len(self.sessions) - active,
            self.is_recovering,
            self.is_closed,
            int(state.fast * 1000),
            int(state.slow * 1000),
            state.samples,
            self.config.turn,
        )

    def _outcome(self, guest: _Guest) -> Outcome:
        if guest.met:
            score, ends = self.sessions.scores[guest.visit.id], self.pool.scores[guest.visit.id]
            if score < 0:
                is_hidden = self.numbers.window * SECOND == guest.visit.place
                place = guest.place if is_hidden else self._lot_of(guest.visit) or guest.place
                return Outcome(Verdict.ADMITTED, guest.is_renamed, place, -score, ends, 0)
            position = self.sessions.rank(guest.visit.id) - self.sessions.count_below(0) + 1
            window = self.numbers.window * SECOND
            if window and score // SECOND * SECOND == window:
                return Outcome(Verdict.WAITING, guest.is_renamed, window, 0, ends, -1)
            return Outcome(Verdict.WAITING, guest.is_renamed, score, 0, ends, -1 if self.is_recovering else position)
        verdict = guest.verdict
        if verdict is Verdict.CALLED:
            return Outcome(verdict, True, guest.place, 0, self.pool.scores[guest.visit.fresh], 0)
        if verdict is Verdict.UNCONFIRMED:
            ahead = self.sessions.count_below(guest.place) - self.sessions.count_below(1)
            is_hidden = self.is_recovering or self.numbers.window > 0
            return Outcome(verdict, True, guest.place, 0, guest.drawn, -1 if is_hidden else ahead + 1)
        if verdict is None:
            raise LookupError("a visit was not decided on")
        return Outcome(verdict, False, 0, 0, 0, -1)
