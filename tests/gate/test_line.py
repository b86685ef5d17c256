"""A process's end of a line: batches, one deadline, who is told what went wrong, and what is given back to the store."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from ropeline.bench.fault_proxy import Fault, FaultProxy
from ropeline.gate.ids import new_id
from ropeline.gate.line import Line
from ropeline.gate.tenant_store import StoredTenant, TenantStore
from ropeline.lua.errors import StoreError, StoreTimeout
from ropeline.lua.keys import TenantKeys
from ropeline.lua.loader import load_script
from ropeline.lua.results import StaleSettings, Verdict
from ropeline.lua.visits import Visit
from tests.gate.visitors import tenant
from tests.servers import Server
from tests.support import wait_until

NAMESPACE = "line-tests"


class CountingClient:
    """The store's client, which notes how many visits each call of the `visit` script brings."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.calls: list[int] = []
        self.sent: list[str] = []
        self.under_way = 0
        self.most_under_way = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        self.sent.append(args[0])
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if _is_visit(args):
                self.calls.append(int(args[-2]))
            return await self._client.execute_command(*args, **options)  # type: ignore[no-untyped-call]
        finally:
            self.under_way -= 1


def _is_visit(command: tuple[Any, ...]) -> bool:
    return command[:2] == ("EVALSHA", load_script("line/visit").sha)


async def open_line(client: Any, name: str, **settings: Any) -> Line:
    """A line whose settings are in the store."""
    store = TenantStore(client, NAMESPACE)
    stored = await store.save(tenant(name, **settings), expected=0)
    return Line(store.scripts(name), stored.copy(), deadline=10)


@pytest.fixture
async def client(store: Redis) -> CountingClient:
    return CountingClient(store)


@pytest.fixture
async def line(client: CountingClient, tenant_name: str) -> AsyncIterator[Line]:
    line = await open_line(client, tenant_name, total_active_users=3, join_limit_per_ip=0)
    yield line
    await line.close()


async def test_what_arrives_in_one_turn_of_the_loop_travels_as_one_call(line: Line, client: CountingClient) -> None:
    replies = await asyncio.gather(*(line.visit(Visit(new_id())) for _ in range(50)))
    assert client.calls == [50]
    assert [outcome.verdict for _, outcome in replies].count(Verdict.CALLED) == 3
    assert len({head.sequence for head, _ in replies}) == 1


async def test_a_crowd_that_leaves_travels_in_calls_of_128_one_after_the_other(
    line: Line, client: CountingClient
) -> None:
    held = new_id()
    await line.visit(Visit(held))
    await line.leave(new_id(), closing=False)  # the server knows the script from now on
    client.sent.clear()
    ended = await asyncio.gather(*(line.leave(who, closing=False) for who in [held, *(new_id() for _ in range(499))]))
    assert ended == [True] + [False] * 499
    assert len(client.sent) == 4
    assert client.most_under_way == 1


async def test_a_crowd_travels_in_calls_of_128_with_two_under_way(line: Line, client: CountingClient) -> None:
    await asyncio.gather(*(line.visit(Visit(new_id())) for _ in range(1000)))
    assert sum(client.calls) == 1000
    assert client.calls[:7] == [128] * 7
    assert client.most_under_way == 2


async def test_each_visitor_gets_the_answer_to_its_own_visit(line: Line) -> None:
    ids = [new_id() for _ in range(400)]
    places = [outcome.place for _, outcome in await asyncio.gather(*(line.visit(Visit(id_)) for id_ in ids))]
    assert len(set(places)) == 400
    for start in range(0, 400, 128):
        batch = places[start : start + 128]
        assert batch == sorted(batch), "who comes first in a call is served first"


async def test_visitors_who_give_up_take_no_other_visitors_answer_along(valkey: Server, tenant_name: str) -> None:
    chance = random.Random(7)
    async with FaultProxy(valkey.port, delay=0.003) as proxy:
        client = Server(valkey.process, proxy.port, proxy.url, valkey.folder).connect()
        line = await open_line(client, tenant_name, total_active_users=0, join_limit_per_ip=0)
        ids = [new_id() for _ in range(300)]
        tickets: dict[bytes, Visit] = {}
        for id_, (head, outcome) in zip(
            ids, await asyncio.gather(*(line.visit(Visit(id_)) for id_ in ids)), strict=True
        ):
            tickets[id_] = Visit(new_id(), True, True, 0, id_, outcome.place, 0, outcome.end, head.epoch)
        await proxy.set(Fault.DELAY)
        cancelled = 0

        async def ask(id_: bytes) -> None:
            nonlocal cancelled
            asking = asyncio.ensure_future(line.visit(tickets[id_]))
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.006)
                cancelled += asking.cancel()
            try:
                _, outcome = await asking
            except asyncio.CancelledError:
                return
            assert outcome.place == tickets[id_].place, "the answer is somebody else's"

        for _ in range(4):
            await asyncio.gather(*(ask(id_) for id_ in ids))
        assert cancelled > 100
        assert not line.breaker.is_open
        await line.close()
        await client.aclose()


