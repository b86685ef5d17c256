"""Locks in memory keep the rules of the scripts: every call is answered alike, whatever came before."""

import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from operator import methodcaller

import pytest

from ropeline.jobs import JobContext, Jobs, LockLost, LockTaken
from ropeline.jobs.brokers.memory import FakeClock, MemoryBroker
from ropeline.jobs.brokers.memory_locks import MemoryLockKeeper
from ropeline.jobs.locks.keeper import KeptLock, LockKeeper, ServerLockKeeper
from ropeline.lua.lock_scripts import Acquired, Gone
from tests.servers import Server

START = 1_800_000_000_000
NAMES = ["event-7", "event-8"]
_stages = itertools.count(1)


@dataclass
class ServerClock:
    """The server's time (us) and run id, as a test wants them."""

    now: int = START * 1000
    run: str = "first"


class Pair:
    """A keeper of each kind, at the same time of day."""

    def __init__(self, server: Server) -> None:
        self.client = server.connect()
        self.server_clock, self.clock = ServerClock(), FakeClock(START)
        stage = f"lock-keepers-{next(_stages)}"
        self.keepers: list[LockKeeper] = [
            ServerLockKeeper(self.client, "jobs", stage, test_clock=self.server_clock),
            MemoryLockKeeper(clock=self.clock, guard=MemoryBroker()._lock),
        ]
        self.tokens = ["none"]

    def advance(self, ms: int) -> None:
        self.server_clock.now += ms * 1000
        self.clock.advance(ms)

    async def ask(self, name: str, call: Callable[[KeptLock], Awaitable[object]]) -> object:
        answers = [await call(keeper.lock(name)) for keeper in self.keepers]
        assert answers[0] == answers[1]
        return answers[0]

    async def note(self, name: str, until: int) -> None:
        for keeper in self.keepers:
            await keeper.listed.note(name=name, until=until)


@pytest.fixture
async def pair(valkey: Server) -> AsyncIterator[Pair]:
    pair = Pair(valkey)
    yield pair
    await pair.client.aclose()


async def take_a_step(pair: Pair, chance: random.Random) -> object:
    name, token = chance.choice(NAMES), chance.choice(pair.tokens[-6:])
    action = chance.randrange(8)
    if action < 3:
        new = f"token-{len(pair.tokens)}" if chance.random() < 0.9 else token
        pair.tokens.append(new)
        holder, fence, ttl = chance.choice(["", "job-1", "job-2"]), chance.randrange(3), chance.choice([500, 60_000])
        answer = await pair.ask(
            name,
            lambda lock: lock.acquire(token=new, ttl=ttl, holder=holder, holder_fence=fence, owner="o", purpose="p"),
        )
        if isinstance(answer, Acquired):
            await pair.note(name, answer.until)
        return answer
    if action == 3:
        return await pair.ask(name, lambda lock: lock.release(token=token))
    if action == 4:
        return await pair.ask(name, lambda lock: lock.extend(token=token, ttl=1000))
    if action == 5:
        stolen = chance.choice(["", token])
        return await pair.ask(name, lambda lock: lock.steal(token=stolen, by="ada", reason="it hangs"))
    if action == 6:
        pair.advance(chance.choice([0, 1, 400, 3000]))
    return await pair.ask(name, lambda lock: lock.view())


async def test_any_calls_in_any_order_are_answered_alike(pair: Pair) -> None:
    chance = random.Random(3)
    seen = [await take_a_step(pair, chance) for _ in range(800)]
    assert {type(answer).__name__ for answer in seen} == {
        "Acquired", "HeldLock", "Released", "Extended", "Gone", "NoneType",
    }  # fmt: skip
    assert any(isinstance(answer, Acquired) and answer.took_over for answer in seen)
    assert any(isinstance(answer, Gone) and answer.by for answer in seen)


async def test_the_lists_of_both_are_the_same(pair: Pair) -> None:
    for number in range(7):
        name = f"event-{number % 5}"
        answer = await pair.ask(name, methodcaller("acquire", token=str(number), ttl=5000 - number))
        if isinstance(answer, Acquired):
            await pair.note(name, answer.until)
    pages = []
    for keeper in pair.keepers:
        first = await keeper.listed.list(limit=2)
        rest = await keeper.listed.list(after_until=first[-1][1], after_name=first[-1][0])
        pages.append([*first, *rest])
    assert pages[0] == pages[1]
    assert [name for name, _ in pages[0]] == [f"event-{number}" for number in (4, 3, 2, 1, 0)]
    pair.advance(4998)
    left = [await keeper.listed.list() for keeper in pair.keepers]
    assert left[0] == left[1]
    assert [name for name, _ in left[0]] == ["event-1", "event-0"]


async def test_locks_that_nobody_holds_are_forgotten_in_memory() -> None:
    clock = FakeClock(START)
    keeper = MemoryLockKeeper(clock=clock, guard=MemoryBroker()._lock)
    for number in range(3000):
        clock.advance(1000)
        await keeper.lock(f"event-{number}").acquire(token="t", ttl=1)
    assert len(keeper.states) <= 1000


async def test_jobs_and_tests_without_a_server_have_locks() -> None:
    clock = FakeClock(START)
    app = Jobs(broker=MemoryBroker(clock=clock))

    @app.task
    async def draw(job: JobContext) -> int:
        async with job.lock("event-7", purpose="draws") as lock:
            return lock.fence

    async with app:
        fence = await draw()
        async with app.locks.hold("event-7", owner="ada") as lock:
            assert lock.fence > fence
            assert [view.owner for view in (await app.locks.held()).locks] == ["ada"]
            with pytest.raises(LockTaken, match="held by ada"):
                await draw()
        lock = await app.locks.acquire("event-7")
        await app.locks.force_release("event-7", by="bob", reason="enough")
        with pytest.raises(LockLost, match="taken away by bob: enough"):
            await app.locks.extend("event-7", lock.token)
        await app.locks.acquire("event-7")
        with pytest.raises(LockTaken):
            await app.locks.acquire("event-7", wait=0.05)
        clock.advance(13 * 3_600_000)
        await draw()
