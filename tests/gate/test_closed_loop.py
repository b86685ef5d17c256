"""The gate measures the site for the closed loop, and the quota in force follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ropeline.gate.asgi import Receive, Scope, Send
from ropeline.gate.closed_loop import ClosedLoop
from ropeline.gate.meter import Meter
from ropeline.lua.errors import ConfigurationError
from ropeline.lua.measured import Measured
from tests.gate.visitors import Gated, Socket, Visitor, running, tenant
from tests.servers import Server
from tests.support import wait_until

BYPASS = {"action": "bypass", "conditions": [{"subject": "path", "operator": "prefix", "value": "/free"}]}


class SlowSite:
    """It takes as long as it is told, by a clock of its own; a path ends with the status that it answers with."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            raise RuntimeError("this site has no lifespan")
        if kind == "websocket":
            await receive()
            self.now += self.seconds
            await send({"type": "websocket.accept"})
            await receive()
            return
        self.now += self.seconds
        if scope["path"] == "/breaks":
            raise ValueError("the site has a fault")
        start: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
        if scope["path"] == "/events":
            start["headers"] = [(b"content-type", b"text/event-stream; charset=utf-8")]
        elif scope["path"] == "/down":
            start["status"] = 500
        await send(start)
        # However long the answer itself takes.
        self.now += 1000
        await send({"type": "http.response.body", "body": b"here"})


def loop(**settings: Any) -> dict[str, Any]:
    return {"enabled": True, "lowest": 2, "latency": 1.0, "step": 2, "interval": 1, **settings}


async def admitted(gated: Gated, name: str) -> Visitor:
    visitor = gated.visitor(name)
    for _ in range(2):
        assert (await visitor.get()).told == "admitted"
    return visitor


def counted(meter: Meter) -> tuple[int, int, int, int]:
    """Calls, near, slow and failed since the last time."""
    taken = meter.take(version=1, quota=0)
    return taken.calls, taken.near, taken.slow, taken.failed


@pytest.fixture
async def room(valkey: Server, tenant_name: str) -> AsyncIterator[tuple[Visitor, SlowSite, Meter, Gated]]:
    """An admitted visitor of a site whose closed loop nobody ticks."""
    site = SlowSite()
    async with running(valkey.url, tenant_name, [tenant(tenant_name, rules=[BYPASS])], site=site) as gated:
        visitor = await admitted(gated, tenant_name)
        yield visitor, site, Meter(ClosedLoop(**loop()), lambda: site.now), gated


async def ask(room: tuple[Visitor, SlowSite, Meter, Gated], path: str, seconds: float) -> tuple[int, int, int, int]:
    """What one request counts. The line has the meter only meanwhile: a tick would take what it counted."""
    visitor, site, meter, gated = room
    line = gated.line(visitor.host.partition(".")[0])
    site.seconds, line.meter = seconds, meter
    try:
        await visitor.get(path)
    finally:
        line.meter = None
    return counted(meter)


async def test_a_request_counts_as_long_as_the_site_took_to_begin_its_answer(
    room: tuple[Visitor, SlowSite, Meter, Gated],
) -> None:
    assert await ask(room, "/", 0.75) == (1, 0, 0, 0)
    assert await ask(room, "/", 0.8) == (1, 1, 0, 0)
    assert await ask(room, "/", 1.0) == (1, 1, 0, 0)
    assert await ask(room, "/", 1.1) == (1, 1, 1, 0)


async def test_an_answer_from_500_on_is_a_failed_call_and_not_a_quick_one(
    room: tuple[Visitor, SlowSite, Meter, Gated],
) -> None:
    assert await ask(room, "/down", 0) == (1, 0, 0, 1)
    assert await ask(room, "/down", 5) == (1, 0, 0, 1)


async def test_a_site_that_breaks_is_a_failed_call(room: tuple[Visitor, SlowSite, Meter, Gated]) -> None:
    with pytest.raises(ValueError, match="the site has a fault"):
        await ask(room, "/breaks", 0)
    assert counted(room[2]) == (1, 0, 0, 1)


async def test_event_streams_and_requests_that_a_rule_lets_pass_are_not_measured(
    room: tuple[Visitor, SlowSite, Meter, Gated],
) -> None:
    assert await ask(room, "/events", 5) == (0, 0, 0, 0)
    assert await ask(room, "/free/logo", 5) == (0, 0, 0, 0)


