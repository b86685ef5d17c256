"""The tenants of a process: as the store has them, as the file has them without it, and never older than they were."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from ropeline.gate.directory import Directory
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tenant_store import ChangedMeanwhile, RouteTaken, TenantStore, UnknownTenant
from ropeline.lua.errors import ConfigurationError, StoreError
from ropeline.lua.keys import DirectoryKeys, TenantKeys
from ropeline.lua.visits import Visit
from tests.gate.visitors import tenant
from tests.servers import Server
from tests.support import wait_until


@pytest.fixture
async def tenants(store: Redis, tenant_name: str) -> TenantStore:
    """The tenants of a namespace of the test's own, none yet."""
    return TenantStore(store, tenant_name)


@pytest.fixture
async def directory(tenants: TenantStore) -> AsyncIterator[Directory]:
    directory = Directory(tenants, deadline=10)
    yield directory
    await directory.close()


def route(directory: Directory, host: str) -> str | None:
    found = directory.router.route(host.encode(), b"/", b"/")
    return None if found is None else found.name


async def test_the_tenants_of_the_store_are_served(directory: Directory, tenants: TenantStore) -> None:
    for name in ("acme", "beta"):
        await tenants.save(tenant(name), expected=0)
    await directory.refresh()
    assert sorted(directory.tenants) == ["acme", "beta"]
    assert route(directory, "beta.example.com") == "beta"
    assert route(directory, "gamma.example.com") is None


async def test_the_file_is_served_at_once_and_written_to_the_store(directory: Directory, tenants: TenantStore) -> None:
    directory.assume([tenant("acme")])
    assert route(directory, "acme.example.com") == "acme"
    assert directory.is_incomplete
    await directory.refresh()
    assert [directory.is_incomplete] == [False]
    assert (directory.tenants["acme"].version, await tenants.names()) == (1, ["acme"])


async def test_what_an_operator_changed_outlives_the_file_until_its_entry_changes(
    directory: Directory, tenants: TenantStore
) -> None:
    await tenants.apply_file([tenant("acme")])
    await tenants.save(
        tenant("acme", total_active_users=50), expected=1, file_digest=(await tenants.read("acme")).file_digest
    )
    directory.assume([tenant("acme")])
    assert directory.tenants["acme"].settings.quota == 1
    await directory.refresh()
    assert directory.tenants["acme"].settings.quota == 50
    await tenants.apply_file([tenant("acme", total_active_users=7)])
    await directory.reload("acme")
    assert directory.tenants["acme"].settings.quota == 7


async def test_a_change_replaces_the_tenant_whole_and_its_line_goes_on(
    directory: Directory, tenants: TenantStore
) -> None:
    await tenants.save(tenant("acme"), expected=0)
    await directory.refresh()
    before = directory.tenants["acme"]
    before.recent.remember(b"x" * 16, 100)
    await tenants.save(tenant("acme", host="new.example.com", recheck=10), expected=1)
    await directory.reload("acme")
    after = directory.tenants["acme"]
    assert (route(directory, "acme.example.com"), route(directory, "new.example.com")) == (None, "acme")
    assert after.line is before.line
    assert after.line.settings.version == 2


async def test_what_is_no_newer_changes_nothing(directory: Directory, tenants: TenantStore) -> None:
    await tenants.save(tenant("acme", recheck=100), expected=0)
    await directory.refresh()
    known = directory.tenants["acme"]
    known.recent.remember(b"x" * 16, 100)
    await directory.reload("acme")
    assert directory.tenants["acme"] is known
    await directory.reload("nobody")
    assert list(directory.tenants) == ["acme"]


