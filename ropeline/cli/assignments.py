"""Settings of a tenant as words of a command line: `key=value` is read by the type of the field, and written back.

What `describe` writes, `read_assignment` reads: a line of `ropeline tenant get` can be given to `ropeline tenant set`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from ropeline.gate.events import Event
from ropeline.gate.fields import Choice, ListOf, Number, Table, Text, setting_of, to_plain
from ropeline.gate.settings import TenantSettings
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.gate.fields import Kind

__all__ = ["Assignment", "assign", "describe", "event_with", "read_assignment", "read_event_assignment"]

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


def read_event_assignment(text: str) -> Assignment:
    """The same for a setting of an event; what it overrides is called `overrides.KEY`, as in `read_assignment`."""
    prefix = "overrides."
    if text.startswith(prefix):
        overridden = read_assignment(text[len(prefix) :])
        return Assignment(prefix + overridden.key, None if text.endswith("=none") else overridden.value)
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ConfigurationError(
            "KEY=VALUE", text, "a setting and its value, such as event_start_time=2026-12-01T09:00Z"
        )
    kind = {field.name: setting_of(field).kind for field in fields(Event)}.get(key)
    if value == "none" and key == "prequeue_start_time":
        return Assignment(key, None)
    return Assignment(key, value if kind is None or key.endswith("_time") else _value(key, kind, value))


def event_with(settings: TenantSettings, name: str, assignments: Sequence[Assignment]) -> TenantSettings:
    """The settings with one event made or changed; raises ConfigurationError.

    An override of none takes it away: the tenant's own value holds then.
    """
    events = [to_plain(event) for event in settings.events]
    mapping = next((event for event in events if event["name"] == name), None)
    if mapping is None:
        mapping = {"name": name}
        events.append(mapping)
    for assignment in assignments:
        group, dot, key = assignment.key.partition(".")
        if group != "overrides" or not dot:
            mapping[assignment.key] = assignment.value
            continue
        overrides = mapping.setdefault("overrides", {})
        if not isinstance(overrides, dict):
            raise ConfigurationError("overrides", overrides, "a table of settings")
        group, dot, part = key.partition(".")
        if dot:
            before = overrides.get(group)
            overrides[group] = {**(before if isinstance(before, Mapping) else {}), part: assignment.value}
        else:
            overrides[key] = assignment.value
    return TenantSettings.from_mapping(settings.to_mapping() | {"events": events}, source=f"tenant {settings.name}")


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