async def test_a_websocket_is_not_measured(room: tuple[Visitor, SlowSite, Meter, Gated]) -> None:
    visitor, site, meter, gated = room
    line = gated.line(visitor.host.partition(".")[0])
    site.seconds, line.meter = 5, meter
    socket = Socket(visitor)
    assert (await socket.next())["type"] == "websocket.accept"
    await socket.close()
    assert counted(meter)[0] == 0


async def test_the_poll_of_a_waiting_visitor_is_not_measured(
    room: tuple[Visitor, SlowSite, Meter, Gated],
) -> None:
    assert await ask(room, "/.well-known/waiting-room/status", 5) == (0, 0, 0, 0)


def test_what_was_counted_is_taken_once() -> None:
    meter = Meter(ClosedLoop(enabled=True, percentile=90, error_share=1, interval=2.5))
    meter.failed()
    assert meter.take(version=3, quota=7) == Measured(
        3, 7, 1, 0, 0, 1, interval=2500, slow_share=0.1, failed_share=0.01, step=5, factor=0.75
    )
    assert counted(meter) == (0, 0, 0, 0)


async def test_the_quota_in_force_goes_up_while_the_site_is_quick_and_down_when_it_is_slow(
    valkey: Server, tenant_name: str
) -> None:
    site = SlowSite()
    shop = tenant(tenant_name, total_active_users=20, closed_loop=loop())
    async with running(valkey.url, tenant_name, [shop], site=site) as gated:
        gated.line(tenant_name).meter = Meter(ClosedLoop(**loop()), lambda: site.now)
        store, busy = gated.gate.store, asyncio.Event()
        first = [await admitted(gated, tenant_name) for _ in range(2)]
        waiting = [gated.visitor(tenant_name) for _ in range(6)]
        for visitor in waiting:
            assert (await visitor.get()).told == "queued"
            assert (await visitor.poll())["state"] == "waiting"

        async def look_around() -> None:
            while not busy.is_set():
                await asyncio.gather(*(visitor.get() for visitor in first))

        looking = asyncio.create_task(look_around())

        async def last_reason() -> str:
            steps = await store.steps(tenant_name, 1)
            return steps[0].reason if steps else ""

        async def is_up() -> bool:
            return await last_reason() == "well"

        async def is_down() -> bool:
            return await last_reason() == "slow"

        await wait_until(is_up, timeout=60)
        raised = (await store.status(tenant_name)).quota
        assert raised >= 4
        site.seconds = 5
        await wait_until(is_down, timeout=60)
        busy.set()
        await looking
        step = (await store.steps(tenant_name, 1))[0]
        assert (await store.status(tenant_name)).quota == step.after < step.before
        assert step.slow > step.calls * 0.05
        assert step.calls >= 20


async def test_a_store_that_lost_everything_is_given_the_quota_in_force_back(
    fresh_server: Server, tenant_name: str
) -> None:
    shop = tenant(tenant_name, total_active_users=20, closed_loop=loop(lowest=3))
    async with running(fresh_server.url, tenant_name, [shop], site=SlowSite()) as gated:
        store = gated.gate.store
        await admitted(gated, tenant_name)

        async def has_begun_by(reason: str) -> bool:
            steps = await store.steps(tenant_name, 1)
            return bool(steps) and (steps[0].after, steps[0].reason) == (3, reason)

        await wait_until(lambda: has_begun_by("begun"), timeout=30)
        fresh_server.call("FLUSHALL")
        await wait_until(lambda: has_begun_by("restored"), timeout=30)


async def test_a_tenant_without_a_closed_loop_is_not_measured(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]) as gated:
        assert gated.line(tenant_name).meter is None


async def test_a_loop_that_is_switched_on_and_off_measures_from_then_on(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]) as gated:
        store = gated.gate.store
        await store.save(tenant(tenant_name, closed_loop=loop()), expected=1)
        await wait_until(lambda: gated.line(tenant_name).meter is not None, timeout=30)
        await store.save(tenant(tenant_name), expected=2)
        await wait_until(lambda: gated.line(tenant_name).meter is None, timeout=30)


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"latency": 0}, "closed_loop.latency: got 0, expected a number from 0.001 to 600"),
        ({"factor": 1}, "closed_loop.factor: got 1, expected a number from 0.1 to 0.99"),
        ({"lowest": 0}, "closed_loop.lowest: got 0, expected a whole number from 1 to 10000000"),
        ({"percentile": 100}, "closed_loop.percentile: got 100, expected a number from 1 to 99.9"),
        ({"on": True}, "closed_loop.on: got True, expected one of enabled, lowest"),
    ],
)
def test_a_loop_that_cannot_work_is_refused(settings: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        tenant("acme", closed_loop=settings)
    assert str(refused.value).startswith(refusal)
