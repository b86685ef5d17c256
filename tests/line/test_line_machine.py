"""Whatever happens to a line, the scripts on a real server answer as the model does and store what the model holds."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from loadtests.campaign.blocking import BlockingClient, result_of
from loadtests.campaign.lots import with_fresh
from loadtests.campaign.store import Snapshot
from ropeline.lua.line_settings import LineSettings, Method, Turn
from ropeline.lua.measured import Measured
from ropeline.lua.results import LineHead, Outcome, StaleSettings, Verdict
from ropeline.lua.visits import Departure, Visit
from tests.line.line_state import ADMITTED, EMERGENCY, UNCONFIRMED, WAITING
from tests.line.mirror import MirroredStore

STATES = {
    Verdict.UNCONFIRMED: UNCONFIRMED,
    Verdict.WAITING: WAITING,
    Verdict.ADMITTED: ADMITTED,
    Verdict.CALLED: WAITING,
}
LARGE = os.environ.get("ROPELINE_LARGE") == "1"
_tenants = itertools.count(1)
# When shuffled pre-queues opened, s, and their seeds; of the second one the store has none.
WINDOW = 1_790_000_000
SEEDS = {WINDOW: bytes(range(32))}

seconds = st.sampled_from([2, 3, 5, 8, 20, 60]).map(lambda number: number * 1000)
line_settings = st.builds(
    LineSettings,
    quota=st.sampled_from([1, 1, 2, 2, 3, 5, 0, 40, 120]),
    rate=st.sampled_from([-1, -1, -1, -1, -1, 60, 7, 240, 0]),
    waiting_ttl=seconds,
    session_ttl=seconds,
    session_max=st.one_of(st.just(0), seconds.map(lambda number: number * 3)),
    confirm_within=seconds,
    claim_within=seconds,
    return_within=st.one_of(seconds, st.just(0)),
    leave_hold=seconds,
    recovery_hold=st.one_of(seconds, st.just(0)),
    clock_step=st.sampled_from([3000, 1000, 180_000]),
    method=st.sampled_from([*[Method.FIFO] * 12, Method.PASSTHROUGH, Method.REJECT]),
    closed=st.sampled_from([False] * 12 + [True]),
    renew=st.sampled_from([True, True, True, False]),
    join_limit=st.sampled_from([0] * 8 + [2]),
    window=st.sampled_from([0] * 5 + [WINDOW, WINDOW, WINDOW + 1]),
    reserved=st.sampled_from([0, 0, WINDOW, WINDOW + 3]),
    lowest=st.sampled_from([0, 0, 1, 2]),
)
# What the settings turn into, seconds from when they are written.
turns = st.dictionaries(st.sampled_from([-5, 0, 1, 2, 3, 8, 20, 3600]), line_settings, max_size=2)
# What may be odd about a ticket that is signed all the same: it comes from a time that the store does not remember.
twists = st.sampled_from([""] * 12 + ["epoch", "sequence", "generation", "emergency", "late", "first"])
guests = st.tuples(
    st.integers(0, 30), twists, st.sampled_from([False, False, False, True]), st.integers(0, 2)
)  # ticket counted from the newest, twist, may not begin, client prefix
choices = st.integers(0, 10_000)
ACTIONS = {
    "poll": st.fixed_dictionaries(
        {
            "first": st.integers(0, 3),
            "count": st.integers(1, 8),
            "newcomers": st.integers(0, 2),
            "step": st.sampled_from([0, 1, 999, 1000, 250_000, 1_000_000, 2_999_999]),
        }
    ),
    "visit": st.fixed_dictionaries(
        {
            "batch": st.lists(guests, min_size=1, max_size=6),
            "knows": st.sampled_from([True, True, False]),
            "full": st.sampled_from([False] * 9 + [True]),
        }
    ),
    "tick": st.just({}),
    "measure": st.fixed_dictionaries(
        {
            "counts": st.tuples(
                st.sampled_from([0, 10, 20, 40]),
                st.sampled_from([0, 1, 6]),
                st.sampled_from([0, 0, 0, 1, 2, 6]),
                st.sampled_from([0, 0, 0, 1, 2, 6]),
            ),  # calls, near, slow, failed
            "off": st.sampled_from([0] * 9 + [1]),
            "knows": st.booleans(),
            "step": st.sampled_from([1, 2, 50]),
            "factor": st.sampled_from([0.3, 0.75]),
        }
    ),
    "end": st.fixed_dictionaries(
        {
            "which": choices,
            "ending": st.sampled_from(["leave", "close", "close", "revoke"]),
            "count": st.integers(1, 3),
        }
    ),
    "front": st.fixed_dictionaries({"which": choices, "waits": st.booleans()}),
    "page": st.fixed_dictionaries(
        {
            "state": st.integers(0, 3),
            "backward": st.booleans(),
            "which": choices,
            "off": st.integers(-1, 1),
            "limit": st.sampled_from([1, 2, 3, 100]),
        }
    ),
    "edit": st.fixed_dictionaries(
        {
            "changes": st.one_of(
                st.fixed_dictionaries({"quota": st.integers(0, 5)}),
                *(st.fixed_dictionaries({name: seconds}) for name in ("return_within", "session_ttl", "waiting_ttl")),
                st.fixed_dictionaries({"session_max": seconds, "renew": st.booleans()}),
            )
        }
    ),
    "configure": st.fixed_dictionaries(
        {
            "numbers": line_settings,
            "turns": turns,
            "kind": st.sampled_from(["replace", "give back"]),
            "behind": st.integers(-1, 1),
            "reached": st.sampled_from([0, 0, -2_000_000, 2_000_000]),
        }
    ),
    "pass_time_to_a_turn": st.fixed_dictionaries({"off": st.sampled_from([-1, 0, 0, 0, 1, 1_500_000])}),
    "jump": st.fixed_dictionaries(
        {"step": st.sampled_from([3_000_000, 7_000_000, 40_000_000, -3_600_000_000, 3_600_000_000])}
    ),
    "pass_time_to_an_end": st.fixed_dictionaries(
        {"which": choices, "count": st.integers(1, 8), "off": st.integers(-1, 1)}
    ),
    "mishap": st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["remember", "fail over", "fail over", "go back", "lose", "flush"]),
            "which": choices,
        }
    ),
}
LIKELY = (
    ["poll"] * 9
    + ["visit"] * 5
    + ["measure"] * 3
    + ["pass_time_to_an_end"] * 4
    + ["mishap"] * 2
    + ["end"] * 2
    + ["front"] * 2
)
actions = st.sampled_from([*LIKELY, "tick", "page", "edit", "configure", "jump", "pass_time_to_a_turn"]).flatmap(
    lambda name: st.tuples(st.just(name), ACTIONS[name])
)


class LineMachine(RuleBasedStateMachine):
    """Random calls, each made on the server and on the model."""

    client: BlockingClient

    def __init__(self) -> None:
        super().__init__()
        self.store = MirroredStore(self.client, f"machine-{next(_tenants)}")
        self.scripts, self.time = self.store.mirror, self.store.time
        self.version, self.clock, self.generation, self.steered = 0, 0, 0, 0
        self.tickets: list[Visit] = []
        self.snapshots: list[Snapshot] = []
        self.fresh_ids = (number.to_bytes(16, "big") for number in itertools.count(1))

    def teardown(self) -> None:
        self.store.lose_everything()
        super().teardown()

    @property
    def numbers(self) -> LineSettings | None:
        """The settings in force; None while the store has none."""
        config = self.scripts.model.stored_config
        return None if config is None else config.numbers

    @initialize(numbers=line_settings, turns=turns)
    def begin(self, numbers: LineSettings, turns: dict[int, LineSettings]) -> None:
        self._configure(numbers, turns=self._turns(turns), expected=0)

    # One rule for all: as rules of their own, most would be switched off in most examples, and visits carry the rest.
    @rule(action=actions)
    def act(self, action: tuple[str, dict[str, Any]]) -> None:
        name, arguments = action
        getattr(self, name)(**arguments)
        result_of(self.scripts.status(caller_clock=self.clock))

    def poll(self, first: int, count: int, newcomers: int, step: int) -> None:
        """The newest holders of tickets visit with what they hold now, and some new visitors."""
        self.time.now += step
        latest = list({ticket.id: ticket for ticket in self.tickets}.values())
        latest.sort(key=self.tickets.index)
        kept = latest[::-1][first : first + count]
        fresh = [Visit(next(self.fresh_ids)) for _ in range(newcomers)]
        self._decide([ticket._replace(fresh=next(self.fresh_ids)) for ticket in kept] + fresh, knows=True)

    def visit(self, batch: list[tuple[int, str, bool, int]], knows: bool, full: bool) -> None:
        self.scripts.is_full = full
        self._decide([self._visit(*guest) for guest in batch], knows=knows)
        self.scripts.is_full = False

    def tick(self) -> None:
        result_of(self.scripts.tick(caller_clock=self.clock))

    def measure(self, counts: tuple[int, int, int, int], off: int, knows: bool, step: int, factor: float) -> None:
        """A process tells what it has measured, after a second and with what it knows of the loop's quota."""
        self.time.now += 1_000_000
        measured = Measured(
            self.version - off,
            self.steered if knows else 0,
            *counts,
            interval=1000,
            slow_share=0.1,
            failed_share=0.05,
            step=step,
            factor=factor,
        )
        ticked = result_of(self.scripts.tick(caller_clock=self.clock, measured=measured))
        if ticked is not None:
            self.steered = ticked.steered or self.steered

    def end(self, which: int, ending: str, count: int) -> None:
        ids = [self._some_id(which + number) for number in range(count)]
        if ending == "revoke":
            result_of(self.scripts.revoke(ids, caller_clock=self.clock))
        else:
            result_of(self.scripts.leave([Departure(id_, ending == "close") for id_ in ids], caller_clock=self.clock))

    def front(self, which: int, waits: bool) -> None:
        """Somebody, or somebody who waits, is moved to the front."""
        waiting = [session for session, score in self.scripts.model.sessions.scores.items() if score > 0]
        session = waiting[which % len(waiting)] if waits and waiting else self._some_id(which)
        result_of(self.scripts.front(session, caller_clock=self.clock))

    def page(self, state: int, backward: bool, which: int, off: int, limit: int) -> None:
        """A page from a session that is there, or was, or beside one."""
        scores = self.scripts.model.sessions.scores
        session = sorted(scores)[which % len(scores)] if scores and which % 3 else self._some_id(which)
        after = None if which % 7 == 0 else (scores.get(session, self.time.now) + off, session)
        call = self.scripts.page(state=state, backward=backward, after=after, limit=limit, caller_clock=self.clock)
        result_of(call)

    def configure(
        self, numbers: LineSettings, turns: dict[int, LineSettings], kind: str, behind: int, reached: int
    ) -> None:
        expected, version = (self.version, None) if kind == "replace" else (-1, self.version - behind)
        at = self.time.now + reached if reached else 0
        self._configure(numbers, turns=self._turns(turns), expected=expected, version=version, reached=at)

    def edit(self, changes: dict[str, int]) -> None:
        if self.numbers is not None:
            self._configure(replace(self.numbers, **changes), expected=self.version)  # type: ignore[arg-type]

    def jump(self, step: int) -> None:
        self.time.now += step

    def pass_time_to_a_turn(self, off: int) -> None:
        config = self.scripts.model.stored_config
        if config is not None and config.turns_at:
            self.time.now = max(self.time.now, config.turns_at + off)

    def pass_time_to_an_end(self, which: int, count: int, off: int) -> None:
        """Go on to a millisecond at which a ticket or a hold ends, with ticks on the way so that the clock follows."""
        model, numbers = self.scripts.model, self.numbers
        ends = [ticket.end for ticket in self.tickets[-20:]] + sorted(model.pool.scores.values())
        if not ends or numbers is None or model.stored is None:
            return
        goal = ends[which % len(ends)] + off + (numbers.return_within if which % 3 == 0 else 0)
        missing = goal * 1000 - model.stored.clock
        if 0 < missing <= count * numbers.clock_step * 1000:
            for number in range(count, 0, -1):
                part = missing // number
                missing -= part
                self.time.now += part
                self.tick()

    def mishap(self, kind: str, which: int) -> None:
        if kind == "lose":
            self._lose_everything(knows=which % 3 > 0)
        elif kind == "flush":
            head = result_of(self.scripts.flush(caller_clock=self.clock if which % 3 else 0))
            if head is not None:
                self._remember(head)
        elif kind == "remember" or not self.snapshots:
            self.snapshots.append(self.store.take_snapshot())
        else:
            snapshot = self.snapshots[-1 - which % min(2, len(self.snapshots))]
            self.store.go_back_to(snapshot)
            if kind == "fail over":
                self.store.start_anew()

    # -- helpers

    def _decide(self, visits: list[Visit], *, knows: bool) -> None:
        if not visits:
            return
        visits = [with_fresh(visit, visit.fresh) if visit.ticketed else visit for visit in visits]
        clock, version, generation = (self.clock, self.version, self.generation) if knows else (0, 0, 0)
        reply = result_of(
            self.scripts.visit(visits, caller_clock=clock, known_version=version, known_generation=generation)
        )
        if not isinstance(reply, StaleSettings):
            self._collect(visits, *reply)

    def _lose_everything(self, *, knows: bool) -> None:
        config = self.scripts.model.stored_config
        self.store.lose_everything()
        if not knows:
            self.clock = 0
        if config is not None:
            self._configure(config.numbers, turns=config.turns, expected=-1, reached=config.turn)

    def _visit(self, back: int, twist: str, no_new: bool, prefix: int) -> Visit:
        fresh = next(self.fresh_ids)
        if back >= len(self.tickets):
            return Visit(fresh, no_new=no_new, first=prefix, second=prefix + 7)
        ticket = self.tickets[-1 - back]._replace(fresh=fresh, no_new=no_new, first=prefix, second=prefix + 7)
        if twist == "epoch":
            return ticket._replace(epoch=ticket.epoch + 17)
        if twist == "sequence":
            return ticket._replace(sequence=ticket.sequence + 1000)
        if twist == "generation":
            return ticket._replace(generation=ticket.generation + 1)
        if twist == "emergency":
            return ticket._replace(state=EMERGENCY, place=self.time.now, end=ticket.end + 5000)
        if twist == "first":
            return ticket._replace(place=WINDOW * 1_000_000)
        if twist == "late":
            return ticket._replace(end=ticket.end + 3000, place=ticket.place + 9_000_000)
        return ticket

    def _turns(self, offsets: dict[int, LineSettings]) -> list[Turn]:
        return [Turn(self.time.now // 1_000_000 + offset, offsets[offset]) for offset in sorted(offsets)]

    def _configure(
        self,
        numbers: LineSettings,
        *,
        turns: Sequence[Turn] = (),
        expected: int,
        version: int | None = None,
        reached: int = 0,
    ) -> None:
        version = self.version + 1 if version is None else version
        written = result_of(
            self.scripts.configure(
                expected=expected,
                version=version,
                settings="{}",
                numbers=numbers,
                turns=turns,
                seeds=SEEDS,
                reached=reached,
                generation=self.generation,
                caller_clock=self.clock,
            )
        )
        if written.written:
            self.version = version

    def _collect(self, visits: list[Visit], head: LineHead, outcomes: list[Outcome]) -> None:
        self._remember(head)
        for visit, outcome in zip(visits, outcomes, strict=True):
            state = STATES.get(outcome.verdict)
            if state is not None:
                self.tickets.append(
                    Visit(
                        visit.fresh,
                        True,
                        False,
                        state,
                        visit.fresh if outcome.is_new else visit.id,
                        outcome.place,
                        outcome.since,
                        outcome.end,
                        head.epoch,
                        head.sequence,
                        head.generation,
                        head.clock + 4000 if state != ADMITTED else 0,
                    )
                )

    def _remember(self, head: LineHead) -> None:
        self.clock, self.generation = max(self.clock, head.clock), max(self.generation, head.generation)

    def _some_id(self, which: int) -> bytes:
        return self.tickets[-1 - which % len(self.tickets)].id if self.tickets else bytes(16)


def test_scripts_answer_and_store_exactly_what_the_model_says(blocking_client: BlockingClient) -> None:
    machine = type("ConnectedLineMachine", (LineMachine,), {"client": blocking_client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=3_000 if LARGE else 150,
            stateful_step_count=60 if LARGE else 40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
