"""Follows a line call by call: settings, clock, epochs and recovery have to be what the calls before allow."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence

from loadtests.campaign.facts import Call, Caller, Facts, Sight, require
from loadtests.campaign.lots import names_window, place_by_lot
from loadtests.campaign.store import SimulatedStore
from ropeline.lua.line_settings import LineSettings, Turn
from ropeline.lua.results import LineHead
from ropeline.lua.visits import Visit

__all__ = ["Onlooker"]

_SECOND = 1_000_000
_PLACES_SKIPPED = 5_000_000
"""What a new epoch leaves free above the last place (us), for places that were drawn and lost."""


class Onlooker:
    """Knows the facts of the store's present life, and what outlives each life: places, generations, epochs."""

    def __init__(self, store: SimulatedStore) -> None:
        self.store = store
        self.facts = Facts()
        self.places: dict[bytes, int] = {}
        self.generations: dict[bytes, int] = {}
        self.epochs: set[int] = set()
        self.highest_place = 0
        self.late: set[bytes] = set()
        self.positions: dict[bytes, int] = {}
        self.counts: Counter[str] = Counter()

    def watch(self) -> None:
        """See the sessions after each call of the store's client from now on."""
        self.store.client.watched = [
            ("ZRANGE", self.store.keys.sessions, 0, -1, "WITHSCORES"),
            ("ZRANGE", self.store.keys.pool, 0, -1, "WITHSCORES"),
        ]

    # -- what happens to the store

    def copy_facts(self) -> Facts:
        """What is known now, to be given to `taken_back` when the store goes back to this moment."""
        return copy.deepcopy(self.facts)

    def taken_back(self, facts: Facts) -> None:
        """The store's data is again what it was when `facts` was copied."""
        self.facts = copy.deepcopy(facts)
        self._disturb()

    def rebooted(self) -> None:
        """The server is another process with the same data."""
        self._disturb()

    def emptied(self) -> None:
        """The store has lost everything."""
        self.facts = Facts()
        self._disturb()

    def nothing_shows(self) -> None:
        """What was taken back leaves no trace that anybody could notice."""
        self.facts.is_disturbed = False
        self.highest_place = self.facts.place

    def clock_jumped(self) -> None:
        """The server's clock was set; what was drawn and lost before cannot be known by it any more."""
        self.highest_place = min(self.highest_place, self.facts.place)

    def configured(
        self,
        numbers: LineSettings,
        version: int,
        *,
        turns: Sequence[Turn],
        windows: Sequence[int],
        reached: int,
        is_written: bool,
    ) -> None:
        """Settings were written, or an older flush generation was raised, or nothing happened."""
        facts, after = self.facts, self._seen()
        if facts.clock:
            names = ("epoch", "clock", "sequence")
            epoch, clock, sequence = self.store.client.call("HMGET", self.store.keys.state, *names)
            if int(sequence) != facts.sequence:
                facts.sequence = int(sequence)
                facts.take_turn(self.store.time.now, int(clock) // 1000)
                facts.pass_to(self.store.time.now)
            if int(epoch) != facts.epoch:
                require(facts.is_disturbed, "a new epoch began although nothing was lost")
                self._begin_epoch(int(epoch), int(clock) // 1000, knows=True)
            facts.clock, facts.last = max(facts.clock, int(clock) // 1000), self.store.time.now
        if after.scores != facts.sight.scores:
            require(not after.scores, "configure: sessions came or went")
            facts.forget_ids()
        facts.sight = after
        if is_written:
            facts.windows = set(windows)
            facts.configure(numbers, version, turns=turns, now=max(self.store.time.now, reached))

    # -- one call

    def _begin(
        self, head: LineHead, caller: Caller, *, knows: bool = True, visits: Sequence[Visit] = ()
    ) -> tuple[Sight, Sight]:
        """Hold the head of a reply against the facts; the sessions before and after the call."""
        facts = self.facts
        require(head.version == facts.version, "the settings in force are not those that were written last")
        self._check_clock(head, caller)
        facts.take_turn(head.now, head.clock)
        require(head.turn == facts.turn, "the settings in force are not those of the phase that has begun")
        tickets = [visit for visit in visits if visit.ticketed]
        valid = [ticket for ticket in tickets if facts.is_valid(ticket, head)]
        newest = max([facts.generation, *(ticket.generation for ticket in valid)])
        require(head.generation >= newest, "a flush was undone")
        if head.epoch != facts.epoch:
            shown = {ticket.epoch for ticket in valid} - facts.epochs
            is_behind = any(ticket.epoch == facts.epoch and ticket.sequence > facts.sequence for ticket in valid)
            has_reason = facts.is_disturbed or not facts.epoch or bool(shown) or is_behind
            require(has_reason, "a new epoch began although nothing was lost")
            facts.epochs |= shown
            self._begin_epoch(head.epoch, head.clock, knows=knows)
        require(not facts.is_disturbed, "a loss of data was not noticed: no new epoch began")
        require(head.recovering == (head.clock < facts.opens), "recovery does not last for recovery_hold")
        before, after = facts.sight, self._seen()
        if head.generation > facts.generation:
            before, facts.generation = Sight(), head.generation
            facts.forget_ids()
        noted: set[bytes] = set()
        for ticket in tickets:
            is_over = ticket.state == 0 and ticket.end <= head.clock
            if not names_window(ticket) or (ticket.id not in noted and not is_over):
                noted.add(ticket.id)
                self._note_place(ticket, after, head)
        return before, after

    def _note_place(self, ticket: Visit, after: Sight, head: LineHead) -> None:
        """Where a ticket's holder is in line: as it says, or by lot, or behind all who are there by now."""
        opened = ticket.place // _SECOND
        if ticket.id in self.late and after.is_place(ticket.id):
            # The same ticket shown again after a loss is later still, and what it was given before stays good.
            self.places[ticket.id] = abs(after.scores[ticket.id])
        elif not names_window(ticket):
            self.places.setdefault(ticket.id, ticket.place)
        elif opened in self.facts.windows and (ticket.state != 0 or self.facts.numbers.window == opened):
            self.places[ticket.id] = place_by_lot(opened, ticket.id)
        else:
            self.late.add(ticket.id)
            self.places[ticket.id] = abs(after.scores[ticket.id]) if after.is_place(ticket.id) else head.now

    def _finish(self, call: Call) -> None:
        """What is true of every line after every call."""
        facts, head, after = self.facts, call.head, call.after
        facts.sight, facts.clock, facts.last, facts.sequence = after, head.clock, head.now, head.sequence
        active = len(after.active)
        require((head.active, head.waiting) == (active, len(after.scores) - active), "the reply miscounts")
        for who in after.scores:
            require(self.generations.get(who, head.generation) >= head.generation, "a flushed visitor is back")
            require(who not in facts.revoked, "a revoked visitor is back")

    def _begin_epoch(self, epoch: int, clock: int, *, knows: bool) -> None:
        facts = self.facts
        require(epoch not in self.epochs, "a new epoch has the number of an earlier one")
        self.epochs.add(epoch)
        if facts.epoch or knows:
            self.counts["epochs"] += 1
            facts.opens = clock + facts.numbers.recovery_hold
            facts.draws.clear()
            self.positions.clear()
        else:
            self.highest_place = 0
        facts.level = 0.0
        facts.epoch, facts.is_disturbed = epoch, False
        facts.epochs.add(epoch)

    def _check_clock(self, head: LineHead, caller: Caller) -> None:
        facts = self.facts
        require(head.clock >= caller.clock, "the tenant clock is behind what a caller has seen")
        if not facts.clock:
            return
        require(head.clock >= facts.clock, "the tenant clock went back")
        passed = max(0, self.store.time.now - facts.last + 999) // 1000
        furthest = max(facts.clock + min(passed, facts.numbers.clock_step) + 1, caller.clock)
        require(head.clock <= furthest, "the tenant clock jumped by more than a step")

    def _disturb(self) -> None:
        self.facts.is_disturbed = True
        self.positions.clear()
        if self.highest_place >= max(self.facts.place, self.store.time.now) + _PLACES_SKIPPED:
            # The clock jumped as well: places of the lost part are only known once their tickets come.
            self.highest_place = self.facts.place

    def _seen(self) -> Sight:
        sessions, pool = self.store.client.seen
        return Sight.read(sessions, pool)
