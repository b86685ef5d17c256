"""Tenants as one file, TOML or JSON: written, read, compared with the store and carried out.

A file has the form of `tenants_file`: one `[[tenant]]` table each. What is written can be read, and gives the same
settings.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ropeline.gate.settings import TenantSettings
from ropeline.gate.tenant_store import RouteTaken, StoredTenant, TenantStore
from ropeline.lua.audit import Author
from ropeline.lua.errors import ConfigurationError

__all__ = ["PlannedChange", "carry_out", "parse", "plan_import", "to_json", "to_toml"]


def to_toml(tenants: Iterable[TenantSettings]) -> str:
    """The tenants as TOML, one `[[tenant]]` table each, a setting a line."""
    blocks = []
    for settings in tenants:
        lines = [f"{name} = {_toml(value)}" for name, value in settings.to_mapping().items()]
        blocks.append("\n".join(["[[tenant]]", *lines, ""]))
    return "\n".join(blocks)


def to_json(tenants: Iterable[TenantSettings]) -> dict[str, object]:
    """The same as a document of JSON."""
    return {"tenant": [settings.to_mapping() for settings in tenants]}


def parse(text: str, form: str, *, source: str) -> Mapping[str, Any]:
    """The document in a text, `form` being toml or json; raises ConfigurationError that names the source."""
    try:
        document = tomllib.loads(text) if form == "toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(source, text[:40], f"{form.upper()} ({str(error) or 'nested too deeply'})") from None
    if not isinstance(document, dict):
        raise ConfigurationError(source, text[:40], "a table of tenants")
    return document


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What an import does with one tenant; `before` is None for a new one."""

    settings: TenantSettings
    before: StoredTenant | None

    @property
    def kind(self) -> str:
        """`created`, `changed` or `unchanged`."""
        if self.before is None:
            return "created"
        return "unchanged" if self.before.settings == self.settings else "changed"

    def differences(self) -> dict[str, dict[str, object]]:
        """Each setting that differs, with what it is before and after; None: not set."""
        was = {} if self.before is None else self.before.settings.to_mapping()
        now = self.settings.to_mapping()
        return {
            name: {"before": was.get(name), "after": now.get(name)}
            for name in {**was, **now}
            if was.get(name) != now.get(name)
        }


async def plan_import(store: TenantStore, tenants: Sequence[TenantSettings]) -> list[PlannedChange]:
    """What an import of these tenants changes, writing nothing; tenants that are not among them stay as they are.

    Raises RouteTaken for a host and path of a tenant that is not among them, and StoreError.
    """
    names = {settings.name for settings in tenants}
    holders = await store.routes()
    for settings in tenants:
        for route in settings.routes:
            text = f"{route.host}{route.path}"
            holder = holders.get(text, settings.name)
            if holder not in names:
                raise RouteTaken(text, holder)
    return [PlannedChange(settings, await store.find(settings.name)) for settings in tenants]


async def carry_out(store: TenantStore, plan: Iterable[PlannedChange], author: Author) -> None:
    """Write what differs, one tenant after the other; raises ChangedMeanwhile or RouteTaken at the first that cannot be.

    What was written before that stays. The same import again goes on from there.
    """
    for change in plan:
        if change.kind != "unchanged":
            before = change.before
            expected, digest = (0, "") if before is None else (before.version, before.file_digest)
            await store.save(change.settings, expected=expected, file_digest=digest, author=author)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # The settings hold printable characters alone, for which a string of JSON is one of TOML.
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_toml(item)}' for name, item in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return repr(value)
