"""Tenants are made, changed, shown, paused and flushed on a real store, whole or not at all."""

import asyncio
import json
import os
import pty
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ropeline.gate.line import Line
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tenant_store import StoredTenant, TenantStore
from ropeline.lua.audit import AuditEntry
from ropeline.lua.client import RedisSettings, connect
from ropeline.lua.errors import StoreError
from ropeline.lua.visits import Visit
from tests.cli.running import COMMAND, Command, environment, run
from tests.servers import Server

ACME = ("tenant", "set", "acme", "host=acme.test", "total_active_users=5")


def settings_of(command: Command, name: str) -> dict[str, object]:
    document = json.loads(command("tenant", "get", name, "--json").out)
    settings = document["settings"]
    assert isinstance(settings, dict)
    return settings


def test_a_tenant_is_made_changed_and_shown(tmp_path: Path, on_store: dict[str, str]) -> None:
    """As separate processes, the way an operator does it."""
    made = run(tmp_path, *ACME, "poll.floor=2", environ=on_store)
    assert (made.status, made.err) == (0, "")
    assert made.out.splitlines()[0] == "acme: made, version 1"
    assert [line.split() for line in made.out.splitlines()[1:]] == [
        ["host", "acme.test"],
        ["total_active_users", "5"],
        ["poll.floor", "2"],
    ]
    changed = run(tmp_path, "tenant", "set", "acme", "total_active_users=9", "title=Acme", environ=on_store)
    assert changed.out.splitlines()[0] == "acme: changed, version 2"
    assert [line.split() for line in changed.out.splitlines()[1:]] == [
        ["title", "acme", "->", "Acme"],
        ["total_active_users", "5", "->", "9"],
    ]
    shown = run(tmp_path, "tenant", "get", "acme", environ=on_store).out.splitlines()
    assert {"host=acme.test", "total_active_users=9", "title=Acme", "poll.floor=2", "paused=false"} <= set(shown)


def test_what_is_the_same_already_is_not_written_again(on_store_command: Command) -> None:
    on_store_command(*ACME)
    assert on_store_command(*ACME).out == "acme: nothing to change, version 1\n"


def test_one_wrong_setting_leaves_the_tenant_as_it_was(on_store_command: Command) -> None:
    on_store_command(*ACME)
    before = settings_of(on_store_command, "acme")
    ended = on_store_command("tenant", "set", "acme", "total_active_users=9", "waiting_ttl=0.3")
    assert ended.status == 2
    assert "waiting_ttl: got 0.3, expected at least 90" in ended.refusal
    assert settings_of(on_store_command, "acme") == before


def test_a_host_that_another_tenant_has_is_refused(on_store_command: Command) -> None:
    on_store_command(*ACME)
    ended = on_store_command("tenant", "set", "other", "host=acme.test", "total_active_users=1")
    assert ended.status == 2
    assert ended.refusal == "host: got 'acme.test/', expected a host and path that no other tenant has: acme has it"
    assert [tenant["name"] for tenant in json.loads(on_store_command("tenant", "list", "--json").out)["tenants"]] == [
        "acme"
    ]


@pytest.mark.parametrize("words", [("get",), ("pause",), ("resume",), ("flush", "--yes")])
def test_a_tenant_that_is_not_there_is_told_with_those_that_are(
    on_store_command: Command, words: tuple[str, ...]
) -> None:
    on_store_command(*ACME)
    ended = on_store_command("tenant", words[0], "acne", *words[1:])
    assert ended.status == 2
    assert ended.refusal == "tenant: got 'acne', expected one that the store has: acme"


def test_all_tenants_are_listed(on_store_command: Command) -> None:
    assert on_store_command("tenant", "list").out.startswith("no tenants yet; make one: ropeline tenant set")
    on_store_command(*ACME, 'additional_routes=[{"host": "b.test"}]')
    on_store_command("tenant", "set", "beta", "host=beta.test", "total_active_users=1", "new_users_per_minute=60")
    on_store_command("tenant", "pause", "beta")
    assert [line.split() for line in on_store_command("tenant", "list").out.splitlines()[1:]] == [
        ["acme", "acme.test/", "and", "1", "more", "5", "none", "fifo", "1"],
        ["beta", "beta.test/", "1", "60", "paused", "2"],
    ]


def test_a_tenant_that_cannot_be_read_does_not_hide_the_others(
    on_store_command: Command, on_store: dict[str, str], valkey: Server
) -> None:
    on_store_command(*ACME)
    on_store_command("tenant", "set", "beta", "host=beta.test", "total_active_users=1")
    on_store_command("tenant", "set", "lost", "host=lost.test", "total_active_users=1")
    namespace = on_store["ROPELINE_NAMESPACE"]
    newer = json.dumps({"settings": {"name": "acme", "host": "acme.test", "total_active_users": 5, "new": 1}})
    valkey.call("HSET", f"{namespace}:{{acme}}:config", "settings", newer)
    valkey.call("DEL", f"{namespace}:{{lost}}:config")
    _, acme, beta, lost = on_store_command("tenant", "list").out.splitlines()
    assert "cannot be read: tenant acme in the store: new: got 1" in acme
    assert beta.split()[:3] == ["beta", "beta.test/", "1"]
    assert "has no settings in the store" in lost
    listed = json.loads(on_store_command("tenant", "list", "--json").out)["tenants"]
    assert [sorted(tenant) for tenant in listed] == [
        ["error", "name"],
        ["generation", "name", "settings", "version"],
        ["error", "name"],
    ]


