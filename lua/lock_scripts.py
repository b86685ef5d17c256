"""One typed method per script of the locks: callers never see KEYS, ARGV or a status number.

A lock is a slot of its own, and the list of a stage's locks another one: no script touches both. So the list may know a
lock that is free again, and for a moment not know one that was just taken; who lists looks at each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ropeline.lua.calls import CommandClient, Scripts, TestClock
from ropeline.lua.keys import LockKeys, locks_key
from ropeline.lua.loader import load_script

__all__ = ["Acquired", "Extended", "Gone", "HeldLock", "LockListScripts", "LockScripts", "Released"]


class HeldLock(NamedTuple):
    """A lock that somebody holds. `now`, `until`, `since`: the server's time, us. `holder`: empty when it has no name."""

    now: int
    fence: int
    until: int
    since: int
    token: str
    holder: str
    owner: str
    purpose: str


class Acquired(NamedTuple):
    """The lock is the caller's. `took_over`: the same holder had it, by another token. Times: the server's, us."""

    now: int
    fence: int
    until: int
    took_over: bool


class Extended(NamedTuple):
    """The hold goes on until `until` (us)."""

    now: int
    fence: int
    until: int


class Released(NamedTuple):
    """The hold is over; it would have ended at `until` (us)."""

    until: int


class Gone(NamedTuple):
    """The token holds nothing any more. `by`, `reason`: of whoever took the lock away; empty when its time ran out."""

    by: str
    reason: str


class LockScripts(Scripts):
    """The scripts on one lock of a stage.

    `test_clock` replaces the server's time and run id in each call. Every method raises StoreError when the server does
    not answer or refuses.
    """

    def __init__(
        self, client: CommandClient, namespace: str, stage: str, name: str, *, test_clock: TestClock | None = None
    ) -> None:
        super().__init__(client, namespace)
        self._keys = tuple(key.encode() for key in LockKeys(namespace, stage, name).lock())
        self._test_clock = test_clock

    async def acquire(
        self,
        *,
        token: str,
        ttl: int,
        holder: str = "",
        holder_fence: int = 0,
        owner: str = "",
        purpose: str = "",
        waits: int = 0,
    ) -> Acquired | HeldLock:
        """Take the lock for `ttl` ms, or learn who has it; may be repeated with the same token after a lost reply.

        `holder`, `owner`: who asks; the same two take the lock over from their own earlier token, unless `holder_fence` is
        lower than that one's. `waits`: for so many ms the caller will listen for the wake-up token if it is refused.
        """
        is_acquired, *reply = await self._call(
            "lock/acquire", token, ttl, holder, holder_fence, owner, purpose, waits, run=True
        )
        if not is_acquired:
            return _held(reply)
        now, fence, until, took_over = reply
        return Acquired(now, fence, until, took_over == 1)

    async def extend(self, *, token: str, ttl: int) -> Extended | Gone:
        """Let the hold of this token last for `ttl` ms from now."""
        is_held, *reply = await self._call("lock/extend", token, ttl)
        return Extended(*reply) if is_held else _gone(reply)

    async def release(self, *, token: str) -> Released | Gone:
        """End the hold of this token, and wake one of those who wait."""
        is_held, *reply = await self._call("lock/release", token)
        return Released(*reply) if is_held else _gone(reply)

    async def steal(self, *, token: str, by: str, reason: str) -> HeldLock | None:
        """Take the lock away from the holder of this token, or (empty) from anybody; who had it, None for nobody."""
        reply = await self._call("lock/steal", token, by, reason)
        return _held(reply) if reply else None

    async def view(self) -> HeldLock | None:
        """Who holds the lock, None for nobody; changes nothing."""
        reply = await self._call("lock/view")
        return _held(reply) if reply else None

    async def _call(self, name: str, *arguments: str | int, run: bool = False) -> list[Any]:
        clock = self._test_clock
        head: tuple[str | int, ...] = ("" if clock is None else clock.now,)
        if run:
            head += ("" if clock is None else clock.run,)
        return await self._run(load_script(name), self._keys, *head, *arguments)


class LockListScripts(Scripts):
    """The scripts on the list of a stage's locks; `test_clock` as for LockScripts."""

    def __init__(
        self, client: CommandClient, namespace: str, stage: str, *, test_clock: TestClock | None = None
    ) -> None:
        super().__init__(client, namespace)
        self._keys = (locks_key(namespace, stage).encode(),)
        self._test_clock = test_clock

    async def note(self, *, name: str, until: int) -> int:
        """Write a lock into the list, to stand there until its hold ends (us); how many ended ones were removed."""
        return int(await self._reply(load_script("locks/note"), self._keys, self._now(), name, until))

    async def forget(self, *, name: str, until: int) -> bool:
        """Remove a lock whose hold is over from the list, unless a later hold is noted there."""
        return bool(await self._reply(load_script("locks/forget"), self._keys, name, until))

    async def list(self, *, after_until: int = -1, after_name: str = "", limit: int = 100) -> Sequence[tuple[str, int]]:
        """Names and ends (us) of at most `limit` (1 to 1,000) locks after that one, those that end first first."""
        reply = await self._run(load_script("locks/list"), self._keys, self._now(), after_until, after_name, limit)
        return [(name.decode(), int(until)) for name, until in zip(reply[::2], reply[1::2], strict=True)]

    def _now(self) -> str | int:
        return "" if self._test_clock is None else self._test_clock.now


def _held(reply: list[Any]) -> HeldLock:
    now, fence, until, since, *texts = reply
    return HeldLock(now, fence, until, since, *(text.decode(errors="replace") for text in texts))


def _gone(reply: list[Any]) -> Gone:
    return Gone(*(text.decode(errors="replace") for text in reply))
