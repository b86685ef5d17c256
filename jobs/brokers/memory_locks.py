"""Keeps the locks of a MemoryBroker in this process, by the rules of the scripts that the Redis store runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from ropeline.jobs.locks.keeper import KeptLock, LockKeeper
from ropeline.lua.lock_scripts import Acquired, Extended, Gone, HeldLock, Released

__all__ = ["MemoryLockKeeper"]

_FENCE_KEPT: Final = 60_000_000
_MANY: Final = 1000


@dataclass(slots=True)
class _State:
    """What is known of one lock; times in us. `token`: empty when it is free. `taken`: by whom and why from which token."""

    token: str = ""
    fence: int = 0
    since: int = 0
    until: int = 0
    holder: str = ""
    holder_fence: int = 0
    owner: str = ""
    purpose: str = ""
    taken: tuple[str, str, str] = ("", "", "")

    def is_held(self, now: int) -> bool:
        return bool(self.token) and self.until > now

    def shown(self, now: int) -> HeldLock:
        return HeldLock(now, self.fence, self.until, self.since, self.token, self.holder, self.owner, self.purpose)

    def gone(self, token: str) -> Gone:
        taken, by, reason = self.taken
        return Gone(by, reason) if taken == token else Gone("", "")


class MemoryLockKeeper(LockKeeper):
    """The locks of one broker, and the list of them. `clock`: wall ms. `guard`: held while anything is changed."""

    def __init__(self, *, clock: Callable[[], int], guard: AbstractContextManager[object]) -> None:
        self._clock = clock
        self.guard = guard
        self.states: dict[str, _State] = {}
        self.listed = _MemoryList(self)

    @property
    def now(self) -> int:
        """The time, us."""
        return self._clock() * 1000

    def lock(self, name: str) -> KeptLock:
        """One lock."""
        return _MemoryLock(self, name)

    def state(self, name: str) -> _State:
        """What is known of a lock, made when nothing is; of many locks those are forgotten that nobody held for long."""
        if name not in self.states and len(self.states) >= _MANY:
            oldest = self.now - _FENCE_KEPT
            self.states = {each: state for each, state in self.states.items() if state.until > oldest}
        return self.states.setdefault(name, _State())


class _MemoryLock:
    """See KeptLock."""

    def __init__(self, keeper: MemoryLockKeeper, name: str) -> None:
        self._keeper = keeper
        self._name = name

    async def acquire(
        self,
        *,
        token: str,
        ttl: int,
        holder: str = "",
        holder_fence: int = 0,
        owner: str = "",
        purpose: str = "",
        waits: int = 0,  # noqa: ARG002 - who waits asks again
    ) -> Acquired | HeldLock:
        await asyncio.sleep(0)
        with self._keeper.guard:
            now, state = self._keeper.now, self._keeper.state(self._name)
            is_held = state.is_held(now)
            if is_held and state.token == token:
                return Acquired(now, state.fence, state.until, took_over=False)
            is_same = is_held and holder != "" and (state.holder, state.owner) == (holder, owner)
            if is_held and not (is_same and state.holder_fence <= holder_fence):
                return state.shown(now)
            fence, until = max(now, state.fence + 1), now + ttl * 1000
            self._keeper.states[self._name] = _State(token, fence, now, until, holder, holder_fence, owner, purpose)
            return Acquired(now, fence, until, took_over=is_same)

    async def extend(self, *, token: str, ttl: int) -> Extended | Gone:
        await asyncio.sleep(0)
        with self._keeper.guard:
            now, state = self._keeper.now, self._keeper.state(self._name)
            if not state.is_held(now) or state.token != token:
                return state.gone(token)
            state.until = now + ttl * 1000
            return Extended(now, state.fence, state.until)

    async def release(self, *, token: str) -> Released | Gone:
        await asyncio.sleep(0)
        with self._keeper.guard:
            now, state = self._keeper.now, self._keeper.state(self._name)
            if not state.is_held(now) or state.token != token:
                return state.gone(token)
            state.token = ""
            return Released(state.until)

    async def steal(self, *, token: str, by: str, reason: str) -> HeldLock | None:
        await asyncio.sleep(0)
        with self._keeper.guard:
            now, state = self._keeper.now, self._keeper.state(self._name)
            if not state.is_held(now) or token not in ("", state.token):
                return None
            held = state.shown(now)
            state.taken = (state.token, by, reason)
            state.token = ""
            return held

    async def view(self) -> HeldLock | None:
        await asyncio.sleep(0)
        with self._keeper.guard:
            now, state = self._keeper.now, self._keeper.state(self._name)
            return state.shown(now) if state.is_held(now) else None


class _MemoryList:
    """See KeptList: it follows from the locks themselves."""

    def __init__(self, keeper: MemoryLockKeeper) -> None:
        self._keeper = keeper

    async def note(self, *, name: str, until: int) -> int:  # noqa: ARG002 - see above
        return 0

    async def forget(self, *, name: str, until: int) -> bool:  # noqa: ARG002 - see above
        return False

    async def list(self, *, after_until: int = -1, after_name: str = "", limit: int = 100) -> Sequence[tuple[str, int]]:
        await asyncio.sleep(0)
        with self._keeper.guard:
            now = self._keeper.now
            rows = [(state.until, name) for name, state in self._keeper.states.items() if state.is_held(now)]
            return [(name, until) for until, name in sorted(rows) if (until, name) > (after_until, after_name)][:limit]
