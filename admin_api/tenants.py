"""Changes tenants for operators: with compare-and-set, once however often a call is sent, and within what a role may do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ropeline.admin_api.operators import Role
from ropeline.admin_api.problems import UNKNOWN_TENANT, Problem
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tenant_store import ChangedMeanwhile, StoredTenant, TenantStore
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.admin_api.changes import Change

__all__ = ["change_tenant", "create_tenant", "find_tenant", "merged", "read_tenant", "settings_from"]

_ATTEMPTS: Final = 5
# Who may move a tenant to another host or path could take over somebody else's visitors.
_WHERE: Final = ("host", "path", "additional_routes")

Rewrite = Callable[[TenantSettings], TenantSettings]


async def find_tenant(store: TenantStore, name: str) -> StoredTenant | None:
    """The tenant, None when there is none; raises Problem for settings that cannot be read."""
    try:
        return await store.find(name)
    except ConfigurationError as error:
        raise Problem(409, "unreadable_settings", str(error), "tenant", name) from error


async def read_tenant(store: TenantStore, name: str) -> StoredTenant:
    """The tenant; raises Problem when there is none."""
    stored = await find_tenant(store, name)
    if stored is None:
        raise Problem(404, "unknown_tenant", UNKNOWN_TENANT, "tenant", name)
    return stored


async def create_tenant(store: TenantStore, settings: TenantSettings, change: Change) -> StoredTenant:
    """Make a tenant; raises Problem when there is one of this name already."""
    if await find_tenant(store, settings.name) is not None:
        earlier = await store.earlier(settings.name, change.author)
        if earlier is not None:
            return earlier
        raise _exists(settings.name)
    try:
        return await store.save(settings, expected=0, author=change.author)
    except ChangedMeanwhile:
        raise _exists(settings.name) from None


async def change_tenant(
    store: TenantStore, name: str, rewrite: Rewrite, change: Change, *, role: Role, expected: int | None
) -> StoredTenant:
    """Replace the settings by what `rewrite` makes of them, and return what is in force then.

    `expected`: the version that the caller has read; None: whichever is in force, and another change in between is
    built upon. Raises Problem.
    """
    for _ in range(_ATTEMPTS):
        stored = await read_tenant(store, name)
        if expected not in (None, stored.version):
            earlier = await store.earlier(name, change.author)
            if earlier is not None:
                return earlier
            break
        settings = rewrite(stored.settings)
        _check_where(stored.settings, settings, role)
        if settings == stored.settings:
            return stored
        try:
            return await store.save(
                settings, expected=stored.version, file_digest=stored.file_digest, author=change.author
            )
        except ChangedMeanwhile:
            continue
    detail = "somebody else has changed the tenant since it was read: read it again and decide again"
    raise Problem(409 if expected is None else 412, "changed_meanwhile", detail, "If-Match")


def settings_from(name: str, mapping: Mapping[str, object]) -> TenantSettings:
    """The settings of the tenant that the path names; raises ConfigurationError or Problem."""
    if mapping.get("name", name) != name:
        expected = f"{name}, or nothing: a tenant keeps its name"
        raise ConfigurationError("name", mapping["name"], expected)
    return TenantSettings.from_mapping({**mapping, "name": name}, source="settings")


def merged(settings: TenantSettings, patch: Mapping[str, object]) -> TenantSettings:
    """The settings with a JSON merge patch (RFC 7396) applied: null takes a value away, and its default is back."""
    return settings_from(settings.name, _merge(settings.to_mapping(), patch))


def _merge(target: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    result = dict(target)
    for name, value in patch.items():
        before = result.get(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            result[name] = _merge(before if isinstance(before, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def _check_where(before: TenantSettings, after: TenantSettings, role: Role) -> None:
    if role >= Role.SUPERUSER:
        return
    for name in _WHERE:
        if getattr(before, name) != getattr(after, name):
            detail = f"{name}: where a tenant stands is changed by a superuser alone"
            raise Problem(403, "role_too_low", detail, name, expected="superuser")


def _exists(name: str) -> Problem:
    return Problem(409, "tenant_exists", f"name: got {name!r}, expected one that no tenant has", "name", name)
