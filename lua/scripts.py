"""One typed method per script of the line and the directory: callers never see KEYS, ARGV, bytes or a status number.

A call whose reply was lost is not sent again: the line's own rules make a later call right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from ropeline.lua.calls import CommandClient, Scripts, TestClock
from ropeline.lua.errors import REDIS_ERRORS, StoreFull, store_error
from ropeline.lua.keys import DirectoryKeys, TenantKeys, changes_channel
from ropeline.lua.line_settings import LineSettings, Turn, seeds_text, turns_text
from ropeline.lua.loader import load_script
from ropeline.lua.measured import Measured
from ropeline.lua.results import (
    Configured,
    Counters,
    LineHead,
    Outcome,
    StaleSettings,
    Status,
    Step,
    Ticked,
    Times,
    TimesCounted,
    Verdict,
)
from ropeline.lua.visits import Departure, Visit, pack_visits

__all__ = ["DirectoryScripts", "LineScripts", "split_head"]

_HEAD_LENGTH = 14
_PLACES_A_STEP = 1000
_NO_SEEDS: Mapping[int, bytes] = {}
_VERDICTS = tuple(Verdict)
_COUNTERS = len(fields(Counters))


class LineScripts(Scripts):
    """The scripts on one tenant's line.

    `test_clock` replaces the server's time and run id in each call. Every method raises StoreError when the server does
    not answer or refuses.
    """

    def __init__(
        self, client: CommandClient, namespace: str, tenant: str, *, test_clock: TestClock | None = None
    ) -> None:
        super().__init__(client, namespace)
        self.tenant = tenant
        self._channel = changes_channel(namespace)
        keys = TenantKeys(namespace, tenant)
        self._keys = tuple(key.encode() for key in keys.line())
        self._tick_keys = tuple(key.encode() for key in keys.all())
        self._test_clock = test_clock

    async def visit(
        self, visits: Sequence[Visit], *, caller_clock: int = 0, known_version: int = 0, known_generation: int = 0
    ) -> tuple[LineHead, list[Outcome]] | StaleSettings:
        """Decide on 1 to 128 visits, in this order; outcomes come in the same order.

        `caller_clock`: the highest tenant clock (ms) that the caller has seen, 0 none. `known_version`,
        `known_generation`: of the settings that the caller has; older ones in the store give StaleSettings. On a server
        that has no memory left, the visits are decided by `visit_full`, which stores nobody new.
        """
        arguments = (caller_clock, known_version, known_generation, len(visits), pack_visits(visits))
        try:
            reply = await self._call("line/visit", *arguments)
        except StoreFull:
            reply = await self._call("line/visit_full", *arguments)
        if len(reply) == 1:
            return StaleSettings(reply[0])
        body = iter(reply[_HEAD_LENGTH:])
        outcomes = [
            Outcome(_VERDICTS[verdict], new == 1, place, since, end, position)
            for verdict, new, place, since, end, position in zip(body, body, body, body, body, body, strict=True)
        ]
        return _head(reply), outcomes

    async def tick(self, *, caller_clock: int = 0, measured: Measured | None = None) -> Ticked | None:
        """Purge a chunk, give free slots on, take a sample, and let the closed loop take in what was `measured`.

        None when the tenant has no settings, or no state and the caller knows no clock.
        """
        text = "" if measured is None else measured.text()
        reply = await self._call("line/tick", caller_clock, text, keys=self._tick_keys)
        if len(reply) == 1:
            return None
        return Ticked(_head(reply), reply[_HEAD_LENGTH] == 1, reply[_HEAD_LENGTH + 1])

    async def leave(
        self, departures: Sequence[Departure], *, caller_clock: int = 0
    ) -> tuple[LineHead, list[bool]] | None:
        """Carry out 1 to 128 departures, in this order; True for each whose session was live.

        The gate processes are told to ask about these sessions again. None when the tenant has no settings.
        """
        message = f"{self.tenant} recheck {' '.join(departure.id.hex() for departure in departures)}"
        packed = [departure.id + (b"1" if departure.closing else b"0") for departure in departures]
        reply = await self._call("line/leave", caller_clock, self._channel, message, *packed)
        return None if len(reply) == 1 else (_head(reply), [was_live == 1 for was_live in reply[_HEAD_LENGTH:]])

    async def revoke(self, ids: Sequence[bytes], *, caller_clock: int = 0) -> tuple[LineHead, int] | None:
        """End 1 to 100 sessions for good, tell the gate processes, and say how many were live; None without settings."""
        message = f"{self.tenant} revoke {' '.join(revoked.hex() for revoked in ids)}"
        reply = await self._call("line/revoke", caller_clock, self._channel, message, *ids)
        return None if len(reply) == 1 else (_head(reply), reply[_HEAD_LENGTH])

    async def flush(self, *, caller_clock: int = 0) -> LineHead | None:
        """Empty the line and make every ticket given so far worthless; None when the tenant has no settings."""
        reply = await self._call("line/flush", caller_clock, self._channel, f"{self.tenant} flush")
        return None if len(reply) == 1 else _head(reply)

    async def configure(
        self,
        *,
        expected: int,
        version: int,
        settings: str,
        numbers: LineSettings,
        turns: Sequence[Turn] = (),
        seeds: Mapping[int, bytes] = _NO_SEEDS,
        reached: int = 0,
        generation: int = 0,
        caller_clock: int = 0,
    ) -> Configured:
        """Write settings (`settings`: all of them as JSON) under `version`, and tell the gate processes.

        `expected`: the version that the caller has read, 0 none yet; another one in the store and nothing is written.
        -1: write whenever `version` is the higher one, as a process does that gives lost settings back. `generation`:
        raises a lower flush generation in the store, and empties the line then, whether the settings are written or not.
        `turns`: what the settings become later, in the order of time. `seeds`: of the shuffled pre-queues, by when each
        opens, s of the server's clock: 32 bytes. `reached`: the highest server's time (us) that the
        caller has seen: a turn that was due then is taken, though the server's clock may be behind it.
        """
        message = f"{self.tenant} configure {version}"
        reply = await self._call(
            "line/configure",
            caller_clock,
            self._channel,
            message,
            expected,
            version,
            generation,
            settings,
            numbers.numbers(),
            turns_text(turns),
            seeds_text(seeds),
            reached,
        )
        return Configured(reply[0] == 1, reply[1], reply[2])

    async def status(self, *, caller_clock: int = 0) -> Status | None:
        """The numbers as they stand, changing nothing; None when the tenant has no settings."""
        reply = await self._call("line/status", caller_clock)
        if len(reply) == 1:
            return None
        *times, quota = reply[_HEAD_LENGTH + _COUNTERS :]
        counters = Counters(*reply[_HEAD_LENGTH : _HEAD_LENGTH + _COUNTERS])
        return Status(_head(reply), counters, quota, Times(*map(TimesCounted.read, times)))

    async def read_settings(self) -> tuple[int, int, str] | None:
        """Version, flush generation and settings (JSON) of the tenant as the store has them; None when it has none."""
        try:
            config = TenantKeys(self._namespace, self.tenant).config
            values = await self._client.execute_command("HMGET", config, "version", "generation", "settings")
        except REDIS_ERRORS as error:
            raise store_error(error) from error
        version, generation, settings = values
        return None if version is None else (int(version), int(generation), settings.decode())

    async def is_deleted(self) -> bool:
        """Whether an operator has ended the tenant, and nobody has made it anew."""
        try:
            config = TenantKeys(self._namespace, self.tenant).config
            return await self._client.execute_command("HGET", config, "deleted") is not None
        except REDIS_ERRORS as error:
            raise store_error(error) from error

    async def read_places(self, lowest: int, highest: int) -> dict[bytes, int]:
        """Id -> place (us) of who waits, or has been called, at a place from `lowest` to `highest`; read in steps."""
        sessions = TenantKeys(self._namespace, self.tenant).sessions
        places: dict[bytes, int] = {}
        for sign in (1, -1):
            first, last = sorted((sign * lowest, sign * highest))
            while True:
                step = ("BYSCORE", "LIMIT", 0, _PLACES_A_STEP, "WITHSCORES")
                try:
                    found = await self._client.execute_command("ZRANGE", sessions, first, last, *step)
                except REDIS_ERRORS as error:
                    raise store_error(error) from error
                before = len(places)
                scores = [int(score) for score in found[1::2]]
                places.update(zip(found[::2], (sign * score for score in scores), strict=True))
                if len(places) == before or len(scores) < _PLACES_A_STEP:
                    break
                first = scores[-1]
        return places

    async def read_steps(self, count: int) -> list[Step]:
        """The last `count` steps of the closed loop, the newest first."""
        try:
            entries = await self._client.execute_command(
                "XREVRANGE", TenantKeys(self._namespace, self.tenant).steps, "+", "-", "COUNT", count
            )
        except REDIS_ERRORS as error:
            raise store_error(error) from error
        return [_step(entry[0], entry[1]) for entry in entries]

    async def _call(self, name: str, *arguments: str | bytes | int, keys: tuple[bytes, ...] | None = None) -> list[Any]:
        clock = self._test_clock
        now, run = ("", "") if clock is None else (str(clock.now), clock.run)
        return await self._run(load_script(name), keys or self._keys, now, run, *arguments)


class DirectoryScripts(Scripts):
    """The scripts on the directory: which tenants there are, and who answers for which host and path."""

    def __init__(self, client: CommandClient, namespace: str) -> None:
        super().__init__(client, namespace)
        self._channel = changes_channel(namespace)

    async def claim_routes(self, tenant: str, *, routes: Sequence[str]) -> tuple[str, str] | None:
        """Give the tenant 1 to 100 routes (host and path) instead of those it had.

        The first route that another tenant has and that tenant's name when one is taken, nothing being changed then;
        else None.
        """
        keys = DirectoryKeys(self._namespace)
        reply = await self._run(
            load_script("directory/claim_routes"),
            (keys.tenants, keys.hosts),
            tenant,
            self._channel,
            f"{tenant} routes",
            *routes,
        )
        return (reply[0].decode(), reply[1].decode()) if reply else None

    async def release_routes(self, tenant: str) -> bool:
        """Take a tenant that was deleted out of the directory; whether it was there."""
        keys = DirectoryKeys(self._namespace)
        script = load_script("directory/release_routes")
        reply = await self._run(script, (keys.tenants, keys.hosts), tenant, self._channel, f"{tenant} routes")
        return bool(reply[0])

    async def routes(self) -> dict[str, str]:
        """Which tenant has which route (host and path)."""
        try:
            hosts = await self._client.execute_command("HGETALL", DirectoryKeys(self._namespace).hosts)
        except REDIS_ERRORS as error:
            raise store_error(error) from error
        return {route.decode(): name.decode() for route, name in hosts.items()}

    async def tenant_names(self) -> list[str]:
        """Every tenant in the directory, sorted."""
        try:
            names = await self._client.execute_command("HKEYS", DirectoryKeys(self._namespace).tenants)
        except REDIS_ERRORS as error:
            raise store_error(error) from error
        return sorted(name.decode() for name in names)


def split_head(reply: list[Any]) -> tuple[LineHead, list[Any]]:
    """The head that each script on a line answers with, and what comes after it."""
    return _head(reply), reply[_HEAD_LENGTH:]


def _head(reply: list[Any]) -> LineHead:
    version, generation, sequence, epoch, clock, now, active, waiting, recovering, closed, fast, slow, samples, turn = (
        reply[:_HEAD_LENGTH]
    )
    return LineHead(
        version,
        generation,
        sequence,
        epoch,
        clock,
        now,
        active,
        waiting,
        recovering == 1,
        closed == 1,
        fast,
        slow,
        samples,
        turn,
    )


def _step(id_: bytes, found: Any) -> Step:
    """One entry of the stream; redis-py makes a mapping of its fields, other clients leave them as a list."""
    pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    values = {name.decode(): value.decode() for name, value in pairs}
    del values["clock"]
    reason = values.pop("reason")
    return Step(at=int(id_.partition(b"-")[0]), reason=reason, **{name: int(value) for name, value in values.items()})
