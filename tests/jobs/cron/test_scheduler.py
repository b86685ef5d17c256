"""Schedulers: each tick once whoever comes and dies, missed ticks by their policy, definitions with versions, alarms."""

import asyncio
import itertools
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from ropeline.bench.fault_proxy import Fault, FaultProxy
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.brokers.redis_cron import RedisCronStore
from ropeline.jobs.cron.cron_jobs import CronJob, Missed
from ropeline.jobs.cron.scheduler import MOST_MISSED, Scheduler
from ropeline.jobs.errors import CronChanged, Undecodable
from ropeline.jobs.ids import derived_id
from ropeline.jobs.payloads.envelope import Envelope, pack, unpack
from ropeline.jobs.records import Finish, FinishKind, Limit, NewJob
from ropeline.lua.client import Client, connect
from ropeline.lua.cron_scripts import CronScripts, FireResult
from ropeline.lua.errors import ConfigurationError, StoreError
from ropeline.lua.keys import CronKeys, QueueKeys
from ropeline.lua.loader import load_script
from ropeline.lua.queue_scripts import pack_job
from tests.servers import Server, patient
from tests.support import wait_until
from tests.system import find_program

LARGE = os.environ.get("ROPELINE_LARGE") == "1"
MINUTE = 60_000
START = 1_800_000_000_000 // MINUTE * MINUTE
WORKER = bytes(16)
_stages = itertools.count(1)


@dataclass
class Clock:
    """The server's time (us) and run id, as a test wants them."""

    now: int = START * 1000
    run: str = "first"

    def forward(self, ms: int) -> None:
        self.now += ms * 1000


def body(task: str = "report:daily", **fields: Any) -> bytes:
    return pack(Envelope(task, b"[]", 0, 0, **fields))


def cron_job(name: str = "report", **fields: Any) -> CronJob:
    job = fields.pop("job", NewJob(b"", body()))
    return CronJob(**{"name": name, "queue": "default", "line": "* * * * *", "job": job, **fields})


def tick_id(tick: int, name: str = "report") -> bytes:
    return derived_id("cron", "default", f"{name}@{tick}")


@dataclass
class Stage:
    """A stage of its own with a clock of its own, and the jobs that have come out of its queue."""

    client: Client
    name: str
    clock: Clock

    def __post_init__(self) -> None:
        self.cron = RedisCronStore(self.client, stage=self.name, test_clock=self.clock)
        self.broker = RedisBroker("redis://unused", stage=self.name, client=self.client, test_clock=self.clock)
        self.calls = itertools.count(1)
        self.done: list[bytes] = []
        self.bodies: list[bytes] = []

    def scheduler(self, **options: Any) -> Scheduler:
        return Scheduler(self.cron, **{"refresh": 0, **options})

    async def drain(self) -> list[bytes]:
        """Run every job that is pending: nothing of it is left, and nobody remembers its id. The ids, in their order."""
        ends: list[Finish] = []
        drained: list[bytes] = []
        while True:
            reply = await self.broker.step(
                "default", worker=WORKER, lane=0, call=next(self.calls), finishes=ends, claim=64
            )
            ends = [Finish(FinishKind.COMPLETED, job.id, job.fence) for job in reply.claimed]
            drained += [job.id for job in reply.claimed]
            self.bodies += [job.body for job in reply.claimed]
            if not ends:
                self.done += drained
                return drained

    async def last_tick(self, name: str = "report") -> int:
        return (await self.cron.read("default")).ticks[name]


@pytest.fixture
async def client(any_server: Server) -> AsyncIterator[Redis]:
    client = any_server.connect()
    yield client
    await client.aclose()


@pytest.fixture
def stage(client: Redis) -> Stage:
    return Stage(client, f"cron-{next(_stages)}", Clock())


