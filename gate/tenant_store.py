"""Reads and writes tenants in Redis: their settings, who answers for which host, flushes and revocations.

The command line, the operators' API and the gate processes all come through here, so that a change is checked, whole and
made known in one way.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ropeline.gate.events import Event, next_draw, phases, settings_in
from ropeline.gate.line import SettingsCopy
from ropeline.gate.lots import Lottery
from ropeline.gate.settings import TenantSettings
from ropeline.lua.audit import AuditEntry, Author, Done, Outcome
from ropeline.lua.calls import CommandClient
from ropeline.lua.errors import REDIS_ERRORS, ConfigurationError, RopelineError, store_error
from ropeline.lua.line_settings import LineSettings, Method, Turn
from ropeline.lua.results import Status, Step
from ropeline.lua.scripts import DirectoryScripts, LineScripts
from ropeline.lua.tenant_scripts import TenantScripts

__all__ = [
    "CallMisused",
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


# Whoever does not say: a program that uses Ropeline as a library.
_PROGRAM = Author("program", "change")
_FILE = Author("file", "apply")


class CallMisused(RopelineError):
    """The id of a call was used within the last day for a call that asked for something else."""

    def __init__(self, call: str) -> None:
        super().__init__(f"id of the call: got {call!r}, expected one that was not used for another call")


class ChangedMeanwhile(RopelineError):
    """Somebody else changed the tenant since it was read; read it again and decide again."""

    def __init__(self, name: str, expected: int, found: int) -> None:
        super().__init__(f"version of {name}: got {expected}, expected {found}, the one now in force")
        self.found = found


@dataclass(frozen=True, slots=True)
class StoredTenant:
    """A tenant as the store has it.

    `version` rises with each change, `generation` with each flush. `file_digest`: of the entry of a tenants file that
    was applied last; empty when the settings were never in a file. `seeds`: of the draws by lot, by when their pre-queues
    open (seconds since 1970). They are secret until a minute after the start.
    """

    settings: TenantSettings
    version: int
    generation: int
    file_digest: str = ""
    seeds: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    def lottery(self, event: Event) -> Lottery | None:
        """The draw of one of the events; None when its places are not drawn by lot."""
        seed = self.seeds.get(event.opens_at) if event.shuffle_at_event_start else None
        return None if seed is None else Lottery(event.name, event.opens_at, event.starts_at, seed)

    def copy(self) -> SettingsCopy:
        """What a gate process keeps to write it back into a store that lost it."""
        text = _encode(self)
        numbers, turns = line_settings(self.settings), line_turns(self.settings)
        return SettingsCopy(self.version, self.generation, text, numbers, turns=turns, seeds=self.seeds)


class TenantStore:
    """Tenants of one namespace. Every method raises StoreError when the store does not answer or refuses."""

    def __init__(self, client: CommandClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self._directory = DirectoryScripts(client, namespace)

    def scripts(self, name: str) -> LineScripts:
        """The scripts on this tenant's line."""
        return LineScripts(self.client, self.namespace, name)

    def changes(self, name: str) -> TenantScripts:
        """The scripts by which operators change this tenant, and its audit trail."""
        return TenantScripts(self.client, self.namespace, name)

    async def names(self) -> list[str]:
        """Every tenant, sorted."""
        return await self._directory.tenant_names()

    async def find(self, name: str) -> StoredTenant | None:
        """The tenant, or None when the store does not have it."""
        found = await self.scripts(name).read_settings()
        if found is None:
            return None
        version, generation, text = found
        return _stored(name, text, version, generation)

    async def is_deleted(self, name: str) -> bool:
        """Whether an operator has ended the tenant, and nobody has made it anew."""
        return await self.scripts(name).is_deleted()

    async def read(self, name: str) -> StoredTenant:
        """The tenant; raises UnknownTenant when the store does not have it."""
        found = await self.find(name)
        if found is None:
            raise UnknownTenant(name, await self.names())
        return found

    async def save(
        self, settings: TenantSettings, *, expected: int, file_digest: str = "", author: Author = _PROGRAM
    ) -> StoredTenant:
        """Write a tenant whose version `expected` the caller has read, 0 for a new one, and say in the audit trail who did.

        The seed of a draw by lot is made here, and never again for a pre-queue that opens at that time. Raises RouteTaken,
        ChangedMeanwhile, CallMisused or ConfigurationError, with nothing changed. A call of
        `author` that was carried out before gives what it gave then.
        """
        seeds = await self._seeds(settings)
        await self.claim(settings)
        done = await self.changes(settings.name).change(
            expected=expected,
            settings=_encode(StoredTenant(settings, 0, 0, file_digest, seeds)),
            numbers=line_settings(settings),
            turns=line_turns(settings),
            seeds=seeds,
            author=author,
        )
        if done.outcome is Outcome.DONE:
            return StoredTenant(settings, done.version, done.generation, file_digest, seeds)
        winner = await self.find(settings.name)
        if winner is not None:
            await self.claim(winner.settings)
        if done.outcome is Outcome.REFUSED:
            raise ChangedMeanwhile(settings.name, expected, done.version)
        return _as_written(settings.name, await self._repeated(settings.name, done, author))

    async def _seeds(self, settings: TenantSettings) -> dict[int, bytes]:
        """The seeds of the events whose places are drawn by lot: those that there are, and new ones.

        Raises ConfigurationError for a new draw whose pre-queue is open already, since those who came have places by
        arrival, and for a start that is taken back.
        """
        drawn = [(index, event) for index, event in enumerate(settings.events) if event.shuffle_at_event_start]
        if not drawn:
            return {}
        known = await self.find(settings.name)
        now = await self.time()
        seeds = {} if known is None else dict(known.seeds)
        started = set() if known is None else {each.opens_at for each in known.settings.events if each.starts_at <= now}
        for index, event in drawn:
            field_name = f"events[{index}].prequeue_start_time"
            is_open = event.opens_at <= now < event.starts_at
            if known is not None and event.opens_at not in seeds and is_open:
                raise ConfigurationError(
                    field_name, event.prequeue_start_time, "a time to come: places are drawn by lot"
                )
            if event.opens_at in started and event.starts_at > now:
                expected = "another time: this one has been drawn for, and everybody may know the seed"
                raise ConfigurationError(field_name, event.prequeue_start_time, expected)
        kept = {event.opens_at: seeds.get(event.opens_at, b"") for _, event in drawn}
        missing = [event.opens_at for _, event in drawn if event.starts_at > now and not kept[event.opens_at]]
        return {opened: seed for opened, seed in kept.items() if seed} | {
            opened: secrets.token_bytes(32) for opened in missing
        }

    async def time(self) -> float:
        """The server's time, seconds since 1970."""
        try:
            seconds, rest = await self.client.execute_command("TIME")
        except REDIS_ERRORS as error:
            raise store_error(error) from error
        return int(seconds) + int(rest) / 1_000_000

    async def drawn_places(self, name: str, opened: int) -> dict[bytes, int]:
        """Id -> place (us) of who waits, or has been called, at a place by lot of the pre-queue that opened then (s)."""
        return await self.scripts(name).read_places(opened * 1_000_000 + 1, opened * 1_000_000 + 999_999)

    async def earlier(self, name: str, author: Author) -> StoredTenant | None:
        """What an earlier sending of this call has written; None when there was none. Raises CallMisused."""
        entry = await self.changes(name).kept_call(author)
        if entry is None:
            return None
        done = Done(Outcome.REPEATED, 0, 0, entry)
        return _as_written(name, await self._repeated(name, done, author))

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
                    expected = found.version if found else 0
                    await self.save(settings, expected=expected, file_digest=digest, author=_FILE)
                except ChangedMeanwhile:
                    continue
                break

    async def flush(self, name: str, *, author: Author = _PROGRAM) -> int:
        """Empty the line, make every ticket given so far worthless, and return the new generation.

        Raises UnknownTenant or CallMisused.
        """
        done = await self.changes(name).flush(author=author)
        if done.outcome is Outcome.REFUSED:
            raise UnknownTenant(name, await self.names())
        if done.outcome is Outcome.DONE:
            return done.generation
        return int((await self._repeated(name, done, author)).facts["generation"])

    async def remove(self, name: str, *, expected: int = -1, author: Author = _PROGRAM) -> None:
        """End a tenant with its line; its hosts are free then. `expected`: the version that the caller has read, -1 any.

        Raises UnknownTenant, ChangedMeanwhile or CallMisused.
        """
        done = await self.changes(name).remove(expected=expected, author=author)
        if done.outcome is Outcome.REFUSED and done.version > 0:
            raise ChangedMeanwhile(name, expected, done.version)
        if done.outcome is Outcome.MISUSED:
            raise CallMisused(author.call)
        # Also for a tenant that was ended by a call which broke off before this.
        was_there = await self._directory.release_routes(name)
        if done.outcome is Outcome.REFUSED and not was_there:
            raise UnknownTenant(name, await self.names())

    async def routes(self) -> dict[str, str]:
        """Which tenant has which route (host and path)."""
        return await self._directory.routes()

    async def status(self, name: str) -> Status:
        """The numbers of the line as they stand; raises UnknownTenant."""
        status = await self.scripts(name).status()
        if status is None:
            raise UnknownTenant(name, await self.names())
        return status

    async def steps(self, name: str, count: int) -> list[Step]:
        """The last `count` steps of the tenant's closed loop, the newest first; none where there is no such tenant."""
        return await self.scripts(name).read_steps(count)

    async def revoke(self, name: str, ids: Sequence[bytes]) -> int:
        """End 1 to 100 sessions for good and say how many were live; raises UnknownTenant."""
        if not 1 <= len(ids) <= 100 or any(len(id_) != 16 for id_ in ids):
            raise ConfigurationError("ids", f"{len(ids)} ids", "1 to 100 ids of 16 bytes each")
        reply = await self.scripts(name).revoke(ids)
        if reply is None:
            raise UnknownTenant(name, await self.names())
        return reply[1]

    async def _repeated(self, name: str, done: Done, author: Author) -> AuditEntry:
        """What an earlier sending of this call has done; raises CallMisused when it was another call."""
        entries = await self.changes(name).trail(count=1, only=done.entry) if done.entry else []
        if not entries:
            raise CallMisused(author.call)
        return entries[0]


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
        reserved=next_draw(settings.events, 0),
        lowest=settings.closed_loop.lowest if settings.closed_loop.enabled else 0,
    )


