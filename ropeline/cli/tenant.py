"""`ropeline tenant`: makes, shows, changes, pauses and empties tenants in the store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ropeline.cli.answers import agrees, require_somebody
from ropeline.cli.assignments import Assignment, assign, describe, read_assignment
from ropeline.cli.changes import change
from ropeline.cli.options import user_name
from ropeline.cli.place import Place, with_store
from ropeline.cli.tables import aligned
from ropeline.gate.events import moment, phase_at, settings_in
from ropeline.gate.fields import SLUG
from ropeline.gate.tenant_store import StoredTenant, TenantStore
from ropeline.lua.audit import Author
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.gate.settings import TenantSettings
    from ropeline.lua.client import Client

__all__ = [
    "author_of",
    "flush_tenant",
    "get_tenant",
    "list_all",
    "pause_tenant",
    "resume_tenant",
    "set_tenant",
    "tenant_name",
]


def tenant_name(options: Namespace) -> str:
    """The tenant that the command line names; raises ConfigurationError for what can be no name."""
    return str(SLUG.check("NAME", options.name))


def set_tenant(options: Namespace) -> int:
    """Make a tenant or change it, and show what changed."""
    return _change(options, [read_assignment(text) for text in options.assignments], "change", may_be_new=True)


def pause_tenant(options: Namespace) -> int:
    """Admit nobody until `resume`."""
    return _change(options, [Assignment("paused", value=True)], "pause", may_be_new=False)


def resume_tenant(options: Namespace) -> int:
    """Admit again."""
    return _change(options, [Assignment("paused", value=False)], "resume", may_be_new=False)


def get_tenant(options: Namespace) -> int:
    """Show every setting of a tenant, or what is in force at a given time."""
    name = tenant_name(options)

    at = None if options.at is None else moment(options.at)
    if options.at is not None and at is None:
        raise ConfigurationError("--at", options.at, "a time with its offset, such as 2026-12-01T09:00:00Z")

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        stored = await store.read(name)
        if at is not None:
            phase = phase_at(stored.settings.events, at.timestamp())
            stored = replace(stored, settings=settings_in(stored.settings, phase))
        if options.json:
            print(json.dumps(_document(stored)))
        else:
            for key, value in describe(stored.settings).items():
                print(f"{key}={value}")
        return 0

    return with_store(options, work)


def list_all(options: Namespace) -> int:
    """List all tenants; one whose settings cannot be read does not hide the others."""

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        rows = [["TENANT", "HOST", "QUOTA", "RATE", "STATE", "VERSION"]]
        documents: list[dict[str, object]] = []
        for name in await store.names():
            try:
                stored = await store.find(name)
            except ConfigurationError as error:
                rows.append([name, "-", "-", "-", f"cannot be read: {error}", "-"])
                documents.append({"name": name, "error": str(error)})
                continue
            if stored is None:
                rows.append([name, "-", "-", "-", "has no settings in the store", "-"])
                documents.append({"name": name, "error": "has no settings in the store"})
            else:
                rows.append(_row(stored.settings, stored.version))
                documents.append(_document(stored))
        if options.json:
            print(json.dumps({"tenants": documents}))
        elif documents:
            print("\n".join(aligned(rows)))
        else:
            print("no tenants yet; make one: ropeline tenant set NAME host=HOST total_active_users=N")
        return 0

    return with_store(options, work)


def flush_tenant(options: Namespace) -> int:
    """Empty a line, after asking."""
    name = tenant_name(options)
    require_somebody(f"flush of {name}", yes=options.yes)

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        head = (await store.status(name)).head
        print(f"{name}: {head.waiting} waiting and {head.active} on the site lose their places.")
        if not options.yes and not agrees():
            print("Nothing was changed.")
            return 1
        generation = await store.flush(name, author=author_of(options, "flush"))
        print(f"{name}: flushed, generation {generation}; every ticket given before is worthless.")
        return 0

    return with_store(options, work)


def _change(options: Namespace, assignments: Sequence[Assignment], action: str, *, may_be_new: bool) -> int:
    name = tenant_name(options)

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        author = author_of(options, action)
        before, after = await change(
            store, name, lambda settings: assign(name, settings, assignments), author, may_be_new=may_be_new
        )
        if before is after:
            print(f"{name}: nothing to change, version {after.version}")
        else:
            print("\n".join(_told(before, after, assignments)))
        return 0

    return with_store(options, work)


def author_of(options: Namespace, action: str) -> Author:
    """Who runs the command, for the audit trail; some commands take a reason."""
    return Author(f"cli:{user_name()}", action, getattr(options, "reason", ""))


def _told(before: StoredTenant | None, after: StoredTenant, assignments: Sequence[Assignment]) -> list[str]:
    now = describe(after.settings)
    if before is None:
        given = {assignment.key for assignment in assignments}
        rows = [[f"  {key}", value] for key, value in now.items() if key in given or key.partition(".")[0] in given]
        return [f"{after.settings.name}: made, version {after.version}", *aligned(rows)]
    was = describe(before.settings)
    rows = [[f"  {key}", was[key], "->", value] for key, value in now.items() if was[key] != value]
    return [f"{after.settings.name}: changed, version {after.version}", *aligned(rows)]


def _row(settings: TenantSettings, version: int) -> list[str]:
    further = len(settings.additional_routes)
    where = f"{settings.host}{settings.path}" + (f" and {further} more" if further else "")
    flags = [word for word in ("suspended", "paused", "queue_all") if getattr(settings, word)]
    rate = "none" if settings.rate is None else str(settings.rate)
    return [settings.name, where, str(settings.quota), rate, ", ".join(flags) or settings.queueing_method, str(version)]


def _document(stored: StoredTenant) -> dict[str, object]:
    return {
        "name": stored.settings.name,
        "version": stored.version,
        "generation": stored.generation,
        "settings": stored.settings.to_mapping(),
    }