def test_a_pause_ends_with_resume(on_store_command: Command) -> None:
    on_store_command(*ACME)
    assert [line.split() for line in on_store_command("tenant", "pause", "acme").out.splitlines()] == [
        ["acme:", "changed,", "version", "2"],
        ["paused", "false", "->", "true"],
    ]
    assert settings_of(on_store_command, "acme")["paused"] is True
    on_store_command("tenant", "resume", "acme")
    assert settings_of(on_store_command, "acme")["paused"] is False


def test_a_change_in_between_is_kept(on_store_command: Command, on_store: dict[str, str]) -> None:
    """Somebody else writes between our reading and our writing, for as long as we are patient."""
    on_store_command(*ACME)
    save, rivals = TenantStore.save, [6, 7, 8]

    async def save_second(self: TenantStore, settings: TenantSettings, *, expected: int, **others: Any) -> StoredTenant:
        if rivals:
            theirs = (await self.read("acme")).settings
            await save(self, replace(theirs, new_users_per_minute=rivals.pop(0)), expected=expected)
        return await save(self, settings, expected=expected, **others)

    on_store_command.patch.setattr(TenantStore, "save", save_second)
    assert on_store_command("tenant", "set", "acme", "total_active_users=9").status == 0
    settings = settings_of(on_store_command, "acme")
    assert (settings["new_users_per_minute"], settings["total_active_users"]) == (8, 9)
    rivals += range(10, 30)
    ended = on_store_command("tenant", "set", "acme", "total_active_users=10")
    assert ended.status == 1
    assert ended.refusal.startswith("version of acme: got ")
    assert settings_of(on_store_command, "acme")["total_active_users"] == 9


async def wait_in_line(environ: dict[str, str], name: str, visitors: int, *, confirm: bool = False) -> list[bytes]:
    """Let visitors into the tenant's line and return their ids; who draws a place is in line when it is to `confirm` it."""
    client = connect(RedisSettings(environ["REDIS_URL"]))
    try:
        store = TenantStore(client, environ["ROPELINE_NAMESPACE"])
        line = Line(store.scripts(name), (await store.read(name)).copy(), deadline=5)
        ids = [uuid4().bytes for _ in range(visitors)]
        for id_ in ids:
            head, outcome = await line.visit(Visit(id_))
            if confirm:
                held = Visit(id_, ticketed=True, id=id_, place=outcome.place, end=outcome.end, epoch=head.epoch)
                await line.visit(held)
        await line.close()
        return ids
    finally:
        await client.aclose()


def test_a_flush_asks_before_it_empties_the_line(
    tmp_path: Path, on_store_command: Command, on_store: dict[str, str]
) -> None:
    on_store_command(*ACME)
    asyncio.run(wait_in_line(on_store, "acme", 3))
    refused = on_store_command("tenant", "flush", "acme")
    assert refused.status == 2
    assert refused.refusal.endswith("expected a terminal or --yes")
    for answer, status in ((b"\n", 1), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        flush = [COMMAND, "tenant", "flush", "acme"]
        with subprocess.Popen(
            flush, cwd=tmp_path, env=environment(on_store), stdin=theirs, stdout=subprocess.PIPE, text=True
        ) as process:
            os.close(theirs)
            os.write(ours, answer)
            out, _ = process.communicate(timeout=30)
        os.close(ours)
        assert process.returncode == status
        assert "acme: 0 waiting and 3 on the site lose their places." in out
        assert ("flushed, generation 1" in out) is (status == 0)


def test_a_store_that_fails_meanwhile_is_told(on_store_command: Command) -> None:
    on_store_command(*ACME)

    async def fail(*_: object, **__: object) -> None:
        raise StoreError("it has no time")

    on_store_command.patch.setattr(TenantStore, "save", fail)
    ended = on_store_command("tenant", "pause", "acme")
    assert ended.status == 1
    assert ended.refusal.endswith("(from REDIS_URL) cannot do this now: it has no time")


def test_who_changed_what_and_why_is_in_the_audit_trail(on_store_command: Command, on_store: dict[str, str]) -> None:
    on_store_command(*ACME)
    assert on_store_command("tenant", "pause", "acme", "--reason", "the till is broken").status == 0

    async def trail() -> list[AuditEntry]:
        client = connect(RedisSettings(on_store["REDIS_URL"]))
        try:
            return await TenantStore(client, on_store["ROPELINE_NAMESPACE"]).changes("acme").trail(count=10)
        finally:
            await client.aclose()

    last, first = asyncio.run(trail())
    assert (first.action, first.reason, first.facts["before"]) == ("change", "", "")
    assert (last.action, last.reason) == ("pause", "the till is broken")
    assert last.actor.startswith("cli:")
    too_long = on_store_command("tenant", "pause", "acme", "--reason", "x" * 201)
    assert too_long.status == 2
