"""Locks: one holder at a time, fences that rise, waiting, keeping, losing, taking away, and the list of them."""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from ropeline.bench.fault_proxy import Fault, FaultProxy
from ropeline.jobs.errors import LockLost, LockTaken
from ropeline.jobs.locks import locks as locks_module
from ropeline.jobs.locks.locks import Locks
from ropeline.lua.calls import CommandClient
from ropeline.lua.client import connect
from ropeline.lua.errors import ConfigurationError, StoreError
from ropeline.lua.keys import LockKeys, locks_key
from ropeline.lua.loader import load_script
from ropeline.lua.lock_scripts import Acquired, Gone, LockListScripts, LockScripts
from tests.servers import Cluster, Server, patient
from tests.support import wait_until

_stages = itertools.count(1)


@dataclass
class Clock:
    """The server's time (us) and run id, as a test wants them."""

    now: int = 1_800_000_000_000_000
    run: str = "first"


@pytest.fixture
def stage() -> str:
    return f"locks-{next(_stages)}"


@pytest.fixture
async def client(any_server: Server) -> AsyncIterator[Redis]:
    client = any_server.connect()
    yield client
    await client.aclose()


@pytest.fixture
async def locks(client: Redis, stage: str) -> AsyncIterator[Locks]:
    locks = Locks(client, stage=stage, listener=client)
    yield locks
    await locks.close()


async def test_a_lock_has_one_holder_and_who_is_refused_learns_who_that_is(locks: Locks) -> None:
    before = datetime.now(UTC)
    lock = await locks.acquire("event-7", owner="renderer", purpose="draws the tickets")
    with pytest.raises(LockTaken) as refused:
        await locks.acquire("event-7")
    assert (refused.value.lock, refused.value.owner, refused.value.purpose) == (
        "event-7",
        "renderer",
        "draws the tickets",
    )
    assert str(refused.value).startswith("lock event-7: held by renderer (draws the tickets) until 2")
    assert timedelta(hours=12) <= lock.until - before < timedelta(hours=12, minutes=1)
    assert refused.value.until == lock.until
    await locks.acquire("event-8")
    await locks.release("event-7", lock.token)
    assert (await locks.acquire("event-7")).fence > lock.fence


async def test_of_many_that_wait_one_holds_at_a_time_and_fences_rise(client: Redis, stage: str) -> None:
    count, holders, fences = 0, 0, []

    async def add(locks: Locks) -> None:
        nonlocal count, holders
        for _ in range(5):
            async with locks.hold("counter", wait=30) as lock:
                holders += 1
                assert holders == 1
                fences.append(lock.fence)
                seen = count
                await asyncio.sleep(0)
                count = seen + 1
                holders -= 1

    await asyncio.gather(*(add(Locks(client, stage=stage, listener=client)) for _ in range(10)))
    assert count == 50
    assert fences == sorted(set(fences))


