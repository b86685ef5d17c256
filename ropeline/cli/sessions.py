"""`ropeline sessions`: lists, shows, moves and ends single sessions of a tenant."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

from ropeline.cli.admin import admin_settings
from ropeline.cli.options import user_name
from ropeline.cli.place import Place, with_store
from ropeline.cli.tables import aligned
from ropeline.cli.tenant import tenant_name
from ropeline.gate.session_cursors import CursorSigner
from ropeline.gate.sessions import (
    Session,
    find_session,
    list_sessions,
    move_to_front,
    read_session_id,
    revoke_sessions,
)
from ropeline.gate.tickets import TicketSigner
from ropeline.lua.audit import Author

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.gate.tenant_store import TenantStore
    from ropeline.lua.client import Client

__all__ = ["front", "list_page", "revoke", "show"]


def list_page(options: Namespace) -> int:
    """Show a page of sessions, and how to see the next one."""
    name = tenant_name(options)

    async def work(store: TenantStore, _client: Client, place: Place) -> int:
        cursors = CursorSigner(admin_settings(place, options.data).secret_keys)
        page = await list_sessions(
            store, cursors, name, state=options.state, cursor=options.cursor, limit=options.limit
        )
        if options.json:
            sessions = [_document(session) for session in page.sessions]
            print(json.dumps({"sessions": sessions, "before": page.before, "after": page.after}))
            return 0
        rows = [["SESSION", "STATE", "POSITION", "SINCE", "ENDS IN"]]
        print("\n".join(aligned(rows + [_row(session) for session in page.sessions])))
        for word, cursor in (("before", page.before), ("after", page.after)):
            if cursor:
                print(f"{word}: --cursor {cursor}")
        return 0

    return with_store(options, work)


def show(options: Namespace) -> int:
    """Show one session."""
    name = tenant_name(options)

    async def work(store: TenantStore, _client: Client, place: Place) -> int:
        session = await find_session(store, name, _session_id(options, name, place))
        document = _document(session)
        if options.json:
            print(json.dumps(document))
        else:
            rows = [[key, str(value)] for key, value in document.items() if value is not None]
            print("\n".join(aligned(rows)))
        return 0

    return with_store(options, work)


def front(options: Namespace) -> int:
    """Move a session before all others that wait."""
    name = tenant_name(options)

    async def work(store: TenantStore, _client: Client, place: Place) -> int:
        id_ = _session_id(options, name, place)
        author = Author(f"cli:{user_name()}", "front", options.reason)
        position = await move_to_front(store, name, id_, author=author)
        where = {0: "its turn has come", -1: "the line recovers"}.get(position or 0, f"position {position}")
        print(f"{name}: {UUID(bytes=id_)} moved to the front, {where}")
        return 0

    return with_store(options, work)


def revoke(options: Namespace) -> int:
    """End sessions by their ids."""
    name = tenant_name(options)
    ids = [read_session_id(text, name) for text in options.ids]

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        live = await revoke_sessions(store, name, ids)
        print(f"{name}: {len(ids)} revoked, {live} of them live")
        return 0

    return with_store(options, work)


def _session_id(options: Namespace, name: str, place: Place) -> bytes:
    """The id in SESSION; the keys are only looked for when it is none, since they verify tickets."""
    text: str = options.session
    try:
        return UUID(text).bytes
    except ValueError:
        return read_session_id(text, name, TicketSigner(admin_settings(place, options.data).secret_keys))


def _document(session: Session) -> dict[str, object]:
    return {
        "id": str(UUID(bytes=session.id)),
        "state": str(session.state),
        "position": session.position,
        "is_moved": session.is_moved,
        "place": session.place,
        "arrived": session.arrived,
        "waited_ms": session.waited_ms,
        "visit_ms": session.visit_ms,
        "ends_in_ms": session.ends_in_ms,
    }


def _row(session: Session) -> list[str]:
    since = session.visit_ms if session.waited_ms is None else session.waited_ms
    position = "" if session.position is None else str(session.position)
    moved = " (moved)" if session.is_moved else ""
    return [
        str(UUID(bytes=session.id)),
        f"{session.state}{moved}",
        position,
        "" if since is None else f"{since / 1000:.0f} s",
        f"{session.ends_in_ms / 1000:.0f} s",
    ]
