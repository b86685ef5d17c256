"""Reads waiting rooms as Cloudflare's API gives them, and says what of them has no counterpart here.

The names are those of Cloudflare's API reference (zones/ZONE/waiting_rooms), read in November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ropeline.lua.errors import ConfigurationError

__all__ = ["tenants_from_cloudflare"]

_SAME: Final = (
    "host",
    "path",
    "total_active_users",
    "new_users_per_minute",
    "session_duration",
    "disable_session_renewal",
    "queue_all",
    "suspended",
    "queueing_status_code",
    "json_response_enabled",
    "enabled_origin_commands",
)
_SILENT: Final = frozenset({"id", "created_on", "modified_on", "description", "cookie_suffix"})
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def tenants_from_cloudflare(document: object, *, source: str) -> tuple[dict[str, Any], list[str]]:
    """The tenants as a document that `tenants_of` takes, and a line for each thing that was left out or changed.

    `document`: an answer of the API (`result` holds one room or a list), a room, or a list of rooms.
    """
    rooms = document.get("result", document) if isinstance(document, Mapping) else document
    listed: list[Any] = rooms if isinstance(rooms, list) else [rooms]
    if not all(isinstance(room, Mapping) and "host" in room for room in listed):
        raise ConfigurationError(source, str(document)[:40], "waiting rooms as Cloudflare's API gives them")
    notes: list[str] = []
    return {"tenant": [_tenant(room, notes) for room in listed]}, notes


def _tenant(room: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    said = str(room.get("name", ""))
    name = "".join(letter if letter in _LETTERS else "-" for letter in said.lower())[:63]
    if name != said:
        notes.append(f"{name}: its name was {said!r}")
    tenant: dict[str, Any] = {"name": name, "title": said}
    tenant |= {key: room[key] for key in _SAME if room.get(key) is not None}
    handled = {*_SAME, *_SILENT, "name", "additional_routes", "queueing_method", "cookie_attributes"}
    if room.get("additional_routes"):
        routes = [route for route in room["additional_routes"] if isinstance(route, Mapping)]
        tenant["additional_routes"] = [
            {key: route[key] for key in ("host", "path") if key in route} for route in routes
        ]
    method = room.get("queueing_method", "fifo")
    if method == "random":
        notes.append(f"{name}: queueing_method random became fifo: a lottery belongs to an event here")
        method = "fifo"
    tenant["queueing_method"] = method
    cookie = room.get("cookie_attributes") or {}
    tenant["cookie_attributes"] = {key: cookie[key] for key in ("samesite", "secure") if key in cookie}
    language = room.get("default_template_language")
    if language:
        tenant["default_template_language"] = str(language).partition("-")[0].lower()
    left_out = sorted(key for key in room.keys() - handled - {"default_template_language"} if room[key])
    if left_out:
        notes.append(f"{name}: left out {', '.join(left_out)}")
    return tenant