async def test_a_flush_forgets_recent_visits_and_is_never_taken_back(
    directory: Directory, tenants: TenantStore, store: Redis, tenant_name: str
) -> None:
    await tenants.save(tenant("acme", recheck=100), expected=0)
    await directory.refresh()
    directory.tenants["acme"].recent.remember(b"x" * 16, 100)
    assert directory.tenants["acme"].recent.passes(b"x" * 16)
    await tenants.flush("acme")
    await directory.reload("acme")
    assert not directory.tenants["acme"].recent.passes(b"x" * 16)
    assert directory.tenants["acme"].line.settings.generation == 1
    # A failover that lost the flush, and a change after it.
    await store.hset(TenantKeys(tenant_name, "acme").config, "generation", "0")
    await tenants.save(tenant("acme", total_active_users=8, recheck=100), expected=1)
    await directory.reload("acme")
    assert directory.tenants["acme"].settings.quota == 8
    assert directory.tenants["acme"].line.settings.generation == 1


async def test_a_store_that_lost_its_tenants_gets_them_back(
    directory: Directory, tenants: TenantStore, store: Redis, tenant_name: str
) -> None:
    await tenants.save(tenant("acme"), expected=0)
    await directory.refresh()
    keys = DirectoryKeys(tenant_name)
    await store.delete(keys.tenants, keys.hosts, *TenantKeys(tenant_name, "acme").line())
    await directory.refresh()
    other = Directory(tenants, deadline=10)
    await other.refresh()
    assert route(other, "acme.example.com") == "acme"
    assert other.tenants["acme"].version == 1