async def play(stage: Stage, ticks: int, schedulers: int) -> list[Scheduler]:
    """Let the server's time go on by `ticks` minutes, by 1 to 9 at once, under schedulers that come, go and are killed."""
    chance = random.Random(7)

    def new_scheduler(number: int) -> Scheduler:
        # Clocks that are 30 s apart.
        return stage.scheduler(monotonic=lambda: time.monotonic() + 30 * number)

    await stage.cron.define(cron_job(missed=Missed.ALL))
    alive = {number: new_scheduler(number) for number in range(schedulers)}
    all_of_them = list(alive.values())
    left = ticks
    while left:
        step = min(left, chance.randint(1, 9))
        stage.clock.forward(step * MINUTE)
        left -= step
        comers = chance.sample(sorted(alive), chance.randint(2, schedulers))
        turns = {number: asyncio.create_task(alive[number].turn()) for number in comers}
        draining = asyncio.create_task(stage.drain())
        for number in comers[1:]:
            if chance.random() < 0.3:
                for _ in range(chance.randint(0, 40)):
                    await asyncio.sleep(0)
                turns[number].cancel()
                alive[number] = new_scheduler(number)
                all_of_them.append(alive[number])
        await asyncio.wait(turns.values())
        await draining
        await stage.drain()
    return all_of_them


async def test_2000_ticks_under_8_schedulers_with_kills_run_once_each(valkey: Server) -> None:
    client = valkey.connect()
    stage = Stage(client, f"cron-{next(_stages)}", Clock())
    schedulers = await play(stage, 2000, 8)
    assert sorted(stage.done) == sorted(tick_id(START + number * MINUTE) for number in range(1, 2001))
    assert sum(scheduler.counts.enqueued for scheduler in schedulers) <= 2000
    assert sum(scheduler.counts.outrun for scheduler in schedulers) > 0
    assert len(schedulers) > 50
    await client.aclose()


async def test_ticks_run_once_each_on_redis_7_too(redis7: Server) -> None:
    client = redis7.connect()
    stage = Stage(client, f"cron-{next(_stages)}", Clock())
    await play(stage, 200, 4)
    assert sorted(stage.done) == sorted(tick_id(START + number * MINUTE) for number in range(1, 201))
    await client.aclose()


async def test_ticks_run_once_each_on_a_cluster(cluster_store: Client) -> None:
    stage = Stage(cluster_store, f"cron-{next(_stages)}", Clock())
    await play(stage, 100, 3)
    assert sorted(stage.done) == sorted(tick_id(START + number * MINUTE) for number in range(1, 101))
    queues = [f"queue-{number}" for number in range(12)]
    for queue in queues:
        await stage.cron.define(cron_job(queue=queue))
    assert set(queues) <= set(await stage.cron.queues())
    stage.clock.forward(MINUTE)
    scheduler = stage.scheduler()
    await scheduler.turn()
    assert scheduler.counts.enqueued == 13


