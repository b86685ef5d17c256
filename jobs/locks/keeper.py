"""The protocol between the locks of a stage and what keeps them: a server by its scripts, or this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from ropeline.lua.calls import CommandClient, TestClock
from ropeline.lua.lock_scripts import Acquired, Extended, Gone, HeldLock, LockListScripts, LockScripts, Released

__all__ = ["KeptList", "KeptLock", "LockKeeper", "ServerLockKeeper"]


class KeptLock(Protocol):
    """One lock; what each method does is said at LockScripts. Times: ms in, us out."""

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
    ) -> Acquired | HeldLock: ...

    async def extend(self, *, token: str, ttl: int) -> Extended | Gone: ...

    async def release(self, *, token: str) -> Released | Gone: ...

    async def steal(self, *, token: str, by: str, reason: str) -> HeldLock | None: ...

    async def view(self) -> HeldLock | None: ...


class KeptList(Protocol):
    """The list of the locks that are held; what each method does is said at LockListScripts."""

    async def note(self, *, name: str, until: int) -> int: ...

    async def forget(self, *, name: str, until: int) -> bool: ...

    async def list(
        self, *, after_until: int = -1, after_name: str = "", limit: int = 100
    ) -> Sequence[tuple[str, int]]: ...


class LockKeeper(ABC):
    """Keeps the locks of one stage."""

    listed: KeptList

    @abstractmethod
    def lock(self, name: str) -> KeptLock:
        """The lock of this name, which was checked."""


class ServerLockKeeper(LockKeeper):
    """Keeps them in Redis or Valkey. `test_clock`: replaces the server's time and run id."""

    def __init__(self, client: CommandClient, namespace: str, stage: str, *, test_clock: TestClock | None) -> None:
        self._client, self._namespace, self._stage, self._test_clock = client, namespace, stage, test_clock
        self.listed = LockListScripts(client, namespace, stage, test_clock=test_clock)

    def lock(self, name: str) -> KeptLock:
        """The scripts on one lock."""
        return LockScripts(self._client, self._namespace, self._stage, name, test_clock=self._test_clock)
