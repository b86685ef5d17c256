"""Operators find, list, move and revoke single sessions of visitors who came through the gate."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from ropeline.gate.session_cursors import CursorSigner
from ropeline.gate.sessions import (
    CannotMove,
    SessionState,
    find_session,
    list_sessions,
    move_to_front,
    read_session_id,
    revoke_sessions,
)
from ropeline.gate.tenant_store import CallMisused, UnknownTenant
from ropeline.gate.tickets import TicketSigner
from ropeline.lua.audit import Author, read_trail
from ropeline.lua.errors import ConfigurationError
from ropeline.lua.keys import TenantKeys
from tests.gate.visitors import KEYS, Gated, Visitor, running, tenant
from tests.servers import Server

TICKETS = TicketSigner(KEYS)
CURSORS = CursorSigner(KEYS)
ANNA = Author("test:anna", "front", "her payment failed on our side")


@pytest.fixture
async def gated(valkey: Server, tenant_name: str) -> AsyncIterator[Gated]:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]) as gated:
        yield gated


async def come(gated: Gated, name: str, count: int) -> list[Visitor]:
    """Visitors who have come and shown their cookie: the first one is admitted, the others wait."""
    visitors = [gated.visitor(name) for _ in range(count)]
    for visitor in visitors:
        await visitor.get()
        await visitor.poll()
    return visitors


def id_of(visitor: Visitor, name: str) -> bytes:
    return read_session_id(visitor.ticket, name, TICKETS)


async def test_a_session_is_found_by_its_id_and_by_its_ticket(gated: Gated, tenant_name: str) -> None:
    admitted, waiting = await come(gated, tenant_name, 2)
    store = gated.gate.store

    by_ticket = await find_session(store, tenant_name, id_of(waiting, tenant_name))
    by_id = await find_session(store, tenant_name, read_session_id(str(UUID(bytes=by_ticket.id)), tenant_name))

    assert (by_ticket.state, by_ticket.position, by_ticket.is_moved) == (SessionState.WAITING, 1, False)
    assert by_ticket.id == by_id.id
    assert 0 < by_ticket.ends_in_ms <= 180_000
    other = await find_session(store, tenant_name, id_of(admitted, tenant_name))
    assert (other.state, other.position, other.place) == (SessionState.ADMITTED, None, None)
    assert other.visit_ms is not None


async def test_what_is_known_of_an_id_without_a_session_is_said(gated: Gated, tenant_name: str) -> None:
    _, waiting = await come(gated, tenant_name, 2)
    store, id_ = gated.gate.store, id_of(waiting, tenant_name)
    assert (await find_session(store, tenant_name, uuid4().bytes)).state is SessionState.UNKNOWN

    assert await revoke_sessions(store, tenant_name, [id_, *(uuid4().bytes for _ in range(150))]) == 1

    assert (await find_session(store, tenant_name, id_)).state is SessionState.GONE
    assert (await waiting.poll())["state"] != "waiting"


async def test_a_ticket_that_was_not_signed_for_the_tenant_finds_nobody(gated: Gated, tenant_name: str) -> None:
    [admitted] = await come(gated, tenant_name, 1)
    for text, name in ((admitted.ticket, "another"), (f"{admitted.ticket[:-1]}~", tenant_name), ("", tenant_name)):
        with pytest.raises(ConfigurationError, match="a ticket that was signed for"):
            read_session_id(text, name, TICKETS)
    with pytest.raises(ConfigurationError, match="a UUID such as"):
        read_session_id(admitted.ticket, tenant_name)


async def test_a_list_goes_forward_and_back_by_signed_cursors(gated: Gated, tenant_name: str) -> None:
    visitors = await come(gated, tenant_name, 8)
    store = gated.gate.store
    expected = [id_of(visitor, tenant_name) for visitor in visitors]

    first = await list_sessions(store, CURSORS, tenant_name, limit=3)
    second = await list_sessions(store, CURSORS, tenant_name, cursor=first.after, limit=3)
    third = await list_sessions(store, CURSORS, tenant_name, cursor=second.after, limit=3)
    back = await list_sessions(store, CURSORS, tenant_name, cursor=third.before, limit=3)

    assert [session.id for page in (first, second, third) for session in page.sessions] == expected
    assert (first.before, third.after) == ("", "")
    assert back.sessions == [replace(now, waited_ms=then.waited_ms, ends_in_ms=then.ends_in_ms)
                             for now, then in zip(second.sessions, back.sessions, strict=True)]  # fmt: skip
    assert [session.position for session in second.sessions] == [3, 4, 5]


async def test_a_list_of_one_state_keeps_to_it(gated: Gated, tenant_name: str) -> None:
    visitors = await come(gated, tenant_name, 4)
    store = gated.gate.store

    first = await list_sessions(store, CURSORS, tenant_name, state="waiting", limit=2)
    second = await list_sessions(store, CURSORS, tenant_name, cursor=first.after, limit=2)
    admitted = await list_sessions(store, CURSORS, tenant_name, state="admitted")

    assert [session.id for page in (admitted, first, second) for session in page.sessions] == [
        id_of(visitor, tenant_name) for visitor in visitors
    ]
    with pytest.raises(ConfigurationError, match="state: got 'admitted', expected that of the list"):
        await list_sessions(store, CURSORS, tenant_name, state="admitted", cursor=first.after)


async def test_a_cursor_is_good_for_its_tenant_and_its_keys_alone(gated: Gated, tenant_name: str) -> None:
    await come(gated, tenant_name, 3)
    store = gated.gate.store
    cursor = (await list_sessions(store, CURSORS, tenant_name, limit=1)).after
    rotated = CursorSigner((*KEYS, "a newer key of these tests"))
    assert len((await list_sessions(store, rotated, tenant_name, cursor=cursor)).sessions) == 2

    foreign = CursorSigner(["another key of these tests"])
    for signer, name, text in (
        (foreign, tenant_name, cursor),
        (CURSORS, "another", cursor),
        (CURSORS, tenant_name, f"A{cursor[1:]}" if cursor[0] != "A" else f"B{cursor[1:]}"),
        (CURSORS, tenant_name, "é" * 10_000),
        (CURSORS, tenant_name, "."),
    ):
        with pytest.raises(ConfigurationError, match=r"cursor: got .*, expected one that a list of this tenant's"):
            await list_sessions(store, signer, name, cursor=text)


async def test_whoever_is_moved_to_the_front_sees_it_at_the_next_poll_and_keeps_it(
    gated: Gated, tenant_name: str
) -> None:
    admitted, first, second = await come(gated, tenant_name, 3)
    store, id_, before = gated.gate.store, id_of(second, tenant_name), dict(second.cookies)

    assert await move_to_front(store, tenant_name, id_, author=ANNA) == 1

    assert (await second.poll())["position"] == 1
    moved = await find_session(store, tenant_name, id_)
    held = TICKETS.read(second.ticket, tenant_name)
    assert held is not None
    assert (moved.is_moved, held.place) == (True, moved.place)
    assert moved.waited_ms is not None
    assert moved.waited_ms < 60_000
    newer, second.cookies = dict(second.cookies), before
    assert (await second.poll())["position"] == 1
    second.cookies = newer
    assert (await first.poll())["position"] == 2
    await admitted.post("/.well-known/waiting-room/leave", accept="application/json")
    assert (await second.poll())["state"] == "admitted"
    assert (await first.poll())["state"] != "admitted"


async def test_a_move_stands_in_the_audit_trail_with_its_reason_and_is_made_once(
    gated: Gated, tenant_name: str
) -> None:
    _, waiting, other = await come(gated, tenant_name, 3)
    store, id_ = gated.gate.store, id_of(waiting, tenant_name)
    author = replace(ANNA, call=uuid4().hex, fingerprint="first")

    assert await move_to_front(store, tenant_name, id_, author=author) == 1
    assert await move_to_front(store, tenant_name, id_, author=author) is None
    with pytest.raises(CallMisused):
        await move_to_front(store, tenant_name, id_of(other, tenant_name), author=replace(author, fingerprint="other"))

    entry, *_ = await read_trail(store.client, TenantKeys(store.namespace, tenant_name).audit, count=10)
    assert (entry.actor, entry.action, entry.reason) == (ANNA.actor, "front", ANNA.reason)
    before, after = json.loads(entry.facts["before"]), json.loads(entry.facts["after"])
    assert before["session"] == after["session"] == str(UUID(bytes=id_))
    assert after["place"] < before["place"]


async def test_who_does_not_wait_is_not_moved_and_the_answer_says_what_it_is(gated: Gated, tenant_name: str) -> None:
    admitted, waiting = await come(gated, tenant_name, 2)
    store = gated.gate.store
    await move_to_front(store, tenant_name, id_of(waiting, tenant_name), author=ANNA)
    for id_, why in (
        (id_of(admitted, tenant_name), "this one is admitted"),
        (id_of(waiting, tenant_name), "this one is at the front already"),
        (uuid4().bytes, "this one is unknown"),
    ):
        with pytest.raises(CannotMove, match=why):
            await move_to_front(store, tenant_name, id_, author=ANNA)


async def test_a_tenant_that_is_not_there_is_told(gated: Gated) -> None:
    store = gated.gate.store
    with pytest.raises(UnknownTenant):
        await list_sessions(store, CURSORS, "nobody")
    with pytest.raises(UnknownTenant):
        await find_session(store, "nobody", bytes(16))
    with pytest.raises(UnknownTenant):
        await move_to_front(store, "nobody", bytes(16), author=ANNA)
