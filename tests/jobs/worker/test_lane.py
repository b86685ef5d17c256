"""Lanes carry finishes and claims many at a time, and lose nothing when replies are lost."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from ropeline.jobs.brokers.memory import MemoryBroker
from ropeline.jobs.records import Finish, JobState, StepReply
from ropeline.jobs.worker import WorkerSettings
from ropeline.jobs.worker.run import Run
from ropeline.lua.errors import StoreTimeout, StoreUnavailable
from tests.jobs.working import NamedHandlers, enqueue, working
from tests.support import wait_until


class WatchedBroker(MemoryBroker):
    """Remembers the steps that were made, and loses replies, or calls, where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[str, int, int, int]] = []
        """Queue, lane, finishes, jobs asked for."""
        self.suspects_asked = 0
        self.lose_reply_of_each = 0
        self.chance = random.Random(17)
        self.most_claimed = 64
        """As a store does whose reply is full of large bodies."""
        self.is_gone = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def step(
        self, queue: str, *, lane: int, finishes: Sequence[Finish] = (), claim: int = 0, **rest: Any
    ) -> StepReply:
        if self.is_gone:
            raise StoreUnavailable("gone")
        most = min(claim, self.most_claimed)
        reply = await super().step(queue, lane=lane, finishes=finishes, claim=most, **rest)
        self.steps.append((queue, lane, len(finishes), claim))
        if self.lose_reply_of_each and self.chance.random() < 1 / self.lose_reply_of_each:
            raise StoreTimeout("no answer within 250 ms")
        await asyncio.sleep(0)
        await self.gate.wait()
        return reply


@pytest.fixture
def broker() -> WatchedBroker:
    return WatchedBroker()


def completed(broker: MemoryBroker, *queues: str) -> int:
    return sum(broker.queue(queue).counters["completed"] for queue in queues or ("default",))


async def test_a_lost_reply_is_asked_for_again_and_no_job_runs_twice_or_waits_for_its_lease(
    broker: WatchedBroker,
) -> None:
    runs: Counter[bytes] = Counter()

    async def handler(run: Run) -> None:
        runs[run.id] += 1

    ids = await enqueue(broker, "default", "handler", 200)
    broker.lose_reply_of_each = 3
    async with working(
        broker, NamedHandlers(handler=handler), WorkerSettings(queues={"default": 1}, concurrency=40)
    ) as worker:
        await wait_until(lambda: completed(broker) == 200, timeout=20)
        assert worker.metrics.step_failures >= 3
    assert runs == Counter(ids)
    counters = broker.queue("default").counters
    assert (counters["claimed"], counters["lost"], counters["stale"]) == (200, 0, 0)


async def test_finishes_travel_together_and_bring_new_jobs_in_the_same_call(broker: WatchedBroker) -> None:
    async def handler(run: Run) -> None:
        return

    await enqueue(broker, "default", "handler", 1000)
    async with working(
        broker, NamedHandlers(handler=handler), WorkerSettings(queues={"default": 1}, concurrency=100)
    ) as worker:
        await wait_until(lambda: completed(broker) == 1000)
        assert worker.metrics.round_trips <= 0.03 * 1000
    assert {lane for _, lane, finishes, claim in broker.steps if finishes == 50 and claim == 50} == {0, 1}


async def test_no_more_is_claimed_than_can_begin(broker: WatchedBroker) -> None:
    going_on = asyncio.Event()

    async def handler(run: Run) -> None:
        await going_on.wait()

    await enqueue(broker, "default", "handler", 300)
    async with working(
        broker, NamedHandlers(handler=handler), WorkerSettings(queues={"default": 1}, concurrency=9)
    ) as worker:
        await wait_until(lambda: len(worker.running) == 9)
        assert broker.queue("default").counters["claimed"] == 9
        going_on.set()
        await wait_until(lambda: completed(broker) == 300)


