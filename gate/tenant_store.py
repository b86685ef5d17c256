"""Reads and writes tenants in Redis: their settings, who answers for which host, flushes and revocations.

The command line, the operators' API and the gate processes all come through here, so that a change is checked, whole and
made known in one way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from ropeline.gate.events import phases, settings_in
from ropeline.gate.line import SettingsCopy
from ropeline.gate.settings import TenantSettings
from ropeline.lua.calls import CommandClient
from ropeline.lua.errors import ConfigurationError, RopelineError
from ropeline.lua.line_settings import LineSettings, Method, Turn
from ropeline.lua.results import LineHead, Status
from ropeline.lua.scripts import DirectoryScripts, LineScripts

__all__ = [
    "ChangedMeanwhile",
    "RouteTaken",
    "StoredTenant",
    "TenantStore",
    "UnknownTenant",
    "line_settings",
    "line_turns",
]

_METHODS = {"fifo": Method.FIFO, "passthrough": Method.PASSTHROUGH, "reject": Method.REJECT}


class UnknownTenant(RopelineError):
    """The store has no tenant of this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        known_names = ", ".join(known[:20]) or "none yet"
        super().__init__(f"tenant: got {name!r}, expected one that the store has: {known_names}")
        self.name = name


class RouteTaken(RopelineError):
    """Another tenant answers for a host and path already."""

    def __init__(self, route: str, holder: str) -> None:
        super().__init__(f"host: got {route!r}, expected a host and path that no other tenant has: {holder} has it")
        self.route = route
        self.holder = holder


class ChangedMeanwhile(RopelineError):
    """Somebody else changed the tenant since it was read; read it again and decide again."""

    def __init__(self, name: str, expected: int, found: int) -> None:
        super().__init__(f"version of {name}: got {expected}, expected {found}, the one now in force")
        self.found = found


@dataclass(frozen=True, slots=True)
class StoredTenant:
    """A tenant as the store has it.

    `version` rises with each change, `generation` with each flush. `file_digest`: of the entry of a tenants file that
    was applied last; empty when the settings were never in a file.
    """

    settings: TenantSettings
    version: int
    generation: int
    file_digest: str = ""

    def copy(self) -> SettingsCopy:
        """What a gate process keeps to write it back into a store that lost it."""
        text = _encode(self.settings, self.file_digest)
        numbers, turns = line_settings(self.settings), line_turns(self.settings)
        return SettingsCopy(self.version, self.generation, text, numbers, turns)


class TenantStore:
    """Tenants of one namespace. Every method raises StoreError when the store does not answer or refuses."""

    def __init__(self, client: CommandClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self._directory = DirectoryScripts(client, namespace)

    def scripts(self, name: str) -> LineScripts:
        """The scripts on this tenant's line."""
        return LineScripts(self.client, self.namespace, name)

    async def names(self) -> list[str]:
        """Every tenant, sorted."""
        return await self._directory.tenant_names()

    async def find(self, name: str) -> StoredTenant | None:
        """The tenant, or None when the store does not have it."""
        found = await self.scripts(name).read_settings()
        if found is None:
            return None
        version, generation, text = found
        source = f"tenant {name} in the store"
        try:
            document = json.loads(text)
            mapping, file_digest = dict(document["settings"]), str(document.get("file", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ConfigurationError(source, text, "settings as they are written by `ropeline tenant set`") from None
        return StoredTenant(TenantSettings.from_mapping(mapping, source=source), version, generation, file_digest)

    async def read(self, name: str) -> StoredTenant:
        """The tenant; raises UnknownTenant when the store does not have it."""
        found = await self.find(name)
        if found is None:
            raise UnknownTenant(name, await self.names())
        return found

    async def save(self, settings: TenantSettings, *, expected: int, file_digest: str = "") -> StoredTenant:
        """Write a tenant whose version `expected` the caller has read, 0 for a new one.

        Raises RouteTaken or ChangedMeanwhile, with nothing changed.
        """
        await self.claim(settings)
        stored = StoredTenant(settings, expected + 1, 0, file_digest)
        written = await self.scripts(settings.name).configure(
            expected=expected,
            version=stored.version,
            settings=_encode(settings, file_digest),
            numbers=line_settings(settings),
            turns=line_turns(settings),
        )
        if not written.written:
            winner = await self.find(settings.name)
            if winner is not None:
                await self.claim(winner.settings)
            raise ChangedMeanwhile(settings.name, expected, written.version)
        return stored

    async def claim(self, settings: TenantSettings) -> None:
        """Put the tenant and its routes into the directory; raises RouteTaken, with nothing changed."""
        routes = [f"{route.host}{route.path}" for route in settings.routes]
        taken = await self._directory.claim_routes(settings.name, routes=routes)
        if taken is not None:
            raise RouteTaken(*taken)

    async def apply_file(self, tenants: Sequence[TenantSettings]) -> None:
        """Write the tenants of a settings file whose entry is new or has changed since it was applied last.

        What an operator has changed in the store meanwhile stays until the file's own entry changes.
        """
        for settings in tenants:
            text = json.dumps(settings.to_mapping(), sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            for _ in range(5):
                found = await self.find(settings.name)
                if found is not None and found.file_digest == digest:
                    break
                try:
                    await self.save(settings, expected=found.version if found else 0, file_digest=digest)
                except ChangedMeanwhile:
                    continue
                break

    async def flush(self, name: str) -> LineHead:
        """Empty the line and make every ticket given so far worthless; raises UnknownTenant."""
        head = await self.scripts(name).flush()
        if head is None:
            raise UnknownTenant(name, await self.names())
        return head

    async def status(self, name: str) -> Status:
        """The numbers of the line as they stand; raises UnknownTenant."""
        status = await self.scripts(name).status()
        if status is None:
            raise UnknownTenant(name, await self.names())
        return status

    async def revoke(self, name: str, ids: Sequence[bytes]) -> int:
        """End 1 to 100 sessions for good and say how many were live; raises UnknownTenant."""
        if not 1 <= len(ids) <= 100 or any(len(id_) != 16 for id_ in ids):
            raise ConfigurationError("ids", f"{len(ids)} ids", "1 to 100 ids of 16 bytes each")
        reply = await self.scripts(name).revoke(ids)
        if reply is None:
            raise UnknownTenant(name, await self.names())
        return reply[1]


def line_settings(settings: TenantSettings) -> LineSettings:
    """The part of a tenant's settings that the scripts read."""
    return LineSettings(
        quota=settings.quota,
        rate=-1 if settings.rate is None else settings.rate,
        waiting_ttl=settings.waiting_ttl_ms,
        session_ttl=settings.session_ttl_ms,
        session_max=settings.session_max_ms,
        confirm_within=settings.confirm_within_ms,
        claim_within=settings.claim_within_ms,
        return_within=settings.return_within_ms,
        leave_hold=settings.leave_hold_ms,
        recovery_hold=settings.recovery_hold_ms,
        clock_step=settings.clock_step_ms,
        method=_METHODS[settings.queueing_method],
        closed=settings.paused or settings.queue_all,
        renew=not settings.disable_session_renewal,
        join_limit=settings.join_limit_per_ip,
    )


def line_turns(settings: TenantSettings) -> list[Turn]:
    """What that part becomes with each phase of the tenant's events."""
    return [Turn(phase.at, line_settings(settings_in(settings, phase))) for phase in phases(settings.events)[1:]]


def _encode(settings: TenantSettings, file_digest: str) -> str:
    return json.dumps({"settings": settings.to_mapping(), "file": file_digest})
