"""Who asked for a change, and the audit trail in which it stands: written by the script that makes the change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from ropeline.lua.errors import REDIS_ERRORS, store_error

if TYPE_CHECKING:
    from ropeline.lua.calls import CommandClient

__all__ = ["AuditEntry", "Author", "Done", "Outcome", "read_trail"]


@dataclass(frozen=True, slots=True)
class Author:
    """Who asks for a change, and what for.

    `actor`: such as `key:3f2a` or `cli:anna`. `action`: what is done, one word. `reason`: in the actor's own words.
    `call`: an id by which the same call is known when it is sent again within a day, empty for none. `fingerprint`: of
    what the call asks for, so that its id cannot be used for something else; without spaces.
    """

    actor: str
    action: str
    reason: str = ""
    call: str = ""
    fingerprint: str = ""

    def encode(self) -> str:
        """The JSON that scripts take."""
        return json.dumps(asdict(self))


class Outcome(IntEnum):
    """What became of a change."""

    REFUSED = 0
    """It does not fit to what the store has; nothing was changed."""
    DONE = 1
    """It is done, by this call."""
    REPEATED = 2
    """It was done before, by an earlier sending of this call."""
    MISUSED = 3
    """The id of the call was used for another one; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a script that changes a tenant says. `entry`: id in the audit trail, empty when nothing was written.

    `version`, `generation`: in force now; 0 when the call is a repeated one, whose entry says them.
    """

    outcome: Outcome
    version: int
    generation: int
    entry: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change. `id` is that of the stream, `at_ms` wall ms of the server, `sequence` counts the changes of the trail.

    `facts`: what else the script wrote, such as version, before and after.
    """

    id: str
    sequence: int
    actor: str
    action: str
    reason: str
    call: str
    facts: Mapping[str, str]

    @property
    def at_ms(self) -> int:
        """When it was, wall milliseconds of the server."""
        return int(self.id.partition("-")[0])


async def read_trail(
    client: CommandClient, key: str, *, count: int, before: str = "", only: str = ""
) -> list[AuditEntry]:
    """Up to `count` entries of a trail, the newest first; `before`: older than this entry. `only`: this entry alone.

    Raises StoreError.
    """
    if before and not before.strip("0-"):
        # The server refuses to look before the first id that there could be.
        return []
    newest = f"({before}" if before else only or "+"
    try:
        reply = await client.execute_command("XREVRANGE", key, newest, only or "-", "COUNT", count)
    except REDIS_ERRORS as error:
        raise store_error(error) from error
    return [_entry(id_, values) for id_, values in reply]


def _entry(id_: bytes, values: list[bytes] | Mapping[bytes, bytes]) -> AuditEntry:
    pairs = values.items() if isinstance(values, Mapping) else zip(values[::2], values[1::2], strict=True)
    facts = {name.decode(): value.decode() for name, value in pairs}
    sequence = int(facts.pop("sequence"))
    actor, action, reason, call = (facts.pop(name) for name in ("actor", "action", "reason", "call"))
    return AuditEntry(id_.decode(), sequence, actor, action, reason, call, facts)