# --- what goes wrong ------------------------------------------------------------------------------------------------


async def test_one_deadline_spans_pool_connection_and_call(valkey: Server, tenant_name: str) -> None:
    async with FaultProxy(valkey.port) as proxy:
        client = Server(valkey.process, proxy.port, proxy.url, valkey.folder).connect()
        line = await open_line(client, tenant_name)
        line.deadline = 0.15
        await proxy.set(Fault.BLACKHOLE)
        proxy.cut()
        clock = asyncio.get_running_loop().time
        started = clock()
        results = await asyncio.gather(*(line.visit(Visit(new_id())) for _ in range(1000)), return_exceptions=True)
        assert all(isinstance(result, StoreError) for result in results)
        assert clock() - started < 1.5, "also for those who were to travel with the eighth call"
        await line.close()
        await client.aclose()


async def test_a_call_that_does_not_notice_its_cancellation_keeps_nobody_longer(
    line: Line, client: CountingClient
) -> None:
    released = asyncio.Event()

    async def stubborn(*_: Any, **__: Any) -> Any:
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()
        raise OSError("at last")

    client.execute_command, real = stubborn, client.execute_command  # type: ignore[method-assign]
    line.deadline = 0.1
    async with asyncio.timeout(5):
        failures = await asyncio.gather(*(line.visit(Visit(new_id())) for _ in range(300)), return_exceptions=True)
    assert all(isinstance(failure, StoreTimeout) for failure in failures)
    client.execute_command = real  # type: ignore[method-assign]
    released.set()
    line.deadline = 10
    await wait_until(lambda: not line.breaker.is_open)
    assert (await line.visit(Visit(new_id())))[1].verdict in (Verdict.CALLED, Verdict.UNCONFIRMED)


async def test_everybody_gets_an_exception_of_their_own(line: Line, client: CountingClient) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise OSError("the cable is out")

    client.execute_command = fail  # type: ignore[method-assign]
    failures = await asyncio.gather(*(line.visit(Visit(new_id())) for _ in range(300)), return_exceptions=True)
    assert len({id(failure) for failure in failures}) == 300
    with pytest.raises(StoreError) as first:
        await line.visit(Visit(new_id()))
    with pytest.raises(StoreError) as second:
        await line.leave(new_id(), closing=False)
    assert first.value is not second.value


async def test_a_fault_of_our_own_is_told_and_nobody_waits_for_ever(
    line: Line, client: CountingClient, caplog: pytest.LogCaptureFixture
) -> None:
    real = client.execute_command

    async def nonsense(*args: Any, **options: Any) -> Any:
        reply = await real(*args, **options)
        return reply[:-1] if _is_visit(args) else reply

    client.execute_command = nonsense  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            results = await asyncio.gather(*(line.visit(Visit(new_id())) for _ in range(5)), return_exceptions=True)
            assert all(isinstance(result, StoreError) for result in results)
    assert "went wrong" in caplog.text
    client.execute_command = real  # type: ignore[method-assign]
    await wait_until(lambda: not line.breaker.is_open)
    assert (await line.visit(Visit(new_id())))[1].verdict in (Verdict.CALLED, Verdict.UNCONFIRMED)


async def test_the_breaker_asks_once_a_second_and_lets_nobody_else_ask(line: Line, client: CountingClient) -> None:
    asked = 0

    async def fail(*_: Any, **__: Any) -> Any:
        nonlocal asked
        asked += 1
        raise OSError("the cable is out")

    client.execute_command, real = fail, client.execute_command  # type: ignore[method-assign]
    clock = asyncio.get_running_loop().time
    started = clock()

    async def three_probes() -> bool:
        with pytest.raises(StoreError):
            await line.visit(Visit(new_id()))
        return asked >= 4

    await wait_until(three_probes)
    assert clock() - started > 1.9, "the first after a tenth of a second, the others a second apart"
    client.execute_command = real  # type: ignore[method-assign]
    await wait_until(lambda: not line.breaker.is_open)


async def test_a_probe_that_goes_wrong_in_a_new_way_is_followed_by_another(
    line: Line, client: CountingClient, caplog: pytest.LogCaptureFixture
) -> None:
    real = client.execute_command

    async def fail(*_: Any, **__: Any) -> Any:
        raise LookupError("nobody thought of this")

    client.execute_command = fail  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR):
        with pytest.raises(StoreError):
            await line.visit(Visit(new_id()))
        await wait_until(lambda: "the probe went wrong" in caplog.text)
    client.execute_command = real  # type: ignore[method-assign]
    await wait_until(lambda: not line.breaker.is_open)


# --- what is given back ---------------------------------------------------------------------------------------------


