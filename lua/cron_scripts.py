"""One typed method per script of the cron jobs of a queue: callers never see KEYS, ARGV or a status number.

What a schedule says and what a definition holds is the caller's affair; here they are texts that have a version.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from ropeline.lua.calls import CommandClient, Scripts, TestClock
from ropeline.lua.keys import CronKeys
from ropeline.lua.loader import load_script

__all__ = ["CronScripts", "CronState", "DefineResult", "Defined", "FireResult", "Fired", "StoredCron"]

_HEAD = Struct("<dI")


class DefineResult(IntEnum):
    """What became of a definition."""

    FULL = -2
    """The queue has as many cron jobs as it may; nothing was changed."""
    CHANGED = -1
    """The store has another version than the caller has read; nothing was changed."""
    SAME = 0
    """It is there already."""
    WRITTEN = 1


class Defined(NamedTuple):
    """The answer to a definition. `version`: the one that is there now, 0 for none."""

    result: DefineResult
    version: int


class FireResult(IntEnum):
    """What became of a tick. Up to LATE it is recorded, and after it nothing was changed."""

    ENQUEUED = 0
    EXISTS = 1
    """The queue has this job already."""
    CONFLICT = 2
    """Another job holds its unique key: the one of an earlier tick, as a rule."""
    LATE = 3
    """It lies too far back, and is not run."""
    PAST = 4
    """It is not later than the last one."""
    EARLY = 5
    """It is later than the server's now."""
    CHANGED = 6
    """The definition has another version, or is gone."""


class Fired(NamedTuple):
    """The answer to a tick. `now`, `last`, `before`: the server's time, the last tick now and before the call, wall ms."""

    result: FireResult
    now: int
    last: int
    before: int


class StoredCron(NamedTuple):
    """One cron job as the store has it."""

    name: str
    version: int
    schedule: str
    definition: bytes


class CronState(NamedTuple):
    """The cron jobs of a queue. `now`: wall ms. `ticks`: the last tick of each, wall ms.

    `changes`: how many changes of definitions there have been. `stored`: None where the definitions were not asked for.
    """

    now: int
    changes: int
    ticks: dict[str, int]
    stored: list[StoredCron] | None


class CronScripts(Scripts):
    """The scripts on the cron jobs of one queue of a stage.

    `test_clock` replaces the server's time in each call. Every method raises StoreError when the server does not answer or
    refuses.
    """

    def __init__(
        self, client: CommandClient, namespace: str, stage: str, queue: str, *, test_clock: TestClock | None = None
    ) -> None:
        super().__init__(client, namespace)
        keys = CronKeys(namespace, stage, queue)
        self._cron = tuple(key.encode() for key in keys.cron())
        self._fire = tuple(key.encode() for key in keys.fire())
        self._test_clock = test_clock

    async def define(self, *, name: str, expected: int, schedule: str, definition: bytes) -> Defined:
        """Write a definition; its ticks begin now, unless the store knows this name with the same `schedule`.

        `expected`: the version that the caller has read, 0 none yet, -1 whatever is there.
        """
        reply = await self._run(
            load_script("cron/define"), self._cron, self._now(), name, expected, schedule, definition
        )
        return Defined(DefineResult(reply[0]), reply[1])

    async def remove(self, *, name: str, expected: int) -> bool:
        """End a cron job; `expected` as for `define`. False when there is none, or it has another version."""
        return bool(await self._reply(load_script("cron/remove"), self._cron, name, expected))

    async def read(self) -> CronState:
        """How the cron jobs stand, without their definitions; changes nothing."""
        now, changes, ticks = await self._run(load_script("cron/read"), self._cron, self._now())
        last = {name.decode(): int(tick) for name, tick in zip(ticks[::2], ticks[1::2], strict=True)}
        return CronState(now, changes, last, None)

    async def definitions(self, names: Sequence[str]) -> list[StoredCron | None]:
        """Of 1 to 100 names the first ones' definitions, as many as 256 KiB hold, one at least; None for one that has none."""
        found = await self._run(load_script("cron/definitions"), self._cron, *names)
        return [
            _unpack(name, packed) if packed else None for name, packed in zip(names[: len(found)], found, strict=True)
        ]

    async def fire(
        self, *, name: str, version: int, tick: int, late: int, job: bytes, large_from: int = 16_384
    ) -> Fired:
        """Enqueue the job (`pack_job`) of a tick and record the tick, both or neither; may be repeated after a lost reply.

        `tick`: wall ms. `late`: a tick that lies further back than these ms is recorded and not run, 0 however far.
        """
        result, now, last, before = await self._run(
            load_script("cron/fire"), self._fire, self._now(), large_from, name, version, tick, late, job
        )
        return Fired(FireResult(result), now, last, before)

    def _now(self) -> str | int:
        return "" if self._test_clock is None else self._test_clock.now


def _unpack(name: str, packed: bytes) -> StoredCron:
    version, length = _HEAD.unpack_from(packed)
    start = _HEAD.size + length
    return StoredCron(name, int(version), packed[_HEAD.size : start].decode(), packed[start:])