async def test_who_waits_is_woken_by_the_release(
    locks: Locks, client: Redis, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the wake-up, asking again would take longer than this test may.
    monkeypatch.setattr(locks_module, "_FIRST_PAUSE", 60.0)
    monkeypatch.setattr(locks_module, "_LONGEST_PAUSE", 4.0)
    lock = await locks.acquire("event")
    start = time.monotonic()
    waiting = asyncio.create_task(locks.acquire("event", wait=60))
    await wait_until(lambda: client.hexists(LockKeys("jobs", stage, "event").lock()[0], "waited"))
    await locks.release("event", lock.token)
    assert (await waiting).fence > lock.fence
    assert time.monotonic() - start < 2.0, "the first pause is from 2 to 4 seconds"


async def test_a_token_that_nobody_waits_for_is_not_left(locks: Locks, client: Redis, stage: str) -> None:
    wake = LockKeys("jobs", stage, "event").wake
    lock = await locks.acquire("event")
    await locks.release("event", lock.token)
    assert not await client.exists(wake)


async def test_without_a_listener_who_waits_asks_again(client: Redis, stage: str) -> None:
    locks = Locks(client, stage=stage)
    lock = await locks.acquire("event")
    waiting = asyncio.create_task(locks.acquire("event", wait=60))
    await asyncio.sleep(0)
    await locks.release("event", lock.token)
    assert (await waiting).fence > lock.fence


async def test_a_wait_ends_when_it_was_said_to(locks: Locks) -> None:
    await locks.acquire("event")
    start = time.monotonic()
    with pytest.raises(LockTaken):
        await locks.acquire("event", wait=0.2)
    assert 0.2 <= time.monotonic() - start < 2


async def test_a_hold_that_is_over_frees_the_lock_and_its_token_is_worthless(client: Redis, stage: str) -> None:
    clock = Clock()
    locks = Locks(client, stage=stage, test_clock=clock)
    lock = await locks.acquire("event", ttl=60)
    clock.now += 59_999_999
    with pytest.raises(LockTaken):
        await locks.acquire("event")
    assert await locks.extend("event", lock.token, ttl=60) == lock.until + timedelta(microseconds=59_999_999)
    clock.now += 60_000_000
    assert await locks.view("event") is None
    for late in (locks.extend("event", lock.token), locks.release("event", lock.token)):
        with pytest.raises(LockLost, match="has ended"):
            await late
    other = await locks.acquire("event")
    with pytest.raises(LockLost):
        await locks.release("event", lock.token)
    view = await locks.view("event")
    assert view is not None
    assert view.token == other.token


async def test_the_same_holder_takes_over_at_once_and_its_earlier_life_does_not_take_it_back(locks: Locks) -> None:
    first = await locks.acquire("event", owner="order:confirm", holder="job 1", holder_fence=100)
    again = await locks.acquire("event", owner="order:confirm", holder="job 1", holder_fence=101)
    assert (again.took_over, first.took_over) == (True, False)
    assert again.fence > first.fence
    with pytest.raises(LockLost):
        await locks.extend("event", first.token)
    for other in (
        {"holder": "job 1", "holder_fence": 100, "owner": "order:confirm"},
        {"holder": "job 2", "holder_fence": 200, "owner": "order:confirm"},
        {"holder": "job 1", "holder_fence": 200, "owner": "somebody else"},
        {"holder": "", "owner": "order:confirm"},
    ):
        with pytest.raises(LockTaken):
            await locks.acquire("event", **other)
    await locks.extend("event", again.token)


async def test_holders_without_a_name_never_take_over(locks: Locks) -> None:
    await locks.acquire("event", owner="a")
    with pytest.raises(LockTaken):
        await locks.acquire("event", owner="a")


async def test_a_fence_rises_over_a_failover_that_forgot_the_last_acquisitions(client: Redis, stage: str) -> None:
    clock = Clock()
    scripts = LockScripts(client, "jobs", stage, "event", test_clock=clock)
    key, fences = LockKeys("jobs", stage, "event").lock()[0], []

    async def acquire_and_release(token: str) -> None:
        answer = await scripts.acquire(token=token, ttl=1000)
        assert isinstance(answer, Acquired)
        fences.append(answer.fence)
        await scripts.release(token=token)

    await acquire_and_release("a")
    replicated = await client.dump(key)
    assert isinstance(replicated, bytes)
    for token in ("b", "c", "d"):
        clock.now += 1_000_000
        await acquire_and_release(token)
    # The replica did not hear of three of them, and its clock is behind.
    await client.restore(key, 0, replicated, replace=True)
    clock.now, clock.run = clock.now - 1_500_000, "second"
    await acquire_and_release("e")
    # The clock is set back on the same server.
    clock.now -= 60_000_000
    await acquire_and_release("f")
    assert fences == sorted(set(fences))


async def test_a_repeated_acquire_is_answered_as_the_first_one(client: Redis, stage: str) -> None:
    scripts = LockScripts(client, "jobs", stage, "event")
    first, again = [await scripts.acquire(token="same", ttl=1000) for _ in range(2)]
    assert isinstance(first, Acquired)
    assert isinstance(again, Acquired)
    assert (first.fence, first.until) == (again.fence, again.until)


async def test_a_lost_reply_leaves_no_lock_behind_that_nobody_holds(valkey: Server, stage: str) -> None:
    async with FaultProxy(valkey.port) as proxy:
        client = connect(patient(proxy.url))
        locks = Locks(client, stage=stage)
        await locks.release("event", (await locks.acquire("event")).token)  # the server knows the scripts from now on
        proxy.lose_reply(load_script("lock/acquire").sha.encode())
        lock = await locks.acquire("event", wait=10)
        view = await locks.view("event")
        assert view is not None
        assert view.token == lock.token
        proxy.lose_reply(load_script("lock/acquire").sha.encode())
        with pytest.raises(StoreError):
            await locks.acquire("other")
        await locks.close()
        assert await locks.view("other") is None
        await client.aclose()


async def test_who_gives_up_waiting_or_asking_leaves_nothing_behind(locks: Locks, client: Redis, stage: str) -> None:
    lock = await locks.acquire("event")
    waiting = asyncio.create_task(locks.acquire("event", wait=60))
    await wait_until(lambda: client.hexists(LockKeys("jobs", stage, "event").lock()[0], "waited"))
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    await locks.release("event", lock.token)
    for turns in range(40):
        asking = asyncio.create_task(locks.acquire("event"))
        for _ in range(turns % 20):
            await asyncio.sleep(0)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            done = await asking
            await locks.release("event", done.token)
        await locks.close()
        assert await locks.view("event") is None, turns


async def test_a_lock_is_kept_while_the_block_runs_and_free_after_it(locks: Locks) -> None:
    async with locks.hold("event", ttl=0.3) as lock:
        start = time.monotonic()
        await wait_until(lambda: time.monotonic() - start > 0.7)
        with pytest.raises(LockTaken):
            await locks.acquire("event")
        view = await locks.view("event")
        assert view is not None
        assert (view.token, view.fence) == (lock.token, lock.fence)
    assert await locks.view("event") is None
    with pytest.raises(ZeroDivisionError):
        async with locks.hold("event"):
            raise ZeroDivisionError
    assert await locks.view("event") is None


async def test_a_block_whose_lock_an_operator_takes_away_is_stopped_and_told_why(
    locks: Locks, caplog: pytest.LogCaptureFixture
) -> None:
    fences = []

    async def work() -> None:
        async with locks.hold("event", ttl=3, owner="renderer") as lock:
            taken = await locks.force_release("event", by="ada", reason="it hangs")
            assert taken is not None
            assert (taken.token, taken.owner) == (lock.token, "renderer")
            fences.append(lock.fence)
            await asyncio.Event().wait()

    with caplog.at_level(logging.WARNING):
        async with locks.hold("other"):
            with pytest.raises(LockLost) as lost:
                await work()
    assert (lost.value.by, lost.value.reason) == ("ada", "it hangs")
    assert "lock event: taken from renderer by ada: it hangs" in caplog.messages
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert (await locks.acquire("event")).fence > fences[0]


async def test_a_block_that_ends_without_having_noticed_is_told_at_its_end(locks: Locks) -> None:
    done = asyncio.Event()

    async def work() -> None:
        async with locks.hold("event"):
            await locks.force_release("event", by="ada", reason="it hangs")
            done.set()

    with pytest.raises(LockLost, match="taken away by ada: it hangs"):
        await work()
    assert done.is_set()


async def test_a_block_ends_before_its_lock_when_the_store_is_away(fresh_server: Server) -> None:
    client = fresh_server.connect()
    locks = Locks(client)

    async def work() -> None:
        async with locks.hold("event", ttl=1.0):
            fresh_server.pause()
            await asyncio.Event().wait()

    start = time.monotonic()
    with pytest.raises(LockLost, match="could not be renewed in time"):
        await work()
    assert time.monotonic() - start < 1.0
    fresh_server.resume()
    await client.aclose()


async def test_a_lock_that_cannot_be_given_up_does_not_spoil_what_was_done(fresh_server: Server) -> None:
    async with FaultProxy(fresh_server.port) as proxy:
        client = connect(patient(proxy.url))
        locks = Locks(client)
        async with locks.hold("event"):
            await proxy.set(Fault.RESET)
        await proxy.set(Fault.NONE)
        await locks.close()
        assert await locks.view("event") is None
        await client.aclose()


async def test_a_block_that_is_cancelled_by_others_gives_its_lock_up(locks: Locks) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with locks.hold("event"):
            entered.set()
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await entered.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await locks.view("event") is None


async def test_taking_away_is_by_the_holder_that_was_looked_at(locks: Locks) -> None:
    assert await locks.force_release("event", by="ada", reason="it hangs") is None
    first = await locks.acquire("event")
    await locks.release("event", first.token)
    second = await locks.acquire("event")
    assert await locks.force_release("event", by="ada", reason="it hangs", token=first.token) is None
    taken = await locks.force_release("event", by="ada", reason="it hangs", token=second.token)
    assert taken is not None
    assert taken.token == second.token
    for by, reason in (("", "it hangs"), ("ada", ""), ("ada", "two\nlines")):
        with pytest.raises(ConfigurationError):
            await locks.force_release("event", by=by, reason=reason)


async def test_every_held_lock_is_listed_once_and_no_other(locks: Locks, client: Redis, stage: str) -> None:
    held = [await locks.acquire(f"event-{number}", ttl=3600 + number % 7) for number in range(130)]
    for lock in held[::10]:
        await locks.release(lock.name, lock.token)
    taken = await locks.force_release(held[1].name, by="ada", reason="it hangs")
    assert taken is not None
    await locks.extend(held[2].name, held[2].token, ttl=7200)
    names, cursor, pages = [], "", 0
    while pages == 0 or cursor:
        page = await locks.held(cursor=cursor, limit=20)
        names += [view.name for view in page.locks]
        cursor, pages = page.cursor, pages + 1
    expected = {lock.name for index, lock in enumerate(held) if index % 10 and index != 1}
    assert sorted(names) == sorted(expected)
    assert names[-1] == held[2].name
    assert await client.zcard(locks_key("jobs", stage)) == len(expected)
    for wrong in ("x", "1-zz", "-1-00"):
        with pytest.raises(ConfigurationError, match="cursor"):
            await locks.held(cursor=wrong)
    for limit in (0, 1001):
        with pytest.raises(ConfigurationError, match="limit"):
            await locks.held(limit=limit)


async def test_locks_that_end_at_the_same_microsecond_are_all_listed(client: Redis, stage: str) -> None:
    locks = Locks(client, stage=stage, test_clock=Clock())
    for number in range(25):
        await locks.acquire(f"event-{number}", ttl=60)
    names, cursor = [], ""
    for _ in range(4):
        page = await locks.held(cursor=cursor, limit=10)
        names += [view.name for view in page.locks]
        cursor = page.cursor
        if not cursor:
            break
    assert sorted(names) == sorted(f"event-{number}" for number in range(25))


async def test_who_gives_a_lock_up_does_not_remove_the_next_holder_from_the_list(client: Redis, stage: str) -> None:
    listed, future = LockListScripts(client, "jobs", stage), 2**52
    await listed.note(name="event", until=future)
    assert not await listed.forget(name="event", until=future - 1)
    assert [name for name, _ in await listed.list()] == ["event"]
    assert await listed.forget(name="event", until=future)
    assert not await listed.list()


async def test_what_has_ended_leaves_the_list_and_the_store(client: Redis, stage: str) -> None:
    clock = Clock()
    locks = Locks(client, stage=stage, test_clock=clock)
    for number in range(30):
        await locks.acquire(f"event-{number}", ttl=60)
    clock.now += 60_000_001
    for number in range(2):
        await locks.acquire(f"late-{number}", ttl=60)
    assert await client.zcard(locks_key("jobs", stage)) == 2
    listener = Locks(client, stage=stage, listener=client, test_clock=clock)
    with pytest.raises(LockTaken):
        await listener.acquire("late-0", wait=0.05)
    await locks.force_release("late-0", by="ada", reason="it hangs")
    lock_key, wake = LockKeys("jobs", stage, "late-0").lock()
    assert 0 < await client.pttl(lock_key) <= 3_600_000
    assert 0 < await client.pttl(wake) <= 60_000
    assert 0 < await client.pttl(LockKeys("jobs", stage, "event-0").lock()[0]) <= 120_000


async def test_everything_works_on_a_cluster(cluster_store: CommandClient, cluster: Cluster, stage: str) -> None:
    locks = Locks(cluster_store, stage=stage, listener=cluster_store)
    held = [await locks.acquire(f"event-{number}") for number in range(20)]
    waiting = asyncio.create_task(locks.acquire("event-3", wait=30))
    owners = {id(cluster.node_of(LockKeys("jobs", stage, lock.name).wake)) for lock in held}
    assert len(owners) == 3
    await locks.release("event-3", held[3].token)
    await waiting
    assert len((await locks.held()).locks) == 20
    async with locks.hold("event-20", ttl=5):
        assert await locks.force_release("event-20", by="ada", reason="it hangs", token="another") is None


class Unused:
    """A client that must not be called."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        raise AssertionError(args)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"name": "a:b"}, "lock"),
        ({"name": "a{b"}, "lock"),
        ({"name": "a}b"}, "lock"),
        ({"name": "a\nb"}, "lock"),
        ({"name": ""}, "lock"),
        ({"name": "ä" * 101}, "lock"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": -1}, "ttl"),
        ({"ttl": float("nan")}, "ttl"),
        ({"ttl": timedelta(days=400)}, "ttl"),
        ({"wait": -1}, "wait"),
        ({"wait": float("inf")}, "wait"),
        ({"owner": "x" * 201}, "owner"),
        ({"purpose": "two\nlines"}, "purpose"),
        ({"holder": "\0"}, "holder"),
    ],
)
async def test_a_wrong_argument_is_refused_by_name_before_anything_is_sent(
    arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await Locks(Unused()).acquire(**{"name": "event", **arguments})
    assert refused.value.field == field


def test_a_stage_or_namespace_that_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="stage"):
        Locks(Unused(), stage="a:b")
    with pytest.raises(ConfigurationError, match="namespace"):
        Locks(Unused(), namespace="{")


async def test_the_longest_name_of_any_letters_is_a_name(locks: Locks) -> None:
    name = "ä é/*?[x] " + "n" * 188
    assert len(name.encode()) == 200
    lock = await locks.acquire(name)
    assert [view.name for view in (await locks.held()).locks] == [name]
    await locks.release(name, lock.token)


async def test_the_scripts_refuse_a_call_that_the_typed_method_would_not_make(client: Redis, stage: str) -> None:
    scripts = LockScripts(client, "jobs", stage, "event")
    for wrong in ({"token": "", "ttl": 1}, {"token": "t", "ttl": 0}, {"token": "t", "ttl": -5}):
        with pytest.raises(StoreError, match="INVALID lock"):
            await scripts.acquire(**wrong)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="INVALID lock"):
        await scripts.extend(token="t", ttl=0)
    assert await scripts.release(token="") == Gone("", "")
    assert not await client.exists(LockKeys("jobs", stage, "event").lock()[0])