@pytest.mark.requires_system("faketime")
async def test_ticks_of_the_real_clock_run_once_each_under_processes_that_are_killed(fresh_server: Server) -> None:
    """With clocks 30 s apart, and a kill every fraction of a second."""
    ticks, processes = (60, 8) if LARGE else (4, 4)
    client = fresh_server.connect()
    broker, store = RedisBroker(fresh_server.url, client=client), RedisCronStore(client)
    await store.define(cron_job(line="@every 1s", missed=Missed.ALL))
    first = (await store.read("default")).ticks["report"]
    done: list[bytes] = []
    chance, calls = random.Random(7), itertools.count(1)

    def start(number: int) -> subprocess.Popen[str]:
        shift = f"{30 * (number - processes // 2):+d}s"
        command = [find_program("faketime"), "-f", shift, sys.executable, "-m", "tests.jobs.cron.scheduler_process"]
        # faketime starts the scheduler as a child of its own: the two are a group, and are killed together.
        return subprocess.Popen(
            [*command, fresh_server.url, "prod"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    running = [start(number) for number in range(processes)]
    try:
        said = [process.stdout.readline().split() for process in running if process.stdout]
        clocks = [float(wall) for _, wall in said]
        assert max(clocks) - min(clocks) > 30 * (processes - 1) - 20
        ends: list[Finish] = []
        kill_at = time.monotonic()
        while len(done) < ticks:
            reply = await broker.step("default", worker=WORKER, lane=0, call=next(calls), finishes=ends, claim=64)
            ends = [Finish(FinishKind.COMPLETED, job.id, job.fence) for job in reply.claimed]
            done += [job.id for job in reply.claimed]
            if time.monotonic() > kill_at:
                number = chance.randrange(processes)
                _end(running[number])
                running[number] = start(number)
                kill_at = time.monotonic() + chance.uniform(0.2, 0.9)
            await broker.wait(["default"], 0.05)
    finally:
        for process in running:
            _end(process)
    # Nobody waits for the children of those that were killed, which take their moment to end.
    await wait_until(lambda: not [pid for pid, _ in said if is_running(int(pid))])
    second = first // 1000 + 1
    assert sorted(done) == sorted(tick_id((second + number) * 1000) for number in range(len(done)))
    await broker.close()
    await client.aclose()


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that has ended and was not asked about is none."""
    with suppress(OSError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return False


def _end(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


async def test_a_scheduler_that_comes_late_does_not_repeat_a_tick_whose_job_is_long_forgotten(stage: Stage) -> None:
    version = await stage.cron.define(cron_job())
    stage.clock.forward(MINUTE)
    fired = [await stage.cron.fire(cron_job(), version, START + MINUTE)]
    assert await stage.drain() == [tick_id(START + MINUTE)]
    fired.append(await stage.cron.fire(cron_job(), version, START + MINUTE))
    assert [answer.result for answer in fired] == [FireResult.ENQUEUED, FireResult.PAST]
    assert await stage.drain() == []


async def test_a_lost_reply_does_not_repeat_a_tick(valkey: Server) -> None:
    async with FaultProxy(valkey.port) as proxy:
        client = connect(patient(proxy.url))
        stage = Stage(client, f"cron-{next(_stages)}", Clock())
        await stage.cron.define(cron_job())
        scheduler = stage.scheduler()
        for lost in (b"", load_script("cron/fire").sha.encode(), load_script("cron/read").sha.encode()):
            stage.clock.forward(MINUTE)
            if lost:
                proxy.lose_reply(lost)
            await scheduler.turn()
            await scheduler.turn()
        assert len(await stage.drain()) == 3
        assert scheduler.counts.failures == 2
        await client.aclose()


async def test_a_tick_later_than_the_servers_now_is_refused(stage: Stage) -> None:
    version = await stage.cron.define(cron_job())
    answer = await stage.cron.fire(cron_job(), version, START + 1)
    assert (answer.result, answer.now, answer.last) == (FireResult.EARLY, START, START)
    assert (await stage.cron.fire(cron_job(), version, START)).result is FireResult.PAST
    assert await stage.drain() == []


async def test_nothing_is_missed_before_a_cron_job_was_defined(stage: Stage) -> None:
    stage.clock.forward(30_000)
    await stage.cron.define(cron_job(missed=Missed.ALL))
    await stage.scheduler().turn()
    assert await stage.drain() == []
    stage.clock.forward(30_000)
    await stage.scheduler().turn()
    assert await stage.drain() == [tick_id(START + MINUTE)]


@pytest.mark.parametrize(
    ("missed", "away", "run"),
    [
        (Missed.LATEST, 1, [1]),
        (Missed.LATEST, 250, [250]),
        (Missed.ALL, 3, [1, 2, 3]),
        (Missed.ALL, 250, list(range(151, 251))),
        (Missed.SKIP, 250, []),
        (Missed.SKIP, 1, []),
    ],
)
async def test_missed_ticks_run_by_the_policy_and_are_counted(
    stage: Stage, missed: Missed, away: int, run: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    assert MOST_MISSED == 100
    await stage.cron.define(cron_job(missed=missed, late=20_000))
    stage.clock.forward(away * MINUTE + 30_000)
    scheduler = stage.scheduler()
    with caplog.at_level(logging.WARNING):
        await scheduler.turn()
        await stage.scheduler().turn()
    assert sorted(await stage.drain()) == sorted(tick_id(START + number * MINUTE) for number in run)
    assert (scheduler.counts.enqueued, scheduler.counts.missed) == (len(run), away - len(run))
    assert len(caplog.messages) == (1 if away > len(run) else 0)
    # The next one comes as if nothing had been.
    stage.clock.forward(30_000)
    await scheduler.turn()
    assert await stage.drain() == [tick_id(START + (away + 1) * MINUTE)]


async def test_a_skipped_tick_runs_as_long_as_it_is_not_too_late(stage: Stage) -> None:
    await stage.cron.define(cron_job(missed=Missed.SKIP, late=20_000))
    stage.clock.forward(MINUTE + 20_000)
    await stage.scheduler().turn()
    assert await stage.drain() == [tick_id(START + MINUTE)]


async def test_a_last_tick_in_the_future_raises_an_alarm_and_nothing_runs_until_then(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.cron.define(cron_job())
    await stage.cron.define(cron_job("hourly", line="@hourly"))
    stage.clock.forward(10 * MINUTE)
    scheduler = stage.scheduler()
    await scheduler.turn()
    assert len(await stage.drain()) == 1
    stage.clock.forward(-5 * MINUTE)
    for _ in range(3):
        await scheduler.turn()
    # The other one began before the clock was set back, and its last tick is not in the future.
    assert (scheduler.counts.future_alarms, scheduler.counts.in_future) == (1, 1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]
    assert "cron job report: its last tick" in caplog.messages[1]
    assert await stage.drain() == []
    stage.clock.forward(6 * MINUTE)
    await scheduler.turn()
    assert (scheduler.counts.future_alarms, scheduler.counts.in_future) == (1, 0)
    assert await stage.drain() == [tick_id(START + 11 * MINUTE)]


async def test_definitions_have_versions_and_the_same_one_again_changes_nothing(stage: Stage) -> None:
    first = await stage.cron.define(cron_job(), expected=0)
    assert await stage.cron.define(cron_job()) == first
    assert await stage.cron.define(cron_job(), expected=0) == first
    stage.clock.forward(MINUTE + 1000)
    # Another job at the same times: the tick that is due is not lost.
    second = await stage.cron.define(cron_job(job=NewJob(b"", body("report:better"))), expected=first)
    assert second > first
    with pytest.raises(CronChanged, match=f"has version {second}, expected {first}"):
        await stage.cron.define(cron_job(job=NewJob(b"", body("report:worse"))), expected=first)
    assert await stage.last_tick() == START
    await stage.scheduler().turn()
    await stage.drain()
    assert [unpack(done).type for done in stage.bodies] == ["report:better"]
    stage.clock.forward(MINUTE)
    # Other times: no earlier tick of these was missed.
    third = await stage.cron.define(cron_job(line="*/1 * * * *"), expected=second)
    await stage.scheduler().turn()
    assert await stage.drain() == []
    assert not await stage.cron.remove("default", "report", expected=second)
    assert await stage.cron.remove("default", "report", expected=third)
    assert not await stage.cron.remove("default", "report")


async def test_a_definition_that_was_replaced_or_removed_fires_no_more(stage: Stage) -> None:
    scheduler = stage.scheduler(refresh=3600, queues=["default"])
    version = await stage.cron.define(cron_job())
    await scheduler.turn()
    await stage.cron.remove("default", "report")
    newer = await stage.cron.define(cron_job(job=NewJob(b"", body("report:better"))))
    assert newer > version
    stage.clock.forward(MINUTE)
    assert (await stage.cron.fire(cron_job(), version, START + MINUTE)).result is FireResult.CHANGED
    await stage.scheduler().turn()
    await stage.drain()
    assert [unpack(done).type for done in stage.bodies] == ["report:better"]


async def test_a_definition_that_changes_between_look_and_tick_is_read_again(stage: Stage) -> None:
    class Changing(RedisCronStore):
        """Somebody changes the definition after each look."""

        async def read(self, queue: str, *, known: int = -1) -> Any:
            state = await super().read(queue, known=known)
            if names:
                await stage.cron.define(cron_job(job=NewJob(b"", body(names.pop()))))
            return state

    names: list[str] = []
    await stage.cron.define(cron_job())
    store = Changing(stage.client, stage=stage.name, test_clock=stage.clock)
    # It would not look again for an hour.
    scheduler = Scheduler(store, refresh=3600, monotonic=lambda: stage.clock.now / 1_000_000)
    await scheduler.turn()
    stage.clock.forward(MINUTE)
    names += ["third", "second"]
    for _ in range(3):
        await scheduler.turn()
    await stage.drain()
    assert [unpack(done).type for done in stage.bodies] == ["third"]


async def test_the_job_of_a_tick_says_which_tick_it_is(stage: Stage) -> None:
    job = NewJob(b"", body(metadata={"client": "acme"}, max_attempts=3), priority=9)
    await stage.cron.define(cron_job(job=job))
    stage.clock.forward(MINUTE)
    await stage.scheduler().turn()
    found = await stage.broker.find("default", tick_id(START + MINUTE))
    assert found is not None
    assert found.priority == 9
    envelope = unpack(found.body)
    assert envelope.metadata == {"client": "acme", "cron": "report", "cron_tick": "2027-01-15T08:01:00Z"}
    assert (envelope.type, envelope.payload, envelope.max_attempts) == ("report:daily", b"[]", 3)


async def test_a_job_that_the_queue_has_already_is_not_enqueued_twice(stage: Stage) -> None:
    await stage.cron.define(cron_job())
    stage.clock.forward(MINUTE)
    await stage.broker.enqueue("default", [cron_job().job_of(START + MINUTE)])
    scheduler = stage.scheduler()
    await scheduler.turn()
    assert (scheduler.counts.existing, scheduler.counts.enqueued) == (1, 0)
    assert await stage.drain() == [tick_id(START + MINUTE)]
    assert await stage.last_tick() == START + MINUTE


async def test_with_a_unique_key_a_tick_is_passed_over_while_an_earlier_one_is_still_there(stage: Stage) -> None:
    await stage.cron.define(cron_job(job=NewJob(b"", body(), unique=b"k" * 16)))
    scheduler = stage.scheduler()
    for _ in range(3):
        stage.clock.forward(MINUTE)
        await scheduler.turn()
    assert (scheduler.counts.enqueued, scheduler.counts.held_back, scheduler.counts.missed) == (1, 2, 0)
    assert await stage.drain() == [tick_id(START + MINUTE)]
    stage.clock.forward(MINUTE)
    await scheduler.turn()
    assert await stage.drain() == [tick_id(START + 4 * MINUTE)]


async def test_a_large_body_and_a_limit_come_through(stage: Stage) -> None:
    job = NewJob(b"", body() + bytes(30_000), limit=Limit(b"k" * 16, most=1))
    await stage.cron.define(cron_job(job=job, missed=Missed.ALL))
    stage.clock.forward(2 * MINUTE)
    await stage.scheduler().turn()
    assert (
        len(
            unpack((await stage.broker.step("default", worker=WORKER, lane=1, call=1, claim=9)).claimed[0].body).payload
        )
        == 30_002
    )


async def test_a_definition_that_cannot_be_read_stops_no_other(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    scripts = CronScripts(stage.client, "jobs", stage.name, "default", test_clock=stage.clock)
    good = cron_job().pack()
    for name, bad in {
        "empty": b"",
        "text": b"\xff\n",
        "list": b"[]\n",
        "newer": good.replace(b'"version":1', b'"version":2'),
        "zone": good.replace(b'"UTC"', b'"Mars/Base"'),
        "line": good.replace(b"* * * * *", b"61 * * * *"),
        "body": good.partition(b"\n")[0] + b"\nnonsense",
    }.items():
        await scripts.define(name=name, expected=0, schedule="", definition=bad)
    await stage.cron.define(cron_job("zz"))
    stage.clock.forward(MINUTE)
    scheduler = stage.scheduler()
    await scheduler.turn()
    await scheduler.turn()
    assert await stage.drain() == [tick_id(START + MINUTE, "zz")]
    assert scheduler.counts.unreadable == 7
    assert sum("cannot be read here" in message for message in caplog.messages) == 7
    assert any("Mars/Base" in message for message in caplog.messages)


async def test_a_queue_that_fails_stops_no_other(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    for queue in ("a", "default", "z"):
        await stage.cron.define(cron_job(queue=queue))
    scheduler = stage.scheduler()
    await scheduler.turn()
    pending = QueueKeys("jobs", stage.name, "a").state("pending")
    await stage.client.set(pending, "not a sorted set")
    await stage.client.set(CronKeys("jobs", stage.name, "z").cron()[1] + "x", 1)
    stage.clock.forward(MINUTE)
    assert await scheduler.turn() == 1.0
    assert (scheduler.counts.enqueued, scheduler.counts.failures) == (2, 1)
    await stage.client.delete(pending)
    with caplog.at_level(logging.WARNING):
        stage.clock.forward(MINUTE)
        await scheduler.turn()
    assert scheduler.counts.enqueued == 5
    assert "the store answers again" in caplog.messages


async def test_a_tick_that_the_store_refuses_stops_no_other_of_its_queue_and_is_not_lost(stage: Stage) -> None:
    await stage.cron.define(cron_job("a", job=NewJob(b"", body(), unique=b"k" * 16)))
    await stage.cron.define(cron_job("b"))
    unique = QueueKeys("jobs", stage.name, "default").state("unique")
    await stage.client.set(unique, "not a hash")
    stage.clock.forward(MINUTE)
    scheduler = stage.scheduler()
    await scheduler.turn()
    assert await stage.drain() == [tick_id(START + MINUTE, "b")]
    await stage.client.delete(unique)
    await scheduler.turn()
    assert await stage.drain() == [tick_id(START + MINUTE, "a")]
    assert scheduler.counts.failures == 1


async def test_a_tick_that_a_full_server_refuses_is_run_when_there_is_room(fresh_server: Server) -> None:
    client = fresh_server.connect()
    stage = Stage(client, "prod", Clock())
    await stage.cron.define(cron_job())
    scheduler = stage.scheduler()
    stage.clock.forward(MINUTE)
    await client.config_set("maxmemory", 1)
    await scheduler.turn()
    assert scheduler.counts.failures == 1
    assert await stage.last_tick() == START
    await client.config_set("maxmemory", 0)
    await scheduler.turn()
    assert await stage.drain() == [tick_id(START + MINUTE)]
    await client.aclose()


async def test_a_scheduler_runs_by_the_servers_clock_through_an_outage_until_it_is_stopped(
    valkey: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with FaultProxy(valkey.port) as proxy:
        client = connect(patient(proxy.url))
        stage = f"cron-{next(_stages)}"
        store = RedisCronStore(client, stage=stage)
        scheduler = Scheduler(store, refresh=0.05)
        running = asyncio.create_task(scheduler.run())
        # Defined while it runs: found at the next look.
        await store.define(cron_job(line="@every 1s", missed=Missed.ALL))
        await wait_until(lambda: scheduler.counts.enqueued >= 1)
        await proxy.set(Fault.REFUSE)
        await wait_until(lambda: scheduler.counts.failures >= 1)
        await proxy.set(Fault.NONE)
        before = scheduler.counts.enqueued
        await wait_until(lambda: scheduler.counts.enqueued > before, timeout=10)
        scheduler.stop()
        await running
        assert sum("ticks wait for the store" in message for message in caplog.messages) == 1
        await client.aclose()


async def test_a_queue_has_a_thousand_cron_jobs_at_most(stage: Stage) -> None:
    scripts = CronScripts(stage.client, "jobs", stage.name, "default", test_clock=stage.clock)
    for number in range(1000):
        await scripts.define(name=f"n{number}", expected=0, schedule="", definition=b"")
    with pytest.raises(ConfigurationError, match=r"at most 1,000 cron jobs in queue default"):
        await stage.cron.define(cron_job())
    await stage.cron.remove("default", "n0")
    assert await stage.cron.define(cron_job()) == 1002


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"line": "* * * *"}, "cron"),
        ({"line": "61 * * * *"}, "cron minute"),
        ({"zone": "Mars/Base"}, "cron zone"),
        ({"name": ""}, "cron name"),
        ({"name": "a b"}, "cron name"),
        ({"name": "a{b"}, "cron name"),
        ({"name": "a\nb"}, "cron name"),
        ({"queue": "a:b"}, "queue"),
        ({"missed": "sometimes"}, "missed"),
        ({"late": 0}, "late"),
        ({"late": -1}, "late"),
        ({"job": NewJob(b"", b"nonsense")}, "job"),
        ({"job": NewJob(b"", body(), due=1)}, "job"),
        ({"job": NewJob(b"", body(), delay=1)}, "job"),
        ({"job": NewJob(b"", body() + bytes(65_536))}, "job"),
        ({"job": NewJob(b"", body(deadline=1))}, "deadline"),
    ],
)
def test_a_wrong_cron_job_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        cron_job(**fields)
    assert refused.value.field == field


def test_a_definition_comes_back_as_it_was_packed() -> None:
    job = NewJob(b"", body() + b"\n\0", 0, 0, 9, b"\xff" * 16, 5, until_start=True, limit=Limit(b"k" * 16, 1, 2, 3, 4))
    cron = cron_job(line="30 2 * * *", zone="Europe/Berlin", missed=Missed.SKIP, late=5, job=job)
    assert CronJob.unpack("default", "report", cron.pack()) == cron
    with pytest.raises(Undecodable, match="cron job report"):
        CronJob.unpack("default", "report", b"{}\n")


def test_a_refresh_that_is_no_time_is_refused() -> None:
    for refresh in (-1.0, 3601.0, float("nan")):
        with pytest.raises(ConfigurationError, match="refresh"):
            Scheduler(RedisCronStore(None), refresh=refresh)  # type: ignore[arg-type]


async def test_the_script_refuses_a_malformed_tick_before_anything_is_written(stage: Stage) -> None:
    version = await stage.cron.define(cron_job())
    stage.clock.forward(MINUTE)
    keys = CronKeys("jobs", stage.name, "default").fire()
    good = pack_job(bytes(16), body())
    for tick, job in ((f"{START}.5", good), ("x", good), ("nan", good), (str(START + 1), b"short")):
        with pytest.raises(Exception, match="INVALID tick"):
            await stage.client.execute_command(
                "EVAL",
                load_script("cron/fire").text,
                len(keys),
                *keys,
                stage.clock.now,
                1,
                "report",
                version,
                tick,
                0,
                job,
            )
    assert await stage.last_tick() == START
    with pytest.raises(StoreError, match="INVALID cron"):
        await CronScripts(stage.client, "jobs", stage.name, "default").define(
            name="", expected=0, schedule="", definition=b""
        )
