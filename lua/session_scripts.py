"""One typed method per script on single sessions of a tenant: for operators who look at them and change their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ropeline.lua.audit import Author, Outcome
from ropeline.lua.calls import CommandClient, Scripts, TestClock
from ropeline.lua.keys import TenantKeys
from ropeline.lua.loader import load_script
from ropeline.lua.results import LineHead
from ropeline.lua.scripts import split_head

__all__ = ["FoundSession", "ListedSession", "Moved", "SessionList", "SessionScripts"]


@dataclass(frozen=True, slots=True)
class FoundSession:
    """One id as the store knows it.

    `score`: see ADR 0003; None when no session of this id is stored. `end`: tenant ms. `rank`: among all sessions of the
    tenant, from 0. `gone`, `spent`, `missed`: when the id came into these sets, tenant ms, 0 it did not.
    """

    head: LineHead
    score: int | None
    end: int
    rank: int
    gone: int
    spent: int
    missed: int


@dataclass(frozen=True, slots=True)
class ListedSession:
    """One session of a list: 16 bytes, score (see ADR 0003), end in tenant ms."""

    id: bytes
    score: int
    end: int


@dataclass(frozen=True, slots=True)
class SessionList:
    """A page. `rank`: of its first session, among all of the tenant. `has_before`, `has_after`: there are others of the state."""

    head: LineHead
    rank: int
    has_before: bool
    has_after: bool
    sessions: list[ListedSession]


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a move to the front.

    `score`: of the session now, 0 none. `position`: 0 when it does not wait, -1 while the line recovers. Both are 0 for a
    call that was sent before. `entry`: id in the audit trail, empty when nothing was written.
    """

    outcome: Outcome
    score: int
    position: int
    entry: str


class SessionScripts(Scripts):
    """The sessions of one tenant. Every method raises StoreError, and gives None when the tenant has no settings.

    `test_clock` replaces the server's time and run id in each call.
    """

    def __init__(
        self, client: CommandClient, namespace: str, tenant: str, *, test_clock: TestClock | None = None
    ) -> None:
        super().__init__(client, namespace)
        self._keys = TenantKeys(namespace, tenant)
        self._test_clock = test_clock

    async def find(self, id: bytes, *, caller_clock: int = 0) -> FoundSession | None:
        """The session of an id (16 bytes), or what is known of one that has ended."""
        reply = await self._call("session/find", self._keys.line(), caller_clock, id)
        if len(reply) == 1:
            return None
        head, (is_stored, score, *rest) = split_head(reply)
        return FoundSession(head, score if is_stored else None, *rest)

    async def page(
        self,
        *,
        state: int = 0,
        backward: bool = False,
        score: int = 0,
        id: bytes = b"",
        limit: int = 100,
        caller_clock: int = 0,
    ) -> SessionList | None:
        """Up to `limit` (1 to 100) sessions in the order of score and id, after the cursor `score` and `id`, or before it.

        `state`: 0 all, 1 waiting, 2 called, 3 admitted. Without an `id` the list begins at its start, `backward` at its end.
        """
        reply = await self._call(
            "session/page", self._keys.line(), caller_clock, state, int(backward), score, id, limit
        )
        if len(reply) == 1:
            return None
        head, (rank, has_before, has_after, *rest) = split_head(reply)
        body = iter(rest)
        sessions = [ListedSession(*each) for each in zip(body, body, body, strict=True)]
        return SessionList(head, rank, has_before == 1, has_after == 1, sessions)

    async def front(self, id: bytes, *, author: Author, caller_clock: int = 0) -> Moved | None:
        """Move a session that waits before all others that wait and were not moved."""
        keys = self._keys.change(author.call)
        reply = await self._call("session/front", keys, caller_clock, id, author.encode())
        return None if len(reply) == 1 else Moved(Outcome(reply[0]), reply[1], reply[2], reply[3].decode())

    async def _call(self, name: str, keys: tuple[str, ...], *arguments: str | bytes | int) -> list[Any]:
        clock = self._test_clock
        now, run = ("", "") if clock is None else (str(clock.now), clock.run)
        return await self._run(load_script(name), keys, now, run, *arguments)
