"""Leases are kept while a handler runs, and given up when they cannot be."""

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from ropeline.jobs.brokers.memory import MemoryBroker
from ropeline.jobs.records import JobState, Renewal
from ropeline.jobs.worker import WorkerSettings
from ropeline.jobs.worker.run import Run, safe_seconds
from ropeline.lua.errors import StoreUnavailable
from tests.jobs.working import NamedHandlers, enqueue, working
from tests.support import wait_until

SHORT = WorkerSettings(queues={"default": 1}, concurrency=4, lease=0.3)


class RenewalBroker(MemoryBroker):
    """Counts renewals, and refuses or forgets them while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.renewals = 0
        self.refusals_left = 0
        self.forgets = False
        self.threads: set[int] = set()

    async def renew(self, queue: str, *, worker: bytes, held: Sequence[tuple[bytes, int]], lease: int) -> list[Renewal]:
        self.threads.add(threading.get_ident())
        if self.refusals_left:
            self.refusals_left -= 1
            raise StoreUnavailable("refused")
        self.renewals += 1
        if self.forgets:
            # As a store does that a failover rolls back.
            return [Renewal.HELD] * len(held)
        return await super().renew(queue, worker=worker, held=held, lease=lease)


@pytest.fixture
def broker() -> RenewalBroker:
    return RenewalBroker()


def counters(broker: MemoryBroker) -> dict[str, int]:
    return broker.queue("default").counters


@contextmanager
def tended(broker: MemoryBroker) -> Iterator[None]:
    """Another worker, in a thread, reaps what is overdue all the time."""
    stop = threading.Event()

    async def tend() -> None:
        for number in itertools.count(1):
            if stop.is_set():
                return
            await broker.step("default", worker=b"t" * 16, lane=0, call=number)
            await asyncio.sleep(0.01)

    thread = threading.Thread(target=asyncio.run, args=(tend(),))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def test_a_handler_that_blocks_the_event_loop_for_many_leases_runs_once(broker: RenewalBroker) -> None:
    """T10: the lease is kept from a thread of its own."""
    runs = 0

    async def handler(run: Run) -> None:
        nonlocal runs
        runs += 1
        time.sleep(1.0)  # noqa: ASYNC251 - what it is about

    await enqueue(broker, "default", "handler")
    async with working(broker, NamedHandlers(handler=handler), SHORT):
        with tended(broker):
            await wait_until(lambda: counters(broker)["completed"] == 1)
    assert (runs, counters(broker)["lost"], counters(broker)["stale"]) == (1, 0, 0)
    assert broker.renewals >= 8
    assert threading.get_ident() not in broker.threads


async def test_two_renewals_in_a_row_that_fail_lose_nothing(broker: RenewalBroker) -> None:
    """T11: a lease is renewed at a third of its life at the latest."""

    async def handler(run: Run) -> None:
        broker.refusals_left = 2
        await asyncio.sleep(0.6)

    await enqueue(broker, "default", "handler")
    async with working(broker, NamedHandlers(handler=handler), SHORT):
        with tended(broker):
            await wait_until(lambda: counters(broker)["completed"] == 1)
    assert counters(broker)["lost"] == 0


async def test_a_worker_gives_a_job_up_before_its_lease_ends_when_no_renewal_comes_through(
    broker: RenewalBroker,
) -> None:
    states: list[str] = []

    async def handler(run: Run) -> None:
        broker.refusals_left = 1_000_000
        began = time.monotonic()
        try:
            await asyncio.sleep(60)
        finally:
            if not states:
                view = await broker.find("default", run.id)
                assert view is not None
                states.append(view.state)
                assert run.is_lost
                assert time.monotonic() - began < 0.3

    await enqueue(broker, "default", "handler")
    async with working(broker, NamedHandlers(handler=handler), SHORT):
        await wait_until(lambda: counters(broker)["released"] >= 1)
        broker.refusals_left = 0
        await broker.cancel("default", next(iter(broker.queue("default").jobs)))
        await wait_until(lambda: counters(broker)["cancelled"] == 1)
    assert states == [JobState.ACTIVE]
    assert counters(broker)["stale"] == 0


@pytest.mark.parametrize("kind", ["asynchronous", "threaded"])
async def test_a_handler_is_told_that_its_lease_is_lost(broker: RenewalBroker, kind: str) -> None:
    """T9: what the late one says afterwards changes nothing."""
    told: list[Run] = []

    async def asynchronous(run: Run) -> None:
        if run.claimed.lost:
            return
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            assert run.is_lost
            told.append(run)

    def threaded(run: Run) -> None:
        if run.claimed.lost:
            return
        while not run.is_lost:
            time.sleep(0.005)
        told.append(run)

    await enqueue(broker, "default", kind)
    broker.forgets = True
    async with working(broker, NamedHandlers(asynchronous=asynchronous, threaded=threaded), SHORT) as worker:
        await wait_until(lambda: worker.running)
        with tended(broker):
            await wait_until(lambda: counters(broker)["lost"] == 1)
        assert not told
        broker.forgets = False
        await wait_until(lambda: told and counters(broker)["completed"] == 1)
        await wait_until(lambda: worker.metrics.stale == {"default": 1})
    assert counters(broker)["completed"] == 1


async def test_a_cancelled_job_is_cancelled_while_it_runs_and_never_retried(broker: RenewalBroker) -> None:
    """T26: the renewal brings the cancel, and what the handler makes of it does not matter."""

    async def handler(run: Run) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("in the middle of it") from None

    def threaded(run: Run) -> None:
        while not run.is_cancelled:
            time.sleep(0.005)
        raise RuntimeError("stopped")

    ids = [*await enqueue(broker, "default", "handler"), *await enqueue(broker, "default", "threaded")]
    async with working(broker, NamedHandlers(handler=handler, threaded=threaded), SHORT) as worker:
        await wait_until(lambda: len(worker.running) == 2)
        for job in ids:
            assert await broker.cancel("default", job) is JobState.ACTIVE
        await wait_until(lambda: counters(broker)["cancelled"] == 2)
    assert counters(broker)["retried"] == counters(broker)["dead"] == 0


async def test_a_job_that_completes_in_spite_of_a_cancel_has_completed(broker: RenewalBroker) -> None:
    async def handler(run: Run) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return

    [job] = await enqueue(broker, "default", "handler")
    async with working(broker, NamedHandlers(handler=handler), SHORT) as worker:
        await wait_until(lambda: worker.running)
        await broker.cancel("default", job)
        await wait_until(lambda: counters(broker)["completed"] == 1)


async def test_past_its_hard_end_a_lease_is_not_renewed_from_the_thread_either(broker: RenewalBroker) -> None:
    """A handler that blocks the loop for good loses its lease all the same."""

    async def handler(run: Run) -> None:
        if run.claimed.lost:
            return
        end = time.monotonic() + 5
        while not counters(broker)["lost"] and time.monotonic() < end:
            time.sleep(0.01)  # noqa: ASYNC251 - what it is about

    await enqueue(broker, "default", "handler")
    async with working(broker, NamedHandlers(handler=handler, timeout=0.1, grace=0.1), SHORT) as worker:
        with tended(broker):
            await wait_until(lambda: counters(broker)["lost"] == 1)
        await wait_until(lambda: counters(broker)["completed"] == 1)
        assert worker.metrics.stale == {"default": 1}


def test_a_lease_is_relied_on_until_five_seconds_before_its_end_and_a_short_one_for_five_sixths() -> None:
    assert safe_seconds(30_000) == 25.0
    assert safe_seconds(600) == pytest.approx(0.5)
