"""A look at all lines: true, bounded, and no more often than once a second."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from redis.asyncio import Redis

from ropeline.gate.survey import Survey
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.client import connect
from ropeline.lua.keys import DirectoryKeys, TenantKeys
from tests.gate.visitors import tenant
from tests.servers import Server, StartServer, patient


class Watched:
    """A client that notes what is sent, and how much at once."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.sent: Counter[str] = Counter()
        self.under_way = self.most = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        self.sent[str(args[0])] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await self._client.execute_command(*args, **options)  # type: ignore[no-untyped-call]
        finally:
            self.under_way -= 1


@pytest.fixture
async def watched(store: Redis) -> Watched:
    return Watched(store)


@pytest.fixture
async def tenants(watched: Watched, tenant_name: str) -> TenantStore:
    """Thirty tenants in a namespace of the test's own."""
    store = TenantStore(watched, tenant_name)
    for number in range(30):
        await store.save(tenant(f"tenant-{number:02}", total_active_users=number), expected=0)
    watched.sent.clear()
    watched.most = 0
    return store


async def test_every_line_is_read_once_by_a_few_calls_at_a_time(tenants: TenantStore, watched: Watched) -> None:
    survey = Survey(tenants, deadline=10)
    taken = await survey.look()
    assert [(snapshot.name, snapshot.settings.quota) for snapshot in taken] == [
        (f"tenant-{number:02}", number) for number in range(30)
    ]
    assert watched.sent["HKEYS"] == 1
    assert watched.sent["HMGET"] == 30, "the settings, once"
    assert watched.sent["EVALSHA"] == 30
    assert 1 < watched.most <= 4


async def test_however_many_ask_the_store_is_asked_once_a_second(tenants: TenantStore, watched: Watched) -> None:
    survey = Survey(tenants, deadline=10)
    first, *others = await asyncio.gather(*(survey.look() for _ in range(50)))
    assert all(other is first for other in others)
    assert watched.sent["EVALSHA"] == 30


async def test_changed_settings_are_read_again_and_a_tenant_that_is_gone_is_forgotten(
    tenants: TenantStore, watched: Watched, store: Redis
) -> None:
    known: dict[str, Any] = {}
    await Survey(tenants, deadline=10, known=known).look()
    await tenants.save(tenant("tenant-07", total_active_users=700), expected=1)
    await store.hdel(DirectoryKeys(tenants.namespace).tenants, "tenant-08")
    watched.sent.clear()
    taken = {snapshot.name: snapshot for snapshot in await Survey(tenants, deadline=10, known=known).look()}
    assert (taken["tenant-07"].settings.quota, taken["tenant-07"].version) == (700, 2)
    assert watched.sent["HMGET"] == 1
    assert len(taken) == len(known) == 29


async def test_settings_that_nobody_can_read_hide_no_other_tenant(tenants: TenantStore, store: Redis) -> None:
    await store.hset(TenantKeys(tenants.namespace, "tenant-03").config, "settings", "{")
    survey = Survey(tenants, deadline=10)
    assert len(await survey.look()) == 29
    assert "tenant-03" not in [settings.name for settings in survey.tenants]


async def test_a_store_that_does_not_answer_is_told_and_what_was_seen_last_stays(start_server: StartServer) -> None:
    server: Server = start_server()
    client = connect(patient(server.url))
    tenants = TenantStore(client, "gate")
    await tenants.save(tenant("acme"), expected=0)
    known: dict[str, Any] = {}
    survey = Survey(tenants, deadline=10, known=known)
    assert len(await survey.look()) == 1
    assert (survey.problem, survey.taken_at > 0) == ("", True)
    server.kill()
    later = Survey(tenants, deadline=10, known=known)
    assert await later.look() == ()
    assert later.problem
    assert [settings.name for settings in later.tenants] == ["acme"]
    await client.aclose()
