"""What a process does unasked: it hears of changes, finds out what it did not hear, ticks, and never stops doing so."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from ropeline.bench.fault_proxy import Fault, FaultProxy
from ropeline.gate.keeper import Keeper
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.client import RedisSettings, connect
from ropeline.lua.keys import TenantKeys, changes_channel
from tests.gate.visitors import PREFIX, Gated, quick_tenant, running, tenant
from tests.servers import Cluster, Server
from tests.support import wait_until


@asynccontextmanager
async def two_processes(url: str, namespace: str, **settings: Any) -> AsyncIterator[tuple[Gated, Gated]]:
    """Two gate processes of one installation, which has one tenant, `acme`."""
    async with (
        running(url, namespace, [tenant("acme", **settings)]) as one,
        running(url, namespace) as other,
    ):
        yield one, other


async def heard(gates: Sequence[Gated], version: int) -> None:
    """Wait at most the promised second until each process has these settings."""
    await wait_until(lambda: all(gated.gate.directory.tenants["acme"].version == version for gated in gates), timeout=1)


async def test_a_change_is_in_force_everywhere_within_a_second(valkey: Server, tenant_name: str) -> None:
    async with two_processes(valkey.url, tenant_name, total_active_users=0) as gates:
        visitors = [gated.visitor("acme") for gated in gates]
        assert {(await visitor.get()).status for visitor in visitors} == {503}
        await gates[0].gate.store.save(tenant("acme", total_active_users=0, queueing_status_code=202), expected=1)
        await heard(gates, 2)
        assert {(await visitor.get()).status for visitor in visitors} == {202}
        await gates[1].gate.store.save(tenant("acme", suspended=True), expected=2)
        await heard(gates, 3)
        assert {(await visitor.get()).status for visitor in visitors} == {200}


async def test_a_new_tenant_appears_everywhere(valkey: Server, tenant_name: str) -> None:
    async with two_processes(valkey.url, tenant_name) as gates:
        await gates[0].gate.store.save(tenant("beta"), expected=0)
        for gated in gates:

            async def is_served(gated: Gated = gated) -> bool:
                return (await gated.visitor("beta").get()).status != 421

            await wait_until(is_served, timeout=1)


async def test_a_flush_and_a_revoke_are_heard_by_processes_that_would_not_have_asked(
    valkey: Server, tenant_name: str
) -> None:
    async with two_processes(valkey.url, tenant_name, total_active_users=5, recheck=100.0) as (one, other):
        visitors = [one.visitor("acme") for _ in range(2)]
        for visitor in visitors:
            await visitor.get()
            await visitor.get()
        first, second = (other.visitor("acme", cookies=visitor.cookies) for visitor in visitors)
        for visitor in (first, second):
            assert (await visitor.get()).told == "admitted"
        line, ticket = other.line("acme"), one.gate.signer.read(first.ticket, "acme")
        assert ticket is not None
        await one.gate.store.revoke("acme", [ticket.id])
        await wait_until(lambda: ticket.id in line.revoked, timeout=1)
        old = first.ticket
        await first.get()
        assert first.ticket != old
        await one.gate.store.flush("acme")
        await wait_until(lambda: line.settings.generation == 1, timeout=1)
        old = second.ticket
        await second.get()
        assert second.ticket != old


async def test_whoever_asks_the_store_knows_a_change_at_once_also_when_the_message_was_lost(
    valkey: Server, tenant_name: str
) -> None:
    async with running(valkey.url, tenant_name, [tenant("acme", total_active_users=0)]) as gated:
        gated.gate._keeper._channel = "nobody speaks here"
        await gated.gate._keeper.stop()
        first = gated.visitor("acme")
        await first.get()
        await first.poll()
        await gated.gate.store.save(tenant("acme", total_active_users=1, queueing_status_code=202), expected=1)
        assert (await first.get()).told == "admitted", "the quota is the store's affair"
        await heard([gated], 2)
        assert (await gated.visitor("acme").get()).status == 202


async def test_a_change_that_nobody_heard_and_nobody_asks_about_is_found_by_the_tick(
    valkey: Server, tenant_name: str
) -> None:
    async with running(valkey.url, tenant_name, [tenant("acme", suspended=True)]) as gated:
        await gated.gate._keeper.stop()
        await gated.gate.store.save(tenant("acme", total_active_users=0), expected=1)
        keeper = gated.gate._keeper
        keeper._channel = "nobody speaks here"
        keeper._read_everything = _nothing  # type: ignore[method-assign]
        keeper.start()
        await wait_until(lambda: gated.gate.directory.tenants["acme"].version == 2, timeout=10)
        assert (await gated.visitor("acme").get()).status == 503


async def _nothing() -> None:
    return None


async def test_what_was_missed_while_the_connection_was_gone_is_read_afterwards(
    valkey: Server, tenant_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ropeline.gate.keeper._IDLE_EVERY", 1_000_000)  # or a tick would find it
    async with (
        FaultProxy(valkey.port) as proxy,
        running(valkey.url, tenant_name, [tenant("acme"), tenant("beta")]) as direct,
        running(proxy.url, tenant_name, deadline_ms=500) as gated,
    ):
        await wait_until(lambda: "beta" in gated.gate.directory.tenants)
        await proxy.set(Fault.REFUSE)
        await direct.gate.store.save(tenant("acme", suspended=True), expected=1)
        await direct.gate.store.save(tenant("gamma"), expected=0)
        await proxy.set(Fault.NONE)
        await wait_until(lambda: gated.gate.directory.tenants["acme"].settings.suspended, timeout=10)
        await wait_until(lambda: "gamma" in gated.gate.directory.tenants, timeout=10)


async def test_a_connection_that_died_in_silence_is_noticed(
    valkey: Server, store: Redis, tenant_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ropeline.gate.keeper._LISTEN_FOR", 0.1)
    async with FaultProxy(valkey.port) as proxy, running(proxy.url, tenant_name, deadline_ms=300) as gated:
        channel = changes_channel(tenant_name)
        await wait_until(lambda: valkey.call("PUBSUB NUMSUB", channel) == [(channel.encode(), 1)])
        with caplog.at_level(logging.DEBUG, "ropeline.gate.keeper"):
            await proxy.set(Fault.BLACKHOLE)
            await wait_until(lambda: "the connection that changes come by is dead" in caplog.text, timeout=10)
        await proxy.set(Fault.NONE)
        proxy.cut()
        await TenantStore(store, tenant_name).save(tenant("acme"), expected=0)
        await wait_until(lambda: "acme" in gated.gate.directory.tenants, timeout=10)


async def test_a_silent_connection_that_lives_is_kept(
    valkey: Server, tenant_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ropeline.gate.keeper._LISTEN_FOR", 0.2)
    async with running(valkey.url, tenant_name) as gated:
        with caplog.at_level(logging.DEBUG, "ropeline.gate.keeper"):
            loop = asyncio.get_running_loop()
            until = loop.time() + 2.6
            await wait_until(lambda: loop.time() > until)
            await gated.gate.store.save(tenant("acme"), expected=0)
            await wait_until(lambda: "acme" in gated.gate.directory.tenants, timeout=1)
        assert caplog.records == []


@pytest.mark.parametrize(
    "message",
    [
        "",
        "acme",
        "acme revoke xyz",
        "acme revoke",
        "acme recheck 12 34é",
        "acme jump",
        "\x00\xff",
        "nobody flush",
        "x " * 5000,
    ],
)
async def test_nonsense_on_the_channel_stops_nobody_from_listening(
    valkey: Server, tenant_name: str, message: str
) -> None:
    async with running(valkey.url, tenant_name, [tenant("acme")]) as gated:
        await gated.gate.store.client.execute_command(
            "PUBLISH", changes_channel(tenant_name), message.encode("latin-1")
        )
        await gated.gate.store.save(tenant("acme", suspended=True), expected=1)
        await heard([gated], 2)


async def test_the_tick_gives_a_freed_slot_on_although_nobody_asks(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [quick_tenant(tenant_name, waiting_ttl=30)]) as gated:
        first, second = gated.visitor(tenant_name), gated.visitor(tenant_name)
        for visitor in (first, first, second, second):
            await visitor.get()
        await wait_until(lambda: gated.head(tenant_name).waiting == 0, timeout=10)
        keys = TenantKeys(tenant_name, tenant_name)
        score = await gated.gate.store.client.execute_command("ZRANGE", keys.sessions, 0, -1, "WITHSCORES")
        assert len(score) <= 2


async def test_a_line_that_nobody_is_in_costs_no_call_a_second(start_server: Any) -> None:
    server = start_server()
    async with running(server.url, "gate", [tenant(f"tenant-{index}") for index in range(40)]) as gated:
        await wait_until(lambda: gated.gate.directory.tenants)
        loop = asyncio.get_running_loop()

        def calls() -> int:
            stats = server.info("commandstats")
            return sum(
                int(value["calls"]) for name, value in stats.items() if name in ("cmdstat_evalsha", "cmdstat_hmget")
            )

        until = loop.time() + 1.2
        await wait_until(lambda: loop.time() > until)
        before, until = calls(), loop.time() + 3
        await wait_until(lambda: loop.time() > until)
        # Each is looked at every five seconds, and by one call.
        assert calls() - before <= 40 * 2


async def test_nothing_that_goes_wrong_in_a_tick_ends_the_ticking(
    valkey: Server, tenant_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(valkey.url, tenant_name, [quick_tenant(tenant_name)]) as gated:
        visitor = gated.visitor(tenant_name)
        await visitor.get()
        line = gated.line(tenant_name)
        real, failures = line.tick, iter([ValueError("nobody thought of this"), RuntimeError("nor of that")])

        async def tick() -> bool:
            failure = next(failures, None)
            if failure is not None:
                raise failure
            return await real()

        line.tick = tick  # type: ignore[method-assign]
        with caplog.at_level(logging.ERROR):
            await wait_until(lambda: gated.head(tenant_name).active == 0, timeout=10)
        assert [record.getMessage() for record in caplog.records] == [
            f"the tick of tenant {tenant_name} went wrong"
        ] * 2


async def test_it_starts_and_stops_as_often_as_it_is_told(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name) as gated:
        keeper = gated.gate._keeper
        assert isinstance(keeper, Keeper)
        tasks = list(keeper._tasks)
        keeper.start()
        assert keeper._tasks == tasks
        await keeper.stop()
        await keeper.stop()
        assert all(task.done() for task in tasks)
        keeper.start()
        assert len(keeper._tasks) == 2


async def test_all_of_it_works_on_a_cluster(cluster: Cluster, tenant_name: str) -> None:
    async with two_processes(cluster.url, tenant_name, total_active_users=1, recheck=100.0) as (one, other):
        visitor = one.visitor("acme")
        await visitor.get()
        await visitor.get()
        elsewhere = other.visitor("acme", cookies=visitor.cookies)
        assert (await elsewhere.get()).told == "admitted"
        assert (await other.visitor("acme").get()).told == "queued"
        await one.gate.store.save(tenant("acme", total_active_users=1, queueing_status_code=202), expected=1)
        await wait_until(lambda: other.gate.directory.tenants["acme"].version == 2, timeout=5)
        ticket = one.gate.signer.read(visitor.ticket, "acme")
        assert ticket is not None
        await visitor.post(f"{PREFIX}leave")

        async def has_left_everywhere() -> bool:
            return (await elsewhere.get()).told == "queued" or not other.gate.directory.tenants["acme"].recent.passes(
                ticket.id
            )

        await wait_until(has_left_everywhere, timeout=5)
    client = connect(RedisSettings(cluster.url))
    assert await TenantStore(client, tenant_name).names() == ["acme"]
    await client.aclose()
