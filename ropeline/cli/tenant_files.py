"""`ropeline tenant export` and `import`: all tenants as one file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ropeline.cli.options import user_name
from ropeline.cli.place import Place, with_store
from ropeline.gate.cloudflare import tenants_from_cloudflare
from ropeline.gate.settings import tenants_of
from ropeline.gate.tenant_files import PlannedChange, carry_out, parse, plan_import, to_json, to_toml
from ropeline.lua.audit import Author
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.gate.tenant_store import TenantStore
    from ropeline.lua.client import Client

__all__ = ["export_tenants", "import_tenants"]

_LARGEST: Final = 16 * 1024 * 1024


def export_tenants(options: Namespace) -> int:
    """Write every tenant to standard output."""

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        found = [await store.find(name) for name in await store.names()]
        tenants = [stored.settings for stored in found if stored is not None]
        print(json.dumps(to_json(tenants), indent=2) if options.json else to_toml(tenants).rstrip("\n"))
        return 0

    return with_store(options, work)


def import_tenants(options: Namespace) -> int:
    """Make and change tenants as a file has them."""
    form = options.form or ("json" if options.file.endswith(".json") else "toml")
    document = parse(_read(options.file), "toml" if form == "toml" else "json", source=options.file)
    notes: list[str] = []
    if form == "cloudflare":
        document, notes = tenants_from_cloudflare(document, source=options.file)
    tenants = tenants_of(document, source=options.file)

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        plan = await plan_import(store, tenants)
        if not options.dry_run:
            await carry_out(store, plan, Author(f"cli:{user_name()}", "import", options.reason))
        for note in notes:
            print(f"note: {note}")
        for change in plan:
            print("\n".join(_told(change)))
        if options.dry_run:
            print("Nothing was changed.")
        return 0

    return with_store(options, work)


def _told(change: PlannedChange) -> list[str]:
    lines = [f"{change.settings.name}: {change.kind}"]
    for name, values in change.differences().items() if change.kind == "changed" else ():
        before, after = (json.dumps(values[when], ensure_ascii=False) for when in ("before", "after"))
        lines.append(f"  {name}  {before}  ->  {after}")
    return lines


def _read(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.read(_LARGEST)
        with Path(name).open(encoding="utf-8") as file:
            text = file.read(_LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError("FILE", name, f"a file that can be read ({reason})") from None
    if len(text) > _LARGEST:
        raise ConfigurationError("FILE", name, f"a file of at most {_LARGEST} characters")
    return text
