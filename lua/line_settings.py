"""The part of a tenant's settings that the scripts on its line read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import NamedTuple

from ropeline.lua.errors import ConfigurationError

__all__ = ["LineSettings", "Method", "Turn", "seeds_text", "turns_text"]

_HIGHEST = 10**13
# A hold of nothing would end within the call that gives it.
_LOWEST = {"rate": -1, "waiting_ttl": 1, "session_ttl": 1, "claim_within": 1, "clock_step": 1}


class Method(IntEnum):
    """How a line deals with visitors: in order, everybody straight through, or nobody new at all."""

    FIFO = 0
    PASSTHROUGH = 1
    REJECT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSettings:
    """What `visit` and its kin need to know; every duration in milliseconds of the tenant clock.

    `quota`: most sessions admitted at once. `rate`: most admissions a minute, -1 no limit. `session_max`: longest visit,
    0 no limit. `closed`: nobody is admitted for now. `renew`: requests prolong a visit. `join_limit`: new tickets a
    minute for a client prefix, 0 no limit. `window`: when the shuffled pre-queue opened that is on, s of the server's
    clock, 0 none. `reserved`: when the next one opens, 0 none; places by arrival leave out that second.
    `lowest`: how far down the closed loop may take the quota, 0 there is no loop. The others are explained in `docs/settings.md`.
    """

    quota: int
    rate: int = -1
    waiting_ttl: int = 180_000
    session_ttl: int = 300_000
    session_max: int = 14_400_000
    confirm_within: int = 30_000
    claim_within: int = 120_000
    return_within: int = 600_000
    leave_hold: int = 60_000
    recovery_hold: int = 60_000
    clock_step: int = 3_000
    method: Method = Method.FIFO
    closed: bool = False
    renew: bool = True
    join_limit: int = 0
    window: int = 0
    reserved: int = 0
    lowest: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            lowest = _LOWEST.get(name, 0)
            if not isinstance(value, int) or not lowest <= value <= _HIGHEST:
                raise ConfigurationError(name, value, f"a whole number from {lowest} to {_HIGHEST}")

    def numbers(self) -> str:
        """These settings as the JSON object that `configure` takes: name -> whole number."""
        return json.dumps(_numbers_of(self))


class Turn(NamedTuple):
    """From `at` on, seconds of the server's clock, the line goes by other `numbers`."""

    at: int
    numbers: LineSettings


def seeds_text(seeds: Mapping[int, bytes]) -> str:
    """The seeds of shuffled pre-queues as the JSON that scripts take: when each opens, s -> 32 bytes, hexadecimal."""
    return json.dumps({str(opened): seed.hex() for opened, seed in seeds.items()})


def turns_text(turns: Sequence[Turn]) -> str:
    """What the settings of a line become, as the JSON list that `configure` takes; in the order of time."""
    return json.dumps([{"at": at} | _numbers_of(numbers) for at, numbers in turns])


def _numbers_of(settings: LineSettings) -> dict[str, int]:
    return {name: int(value) for name, value in asdict(settings).items()}
