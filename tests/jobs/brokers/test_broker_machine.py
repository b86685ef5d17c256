"""Whatever happens to a queue, the promises hold, and the Redis broker says and stores what the one in memory does.

The streams broker claims in another order and reaps in another order, so it is held to the promises alone.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from loadtests.campaign.blocking import BlockingClient
from ropeline.jobs.broker import Broker
from ropeline.jobs.brokers.memory import MemoryBroker
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.brokers.streams import StreamsBroker
from ropeline.jobs.errors import QueueFull
from ropeline.jobs.payloads.envelope import Envelope, pack
from ropeline.jobs.records import (
    Claimed,
    EnqueueResult,
    Finish,
    FinishKind,
    JobState,
    JobView,
    Limit,
    NewJob,
    QueueSettings,
    StepReply,
)
from ropeline.lua.client import Client
from ropeline.lua.keys import QueueKeys, StreamKeys, queues_key
from tests.jobs.brokers.ledger import Ledger
from tests.jobs.brokers.stage import DAY, ENDS, NAMESPACE, TestTime
from tests.servers import Server

T = TypeVar("T")

LARGE = os.environ.get("ROPELINE_LARGE") == "1"
HOUR = 3_600_000
LARGE_BODY = pack(Envelope("mail", bytes(20_000), 0, 1))
MAIL, PRINT = (pack(Envelope(task, b"payload", 0, 1)) for task in ("mail", "print"))
TASKS = [b"mail", b"print", b"other"]
QUEUE = "work"
WORKERS = [bytes([number]) * 16 for number in (1, 2, 3)]
KEYS = [b"key%013d" % number for number in range(3)]
DAYS = [DAY, 7 * DAY, 90 * DAY]
_stages = itertools.count(1)

choices = st.integers(0, 10_000)
short_times = st.sampled_from([0, 0, 1, 500, 2_000, 20_000])
# Mostly one limit for each key; sometimes a job of it comes with other terms.
LIMITS = [
    Limit(b"one" + bytes(13), most=1),
    Limit(b"three" + bytes(11), most=3, weight=3),
    Limit(b"rate" + bytes(12), most=2, rate=2, period=3_000),
    Limit(b"share" + bytes(11), weight=7),
]
limits = st.one_of(
    *[st.sampled_from(LIMITS)] * 3,
    st.builds(
        Limit,
        key=st.sampled_from([limit.key for limit in LIMITS]),
        most=st.sampled_from([0, 1, 2, 3]),
        rate=st.sampled_from([0, 0, 1, 3]),
        period=st.sampled_from([700, 20_000]),
        weight=st.sampled_from([1, 2, 100]),
    ),
)
new_jobs = st.fixed_dictionaries(
    {
        "known": st.sampled_from([None] * 9 + [0, 1, 2]),
        "body": st.sampled_from([b"", b"body", MAIL, MAIL, PRINT, LARGE_BODY]),
        "time": st.sampled_from(["", "", "", "delay", "due"]),
        "length": st.sampled_from([-500, 1, 500, 2_000, 20_000]),
        "priority": st.sampled_from([5, 5, 5, 5, 0, 9]),
        "unique": st.sampled_from([b""] * 4 + KEYS),
        "unique_for": st.sampled_from([0, 0, 3_000]),
        "until_start": st.booleans(),
        "limit": st.one_of(st.none(), limits, limits),
    }
)
finishes = st.fixed_dictionaries(
    {
        "which": st.sampled_from([0, 0, 1, 1, 2, 3, 4, 5, 20, 1_000]),
        "kind": st.sampled_from([*ENDS, FinishKind.COMPLETED, FinishKind.RETRY, FinishKind.RELEASE]),
        "delay": short_times,
        "keep": st.sampled_from([0, 0, 3_000, 50_000]),
        "error": st.sampled_from([b"", b"it broke", b"\xff" * 1_030]),
        "detail": st.sampled_from([b"mail", b"mail:big"]),
    }
)
ACTIONS = {
    "enqueue": st.fixed_dictionaries({"specs": st.lists(new_jobs, min_size=1, max_size=5)}),
    "step": st.fixed_dictionaries(
        {
            "lane": st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.integers(0, 1)),
            "specs": st.lists(finishes, max_size=5),
            "claim": st.sampled_from([0, 1, 1, 3, 10, 64]),
            "suspects": st.sampled_from([True, True, False]),
            "lease": st.sampled_from([1_000, 5_000, 30_000, 30_000]),
            "hard": st.sampled_from([2_000, 20_000, 60_000, 60_000]),
            "max_lost": st.sampled_from([1, 2, 3, 3, 3]),
        }
    ),
    "repeat": st.fixed_dictionaries({"which": choices}),
    "renew": st.fixed_dictionaries(
        {
            "worker": st.integers(0, 2),
            "which": st.lists(st.one_of(st.integers(0, 4), choices), min_size=1, max_size=5),
            "lease": st.sampled_from([1_000, 5_000, 30_000]),
        }
    ),
    "cancel": st.fixed_dictionaries({"which": choices}),
    "requeue": st.fixed_dictionaries({"which": st.lists(choices, min_size=1, max_size=4)}),
    "purge": st.fixed_dictionaries(
        {
            "state": st.sampled_from(
                [
                    JobState.DEAD,
                    JobState.COMPLETED,
                    JobState.CANCELLED,
                    JobState.PARKED,
                    JobState.SCHEDULED,
                    JobState.RETRY,
                ]
            ),
            "limit": st.sampled_from([1, 2, 1_000]),
            "which": st.one_of(st.just([]), st.just([]), st.lists(choices, min_size=1, max_size=4)),
        }
    ),
    "unpark": st.fixed_dictionaries({"task": st.sampled_from([b"mail", b"mail:big", b"other"])}),
    "pause": st.fixed_dictionaries({"after": st.sampled_from([0, 3_000])}),
    "resume": st.just({}),
    "pause_task": st.fixed_dictionaries({"task": st.sampled_from(TASKS), "after": st.sampled_from([0, 3_000])}),
    "resume_task": st.fixed_dictionaries({"task": st.sampled_from(TASKS)}),
    "configure": st.fixed_dictionaries(
        {
            "changes": st.sampled_from(
                [
                    {"most_bytes": 300},
                    {"most_bytes": 25_000},
                    {"most_bytes": 0},
                    {"rate": 2, "period": 3_000},
                    {"rate": 50, "period": 700},
                    {"rate": 0},
                    {"ageing": 1_000},
                    {"ageing": 20_000},
                    {"ageing": 0},
                    {"dead_count": 2, "dead_age": 10_000},
                    {"dead_bytes": 200, "dead_count": 0},
                    {"cancelled_age": 1, "completed_count": 1, "parked_age": 5_000},
                    QueueSettings()._asdict(),
                ]
            )
        }
    ),
    "pass_time": st.fixed_dictionaries(
        {
            "by": st.sampled_from(
                [-3_600_000, -5_000, -1, 1, 500, 999, 1_000, 4_999, 5_000, 10_000, 10_001, 3_600_000, *DAYS]
            )
        }
    ),
    "pass_time_in_steps": st.fixed_dictionaries(
        {"by": st.sampled_from([1_000, 5_000, 9_999, 10_000]), "times": st.integers(2, 7)}
    ),
    "pass_time_until_due": st.fixed_dictionaries({"off": st.integers(-1, 1)}),
    "drain": st.just({}),
    "read_pages": st.fixed_dictionaries({"state": st.sampled_from(list(JobState)), "limit": st.integers(1, 3)}),
}
LIKELY = [
    *["step"] * 9,
    *["enqueue"] * 5,
    *["pass_time_in_steps"] * 2,
    *["renew"] * 2,
    "pass_time",
    "pass_time_until_due",
    "drain",
]
actions = st.sampled_from([*LIKELY, *ACTIONS]).flatmap(lambda name: st.tuples(st.just(name), ACTIONS[name]))


def differences(one: Any, other: Any) -> str:
    """Where two answers are not the same, and nothing else of them."""
    if isinstance(one, tuple | list) and type(one) is type(other) and len(one) == len(other):
        names = getattr(one, "_fields", range(len(one)))
        pairs = zip(names, one, other, strict=True)
        return "; ".join(f"{name}: {differences(here, there)}" for name, here, there in pairs if here != there)
    return f"{str(one)[:300]} and {str(other)[:300]}"


def answer(call: Coroutine[Any, Any, Any]) -> Any:
    """The result, or what was said instead."""
    try:
        return finished(call)
    except QueueFull as error:
        return str(error)


def finished(call: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing but its turn."""
    while True:
        try:
            call.send(None)
        except StopIteration as done:
            result: T = done.value
            return result


