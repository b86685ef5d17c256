"""`ropeline admin key`: makes, lists and revokes the keys by which operators show the API who they are."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ropeline.admin_api.key_store import KeyStore, UnknownKey
from ropeline.admin_api.operators import KeyDraft, KeyRecord
from ropeline.cli.admin import admin_settings
from ropeline.cli.options import user_name
from ropeline.cli.place import Place, with_store
from ropeline.cli.tables import aligned
from ropeline.lua.audit import Author
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.gate.tenant_store import TenantStore
    from ropeline.lua.client import Client

__all__ = ["create_key", "list_keys", "revoke_key"]


def create_key(options: Namespace) -> int:
    """Make a key and show it."""
    draft = KeyDraft(
        name=options.name, role=options.role, tenants=tuple(options.tenant), expires_in_days=options.days or None
    )

    async def work(keys: KeyStore) -> int:
        text, record = await keys.create(draft, Author(f"cli:{user_name()}", "create_key", options.reason))
        if options.json:
            print(json.dumps({"secret": text, **_document(record)}))
        else:
            print(
                f"{record.id}: made for {record.name}, {_scope(record)}, {_ends(record)}. It is shown this once:\n\n{text}"
            )
        return 0

    return _with_keys(options, work)


def list_keys(options: Namespace) -> int:
    """List the keys in force."""

    async def work(keys: KeyStore) -> int:
        records = await keys.all()
        rows = [["KEY", "NAME", "MAY", "ENDS", "MADE BY"]]
        rows += [[record.id, record.name, _scope(record), _ends(record), record.made_by] for record in records]
        if options.json:
            print(json.dumps({"keys": [_document(record) for record in records]}))
        elif records:
            print("\n".join(aligned(rows)))
        else:
            print("no keys yet; make one: ropeline admin key create NAME")
        return 0

    return _with_keys(options, work)


def revoke_key(options: Namespace) -> int:
    """End a key."""

    async def work(keys: KeyStore) -> int:
        try:
            await keys.revoke(options.id, Author(f"cli:{user_name()}", "revoke_key", options.reason))
        except UnknownKey:
            expected = "the id of a key in force, as `ropeline admin key list` shows it"
            raise ConfigurationError("KEY_ID", options.id, expected) from None
        print(f"{options.id}: revoked")
        return 0

    return _with_keys(options, work)


def _with_keys(options: Namespace, work: Callable[[KeyStore], Awaitable[int]]) -> int:
    async def run(_store: TenantStore, client: Client, place: Place) -> int:
        settings = admin_settings(place, options.data)
        return await work(KeyStore(client, settings.namespace, settings.secret_keys))

    return with_store(options, run)


def _document(record: KeyRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "name": record.name,
        "role": record.role.word,
        "tenants": list(record.tenants),
        "made_at": record.made_at,
        "made_by": record.made_by,
        "expires_at": record.expires_at,
        "is_expired": record.is_expired,
    }


def _scope(record: KeyRecord) -> str:
    return f"{record.role.word} of {', '.join(record.tenants) or 'all tenants'}"


def _ends(record: KeyRecord) -> str:
    if record.expires_at is None:
        return "good for ever"
    day = datetime.fromtimestamp(record.expires_at, UTC).strftime("%Y-%m-%d")
    return f"ended {day}" if record.is_expired else f"good until {day}"