async def test_a_tenant_whose_host_was_taken_meanwhile_keeps_no_other_from_being_read(
    directory: Directory, tenants: TenantStore, store: Redis, tenant_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    await tenants.save(tenant("acme"), expected=0)
    await directory.refresh()
    keys = DirectoryKeys(tenant_name)
    await store.delete(keys.tenants, keys.hosts)
    await tenants.save(tenant("thief", host="acme.example.com"), expected=0)
    with caplog.at_level(logging.ERROR):
        await directory.refresh()
    assert "tenant acme cannot be given back" in caplog.text
    assert sorted(directory.tenants) == ["acme", "thief"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        '{"settings": 7}',
        '{"settings": {}}',
        json.dumps({"settings": {"name": "acme"}}),
        json.dumps({"settings": {**tenant("acme").to_mapping(), "quota": 3}}),
        "[" * 100_000,
    ],
)
async def test_settings_that_cannot_be_read_leave_the_tenant_as_it_was(
    directory: Directory, tenants: TenantStore, tenant_name: str, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    await tenants.save(tenant("acme"), expected=0)
    await directory.refresh()
    known = directory.tenants["acme"]
    config = TenantKeys(tenant_name, "acme").config
    await tenants.client.execute_command("HSET", config, "settings", text, "version", "2")
    with caplog.at_level(logging.ERROR):
        await directory.reload("acme")
    assert directory.tenants["acme"] is known
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "\n" not in message
    assert len(message) < 1000
    with pytest.raises(ConfigurationError):
        await tenants.read("acme")


async def test_a_version_that_a_reply_showed_is_read_once_however_many_saw_it(
    directory: Directory, tenants: TenantStore
) -> None:
    await tenants.save(tenant("acme"), expected=0)
    await directory.refresh()
    await tenants.save(tenant("acme", total_active_users=4), expected=1)
    for _ in range(100):
        directory.notice("acme")
    assert len(directory._reloads) == 1
    await wait_until(lambda: directory.tenants["acme"].settings.quota == 4)
    await wait_until(lambda: not directory._reloads)


async def test_who_was_revoked_passes_no_more(directory: Directory, tenants: TenantStore) -> None:
    await tenants.save(tenant("acme", recheck=100), expected=0)
    await directory.refresh()
    acme = directory.tenants["acme"]
    for id_ in (b"x" * 16, b"y" * 16):
        acme.recent.remember(id_, 100)
    directory.revoke("acme", [b"x" * 16])
    directory.recheck("acme", [b"y" * 16])
    directory.revoke("nobody", [b"x" * 16])
    directory.recheck("nobody", [b"x" * 16])
    assert not acme.recent.passes(b"x" * 16)
    assert not acme.recent.passes(b"y" * 16)
    assert list(acme.line.revoked) == [b"x" * 16]


async def test_a_store_that_does_not_answer_leaves_everything_as_it_was(fresh_server: Server) -> None:
    client = fresh_server.connect()
    directory = Directory(TenantStore(client, "gate"), deadline=0.2)
    directory.assume([tenant("acme")])
    fresh_server.pause()
    with pytest.raises(StoreError):
        await directory.refresh()
    await directory.reload("acme")
    assert route(directory, "acme.example.com") == "acme"
    assert directory.is_incomplete
    fresh_server.resume()
    await directory.close()
    await client.aclose()


# --- writing tenants ------------------------------------------------------------------------------------------------


async def test_a_change_is_written_over_the_version_that_was_read_or_not_at_all(tenants: TenantStore) -> None:
    await tenants.save(tenant("acme"), expected=0)
    with pytest.raises(ChangedMeanwhile, match="version of acme: got 0, expected 1"):
        await tenants.save(tenant("acme", host="other.example.com"), expected=0)
    assert (await tenants.read("acme")).settings.host == "acme.example.com"
    with pytest.raises(RouteTaken, match=r"host: got 'acme\.example\.com/'.*acme has it"):
        await tenants.save(tenant("thief", host="acme.example.com"), expected=0)
    assert await tenants.names() == ["acme"]


async def test_the_route_stays_the_winners_when_two_change_at_once(tenants: TenantStore) -> None:
    await tenants.save(tenant("acme"), expected=0)
    changes = [tenant("acme", host=f"host-{index}.example.com") for index in range(5)]
    results = await asyncio.gather(*(tenants.save(change, expected=1) for change in changes), return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    winner = (await tenants.read("acme")).settings.host
    await tenants.save(tenant("beta", host="host-9.example.com"), expected=0)
    for change in changes:
        if change.host != winner:
            await tenants.save(tenant(f"free-{change.host[5]}", host=change.host), expected=0)


@pytest.mark.parametrize("call", ["read", "flush", "status"])
async def test_a_tenant_that_is_not_there_is_named_with_those_that_are(tenants: TenantStore, call: str) -> None:
    await tenants.save(tenant("acme"), expected=0)
    with pytest.raises(UnknownTenant, match="tenant: got 'acne', expected one that the store has: acme"):
        await getattr(tenants, call)("acne")


async def test_revoking_names_what_is_wrong_with_the_ids(tenants: TenantStore) -> None:
    await tenants.save(tenant("acme"), expected=0)
    wrong: list[list[bytes]] = [[], [b"x" * 16] * 101, [b"short"]]
    for ids in wrong:
        with pytest.raises(ConfigurationError, match="1 to 100 ids of 16 bytes each"):
            await tenants.revoke("acme", ids)
    with pytest.raises(UnknownTenant):
        await tenants.revoke("acne", [b"x" * 16])
    assert await tenants.revoke("acme", [b"x" * 16]) == 0


def test_what_is_stored_is_what_was_set(tenant_name: str) -> None:
    settings: Any = tenant(tenant_name)
    assert TenantSettings.from_mapping(settings.to_mapping(), source="x") == settings


async def test_a_tenant_that_an_operator_deleted_is_served_no_more_and_not_given_back(
    directory: Directory, tenants: TenantStore
) -> None:
    for name in ("acme", "beta"):
        await tenants.save(tenant(name), expected=0)
    await directory.refresh()
    await tenants.remove("acme")
    await tenants.remove("beta")
    await directory.reload("acme")
    assert (list(directory.tenants), route(directory, "acme.example.com")) == (["beta"], None)
    await directory.refresh()
    assert (list(directory.tenants), await tenants.names()) == ([], [])


async def test_a_process_that_did_not_hear_of_a_deletion_learns_it_from_a_visit(
    directory: Directory, tenants: TenantStore
) -> None:
    await tenants.save(tenant("acme"), expected=0)
    await directory.refresh()
    line = directory.tenants["acme"].line
    await line.visit(Visit(b"x" * 16))
    await tenants.remove("acme")
    with pytest.raises(StoreError):
        await line.visit(Visit(b"y" * 16))
    await wait_until(lambda: not directory.tenants)
    assert await tenants.is_deleted("acme")
