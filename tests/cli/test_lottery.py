"""A draw by lot is shown, exported and verified; the seed comes out of no command before its time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ropeline.gate.lots import place_of
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tenant_store import StoredTenant, TenantStore
from ropeline.lua.client import RedisSettings, connect
from ropeline.lua.keys import TenantKeys
from tests.cli.running import Command

SEED = bytes(range(32))
IDS = [hashlib.sha256(bytes([number])).digest()[:16] for number in range(50)]


def moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def store_draw(place: dict[str, str], *, starts: int) -> int:
    """A tenant whose event has been drawn for, and fifty visitors in line by it; when its pre-queue opened."""
    now = int(time.time())
    opened = now + starts - 100
    event = {
        "name": "sale",
        "prequeue_start_time": moment(opened),
        "event_start_time": moment(now + starts),
        "event_end_time": moment(now + 900),
        "shuffle_at_event_start": True,
    }
    mapping = {"name": "acme", "host": "acme.test", "total_active_users": 5, "events": [event]}

    async def write() -> None:
        client, namespace = connect(RedisSettings(place["REDIS_URL"])), place["ROPELINE_NAMESPACE"]
        store = TenantStore(client, namespace)
        settings = TenantSettings.from_mapping(mapping, source="a test")
        await store.claim(settings)
        copy = StoredTenant(settings, 1, 0, seeds={opened: SEED}).copy()
        await store.scripts("acme").configure(
            expected=0,
            version=1,
            settings=copy.text,
            numbers=copy.numbers,
            turns=copy.turns,
            seeds=copy.seeds,
        )
        places = {id_: place_of(opened, SEED, id_) for id_ in IDS}
        places[IDS[0]] *= -1  # called
        await client.zadd(TenantKeys(namespace, "acme").sessions, places)
        await client.zadd(TenantKeys(namespace, "acme").sessions, {bytes(16): opened * 1_000_000 + 2_000_000})
        await client.aclose()

    asyncio.run(write())
    return opened


def test_an_exported_draw_verifies_and_a_changed_one_does_not(
    on_store_command: Command, on_store: dict[str, str], tmp_path: Path
) -> None:
    opened = store_draw(on_store, starts=-90)
    exported = on_store_command("lottery", "export", "acme", "sale")
    document = json.loads(exported.out)
    assert (document["opened"], document["seed"]) == (opened, SEED.hex())
    assert set(document["places"]) == {id_.hex() for id_ in IDS}
    file = tmp_path / "draw.json"
    file.write_text(exported.out)
    verified = on_store_command("lottery", "verify", str(file))
    assert (verified.status, verified.out) == (
        0,
        "the seed is the one that was committed to; recomputed places: 50, all as it draws them\n",
    )
    document["places"][IDS[7].hex()] -= 1
    file.write_text(json.dumps(document))
    verified = on_store_command("lottery", "verify", str(file))
    assert verified.status == 1
    assert verified.out.startswith(f"{IDS[7].hex()}: got place ")


@pytest.mark.parametrize("starts", [90, -30])
def test_no_command_tells_the_seed_before_a_minute_after_the_start(
    on_store_command: Command, on_store: dict[str, str], starts: int
) -> None:
    store_draw(on_store, starts=starts)
    commands = (
        ("lottery", "show", "acme", "sale"),
        ("lottery", "show", "acme", "sale", "--json"),
        ("lottery", "export", "acme", "sale"),
        ("tenant", "get", "acme", "--json"),
        ("tenant", "get", "acme"),
        ("tenant", "list", "--json"),
        ("event", "list", "acme", "--json"),
        ("status", "acme", "--json"),
    )
    said = [on_store_command(*arguments) for arguments in commands]
    assert not [ended for ended in said if SEED.hex() in ended.out + ended.err]
    assert hashlib.sha256(SEED).hexdigest() in said[0].out
    assert (said[2].status, "its seed is not revealed before that" in said[2].refusal) == (2, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "FILE: got"),
        ("[]", "FILE: got"),
        ('{"opened": 5, "commit": "ab", "seed": "cd", "places": {}}', "seed: got 'cd', expected 64 hexadecimal digits"),
        ('{"opened": "5"}', "opened: got '5', expected seconds since 1970"),
    ],
)
def test_what_is_no_draw_is_refused(on_store_command: Command, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "draw.json"
    file.write_text(text)
    refused = on_store_command("lottery", "verify", str(file))
    assert (refused.status, said in refused.refusal) == (2, True), refused.refusal


def test_an_event_without_a_draw_has_nothing_to_show(on_store_command: Command, on_store: dict[str, str]) -> None:
    store_draw(on_store, starts=90)
    refused = on_store_command("lottery", "show", "acme", "other")
    assert (
        "EVENT: got 'other', expected an event whose places are drawn by lot; tenant acme has: sale" in refused.refusal
    )
