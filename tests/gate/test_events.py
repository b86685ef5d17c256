"""Which settings hold at which time is a function of the settings and the moment, and the gate goes by it everywhere."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from ropeline.gate.events import MOST_EVENTS, Event, Phase, phase_at, phases, settings_in
from ropeline.gate.lots import place_of, wrong_places
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tenant_store import StoredTenant, TenantStore, line_settings, line_turns
from ropeline.lua.errors import ConfigurationError
from tests.gate.visitors import Gated, quick_tenant, running, tenant
from tests.servers import Server
from tests.support import wait_until

SALE: dict[str, Any] = {
    "name": "sale",
    "prequeue_start_time": "2030-01-01T09:00:00Z",
    "event_start_time": "2030-01-01T11:00:00+01:00",
    "event_end_time": "2030-01-01T12:00:00Z",
    "overrides": {"total_active_users": 50, "poll": {"floor": 2}},
}


def at(clock: str) -> float:
    return datetime.fromisoformat(f"2030-01-01T{clock}Z").timestamp()


def planned(*events: dict[str, Any], **settings: Any) -> TenantSettings:
    return TenantSettings.from_mapping(tenant("acme", **settings).to_mapping() | {"events": events}, source="a test")


def in_force(settings: TenantSettings, clock: str) -> TenantSettings:
    return settings_in(settings, phase_at(settings.events, at(clock)))


def test_an_event_overrides_from_its_opening_to_its_end_and_not_a_second_longer() -> None:
    settings = planned(SALE)
    quotas = {clock: in_force(settings, clock).quota for clock in ("08:59:59", "09:00:00", "11:59:59", "12:00:00")}
    assert quotas == {"08:59:59": 1, "09:00:00": 50, "11:59:59": 50, "12:00:00": 1}


def test_a_pre_queue_takes_everybody_into_line_and_admits_nobody_until_the_start() -> None:
    settings = planned(SALE | {"overrides": {"queueing_method": "passthrough"}})
    before, after = in_force(settings, "09:59:59"), in_force(settings, "10:00:00")
    assert (before.queue_all, before.queueing_method) == (True, "fifo")
    assert (after.queue_all, after.queueing_method) == (False, "passthrough")


def test_of_a_group_only_the_parts_that_are_named_are_overridden() -> None:
    poll = in_force(planned(SALE, poll={"floor": 5, "ceiling": 20}), "10:00:00").poll
    assert (poll.floor, poll.ceiling) == (2, 20)


def test_a_suspended_event_changes_nothing() -> None:
    settings = planned(SALE | {"suspended": True})
    assert phases(settings.events) == [Phase(0)]


def test_an_event_that_opens_when_another_ends_follows_it_without_a_gap() -> None:
    follows = SALE | {
        "name": "second",
        "prequeue_start_time": None,
        "event_start_time": "2030-01-01T12:00:00Z",
        "event_end_time": "2030-01-01T13:00:00Z",
    }
    found = [(phase.event and phase.event.name, phase.is_prequeue) for phase in phases(planned(follows, SALE).events)]
    assert found == [(None, False), ("sale", True), ("sale", False), ("second", False), (None, False)]


times = st.datetimes(datetime(2030, 1, 1), datetime(2030, 1, 3)).map(  # noqa: DTZ001 - the zone comes with strftime
    lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ")
)


@given(st.lists(st.tuples(times, times, times, st.booleans()), max_size=4), times)
def test_at_every_moment_one_phase_holds_and_it_is_that_of_the_event_around_the_moment(
    planned_times: list[tuple[str, str, str, bool]], now: str
) -> None:
    events = []
    for number, (*named, suspended) in enumerate(planned_times):
        opens, starts, ends = sorted(named)
        if opens < starts < ends:
            events.append(
                Event(
                    name=f"event-{number}",
                    prequeue_start_time=opens,
                    event_start_time=starts,
                    event_end_time=ends,
                    suspended=suspended,
                )
            )
    taking_place = [event for event in events if not event.suspended]
    if any(
        one is not other and one.opens_at < other.ends_at and other.opens_at < one.ends_at
        for one in taking_place
        for other in taking_place
    ):
        with pytest.raises(ConfigurationError, match="has ended"):
            tenant("acme", events=tuple(events))
        return
    settings = tenant("acme", events=tuple(events))
    moment = datetime.fromisoformat(now).timestamp()
    phase = phase_at(settings.events, moment)
    around = [event for event in taking_place if event.opens_at <= moment < event.ends_at]
    assert around == ([] if phase.event is None else [phase.event])
    assert phase.is_prequeue == any(moment < event.starts_at for event in around)
    assert [turn.at for turn in line_turns(settings)] == [each.at for each in phases(settings.events)[1:]]
    assert all(
        turn.numbers.closed == settings_in(settings, phase_at(settings.events, turn.at)).queue_all
        for turn in line_turns(settings)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"event_start_time": "2030-01-01T10:00:00"}, "events[0].event_start_time: got '2030-01-01T10:00:00', expected a time in whole seconds"),
        ({"event_start_time": "tomorrow"}, "events[0].event_start_time: got 'tomorrow'"),
        ({"event_start_time": 5}, "events[0].event_start_time: got 5"),
        ({"event_start_time": "2030-01-01T10:00:00.5Z"}, "in whole seconds"),
        ({"event_end_time": "2030-01-01T10:00:00Z"}, "events[0].event_end_time: got '2030-01-01T10:00:00Z', expected a time after"),
        ({"prequeue_start_time": "2030-01-01T10:00:00Z"}, "events[0].prequeue_start_time: got '2030-01-01T10:00:00Z', expected a time before"),
        ({"prequeue_start_time": "2030-01-01T10:30:00Z"}, "events[0].prequeue_start_time"),
        ({"overrides": {"quota": 5}}, "events[0].overrides.quota: got 5, expected"),
        ({"overrides": {"total_active_users": -1}}, "events[0].overrides.total_active_users: got -1, expected a whole number"),
        ({"overrides": {"waiting_ttl": 1}}, "events[0].overrides.waiting_ttl: got 1, expected at least 90"),
        ({"overrides": {"host": "other.example"}}, "events[0].overrides.host: got 'other.example', expected no such setting"),
        ({"overrides": {"events": []}}, "events[0].overrides.events"),
        ({"overrides": []}, "events[0].overrides: got [], expected a table"),
        ({"shuffle": True}, "events[0].shuffle"),
        ({"name": "Sale!"}, "events[0].name"),
    ],
)  # fmt: skip
def test_an_event_that_cannot_work_is_refused_with_the_field_and_what_would_be_right(
    change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        planned(SALE | change)
    assert said in str(refusal.value)


def test_two_events_of_one_name_are_refused() -> None:
    later = {"event_start_time": "2031-01-01T10:00:00Z", "event_end_time": "2031-01-01T11:00:00Z"}
    with pytest.raises(ConfigurationError, match=r"events\[1\].name: got 'sale', expected a name that no other event"):
        planned(SALE, SALE | later | {"prequeue_start_time": None})


def test_more_events_than_the_scripts_take_are_refused() -> None:
    events = [
        SALE | {
            "name": f"event-{year}",
            "prequeue_start_time": f"{year}-01-01T09:00:00Z",
            "event_start_time": f"{year}-01-01T10:00:00Z",
            "event_end_time": f"{year}-01-01T11:00:00Z",
        }
        for year in range(2030, 2030 + MOST_EVENTS + 1)
    ]  # fmt: skip
    assert len(line_turns(planned(*events[:-1]))) == 3 * MOST_EVENTS
    with pytest.raises(ConfigurationError, match=f"at most {MOST_EVENTS}"):
        planned(*events)


# -- on a real store, whose clock decides


async def server_time(store: Redis) -> int:
    seconds, _ = await store.time()
    return int(seconds)


def moment_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def launch(now: int, opens: int | None, starts: int, ends: int, **overrides: Any) -> dict[str, Any]:
    """An event whose times are seconds from now."""
    return {
        "name": "sale",
        "prequeue_start_time": None if opens is None else moment_text(now + opens),
        "event_start_time": moment_text(now + starts),
        "event_end_time": moment_text(now + ends),
        "overrides": overrides,
    }


@asynccontextmanager
async def two_gates(valkey: Server, namespace: str, **settings: Any) -> AsyncIterator[tuple[Gated, Gated]]:
    async with (
        running(valkey.url, namespace, [quick_tenant("acme", **settings)]) as one,
        running(valkey.url, namespace) as other,
    ):
        yield one, other


async def save(gates: Sequence[Gated], event: dict[str, Any], **settings: Any) -> None:
    """Write the tenant with one event, and wait until all processes know."""
    tenants = gates[0].gate.store
    version = (await tenants.read("acme")).version
    await tenants.save(quick_tenant("acme", **settings, events=[event]), expected=version)
    await wait_until(
        lambda: all(gated.gate.directory.tenants["acme"].version == version + 1 for gated in gates), timeout=10
    )


async def test_an_event_opens_starts_and_ends_in_every_process_although_nobody_calls(
    valkey: Server, store: Redis, tenant_name: str
) -> None:
    async with two_gates(valkey, tenant_name, suspended=True) as gates:
        for times, (name, is_prequeue, is_suspended) in (
            ((2, 600, 900), ("sale", True, False)),
            ((-9, 2, 900), ("sale", False, False)),
            ((-9, -8, 2), (None, False, True)),
        ):
            await save(gates, launch(await server_time(store), *times, suspended=False), suspended=True)

            def is_there(
                wanted: tuple[str | None, bool, bool] = (name, is_prequeue, is_suspended),
            ) -> bool:
                tenants = [gated.gate.directory.tenants["acme"] for gated in gates]
                return all(
                    (
                        tenant.phase.event and tenant.phase.event.name,
                        tenant.phase.is_prequeue,
                        tenant.settings.suspended,
                    )
                    == wanted
                    for tenant in tenants
                )

            await wait_until(is_there, timeout=20)


async def test_the_first_visit_after_the_start_is_let_in_and_the_last_one_before_is_not(
    valkey: Server, store: Redis, tenant_name: str
) -> None:
    async with two_gates(valkey, tenant_name, total_active_users=5) as gates:
        now = await server_time(store)
        await save(gates, launch(now, 0, 3, 60, total_active_users=9), total_active_users=5)
        visitor = gates[1].visitor("acme")

        async def is_in(visitor: Any = visitor) -> bool:
            answer = await visitor.get()
            time = (await store.time())[0]
            assert answer.status == (503 if time < now + 3 else answer.status)
            return bool(answer.status == 200)

        await wait_until(is_in, timeout=30)
        assert gates[1].gate.directory.tenants["acme"].settings.quota == 9


async def test_a_store_that_comes_back_empty_during_an_event_is_in_it_again(
    valkey: Server, store: Redis, tenant_name: str
) -> None:
    async with two_gates(valkey, tenant_name, total_active_users=5) as gates:
        now = await server_time(store)
        await save(gates, launch(now, -60, 600, 700), total_active_users=5)
        visitor = gates[0].visitor("acme")
        await visitor.get()
        assert (await visitor.poll())["state"] == "prequeue"
        await store.delete(*[key async for key in store.scan_iter(f"{tenant_name}:*")])
        assert (await visitor.poll())["state"] == "prequeue"
        assert (await visitor.poll())["secondsUntilEventStart"] > 500


async def test_a_visitor_in_a_pre_queue_is_told_when_it_starts_and_has_a_place_afterwards(
    valkey: Server, store: Redis, tenant_name: str
) -> None:
    async with two_gates(valkey, tenant_name, total_active_users=0) as gates:
        now = await server_time(store)
        await save(gates, launch(now, -1, 600, 700), total_active_users=0)
        visitor = gates[0].visitor("acme")
        page = await visitor.get(accept="text/html")
        assert b"We open soon" in page.body
        told = await visitor.poll()
        assert told["state"] == "prequeue"
        assert (told["isEventPrequeueing"], told["isEventActive"], told["eventName"]) == (True, False, "sale")
        assert told["queueAll"] is True
        assert 590 < told["secondsUntilEventStart"] <= 600
        assert told["timeUntilEventStart"] == 10
        assert told["timeUntilEventEndFormatted"] == "12 minutes"
        await save(gates, launch(now, -2, -1, 700), total_active_users=0)

        async def has_started() -> bool:
            return bool((await visitor.poll())["state"] == "waiting")

        await wait_until(has_started, timeout=10)
        told = await visitor.poll()
        assert (told["isEventPrequeueing"], told["isEventActive"], told["position"]) == (False, True, 1)
        assert told["secondsUntilEventStart"] is None


def test_the_line_goes_by_the_settings_of_each_phase() -> None:
    settings = planned(SALE, total_active_users=7)
    assert [turn.numbers.quota for turn in line_turns(settings)] == [50, 50, 7]
    assert [turn.numbers.closed for turn in line_turns(settings)] == [True, False, False]
    assert line_settings(settings).quota == 7


# -- draws by lot


async def in_prequeue(gated: Gated) -> Any:
    """A visitor who has confirmed in a pre-queue."""
    visitor = gated.visitor("acme")

    async def has_confirmed() -> bool:
        return bool((await visitor.poll())["state"] == "prequeue")

    await wait_until(has_confirmed, timeout=20)
    return visitor


async def test_places_by_lot_are_hidden_until_the_start_and_can_be_recomputed_after_it(
    valkey: Server, store: Redis, tenant_name: str
) -> None:
    async with two_gates(valkey, tenant_name, total_active_users=0) as gates:
        now = await server_time(store)
        sale = launch(now, 3, 600, 900) | {"shuffle_at_event_start": True}
        await save(gates, sale, total_active_users=0)
        opened = now + 3
        await wait_until(
            lambda: all(gated.gate.directory.tenants["acme"].phase.is_prequeue for gated in gates), timeout=20
        )
        visitors = [await in_prequeue(gates[number % 2]) for number in range(4)]
        commits: set[str] = set()
        for visitor in visitors:
            told = await visitor.poll()
            ticket = gates[0].gate.signer.read(visitor.ticket, "acme")
            assert ticket is not None
            assert ticket.place == opened * 1_000_000, "it says when the pre-queue opened, and no more"
            assert (told["position"], told["queueingMethod"], told["shuffleAtEventStart"]) == (None, "random", True)
            assert told["placeHeldSeconds"] is not None
            draw = told["lottery"]
            commits.add(draw["commit"])
            assert (draw["opened"], draw["seed"], draw["id"], draw["place"]) == (opened, None, None, None)
            page = await visitor.get(accept="text/html")
            assert b"by lot" in page.body
        stored = await gates[0].gate.store.read("acme")
        lottery = stored.lottery(stored.settings.events[0])
        assert lottery is not None
        assert lottery.seed.hex() not in json.dumps(stored.settings.to_mapping()) + repr(stored)
        # The start is moved to two seconds from now.
        start = await server_time(store) + 2
        await save(gates, sale | {"event_start_time": moment_text(start)}, total_active_users=0)

        async def is_in_line() -> bool:
            return {(await visitor.poll())["state"] for visitor in visitors} == {"waiting"}

        await wait_until(is_in_line, timeout=20)
        answers = [await visitor.poll() for visitor in visitors]
        drawn = [each["lottery"] for each in answers]
        assert [draw["place"] for draw in drawn] == [
            place_of(opened, lottery.seed, bytes.fromhex(draw["id"])) for draw in drawn
        ]
        assert {draw["commit"] for draw in drawn} == commits == {hashlib.sha256(lottery.seed).hexdigest()}
        assert {draw["seed"] for draw in drawn} == {None}, "revealed a minute after the start"
        in_order = sorted(answers, key=lambda each: each["lottery"]["place"])
        assert [each["position"] for each in in_order] == [1, 2, 3, 4]
        late = gates[0].visitor("acme")
        await late.get()
        assert (await late.poll())["position"] == 5
        for draw in drawn:
            assert wrong_places(draw | {"seed": lottery.seed.hex()}) == []


async def test_a_draw_is_planned_before_its_pre_queue_opens_and_held_once(
    valkey: Server, store: Redis, tenant_name: str
) -> None:
    async with two_gates(valkey, tenant_name) as gates:
        tenants = gates[0].gate.store
        now = await server_time(store)
        drawn = {"shuffle_at_event_start": True}
        with pytest.raises(ConfigurationError, match="a time to come: places are drawn by lot"):
            await save(gates, launch(now, -5, 600, 900) | drawn)
        await save(gates, launch(now, 300, 600, 900) | drawn)
        seeds = (await tenants.read("acme")).seeds
        await save(gates, launch(now, 300, 700, 900) | drawn)
        assert (await tenants.read("acme")).seeds == seeds, "another start changes no place"
        await save(gates, launch(now, 301, 700, 900) | drawn)
        assert set((await tenants.read("acme")).seeds) == {now + 301}
        # As if it had started: a draw whose seed may be known is not held again.
        stored = await tenants.read("acme")
        past = launch(now, -9, -5, 900) | drawn
        await _write_with_seed(tenants, quick_tenant("acme", events=[past]), stored.version, now - 9)
        with pytest.raises(ConfigurationError, match="everybody may know the seed"):
            await save(gates, launch(now, -9, 600, 900) | drawn)


async def _write_with_seed(tenants: TenantStore, settings: TenantSettings, version: int, opened: int) -> None:
    stored = StoredTenant(settings, version + 1, 0, seeds={opened: bytes(32)})
    copy = stored.copy()
    await tenants.scripts("acme").configure(
        expected=version,
        version=version + 1,
        settings=copy.text,
        numbers=copy.numbers,
        turns=copy.turns,
        seeds=copy.seeds,
    )


async def test_a_ticket_of_the_pre_queue_that_comes_too_late_is_that_of_a_new_visitor(
    valkey: Server, store: Redis, tenant_name: str
) -> None:
    async with two_gates(valkey, tenant_name, total_active_users=0) as gates:
        await save(gates, launch(await server_time(store), 2, 600, 900) | {"shuffle_at_event_start": True})
        await wait_until(lambda: gates[0].gate.directory.tenants["acme"].phase.is_prequeue, timeout=20)
        visitor = gates[0].visitor("acme")
        await visitor.get()
        line = gates[0].line("acme")
        ticket = gates[0].gate.signer.read(visitor.ticket, "acme")
        assert ticket is not None
        await wait_until(lambda: line.known_clock > ticket.end, timeout=20)
        assert (await visitor.poll())["state"] == "unconfirmed"
        assert (await visitor.poll())["state"] == "prequeue"


def test_a_place_by_lot_is_the_documented_formula() -> None:
    """Worked out by hand from RFC 2104: HMAC-SHA-1 of sixteen zero bytes under 32 zero bytes."""
    drawn = int(hmac.new(bytes(32), bytes(16), hashlib.sha1).hexdigest()[:13], 16)
    assert place_of(1_790_000_000, bytes(32), bytes(16)) == 1_790_000_000_000_001 + drawn % 999_999


def test_a_draw_whose_seed_or_place_was_changed_does_not_verify() -> None:
    seed, ids = bytes(range(32)), [bytes([number] * 16) for number in range(5)]
    document: dict[str, Any] = {
        "opened": 1_790_000_000,
        "commit": hashlib.sha256(seed).hexdigest(),
        "seed": seed.hex(),
        "places": {id_.hex(): place_of(1_790_000_000, seed, id_) for id_ in ids},
    }
    assert wrong_places(document) == []
    moved = document["places"] | {ids[2].hex(): 1_790_000_000_000_001}
    assert len(wrong_places(document | {"places": moved})) == 1
    assert len(wrong_places(document | {"seed": bytes(32).hex()})) == 6
    changes: list[dict[str, Any]] = [{"seed": "ab"}, {"opened": "now"}, {"places": []}, {"commit": None}]
    for broken in (*changes, {"places": {"x": 1}}):
        with pytest.raises(ConfigurationError):
            wrong_places(document | broken)


def test_a_random_queueing_method_is_a_draw_by_lot() -> None:
    (event,) = planned(SALE | {"overrides": {"queueing_method": "random", "total_active_users": 9}}).events
    assert (event.shuffle_at_event_start, event.overrides) == (True, {"total_active_users": 9})


def test_a_draw_by_lot_needs_a_pre_queue_of_two_seconds() -> None:
    with pytest.raises(ConfigurationError, match="at least 2 seconds before the start"):
        planned(SALE | {"shuffle_at_event_start": True, "prequeue_start_time": None})