async def test_settings_and_flushes_are_given_back_to_a_store_that_lost_them(
    line: Line, client: CountingClient, store: Redis, tenant_name: str
) -> None:
    head, _ = await line.visit(Visit(new_id()))
    line.settings.generation = 4
    await store.delete(*TenantKeys(NAMESPACE, tenant_name).line())
    later, outcome = await line.visit(Visit(new_id()))
    assert (later.version, later.generation) == (1, 4)
    assert later.epoch > head.epoch
    assert later.clock >= head.clock, "the clock goes on from what the process knew"
    assert later.recovering
    assert outcome.verdict is Verdict.UNCONFIRMED


async def test_a_tick_gives_back_what_no_visit_asks_for(line: Line, store: Redis, tenant_name: str) -> None:
    await line.visit(Visit(new_id()))
    await store.delete(*TenantKeys(NAMESPACE, tenant_name).line())
    await line.tick()
    assert await store.hget(TenantKeys(NAMESPACE, tenant_name).config, "version") == b"1"
    line.settings.generation = 7
    await line.visit(Visit(new_id()))
    await store.hset(TenantKeys(NAMESPACE, tenant_name).config, "generation", "2")
    await line.tick()
    assert await store.hget(TenantKeys(NAMESPACE, tenant_name).config, "generation") == b"7"


async def test_a_store_that_does_not_keep_what_it_is_given_is_a_failing_one(line: Line) -> None:
    async def refuses(*_: Any, **__: Any) -> StaleSettings:
        return StaleSettings(-1)

    line.scripts.visit = refuses  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="does not keep the settings"):
        await line.visit(Visit(new_id()))


async def test_the_revoked_are_given_back_with_a_new_epoch(line: Line, store: Redis, tenant_name: str) -> None:
    gone = TenantKeys(NAMESPACE, tenant_name).gone
    ids = [new_id() for _ in range(250)]
    await line.visit(Visit(new_id()))
    await line.end_revoked(ids)
    await store.delete(*TenantKeys(NAMESPACE, tenant_name).line())
    await line.visit(Visit(new_id()))

    async def all_are_back() -> bool:
        return bool(await store.zcard(gone) == 250)

    await wait_until(all_are_back)


async def test_a_revoke_of_a_tenant_that_the_store_lost_gives_it_back_first(
    line: Line, store: Redis, tenant_name: str
) -> None:
    await line.visit(Visit(new_id()))
    await store.delete(*TenantKeys(NAMESPACE, tenant_name).line())
    revoked = new_id()
    await line.end_revoked([revoked])
    assert await store.zscore(TenantKeys(NAMESPACE, tenant_name).gone, revoked) is not None


def test_the_newest_ten_thousand_revoked_are_remembered() -> None:
    copy = StoredTenant(tenant("acme"), 1, 0).copy()
    line = Line(TenantStore(Redis(), NAMESPACE).scripts("acme"), copy, deadline=1)
    ids = [index.to_bytes(16, "big") for index in range(10_050)]
    line.revoke(ids)
    line.revoke(ids[60:61])
    assert len(line.revoked) == 10_000
    assert ids[49] not in line.revoked
    assert next(reversed(line.revoked)) == ids[60]


async def test_a_leave_where_the_store_has_lost_the_tenant_ends_nothing(
    line: Line, store: Redis, tenant_name: str
) -> None:
    await store.delete(*TenantKeys(NAMESPACE, tenant_name).line())
    assert not await line.leave(new_id(), closing=False)


# --- what a process knows -------------------------------------------------------------------------------------------


async def test_the_clock_is_unknown_first_and_goes_one_step_past_the_last_reply(line: Line) -> None:
    assert line.clock() == 0
    head, _ = await line.visit(Visit(new_id()))
    assert head.clock <= line.clock() <= head.clock + 3000
    line._clock_known_at -= 3600
    assert line.clock() == head.clock + 3000


async def test_an_older_reply_that_comes_late_is_not_taken_for_news(line: Line) -> None:
    first, _ = await line.visit(Visit(new_id()))
    second, _ = await line.visit(Visit(new_id()))
    line._remember(first)
    assert line.head == second


async def test_a_reply_that_shows_newer_settings_is_noticed(
    line: Line, client: CountingClient, tenant_name: str
) -> None:
    noticed: list[bool] = []
    line.on_stale = lambda: noticed.append(True)
    await line.visit(Visit(new_id()))
    assert (noticed, line.is_stale) == ([], False)
    store = TenantStore(client, NAMESPACE)
    await store.save(tenant(tenant_name, total_active_users=9), expected=1)
    await line.visit(Visit(new_id()))
    assert (noticed, line.is_stale) == ([True], True)
    await store.flush(tenant_name)
    await line.visit(Visit(new_id()))
    assert noticed == [True, True]


async def test_closing_lets_the_calls_under_way_end(line: Line) -> None:
    visits = [asyncio.ensure_future(line.visit(Visit(new_id()))) for _ in range(3)]
    await asyncio.sleep(0)
    await line.close()
    assert all(visit.done() for visit in visits) or await asyncio.gather(*visits)