def _as_written(name: str, entry: AuditEntry) -> StoredTenant:
    """The tenant as a change left it."""
    return _stored(name, entry.facts["after"], int(entry.facts["version"]), int(entry.facts["generation"]))


def _stored(name: str, text: str, version: int, generation: int) -> StoredTenant:
    """The tenant that `_encode` wrote; raises ConfigurationError."""
    source = f"tenant {name} in the store"
    try:
        document = json.loads(text)
        mapping, file_digest = dict(document["settings"]), str(document.get("file", ""))
        seeds = {int(opened): bytes.fromhex(seed) for opened, seed in document.get("seeds", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigurationError(
            source, "something else (hidden)", "settings as they are written by `ropeline tenant set`"
        ) from None
    settings = TenantSettings.from_mapping(mapping, source=source)
    return StoredTenant(settings, version, generation, file_digest, seeds)


def line_turns(settings: TenantSettings) -> list[Turn]:
    """What that part becomes with each phase of the tenant's events."""
    return [
        Turn(phase.at, replace(line_settings(settings_in(settings, phase)), window=phase.window, reserved=reserved))
        for phase in phases(settings.events)[1:]
        for reserved in [next_draw(settings.events, phase.at)]
    ]


def _encode(stored: StoredTenant) -> str:
    seeds = {str(opened): seed.hex() for opened, seed in stored.seeds.items()}
    return json.dumps({"settings": stored.settings.to_mapping(), "file": stored.file_digest, "seeds": seeds})
