"""`ropeline status`: how the lines stand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ropeline.cli.place import Place, with_store
from ropeline.cli.tables import aligned
from ropeline.cli.tenant import tenant_name
from ropeline.cli.views import JsonView, PlainView, View, is_screen, watch
from ropeline.gate.snapshot import Snapshot, take_snapshot, take_snapshots

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.gate.tenant_store import TenantStore
    from ropeline.lua.client import Client

__all__ = ["run"]


def run(options: Namespace) -> int:
    """Show one tenant or all, once or until Ctrl-C."""
    name = None if options.name is None else tenant_name(options)

    async def work(store: TenantStore, _client: Client, place: Place) -> int:
        async def read() -> list[Snapshot]:
            return await take_snapshots(store) if name is None else [await take_snapshot(store, name)]

        if options.watch:
            # What is wrong with the command line is told before the screen is taken.
            await read()
            with _view(place, as_json=options.json) as view:
                await watch(read, view)
        snapshots = await read()
        if options.json:
            print(json.dumps({"store": str(place), "tenants": [snapshot.to_mapping() for snapshot in snapshots]}))
        elif name is not None:
            print("\n".join(aligned(_details(snapshots[0]))))
        elif snapshots:
            print("\n".join(aligned(_overview(snapshots))))
        else:
            print("no tenants yet; make one: ropeline tenant set NAME host=HOST total_active_users=N")
        return 0

    try:
        return with_store(options, work)
    except KeyboardInterrupt:
        return 0


def _view(place: Place, *, as_json: bool) -> AbstractContextManager[View]:
    if as_json:
        return nullcontext(JsonView())
    if is_screen() and find_spec("rich") is not None:
        from ropeline.cli.screen import Screen

        return Screen([("store", str(place))])
    return nullcontext(PlainView())


def _overview(snapshots: Sequence[Snapshot]) -> list[list[str]]:
    rows = [["TENANT", "WAITING", "ON SITE", "QUOTA", "ADMITTED/MIN", "NEWCOMER WAITS", "STATE"]]
    for snapshot in snapshots:
        head = snapshot.status.head
        numbers = [str(head.waiting), str(head.active), str(snapshot.status.quota)]
        rows.append([snapshot.name, *numbers, snapshot.speed_words, snapshot.wait_words, snapshot.state_words])
    return rows


def _details(snapshot: Snapshot) -> list[list[str]]:
    head = snapshot.status.head
    rows = [
        ["tenant", snapshot.name],
        ["state", snapshot.state_words],
        ["waiting", str(head.waiting)],
        ["on the site", snapshot.on_site_words],
        ["admitted a minute", f"{snapshot.speed_words} ({snapshot.limit_words})"],
        ["wait of a newcomer", snapshot.wait_words],
        *(["step of the closed loop", words] for words in snapshot.step_words),
        ["version of the settings", str(snapshot.version)],
    ]
    return rows + [[f"total {name}", str(value)] for name, value in asdict(snapshot.status.counters).items()]
