"""One campaign: random visitors, operators and mishaps on a real server, every call held against the line's promises."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from loadtests.campaign.blocking import BlockingClient
from loadtests.campaign.facts import EMERGENCY, Facts, Violation
from loadtests.campaign.gates import GateProcess
from loadtests.campaign.invariants import Invariants
from loadtests.campaign.lots import with_fresh
from loadtests.campaign.scenario import SCENARIOS, Scenario
from loadtests.campaign.store import Rewrite, SimulatedStore, Snapshot
from loadtests.campaign.visitors import Visitor, newest
from ropeline.lua.errors import StoreError
from ropeline.lua.line_settings import Turn
from ropeline.lua.visits import Visit

__all__ = ["Campaign", "CampaignFailed"]

_SECOND = 1_000_000
_HOUR = 3_600 * _SECOND
_LARGEST_LOSS = 3 * _SECOND
_STEPS = (0, 1, 900, 20_000, 100_000, 300_000)


class CampaignFailed(Exception):
    """A promise was broken; the message names it, and the seed and step that show it again."""


@dataclass
class _PlannedLoss:
    """A failover that is under way: another server has received what came before, and takes over at `due`."""

    snapshot: Snapshot
    facts: Facts
    due: int


class Campaign:
    """`run` makes `steps` random events; the same scenario and seed make the same ones."""

    def __init__(
        self,
        client: BlockingClient,
        scenario: str,
        seed: int,
        *,
        rewrite: Rewrite | None = None,
        store: SimulatedStore | None = None,
    ) -> None:
        self.scenario: Scenario = SCENARIOS[scenario]
        self.name = f"{scenario} seed {seed}"
        self.random = random.Random(f"{scenario}/{seed}")
        self.store = store or SimulatedStore(client, f"{scenario.replace(' ', '-')}-{seed}", rewrite=rewrite)
        self.invariants = Invariants(self.store)
        self.processes = [GateProcess(self.store, self.invariants) for _ in range(2)]
        for process in self.processes:
            process.peers = self.processes
        self.visitors: list[Visitor] = []
        self.archive: list[Visit] = []
        self.loss: _PlannedLoss | None = None
        self.step = 0
        self.counts: Counter[str] = Counter()
        self.settings = self.scenario.settings
        self.turns: Sequence[Turn] = ()
        self.windows: Sequence[int] = ()

    def run(self, steps: int) -> Counter[str]:
        """Make `steps` events and return what was seen, by name; raises CampaignFailed at the first broken promise."""
        events = list(self.scenario.weights)
        weights = list(self.scenario.weights.values())
        self.invariants.watch()
        try:
            self.processes[0].configure(self.settings)
            for self.step in range(steps):
                self._pass_time()
                event = self.random.choices(events, weights)[0]
                self.counts[event] += 1
                getattr(self, "_" + event.replace(" ", "_"))()
                if self.loss is not None and self.store.time.now >= self.loss.due:
                    self._take_over(self.loss)
        except (Violation, StoreError) as broken:
            raise CampaignFailed(f"{broken} ({self.name}, step {self.step})") from broken
        finally:
            self.store.client.watched = ()
            self.store.lose_everything()
        return self.counts + self.invariants.counts

    # -- events

    def _visit(self) -> None:
        chance, scenario = self.random.random, self.scenario
        process = self._any_process()
        batch: list[tuple[Visit, Visitor | None]] = []
        for _ in range(self.random.randint(1, scenario.largest_batch)):
            if chance() < scenario.replays and self.archive:
                batch.append((self._fresh(self.random.choice(self.archive)), None))
                continue
            coming = self._newcomer() if chance() < scenario.newcomers else self._present_visitor()
            batch.append((coming.visit(self._new_id()), coming))
            if chance() < scenario.doubles and coming.tickets:
                batch.append((self._fresh(self.random.choice(coming.tickets)), None))
        self.random.shuffle(batch)
        reply = process.visit([visit for visit, _ in batch])
        if reply is None:
            return
        head, outcomes = reply
        for (visit, visitor), outcome in zip(batch, outcomes, strict=True):
            if visitor is None or chance() < scenario.lost_replies:
                continue
            visitor.receive(visit, head, outcome)
            if visitor.held is not None:
                self._archive(visitor.held)
            if chance() < scenario.absences[0]:
                visitor.away_until = self.store.time.now + int(chance() ** 2 * scenario.absences[1] * _SECOND)

    def _tick(self) -> None:
        self._any_process().tick()

    def _leave(self) -> None:
        visitor = self._present_visitor()
        if visitor.held is not None:
            self._any_process().leave(visitor.held.id, closing=False)

    def _close(self) -> None:
        visitor = self._present_visitor()
        if visitor.held is not None:
            self._any_process().leave(visitor.held.id, closing=True)
            if self.random.random() < 0.5:
                visitor.away_until = self.store.time.now + self.random.randint(0, 8 * _SECOND)

    def _revoke(self) -> None:
        holders = [visitor.held for visitor in self.visitors if visitor.held is not None]
        if holders:
            self._any_process().revoke([self.random.choice(holders).id])

    def _edit(self) -> None:
        edit = self.random.choice(self.scenario.edits)
        self.settings = replace(self.settings, **edit)  # type: ignore[arg-type] # each edit names fields of its own
        if self.random.random() < 0.5:
            self.turns = []
        self._oldest_process().configure(self.settings, self.turns, self.windows)

    def _launch(self) -> None:
        """A launch is planned: nobody is let in before it, and other settings hold while it lasts."""
        opens = self.store.time.now // _SECOND + self.random.randint(-2, 6)
        starts = opens + self.random.randint(1, 6)
        edit = self.random.choice(self.scenario.edits)
        during = replace(self.settings, **{"closed": False} | dict(edit))  # type: ignore[arg-type] # as in _edit
        ends = starts + self.random.randint(1, 20)
        # A draw by lot is planned before it opens; after losses in a row, places by arrival may be ahead of the clock.
        drawn = [ticket.place for visitor in self.visitors for ticket in visitor.tickets]
        latest = max([self.store.time.now, *drawn, *(ticket.place for ticket in self.archive)])
        is_shuffled = self.random.random() < self.scenario.shuffled and opens * _SECOND > latest
        window = opens if is_shuffled else 0
        if window:
            self.windows = [*self.windows[-30:], window]
        self.turns = [
            Turn(opens, replace(during, closed=True, window=window, reserved=window)),
            Turn(starts, during),
            Turn(ends, replace(self.settings, closed=False)),
        ]
        self.settings = replace(self.settings, reserved=window)
        self._oldest_process().configure(self.settings, self.turns, self.windows)

    def _flush(self) -> None:
        self._oldest_process().flush()

    def _lose(self) -> None:
        self.store.time.now += self.random.randint(1, 900)
        self.store.lose_everything()
        self.invariants.emptied()
        self.loss = None
        # Nobody who remembers, and a server's clock that is behind as well: then the tenant clock does go back, and that
        # it does not is promised only as long as anybody remembers it.
        is_ahead = self.store.time.now // 1000 >= max(process.clock for process in self.processes)
        if self.random.random() < self.scenario.careless and is_ahead:
            for process in self.processes:
                process.clock = 0

    def _fail_over(self) -> None:
        if self.loss is None:
            due = self.store.time.now + self.random.randint(0, _LARGEST_LOSS - 1)
            self.loss = _PlannedLoss(self.store.take_snapshot(), self.invariants.copy_facts(), due)

    def _take_over(self, loss: _PlannedLoss) -> None:
        self.loss = None
        # An outage may have run past the moment: the loss would be longer than what is promised.
        if self.store.time.now - loss.snapshot.taken < 2 * _LARGEST_LOSS or self.random.random() < 0.5:
            self.store.time.now -= self.random.randint(1, int(self.scenario.skew * _SECOND))
            self.store.fail_over(loss.snapshot)
            self.invariants.taken_back(loss.facts)
            self.counts["failovers"] += 1

    def _reboot(self) -> None:
        """The server restarts and has kept everything."""
        self.store.start_anew()
        self.invariants.rebooted()

    def _go_back(self) -> None:
        """The same server takes back what it acknowledged: only the tickets' sequence numbers tell."""
        snapshot, facts = self.store.take_snapshot(), self.invariants.copy_facts()
        sequence = int(self.store.client.call("HGET", self.store.keys.state, "sequence") or 0)
        for _ in range(self.random.randint(1, 6)):
            self._visit()
            self._pass_time()
        self.store.go_back_to(snapshot)
        self.invariants.taken_back(facts)
        witness = newest(self.visitors)
        if witness is not None and witness.epoch == facts.epoch and witness.sequence > sequence:
            self.processes[0].visit([self._fresh(witness)])
        else:
            self.invariants.nothing_shows()

    def _outage(self) -> None:
        self.store.time.now += self.random.randint(3 * _SECOND, 40 * _SECOND)

    def _jump(self) -> None:
        self.store.time.now += self.random.choice((-_HOUR, _HOUR))
        self.invariants.clock_jumped()

    def _restart(self) -> None:
        self.processes[1].forget()

    def _emergency(self) -> None:
        """A process that could not reach the store let somebody in on its own."""
        process, now = self.processes[0], self.store.time.now
        if process.clock:
            visitor = self._newcomer()
            end = process.clock + self.settings.session_ttl
            ticket = Visit(
                bytes(16),
                ticketed=True,
                state=EMERGENCY,
                id=self._new_id(),
                place=now + (now % _SECOND == 0),
                end=end,
                epoch=process.epoch,
                generation=process.generation,
            )
            visitor.hold(ticket)
            self._archive(ticket)

    # -- helpers

    def _pass_time(self) -> None:
        if self.random.random() < 0.5:
            self.store.time.now += self.random.choice(_STEPS)
        else:
            self.store.time.now += int(self.random.random() * self.scenario.pause * _SECOND)

    def _any_process(self) -> GateProcess:
        return self.random.choice(self.processes)

    def _oldest_process(self) -> GateProcess:
        """The one that never restarts and therefore knows everything."""
        self.processes[0].read_settings()
        return self.processes[0]

    def _newcomer(self) -> Visitor:
        visitor = Visitor(is_faithless=self.random.random() < self.scenario.faithless)
        if not visitor.is_faithless:
            self.visitors.append(visitor)
            if len(self.visitors) > self.scenario.people:
                self.visitors.pop(self.random.randrange(len(self.visitors) // 2))
        return visitor

    def _present_visitor(self) -> Visitor:
        present = [visitor for visitor in self.visitors if visitor.away_until <= self.store.time.now]
        return self.random.choice(present) if present else self._newcomer()

    def _archive(self, ticket: Visit) -> None:
        if len(self.archive) < 400:
            self.archive.append(ticket)
        else:
            self.archive[self.random.randrange(400)] = ticket

    def _fresh(self, ticket: Visit) -> Visit:
        return with_fresh(ticket, self._new_id())._replace(no_new=self.random.random() < 0.5)

    def _new_id(self) -> bytes:
        return self.random.randbytes(16)
