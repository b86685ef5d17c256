"""Changes of tenants: each stands in the audit trail, is made once however often its call is sent, and is whole."""

import asyncio
import json
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from ropeline.gate.tenant_store import CallMisused, ChangedMeanwhile, RouteTaken, TenantStore, UnknownTenant
from ropeline.lua.audit import AuditEntry, Author
from ropeline.lua.keys import TenantKeys
from tests.gate.visitors import tenant


@pytest.fixture
async def tenants(store: Redis, tenant_name: str) -> TenantStore:
    """The tenants of a namespace of the test's own, none yet."""
    return TenantStore(store, tenant_name)


def author(number: int, action: str = "change", fingerprint: str = "same") -> Author:
    return Author("key:anna", action, "a test", f"{number:032x}", fingerprint)


async def trail(tenants: TenantStore, name: str) -> list[AuditEntry]:
    """Every change, the oldest first."""
    return list(reversed(await tenants.changes(name).trail(count=1000)))


def replayed(entries: list[AuditEntry]) -> tuple[dict[str, object] | None, int, int]:
    """Settings, version and generation after all changes, each of which has to begin where the one before ended."""
    text, version, generation = "", 0, 0
    for number, entry in enumerate(entries, 1):
        assert entry.sequence == number
        if entry.action != "flush":
            assert entry.facts["before"] == text
            text = entry.facts["after"]
        version, generation = int(entry.facts["version"]), int(entry.facts["generation"])
    return json.loads(text)["settings"] if text else None, version, generation


async def test_replaying_the_audit_trail_gives_the_state(tenants: TenantStore) -> None:
    made = await tenants.save(tenant("acme"), expected=0, author=author(1))
    assert (made.version, made.generation) == (1, 0)
    raised = replace(made.settings, total_active_users=7)
    await tenants.save(raised, expected=1, author=author(2))
    assert await tenants.flush("acme", author=author(3, "flush")) == 1
    await tenants.remove("acme", expected=2, author=author(4, "delete"))
    assert replayed(await trail(tenants, "acme")) == (None, 3, 2)
    again = await tenants.save(raised, expected=0, author=author(5))
    assert (again.version, again.generation) == (4, 2), "tickets from before are worthless, and no version comes twice"
    entries = await trail(tenants, "acme")
    assert replayed(entries) == (raised.to_mapping(), again.version, again.generation)
    assert [(entry.actor, entry.reason, entry.action) for entry in entries][2] == ("key:anna", "a test", "flush")
    assert await tenants.find("acme") == again


async def test_concurrent_changes_replay_to_what_is_in_force(tenants: TenantStore) -> None:
    await tenants.save(tenant("acme"), expected=0, author=author(1))

    async def raise_quota(number: int) -> None:
        while True:
            stored = await tenants.read("acme")
            wanted = replace(stored.settings, total_active_users=stored.settings.quota + 1)
            try:
                await tenants.save(wanted, expected=stored.version, author=author(number))
            except ChangedMeanwhile:
                continue
            return

    await asyncio.gather(*(raise_quota(number) for number in range(2, 22)))
    stored = await tenants.read("acme")
    assert (stored.settings.quota, stored.version) == (21, 21)
    assert replayed(await trail(tenants, "acme")) == (stored.settings.to_mapping(), 21, 0)


async def test_a_call_that_is_sent_again_is_not_carried_out_again(tenants: TenantStore) -> None:
    first = await tenants.save(tenant("acme"), expected=0, author=author(1))
    second = await tenants.save(tenant("acme", total_active_users=9), expected=1, author=author(2))
    assert await tenants.save(tenant("acme"), expected=0, author=author(1)) == first
    assert await tenants.find("acme") == second
    assert await tenants.flush("acme", author=author(3, "flush")) == 1
    assert await tenants.flush("acme", author=author(3, "flush")) == 1
    with pytest.raises(CallMisused):
        await tenants.flush("acme", author=author(3, "flush", fingerprint="other"))
    with pytest.raises(CallMisused):
        await tenants.save(tenant("acme"), expected=2, author=author(2, fingerprint="other"))
    for _ in range(2):
        await tenants.remove("acme", author=author(4, "delete"))
    assert len(await trail(tenants, "acme")) == 4


async def test_a_tenant_that_was_deleted_leaves_its_hosts_and_its_trail(tenants: TenantStore, store: Redis) -> None:
    await tenants.save(tenant("acme"), expected=0)
    with pytest.raises(RouteTaken):
        await tenants.save(replace(tenant("beta"), host="acme.example.com"), expected=0)
    with pytest.raises(ChangedMeanwhile):
        await tenants.remove("acme", expected=7)
    await store.hset(TenantKeys(tenants.namespace, "acme").loop, "version", "1")
    await store.xadd(TenantKeys(tenants.namespace, "acme").steps, {"after": "7"})
    await tenants.remove("acme")
    assert (await tenants.names(), await tenants.routes(), await tenants.find("acme")) == ([], {}, None)
    assert await tenants.is_deleted("acme")
    keys = TenantKeys(tenants.namespace, "acme")
    left = {key.decode() for key in await store.keys(f"{tenants.namespace}:*") if isinstance(key, bytes)}
    assert left == {keys.config, keys.audit}
    await tenants.save(replace(tenant("beta"), host="acme.example.com"), expected=0)
    for wrong in ("acme", "nobody"):
        with pytest.raises(UnknownTenant):
            await tenants.remove(wrong)


async def test_a_deletion_that_broke_off_between_the_slots_is_finished_by_the_next(tenants: TenantStore) -> None:
    await tenants.save(tenant("acme"), expected=0)
    await tenants.changes("acme").remove(expected=-1, author=author(1, "delete"))
    assert await tenants.names() == ["acme"]
    await tenants.remove("acme")
    assert await tenants.names() == []
