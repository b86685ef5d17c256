"""The stream of events: it tells what a poll would, and ends so that its reconnection signs a new ticket."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.gate.visitors import PREFIX, Gated, Stream, Visitor, quick_tenant, running, tenant
from tests.servers import Server
from tests.support import wait_until


@pytest.fixture
async def gated(valkey: Server, tenant_name: str) -> AsyncIterator[Gated]:
    quick = quick_tenant(tenant_name, waiting_ttl=4, session_duration=1, confirm_within=30, claim_within=30)
    async with running(valkey.url, tenant_name, [quick]) as gated:
        yield gated


@pytest.fixture
async def waiting(gated: Gated, tenant_name: str) -> Visitor:
    await gated.visitor(tenant_name).get()
    visitor = gated.visitor(tenant_name)
    await visitor.get()
    await visitor.poll()
    return visitor


def parsed(event: bytes | None) -> tuple[int, str, dict[str, Any]]:
    """Reconnection time (ms), name and status of one event."""
    assert event is not None
    fields = dict(line.split(": ", 1) for line in event.decode().strip().split("\n"))
    return int(fields["retry"]), fields["event"], json.loads(fields["data"])["waitingRoom"]


async def test_it_tells_the_status_again_and_again_and_ends_at_half_the_hold(waiting: Visitor) -> None:
    stream = Stream(waiting, f"{PREFIX}events")
    answer = await stream.begin()
    assert (answer.status, answer.header("content-type")) == (200, "text/event-stream")
    assert answer.header("cache-control") == "no-store, private"
    clock = asyncio.get_running_loop().time
    started, told = clock(), 0
    while (event := await stream.chunk()) is not None:
        retry, name, room = parsed(event)
        assert (retry, name, room["position"]) == (1000, "waiting", 1)
        told += 1
    assert told > 2
    assert clock() - started > 1.9
    assert (await Stream(waiting, f"{PREFIX}events").begin()).header("set-cookie"), "the hold is signed anew"


async def test_it_ends_when_the_turn_has_come(gated: Gated, waiting: Visitor, tenant_name: str) -> None:
    stream = Stream(waiting, f"{PREFIX}events")
    await stream.begin()
    assert parsed(await stream.chunk())[1] == "waiting"
    await gated.gate.store.save(quick_tenant(tenant_name, total_active_users=5, waiting_ttl=4), expected=1)
    names = []
    while (event := await stream.chunk()) is not None:
        names.append(parsed(event)[1])
    assert names[-1] == "admitted"
    retry = parsed(await _only_event(waiting))[0]
    assert retry >= 100, "a stream that nobody closed does not come back every second"


async def _only_event(visitor: Visitor) -> bytes | None:
    stream = Stream(visitor, f"{PREFIX}events")
    await stream.begin()
    event = await stream.chunk()
    assert await stream.chunk() is None
    return event


async def test_a_stream_confirms_no_place_whose_cookie_did_not_come_back(
    gated: Gated, waiting: Visitor, tenant_name: str
) -> None:
    before = gated.head(tenant_name).waiting
    for _ in range(20):
        stranger = gated.visitor(tenant_name, keeps_cookies=False)
        retry, name, _ = parsed(await _only_event(stranger))
        assert name == "unconfirmed"
        assert 1000 <= retry <= 3000, "it is asked back at once"
    await waiting.poll()
    assert gated.head(tenant_name).waiting == before, "nothing was stored for them"
    keeps = gated.visitor(tenant_name)
    await _only_event(keeps)
    assert (await keeps.poll())["state"] == "waiting"


async def test_a_client_that_goes_away_ends_it(gated: Gated, waiting: Visitor) -> None:
    stream = Stream(waiting, f"{PREFIX}events")
    await stream.begin()
    await stream.chunk()
    await stream.disconnect()


async def test_a_head_asks_for_its_headers_alone(waiting: Visitor) -> None:
    answer = await waiting.ask("HEAD", f"{PREFIX}events")
    assert (answer.status, answer.header("content-type"), answer.body) == (200, "text/event-stream", b"")


async def test_a_stream_keeps_the_place_of_somebody_in_line(valkey: Server, tenant_name: str) -> None:
    quick = tenant(tenant_name, waiting_ttl=90, total_active_users=0)
    async with running(valkey.url, tenant_name, [quick]) as gated:
        visitor = gated.visitor(tenant_name)
        await visitor.get()
        await visitor.poll()
        stream = Stream(visitor, f"{PREFIX}events")
        await stream.begin()
        await stream.chunk()
        await wait_until(lambda: gated.head(tenant_name).waiting == 1)
        await stream.disconnect()