class BrokerMachine(RuleBasedStateMachine):
    """Random calls, each made on every broker; the first one's replies go into the ledger."""

    client: BlockingClient | None = None
    of_client: type[RedisBroker] = RedisBroker
    beside_memory = True

    def __init__(self) -> None:
        super().__init__()
        self.time = TestTime()
        self.stage = f"machine-{next(_stages)}"
        self.brokers: list[Broker] = [MemoryBroker(clock=self.time.memory)] if self.beside_memory else []
        if self.client is not None:
            self.brokers.append(
                self.of_client(
                    "redis://unused",
                    namespace=NAMESPACE,
                    stage=self.stage,
                    client=cast(Client, self.client),
                    test_clock=self.time.store,
                )
            )
        self.ledger = Ledger()
        self.ids: list[bytes] = []
        self.deliveries: list[tuple[int, Claimed]] = []
        self.fences: dict[bytes, int] = {}
        self.entered: dict[bytes, int] = {}
        self.calls: dict[tuple[int, int], dict[str, Any]] = {}
        self.numbers: Counter[tuple[int, int]] = Counter()
        self.seen: dict[int, int] = {}
        self.settings = QueueSettings()
        self.fresh_ids = ((number * 7919 % 65_536).to_bytes(2, "big") + bytes(14) for number in itertools.count(1))

    def teardown(self) -> None:
        if self.client is not None:
            keys = (*QueueKeys(NAMESPACE, self.stage, QUEUE).step(), *StreamKeys(NAMESPACE, self.stage, QUEUE).jobs())
            self.client.pipeline([("DEL", key) for key in (*keys, queues_key(NAMESPACE, self.stage))])
        super().teardown()

    # One rule for all: as rules of their own, most would be switched off in most examples.
    @rule(action=actions)
    def act(self, action: tuple[str, dict[str, Any]]) -> None:
        name, arguments = action
        getattr(self, name)(**arguments)
        self.look()

    def look(self) -> None:
        """Every job as it stands on every broker, and the promises."""
        depths = self.ask("depths", QUEUE)
        lists: dict[JobState, list[JobView]] = {state: [] for state in JobState}
        for state in JobState:
            if getattr(depths, state):
                lists[state] = self.first_in(state)
        self.ledger.check(self.time.now, depths, lists)

    def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Make one call on every broker; all must answer the same."""
        first, *others = [answer(getattr(broker, name)(*arguments, **options)) for broker in self.brokers]
        for other in others:
            assert other == first, f"{name}: {differences(other, first)}"
        return first

    def first_in(self, state: JobState, limit: int = 1_000) -> list[JobView]:
        """The first jobs of a state; what a cursor looks like is each broker's own affair."""
        first, *others = [finished(broker.jobs_in(QUEUE, state, limit=limit)).jobs for broker in self.brokers]
        for other in others:
            assert other == first
        return first

    def enqueue(self, specs: list[dict[str, Any]]) -> None:
        jobs = [self._new_job(**spec) for spec in specs]
        answers = self.ask("enqueue", QUEUE, jobs)
        if isinstance(answers, str):
            assert self.settings.most_bytes, "a queue without a budget refused jobs"
            return
        if self.settings.most_bytes and any(answer.result is EnqueueResult.ENQUEUED for answer in answers):
            assert self.ask("depths", QUEUE).bytes <= self.settings.most_bytes
        self.ids += [job.id for job in jobs if job.id not in self.ids]
        self.ledger.enqueued(self.time.now, jobs, answers)
        for job, answer in zip(jobs, answers, strict=True):
            if answer.result is EnqueueResult.ENQUEUED:
                self.entered[job.id] = self.ledger.last_fence

    def _new_job(self, known: int | None, time: str, length: int, **details: Any) -> NewJob:
        is_new = known is None or known >= len(self.ids)
        id_ = next(self.fresh_ids) if is_new or known is None else self.ids[-1 - known]
        if time == "due":
            details["due"] = self.time.now + length
        elif time == "delay":
            details["delay"] = abs(length)
        if not self.beside_memory and (limit := details["limit"]):
            # A share is refused.
            details["limit"] = limit._replace(weight=1, most=limit.most if limit.most or limit.rate else 5)
        return NewJob(id_, **details)

    def step(self, lane: tuple[int, int], specs: list[dict[str, Any]], **options: Any) -> None:
        # No lane ends one run in two ways.
        ends = {(end.id, end.fence): end for spec in specs if (end := self._finish(lane[0], **spec))}
        self.make_step(lane, list(ends.values()), **options)

    def make_step(self, lane: tuple[int, int], ends: list[Finish], **options: Any) -> StepReply:
        worker, number = lane
        self.numbers[lane] += 1
        arguments = {
            "worker": WORKERS[worker],
            "lane": number,
            "call": self.numbers[lane],
            "finishes": ends,
            **options,
        }
        reply: StepReply = self.ask("step", QUEUE, **arguments)
        self.calls[lane], self.seen[worker] = arguments, self.time.now
        # Whoever has not called for an hour has no last call any more.
        self.calls = {lane: kept for lane, kept in self.calls.items() if self.seen[lane[0]] > self.time.now - HOUR}
        self.ledger.stepped(ends, reply)
        self.deliveries += [(worker, delivery) for delivery in reply.claimed]
        self.fences |= {delivery.id: delivery.fence for delivery in reply.claimed}
        return reply

    def _finish(self, worker: int, which: int, **details: Any) -> Finish | None:
        own = [delivery for holder, delivery in self.deliveries if holder == worker]
        # Mostly a run that is not over yet.
        own = [delivery for delivery in own if self.is_running(delivery)] or own
        if which > 4 and self.deliveries:  # anybody's, of any time
            own = [delivery for _, delivery in self.deliveries]
        if not own:
            return None
        delivery = own[-1 - which % len(own)]
        return Finish(id=delivery.id, fence=delivery.fence, result=b"result", **details)

    def is_running(self, delivery: Claimed) -> bool:
        view = self.ledger.views.get(delivery.id)
        return view is not None and view.state is JobState.ACTIVE and self.fences[delivery.id] == delivery.fence

    def repeat(self, which: int) -> None:
        if not self.calls:
            return
        arguments = list(self.calls.values())[which % len(self.calls)]
        replies = [finished(broker.step(QUEUE, **arguments)) for broker in self.brokers]
        # A store reads the bodies anew: it leaves out what is not there any more, and has another one for a job that came again.
        for reply in replies:
            reply.claimed[:] = [
                delivery
                for delivery in reply.claimed
                if self.ledger.is_there(delivery.id) and delivery.fence > self.entered[delivery.id]
            ]
        assert replies == [replies[0]] * len(replies)

    def renew(self, worker: int, which: list[int], lease: int) -> None:
        if self.deliveries:
            recent = [self.deliveries[-1 - number % len(self.deliveries)][1] for number in which]
            held = [(delivery.id, delivery.fence) for delivery in recent]
            self.ask("renew", QUEUE, worker=WORKERS[worker], held=held, lease=lease)

    def cancel(self, which: int) -> None:
        if self.ids:
            self.ask("cancel", QUEUE, self.ids[which % len(self.ids)])

    def requeue(self, which: list[int]) -> None:
        if self.ids:
            ids = [self.ids[number % len(self.ids)] for number in which]
            self.ledger.requeued(self.time.now, ids, self.ask("requeue", QUEUE, ids))

    def purge(self, state: JobState, limit: int, which: list[int]) -> None:
        ids = [self.ids[number % len(self.ids)] for number in which if self.ids]
        first = {job.id for job in self.first_in(state, 1_000 if ids else limit)}
        purged = first & set(ids) if ids else first
        assert self.ask("purge", QUEUE, state, limit=limit, ids=ids) == len(purged)
        self.ledger.purged |= purged

    def unpark(self, task: bytes) -> None:
        self.ask("unpark", QUEUE, task)

    def pause(self, after: int) -> None:
        self.ask("pause", QUEUE, reason="a reason", resume_after=after)

    def pause_task(self, task: bytes, after: int) -> None:
        self.ask("pause", QUEUE, task=task, reason="the printer is broken", resume_after=after)

    def resume_task(self, task: bytes) -> None:
        self.ask("resume", QUEUE, task=task)

    def configure(self, changes: dict[str, int]) -> None:
        if not self.beside_memory:
            changes = {name: value for name, value in changes.items() if name != "ageing"}
        self.settings = self.ask("configure", QUEUE, changes)

    def resume(self) -> None:
        self.ask("resume", QUEUE)

    def pass_time(self, by: int) -> None:
        self.time.advance(by)

    def pass_time_in_steps(self, by: int, times: int) -> None:
        """As where somebody tends the queue, so that leases run out."""
        for _ in range(times):
            self.time.advance(by)
            self.step((0, 0), [], max_lost=3)

    def pass_time_until_due(self, off: int) -> None:
        due = self.ask("depths", QUEUE).next_due
        if due:
            self.time.advance(due - self.time.now + off)

    def drain(self) -> None:
        """Workers that complete whatever there is reach the end: nobody waits for ever, and no slot is left behind."""
        self.resume()
        for task in TASKS:
            self.resume_task(task)
        ends: list[Finish] = []
        for _ in range(1_000):  # a queue with a rate takes long
            reply = self.make_step((0, 1), ends, claim=64)
            ends = [Finish(FinishKind.COMPLETED, delivery.id, delivery.fence) for delivery in reply.claimed]
            self.look()
            depths = self.ask("depths", QUEUE)
            assert self.settings.rate == 0 or len(reply.claimed) <= self.settings.rate
            live = depths.pending + depths.active + depths.scheduled + depths.retry
            if live + depths.held == 0 and not reply.next_due:
                break
            assert live or not depths.held or reply.next_due, "what waits for its rate has no time"
            is_idle = depths.pending + depths.active == 0
            self.time.advance(max(9_000, reply.next_due - reply.now) if is_idle else 9_000)
        else:
            raise AssertionError("jobs are left that nobody may run")
        for broker in self.brokers:
            if isinstance(broker, RedisBroker):
                assert finished(broker.limit_keys(QUEUE)) == 0
            elif isinstance(broker, MemoryBroker):
                assert not broker.queue(QUEUE).slots

    def read_pages(self, state: JobState, limit: int) -> None:
        whole = self.first_in(state)
        for broker in self.brokers:
            read: list[JobView] = []
            cursor = ""
            while True:
                page = finished(broker.jobs_in(QUEUE, state, cursor=cursor, limit=limit))
                read += page.jobs
                cursor = page.cursor
                if not cursor:
                    break
            assert read == whole


def run(machine: type[BrokerMachine], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples * 20 if LARGE else examples,
            stateful_step_count=60 if LARGE else 40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_happens_the_promises_of_a_queue_hold() -> None:
    run(BrokerMachine, 80)


def test_the_redis_broker_answers_and_stores_what_the_one_in_memory_does(valkey: Server) -> None:
    client = BlockingClient(valkey.port)
    try:
        run(type("ConnectedBrokerMachine", (BrokerMachine,), {"client": client}), 60)
    finally:
        client.close()


def test_whatever_happens_the_promises_of_a_queue_in_streams_hold(valkey: Server) -> None:
    client = BlockingClient(valkey.port)
    try:
        run(
            type(
                "StreamsMachine",
                (BrokerMachine,),
                {"client": client, "of_client": StreamsBroker, "beside_memory": False},
            ),
            60,
        )
    finally:
        client.close()
