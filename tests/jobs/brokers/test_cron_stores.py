"""Both stores of cron jobs keep the same rules: every call is answered alike, whatever came before."""

import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ropeline.jobs.brokers.memory import FakeClock, MemoryBroker
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.cron.cron_jobs import CronJob, CronStore, Missed
from ropeline.jobs.errors import CronChanged
from ropeline.jobs.payloads.envelope import Envelope, pack
from ropeline.jobs.records import NewJob
from ropeline.lua.cron_scripts import FireResult
from ropeline.lua.errors import ConfigurationError
from tests.servers import Server

MINUTE = 60_000
START = 1_800_000_000_000 // MINUTE * MINUTE
_stages = itertools.count(1)


@dataclass
class ServerClock:
    """The server's time (us) and run id, as a test wants them."""

    now: int = START * 1000
    run: str = "first"


class Pair:
    """A store of each kind, at the same time of day."""

    def __init__(self, server: Server) -> None:
        self.client = server.connect()
        self.server_clock, self.clock = ServerClock(), FakeClock(START)
        stage = f"cron-stores-{next(_stages)}"
        self.redis = RedisBroker("redis://unused", stage=stage, client=self.client, test_clock=self.server_clock)
        self.memory = MemoryBroker(clock=self.clock)
        self.stores: list[CronStore] = [self.redis.cron_store(), self.memory.cron_store()]

    def advance(self, ms: int) -> None:
        self.server_clock.now += ms * 1000
        self.clock.advance(ms)

    async def ask(self, call: Callable[[CronStore], Awaitable[Any]]) -> Any:
        """What both answer to a call, or what both refuse it with."""
        answers = []
        for store in self.stores:
            try:
                answers.append(await call(store))
            except (CronChanged, ConfigurationError) as error:
                answers.append(str(error))
        assert answers[0] == answers[1]
        return answers[0]

    async def compare(self) -> None:
        states = [await store.read("default") for store in self.stores]
        assert states[0]._replace(stored=None) == states[1]._replace(stored=None)
        assert sorted(states[0].stored or ()) == sorted(states[1].stored or ())
        depths = [await broker.depths("default") for broker in (self.redis, self.memory)]
        assert depths[0].pending == depths[1].pending
        assert [each.counters["enqueued"] for each in depths].count(depths[0].counters["enqueued"]) == 2


@pytest.fixture
async def pair(valkey: Server) -> Any:
    pair = Pair(valkey)
    yield pair
    await pair.redis.close()
    await pair.client.aclose()


def cron_job(name: str = "report", *, unique: bytes = b"", **fields: Any) -> CronJob:
    job = NewJob(b"", pack(Envelope("report:daily", b"[]", 0, 0)), unique=unique)
    return CronJob(**{"name": name, "queue": "default", "line": "* * * * *", "job": job, **fields})


SHAPES: list[dict[str, Any]] = [
    {},
    {"line": "*/2 * * * *"},
    {"missed": Missed.SKIP, "late": 20_000},
    {"unique": b"u" * 16},
    {"zone": "Europe/Berlin"},
]


async def take_a_step(pair: Pair, chance: random.Random, versions: list[int]) -> FireResult | None:
    """Do something; what became of a tick, where it was one. `versions`: those that were given."""
    cron = cron_job(chance.choice(["report", "mail"]), **chance.choice(SHAPES))
    expected = chance.choice([-1, -1, *versions[-2:]])
    action = chance.randrange(10)
    if action < 2:
        answer = await pair.ask(lambda store: store.define(cron, expected=expected))
        versions += [answer] if isinstance(answer, int) else []
    elif action == 2:
        await pair.ask(lambda store: store.remove("default", cron.name, expected=expected))
    elif action < 5:
        pair.advance(chance.choice([1, 30_000, MINUTE, 10 * MINUTE, -MINUTE]))
    else:
        minute = (pair.clock.now - START) // MINUTE + chance.choice([0, 0, 0, -1, 1])
        version = chance.choice(versions[-2:])
        fired = await pair.ask(lambda store: store.fire(cron, version, START + minute * MINUTE))
        return FireResult(fired.result)
    return None


async def test_any_calls_in_any_order_are_answered_alike(pair: Pair) -> None:
    chance, versions, results = random.Random(11), [0, 1], set()
    for _ in range(600):
        results.add(await take_a_step(pair, chance, versions))
        await pair.compare()
    assert results == {None, *FireResult}


async def test_a_record_that_was_lost_alone_enqueues_no_job_that_is_there(pair: Pair) -> None:
    cron = cron_job()
    version = await pair.ask(lambda store: store.define(cron))
    pair.advance(MINUTE)
    for broker in (pair.redis, pair.memory):
        await broker.enqueue("default", [cron.job_of(START + MINUTE)])
    fired = await pair.ask(lambda store: store.fire(cron, version, START + MINUTE))
    assert fired.result is FireResult.EXISTS
    await pair.compare()


async def test_what_is_known_is_not_read_again(pair: Pair) -> None:
    await pair.ask(lambda store: store.define(cron_job()))
    state = await pair.ask(lambda store: store.read("default"))
    assert [row.name for row in state.stored] == ["report"]
    again = await pair.ask(lambda store: store.read("default", known=state.changes))
    assert again.stored is None
    assert await pair.ask(lambda store: store.queues()) == ["default"]


async def test_definitions_are_read_whole_however_many_and_large_they_are(pair: Pair) -> None:
    small, large = (NewJob(b"", pack(Envelope("report:daily", b"x" * size, 0, 0))) for size in (9, 60_000))
    for number in range(120):
        for store in pair.stores:
            await store.define(cron_job(f"report-{number}", job=small if number % 10 else large))
    await pair.compare()
    state = await pair.stores[0].read("default")
    assert state.stored is not None
    assert len(state.stored) == 120


async def test_a_queue_has_a_thousand_cron_jobs_and_no_more(pair: Pair) -> None:
    for number in range(1000):
        for store in pair.stores:
            await store.define(cron_job(f"report-{number}"))
    refusal = await pair.ask(lambda store: store.define(cron_job("one-more")))
    assert "at most 1,000 cron jobs in queue default" in refusal
    # One that is there already may be changed.
    assert await pair.ask(lambda store: store.define(cron_job("report-7", line="@daily"))) == 1001


def test_a_digest_is_that_of_the_definition_alone() -> None:
    first = cron_job()
    assert (
        first.digest == cron_job(former=("0" * 16,)).digest == CronJob.unpack("default", "report", first.pack()).digest
    )
    others = [cron_job("other"), cron_job(line="@daily"), cron_job(zone="Europe/Berlin"), cron_job(unique=b"u" * 16)]
    others += [cron_job(missed=Missed.ALL), cron_job(late=1)]
    assert len({first.digest, *(each.digest for each in others)}) == 7
    assert CronJob.unpack("default", "report", cron_job(former=("ab", "cd")).pack()).former == ("ab", "cd")
