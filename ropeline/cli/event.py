"""`ropeline event`: plans the launches of a tenant, changes and removes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ropeline.cli.assignments import event_with, read_event_assignment
from ropeline.cli.changes import change
from ropeline.cli.place import Place, with_store
from ropeline.cli.tables import aligned
from ropeline.cli.tenant import author_of, tenant_name
from ropeline.gate.events import Event, phase_at
from ropeline.gate.fields import SLUG, to_plain
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.gate.settings import TenantSettings
    from ropeline.lua.client import Client

__all__ = ["list_events", "remove_event", "set_event"]


def set_event(options: Namespace) -> int:
    """Plan an event or change it, and show how it stands."""
    name, event_name = tenant_name(options), _event_name(options)
    assignments = [read_event_assignment(text) for text in options.assignments]

    def edit(settings: TenantSettings | None) -> TenantSettings:
        return event_with(_existing(settings), event_name, assignments)

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        before, after = await change(store, name, edit, author_of(options, "event"), may_be_new=False)
        event = _find(after.settings, event_name)
        what = "nothing to change" if before is after else "planned"
        print(f"{name}: event {event_name}: {what}, version {after.version}")
        for key, value in to_plain(event).items():
            if key not in ("name", "overrides"):
                print(f"  {key}={value if isinstance(value, str) else json.dumps(value)}")
        for key, value in event.overrides.items():
            print(f"  overrides.{key}={json.dumps(value)}")
        return 0

    return with_store(options, work)


def remove_event(options: Namespace) -> int:
    """Take an event out of the list; what it overrides ends at once."""
    name, event_name = tenant_name(options), _event_name(options)

    def edit(settings: TenantSettings | None) -> TenantSettings:
        found = _existing(settings)
        _find(found, event_name)
        rest = [to_plain(event) for event in found.events if event.name != event_name]
        return type(found).from_mapping(found.to_mapping() | {"events": rest}, source=f"tenant {name}")

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        _, after = await change(store, name, edit, author_of(options, "event"), may_be_new=False)
        print(f"{name}: event {event_name} removed, version {after.version}")
        return 0

    return with_store(options, work)


def list_events(options: Namespace) -> int:
    """List the events of a tenant in the order of time, and which phase the store's clock has reached."""
    name = tenant_name(options)

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        settings = (await store.read(name)).settings
        events = sorted(settings.events, key=lambda event: event.opens_at)
        turn = (await store.status(name)).head.turn // 1_000_000
        phase = phase_at(settings.events, turn)
        if options.json:
            now = {"event": phase.event and phase.event.name, "prequeue": phase.is_prequeue}
            print(json.dumps({"tenant": name, "events": [to_plain(event) for event in events], "now": now}))
        elif events:
            print(
                "\n".join(aligned([_HEAD, *(_row(event, event is phase.event, phase.is_prequeue) for event in events)]))
            )
        else:
            print(f"no events yet; plan one: ropeline event set {name} EVENT event_start_time=TIME event_end_time=TIME")
        return 0

    return with_store(options, work)


_HEAD = ["EVENT", "PREQUEUE", "START", "END", "OVERRIDES", "STATE"]


def _row(event: Event, is_on: bool, is_prequeue: bool) -> Sequence[str]:  # noqa: FBT001 - a row of a table
    state = "suspended" if event.suspended else "-"
    if is_on:
        state = "pre-queue" if is_prequeue else "on"
    overrides = ", ".join(event.overrides) or "-"
    return [
        event.name,
        event.prequeue_start_time or "-",
        event.event_start_time,
        event.event_end_time,
        overrides,
        state,
    ]


def _event_name(options: Namespace) -> str:
    return str(SLUG.check("EVENT", options.event))


def _existing(settings: TenantSettings | None) -> TenantSettings:
    if settings is None:
        raise LookupError("only an existing tenant has events")
    return settings


def _find(settings: TenantSettings, name: str) -> Event:
    for event in settings.events:
        if event.name == name:
            return event
    known = ", ".join(event.name for event in settings.events) or "none yet"
    raise ConfigurationError("EVENT", name, f"one that tenant {settings.name} has: {known}")