@pytest.mark.parametrize("concurrency", [1, 2, 3, 200])
async def test_any_number_of_slots_drains_a_queue(broker: WatchedBroker, concurrency: int) -> None:
    async def handler(run: Run) -> None:
        await asyncio.sleep(0)

    await enqueue(broker, "default", "handler", 400)
    async with working(
        broker, NamedHandlers(handler=handler), WorkerSettings(queues={"default": 1}, concurrency=concurrency)
    ):
        await wait_until(lambda: completed(broker) == 400)
    assert max(claim for _, _, _, claim in broker.steps) == min(64, -(-concurrency // 2))


async def test_finishes_of_a_queue_that_is_never_chosen_again_still_reach_the_store(broker: WatchedBroker) -> None:
    high_begun = asyncio.Event()

    async def low(run: Run) -> None:
        await high_begun.wait()

    async def high(run: Run) -> None:
        high_begun.set()

    await enqueue(broker, "low", "low", 3)
    settings = WorkerSettings(queues={"high": 1, "low": 1}, strict=True, concurrency=8)
    async with working(broker, NamedHandlers(low=low, high=high), settings):
        await wait_until(lambda: broker.queue("low").counters["claimed"] == 3)
        broker.most_claimed = 1
        await enqueue(broker, "high", "high", 500)
        await wait_until(lambda: completed(broker, "high") == 500 and completed(broker, "low") == 3)
    told = [place for place, (queue, _, finishes, _) in enumerate(broker.steps) if queue == "low" and finishes]
    finished_before = sum(finishes for queue, _, finishes, _ in broker.steps[: told[-1]] if queue == "high")
    assert finished_before < 100


async def test_weighted_queues_are_drained_by_their_weights_within_five_per_cent(broker: WatchedBroker) -> None:
    taken: list[str] = []
    weights = {"critical": 6, "default": 3, "low": 1}

    async def handler(run: Run) -> None:
        taken.append(run.queue)

    for queue in weights:
        await enqueue(broker, queue, "handler", 10_000)
    async with working(broker, NamedHandlers(handler=handler), WorkerSettings(queues=weights, concurrency=100)):
        await wait_until(lambda: len(taken) >= 10_000, timeout=30)
    counts = Counter(taken[:10_000])
    for queue, weight in weights.items():
        assert abs(counts[queue] - 1000 * weight) <= 50 * weight, counts


async def test_while_the_store_is_gone_the_same_call_is_repeated_and_then_all_is_well(broker: WatchedBroker) -> None:
    going_on = asyncio.Event()

    async def handler(run: Run) -> None:
        await going_on.wait()

    await enqueue(broker, "default", "handler", 3)
    async with working(
        broker, NamedHandlers(handler=handler), WorkerSettings(queues={"default": 1}, concurrency=4)
    ) as worker:
        await wait_until(lambda: len(worker.running) == 3)
        broker.is_gone = True
        going_on.set()
        await wait_until(lambda: worker.metrics.step_failures >= 2)
        assert isinstance(worker.failure, StoreUnavailable)
        broker.is_gone = False
        await wait_until(lambda: completed(broker) == 3)
        await wait_until(lambda: worker.failure is None)
    assert broker.queue("default").counters["stale"] == 0


async def test_jobs_whose_reply_came_too_late_are_handed_back_and_not_begun(broker: WatchedBroker) -> None:
    begun: list[bytes] = []

    async def handler(run: Run) -> None:
        begun.append(run.id)

    settings = WorkerSettings(queues={"default": 1}, concurrency=1, lease=0.3)
    async with working(broker, NamedHandlers(handler=handler), settings):
        broker.gate.clear()
        await enqueue(broker, "default", "handler")
        await wait_until(lambda: broker.queue("default").counters["claimed"] == 1)
        await asyncio.sleep(0.3)
        assert begun == []
        broker.gate.set()
        await wait_until(lambda: completed(broker) == 1)
    counters = broker.queue("default").counters
    assert (counters["released"], counters["claimed"], counters["lost"], len(begun)) == (1, 2, 0, 1)


async def test_a_process_holds_one_suspect_at_a_time(broker: WatchedBroker) -> None:
    """T15: a job that kills its worker buries no other one, since a crash counts for one suspect alone."""
    together = most = 0

    async def handler(run: Run) -> None:
        nonlocal together, most
        assert run.claimed.lost == 1
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.001)
        together -= 1

    await enqueue(broker, "default", "handler", 20)
    dead = {"worker": b"d" * 16, "lane": 0, "call": 1, "lease": 1}
    await MemoryBroker.step(broker, "default", claim=20, **dead)  # type: ignore[arg-type]
    await asyncio.sleep(0.005)
    async with working(broker, NamedHandlers(handler=handler), WorkerSettings(queues={"default": 1}, concurrency=16)):
        await wait_until(lambda: completed(broker) == 20)
    assert most == 1
    assert not broker.queue("default").sets[JobState.DEAD].ranks
