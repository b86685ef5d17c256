"""Settings of a tenant as words of a command line: `key=value` is read by the type of the field, and written back.

What `describe` writes, `read_assignment` reads: a line of `ropeline tenant get` can be given to `ropeline tenant set`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from ropeline.gate.fields import Choice, ListOf, Number, Table, Text, setting_of
from ropeline.gate.settings import TenantSettings
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.gate.fields import Kind

__all__ = ["Assignment", "assign", "describe", "read_assignment"]

# What the rest of Ropeline calls two settings that keep Cloudflare's names.
_OTHER_WORDS: Final = {"quota": "total_active_users", "rate": "new_users_per_minute"}


@dataclass(frozen=True, slots=True)
class Assignment:
    """A setting, with a dot where it is part of a group, and its new value; None stands for none."""

    key: str
    value: object


def read_assignment(text: str) -> Assignment:
    """Read `key=value`; raises ConfigurationError. Whether the key exists and the value is allowed is checked later."""
    key, sign, value = text.partition("=")
    key = key.strip()
    if not sign or not key:
        raise ConfigurationError("KEY=VALUE", text, "a setting and its value, such as total_active_users=500")
    if key == "name":
        raise ConfigurationError("name", value, "no change: a tenant keeps its name; make a new one instead")
    if key in _OTHER_WORDS:
        raise ConfigurationError(key, value, f"the name of a field; did you mean {_OTHER_WORDS[key]}?")
    kind = _kind_of(key)
    return Assignment(key, value if kind is None else _value(key, kind, value))


def assign(name: str, settings: TenantSettings | None, assignments: Sequence[Assignment]) -> TenantSettings:
    """The settings (None: a new tenant's) with the assignments carried out; raises ConfigurationError."""
    mapping: dict[str, object] = {"name": name} if settings is None else settings.to_mapping()
    seen: set[str] = set()
    for assignment in assignments:
        if assignment.key in seen:
            raise ConfigurationError(assignment.key, _text(assignment.value), "one value for each setting")
        seen.add(assignment.key)
        group, dot, part = assignment.key.partition(".")
        if dot:
            before = mapping.get(group)
            mapping[group] = {**(before if isinstance(before, Mapping) else {}), part: assignment.value}
        else:
            mapping[assignment.key] = assignment.value
    return TenantSettings.from_mapping(mapping, source=f"tenant {name}")


def describe(settings: TenantSettings) -> dict[str, str]:
    """Every setting but the name, by its key, in the words that `read_assignment` takes."""
    mapping = settings.to_mapping()
    described: dict[str, str] = {}
    for field in fields(TenantSettings):
        kind, value = setting_of(field).kind, mapping.get(field.name)
        if isinstance(kind, Table):
            group = value if isinstance(value, Mapping) else {}
            described |= {f"{field.name}.{part.name}": _text(group.get(part.name)) for part in fields(kind.type)}
        elif field.name != "name":
            described[field.name] = _text(value)
    return described


def _kind_of(key: str) -> Kind | None:
    group, dot, part = key.partition(".")
    kinds = {field.name: setting_of(field).kind for field in fields(TenantSettings)}
    kind = kinds.get(group)
    if not dot:
        return kind
    return (
        {field.name: setting_of(field).kind for field in fields(kind.type)}.get(part)
        if isinstance(kind, Table)
        else None
    )


def _value(key: str, kind: Kind, text: str) -> object:
    if isinstance(kind, Choice):
        return next((option for option in kind.options if str(option) == text), text)
    if text == "none" and isinstance(kind, Number | Text) and kind.absent:
        return None
    if isinstance(kind, Text):
        return text
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        if isinstance(kind, ListOf | Table):
            raise ConfigurationError(key, text, f"JSON, {kind.expected}") from None
        return text
    return value


def _text(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
