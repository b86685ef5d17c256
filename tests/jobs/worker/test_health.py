"""A worker tells over HTTP whether it is well: its claim loop goes round, and the store answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from ropeline.jobs.brokers.memory import MemoryBroker
from ropeline.jobs.records import Depths, StepReply
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.jobs.worker.health import OLDEST_LOOP, Health, serve_health
from ropeline.jobs.worker.run import Run
from ropeline.lua.errors import StoreUnavailable
from tests.jobs.working import NamedHandlers, enqueue, working
from tests.support import wait_until


class FailingBroker(MemoryBroker):
    """Fails, or never answers a step, while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_gone = False
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def step(self, queue: str, **rest: Any) -> StepReply:
        await self.gate.wait()
        return await super().step(queue, **rest)

    async def depths(self, queue: str) -> Depths:
        self.asked += 1
        if self.is_gone:
            raise StoreUnavailable("connection refused")
        return await super().depths(queue)


class Answer(NamedTuple):
    status: int
    headers: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture
def broker() -> FailingBroker:
    return FailingBroker()


async def nothing(run: Run) -> None:
    return


@asynccontextmanager
async def served(broker: MemoryBroker) -> AsyncIterator[tuple[Worker, int]]:
    settings = WorkerSettings(queues={"default": 1, "other": 1}, concurrency=4)
    async with (
        working(broker, NamedHandlers(nothing=nothing), settings) as worker,
        serve_health(Health(worker), "127.0.0.1", 0) as port,
    ):
        yield worker, port


async def ask(port: int, path: str, *, method: str = "GET") -> Answer:
    return await ask_raw(port, f"{method} {path} HTTP/1.1\r\nHost: worker\r\n\r\n".encode())


async def ask_raw(port: int, request: bytes) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = reply.partition(b"\r\n\r\n")
    return Answer(int(head.split(b" ", 2)[1]), head.decode(), body)


async def test_a_worker_that_works_is_well(broker: FailingBroker) -> None:
    async with served(broker) as (worker, port):
        await wait_until(lambda: worker.state == "running")
        answer = await ask(port, "/healthz?verbose=1")
        assert (answer.status, answer.json["status"], answer.json["state"]) == (200, "ok", "running")
        assert 0 <= answer.json["loop_age_seconds"] < 3
        assert answer.json["store"] == "ok"
        assert "application/json" in answer.headers


async def test_a_worker_whose_store_does_not_answer_is_not_well(broker: FailingBroker) -> None:
    broker.is_gone = True
    async with served(broker) as (_, port):
        answer = await ask(port, "/healthz")
        assert (answer.status, answer.json["store"]) == (503, "connection refused")
        assert (await ask(port, "/stats")).status == 503
        metrics = (await ask(port, "/metrics")).body.decode()
        assert "ropeline_worker_store_up 0\n" in metrics
        assert "ropeline_queue_depth{" not in metrics


async def test_a_claim_loop_that_does_not_go_round_is_told(
    broker: FailingBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T17: the connection lives, and nothing comes of it."""
    monkeypatch.setattr("ropeline.jobs.worker.health.OLDEST_LOOP", 0.2)
    async with served(broker) as (worker, port):
        await wait_until(lambda: worker.state == "running")
        assert (await ask(port, "/healthz")).status == 200
        broker.gate.clear()
        await enqueue(broker, "default", "nothing")
        await wait_until(lambda: any(lane.stepping_since for lane in worker._lanes))
        await asyncio.sleep(0.25)
        answer = await ask(port, "/healthz")
        assert (answer.status, answer.json["store"]) == (503, "ok")
        assert answer.json["loop_age_seconds"] > 0.2
        broker.gate.set()
        await wait_until(lambda: not any(lane.stepping_since for lane in worker._lanes))


async def test_a_worker_whose_slots_are_all_taken_is_well(broker: FailingBroker) -> None:
    assert OLDEST_LOOP == 15.0
    going_on = asyncio.Event()

    async def handler(run: Run) -> None:
        await going_on.wait()

    await enqueue(broker, "default", "handler", 10)
    settings = WorkerSettings(queues={"default": 1}, concurrency=2)
    async with working(broker, NamedHandlers(handler=handler), settings) as worker:
        await wait_until(lambda: worker.metrics.used == 2)
        await asyncio.sleep(0.1)
        assert not any(lane.stepping_since for lane in worker._lanes)
        going_on.set()


async def test_stats_show_the_depth_of_each_queue_and_what_was_done(broker: FailingBroker) -> None:
    await enqueue(broker, "default", "nothing", 5)
    async with served(broker) as (worker, port):
        await wait_until(lambda: worker.metrics.totals()["completed"] == 5)
        await broker.pause("other", reason="maintenance")
        await enqueue(broker, "other", "nothing", 3)
        answer = (await ask(port, "/stats")).json
        assert answer["queues"]["other"]["pending"] == 3
        assert answer["queues"]["other"]["pause_reason"] == "maintenance"
        assert {"scheduled", "pending", "active", "dead"} <= answer["queues"]["default"].keys()
        assert answer["queues"]["default"]["counters"]["completed"] == 5
        assert answer["worker"]["finished"]["completed"] == 5
        assert (answer["worker"]["slots"], answer["worker"]["used"]) == (4, 0)


async def test_metrics_are_served_as_prometheus_reads_them(broker: FailingBroker) -> None:
    await enqueue(broker, "default", "nothing", 5)
    async with served(broker) as (worker, port):
        await wait_until(lambda: worker.metrics.totals()["completed"] == 5)
        answer = await ask(port, "/metrics")
    assert "Content-Type: text/plain; version=0.0.4" in answer.headers
    text = answer.body.decode()
    assert 'ropeline_jobs_finished_total{queue="default",task="nothing",outcome="completed"} 5\n' in text
    assert 'ropeline_jobs_enqueued_total{queue="default"} 5\n' in text
    assert "ropeline_worker_store_up 1\n" in text


async def test_the_store_is_asked_once_a_second_however_many_ask_the_worker(broker: FailingBroker) -> None:
    async with served(broker) as (worker, port):
        await wait_until(lambda: worker.state == "running")
        asked = broker.asked
        await asyncio.gather(*(ask(port, page) for page in ("/stats", "/metrics", "/healthz") * 5))
        assert broker.asked <= asked + 4


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / SPDY/9\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    ],
)
async def test_a_request_that_cannot_be_served_is_answered_all_the_same(
    broker: FailingBroker, request_: bytes, status: int
) -> None:
    async with served(broker) as (_, port):
        assert (await ask_raw(port, request_)).status == status


async def test_head_is_answered_without_a_body(broker: FailingBroker) -> None:
    async with served(broker) as (_, port):
        answer = await ask(port, "/stats", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert "Content-Length: 0" not in answer.headers


async def test_whoever_says_nothing_does_not_keep_the_worker_from_ending(broker: FailingBroker) -> None:
    async with served(broker) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0)
    writer.close()
