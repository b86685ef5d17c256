"""Gives out the locks of a stage: named holds with a token, an end and a fence, waited for, kept, listed and taken away.

A lock says who may go on; it cannot stop who has lost it without knowing, such as a process that slept past its end. Show
the `fence` to what the lock protects, and let that refuse a lower one than it has seen: it rises with every acquisition,
also when a replica takes over that had not heard of the last ones, as long as the clocks of the two are not further apart
than the failover took.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from ropeline.jobs.durations import to_ms
from ropeline.jobs.errors import LockLost, LockTaken
from ropeline.jobs.locks.hold import Hold, safe_seconds
from ropeline.jobs.locks.keeper import KeptLock, LockKeeper, ServerLockKeeper
from ropeline.jobs.names import check_lock, check_name
from ropeline.lua.calls import CommandClient, TestClock
from ropeline.lua.errors import ConfigurationError, StoreError, StoreUnavailable
from ropeline.lua.keys import LockKeys
from ropeline.lua.lock_scripts import Acquired, Gone, HeldLock

__all__ = ["HOLD_TTL", "OPERATOR_TTL", "Lock", "LockPage", "LockView", "Locks"]

OPERATOR_TTL: Final = timedelta(seconds=43_200)
"""How long a lock holds that nobody keeps: an operator's."""
HOLD_TTL: Final = timedelta(seconds=30)
"""How long a lock outlives who kept it, by `Locks.hold`: as long as a job's lease."""

_log = logging.getLogger("ropeline.jobs.locks")

_LONGEST_TTL: Final = 366 * 86_400_000
_LONGEST_WAIT: Final = 86_400_000
_LONGEST_TEXT: Final = 200
_FIRST_PAUSE: Final = 0.025
_LONGEST_PAUSE: Final = 1.0
_PAUSE_GROWTH: Final = 1.6
# A waiter's connection belongs to it alone while it listens.
_MOST_LISTENERS: Final = 8
_ABANDON_PAUSES: Final = (0.0, 0.2, 1.0)
_LOOKS_AT_ONCE: Final = 16
_CURSOR: Final = re.compile(r"([0-9]{1,17})-((?:[0-9a-f]{2})+)", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that was acquired. `token` proves it; `fence` is to be shown to what it protects.

    `until`: its end by the server's clock, unless it is extended. `safe_until`: until when this process may rely on it without
    asking again, seconds of its monotonic clock. `took_over`: the same holder had it before, by a token that is now worthless.
    """

    name: str
    token: str = field(repr=False)
    fence: int
    until: datetime
    safe_until: float
    took_over: bool


@dataclass(frozen=True, slots=True)
class LockView:
    """A lock that somebody holds, as it stands. Times: the server's clock."""

    name: str
    token: str = field(repr=False)
    fence: int
    since: datetime
    until: datetime
    owner: str
    purpose: str
    holder: str


@dataclass(frozen=True, slots=True)
class LockPage:
    """A part of the list of locks. `cursor`: shown to get the next part, empty at the end."""

    locks: list[LockView]
    cursor: str


class Locks:
    """The locks of one stage, under keys that begin with `namespace`, or in the memory of a LockKeeper instead of a client.

    `listener`: a client whose calls may take two seconds; with it, who waits is woken when the lock is given up, and without
    it only asks again, at least once a second. `test_clock`: replaces the server's time and run id. Names of locks: 1 to 200
    bytes of printable text without ':', '{' and '}'. Every method raises StoreError when the store does not do its work, and
    ConfigurationError for a wrong argument before anything is sent.
    """

    def __init__(
        self,
        client: CommandClient | LockKeeper,
        *,
        namespace: str = "jobs",
        stage: str = "prod",
        listener: CommandClient | None = None,
        test_clock: TestClock | None = None,
    ) -> None:
        self._namespace, self._stage = check_name("namespace", namespace), check_name("stage", stage)
        self._listener = listener
        if not isinstance(client, LockKeeper):
            client = ServerLockKeeper(client, namespace, stage, test_clock=test_clock)
        self._keeper = client
        self._listed = client.listed
        self._listening = 0
        self._abandoned: set[asyncio.Task[None]] = set()

    def hold(
        self,
        name: str,
        *,
        ttl: timedelta | float = HOLD_TTL,
        wait: timedelta | float = 0.0,
        owner: str = "",
        purpose: str = "",
        holder: str = "",
        holder_fence: int = 0,
    ) -> Hold:
        """Acquire a lock, keep it while the block runs, and give it up: `async with locks.hold("event-7") as lock:`.

        It is extended at each third of `ttl`, from this event loop: a process that dies, or blocks its loop for that long,
        loses it. When it is lost, or cannot be extended in time, the block is cancelled and LockLost raised. The other arguments
        and errors are those of `acquire`.
        """
        check_lock("lock", name)
        ttl_ms = to_ms("ttl", ttl, least=1, most=_LONGEST_TTL)

        async def acquire() -> Lock:
            return await self.acquire(
                name, ttl=ttl, wait=wait, owner=owner, purpose=purpose, holder=holder, holder_fence=holder_fence
            )

        return Hold(self, acquire, ttl_ms / 1000)

    async def acquire(
        self,
        name: str,
        *,
        ttl: timedelta | float = OPERATOR_TTL,
        wait: timedelta | float = 0.0,
        owner: str = "",
        purpose: str = "",
        holder: str = "",
        holder_fence: int = 0,
    ) -> Lock:
        """Take a lock for `ttl`, waiting for it for `wait` at most; nobody extends it but the caller.

        `owner`, `purpose`: shown to others. `holder`: a name under which the same one asks again, such as a job's id: together
        with the same `owner` it takes over at once, and its earlier token is worthless. `holder_fence`: which of its lives asks,
        such as the fence of the job's delivery; a lower one takes nothing over from a higher one.

        Raises LockTaken when somebody else holds it at the end of the wait. There is no line: of several that wait, any may be
        the next.
        """
        scripts = self._of(name)
        ttl_ms = to_ms("ttl", ttl, least=1, most=_LONGEST_TTL)
        deadline = time.monotonic() + to_ms("wait", wait, most=_LONGEST_WAIT) / 1000
        for field_name, text in (("owner", owner), ("purpose", purpose), ("holder", holder)):
            _check_text(field_name, text)
        token, pause, waits = str(uuid4()), _FIRST_PAUSE, int(_LONGEST_PAUSE * 2000) if self._listener else 0
        while True:
            sent = time.monotonic()
            refused: HeldLock | StoreError
            try:
                answer = await scripts.acquire(
                    token=token,
                    ttl=ttl_ms,
                    holder=holder,
                    holder_fence=holder_fence,
                    owner=owner,
                    purpose=purpose,
                    waits=waits if sent < deadline else 0,
                )
            except asyncio.CancelledError:
                self._abandon(name, token)
                raise
            except StoreError as error:
                # Asking again with the same token is answered as the first time would have been.
                refused = error
            else:
                if isinstance(answer, Acquired):
                    await self._note(name, token, answer.until)
                    return Lock(
                        name,
                        token,
                        answer.fence,
                        _moment(answer.until),
                        sent + safe_seconds(ttl_ms / 1000),
                        answer.took_over,
                    )
                refused = answer
            left = deadline - time.monotonic()
            if left <= 0 or (isinstance(refused, StoreError) and not refused.retryable):
                raise self._refusal(name, token, refused)
            pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE)
            longest = min(pause * random.uniform(0.5, 1.0), left)  # noqa: S311 - to spread those who wait
            if isinstance(refused, HeldLock):
                longest = min(longest, (refused.until - refused.now) / 1_000_000)
            await self._doze(name, max(longest, 0.002))

    async def extend(self, name: str, token: str, *, ttl: timedelta | float = OPERATOR_TTL) -> datetime:
        """Let the hold of this token end in `ttl` from now; its end. Raises LockLost when the token holds nothing."""
        answer = await self._of(name).extend(token=token, ttl=to_ms("ttl", ttl, least=1, most=_LONGEST_TTL))
        if isinstance(answer, Gone):
            raise LockLost(name, answer.by, answer.reason)
        await self._note(name, token, answer.until)
        return _moment(answer.until)

    async def release(self, name: str, token: str) -> None:
        """Give a lock up. Raises LockLost when the token holds nothing: then somebody else may have been at work already."""
        answer = await self._of(name).release(token=token)
        if isinstance(answer, Gone):
            raise LockLost(name, answer.by, answer.reason)
        await self._forget(name, answer.until)

    async def force_release(self, name: str, *, by: str, reason: str, token: str = "") -> LockView | None:
        """Take a lock away from its holder, as an operator `by` name for a `reason`; who held it, None when nobody did.

        The holder is told at its next call, and the fence of the next acquisition is higher. `token`: only from the holder that
        was looked at; another one keeps it.
        """
        for field_name, text in (("by", by), ("reason", reason)):
            _check_text(field_name, text)
            if not text:
                raise ConfigurationError(field_name, text, "a text: the holder is told who took the lock away, and why")
        held = await self._of(name).steal(token=token, by=by, reason=reason)
        if held is None:
            return None
        _log.warning("lock %s: taken from %s by %s: %s", name, held.owner or "its holder", by, reason)
        await self._forget(name, held.until)
        return _view(name, held)

    async def view(self, name: str) -> LockView | None:
        """Who holds a lock, None for nobody."""
        held = await self._of(name).view()
        return None if held is None else _view(name, held)

    async def held(self, *, cursor: str = "", limit: int = 100) -> LockPage:
        """The locks that are held, those that end first first, at most `limit` (1 to 1,000) at a time.

        None that is held all the while is left out; one that is extended meanwhile may come twice.
        """
        if not 1 <= limit <= 1000:
            raise ConfigurationError("limit", limit, "a number from 1 to 1000")
        after_until, after_name = _read_cursor(cursor)
        rows = await self._listed.list(after_until=after_until, after_name=after_name, limit=limit)
        views: list[LockView | None] = []
        for start in range(0, len(rows), _LOOKS_AT_ONCE):
            part = [name for name, _ in rows[start : start + _LOOKS_AT_ONCE]]
            views += await asyncio.gather(*(self.view(name) for name in part))
        following = f"{rows[-1][1]}-{rows[-1][0].encode().hex()}" if len(rows) == limit else ""
        return LockPage([view for view in views if view is not None], following)

    async def close(self) -> None:
        """Wait for what this event loop is still giving up; the clients are their owners' to close."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(task for task in self._abandoned if task.get_loop() is loop), return_exceptions=True)

    def give_up_later(self, name: str, token: str) -> None:
        """Release in the background, for who could not learn whether it holds the lock."""
        self._abandon(name, token)

    def _of(self, name: str) -> KeptLock:
        return self._keeper.lock(check_lock("lock", name))

    def _refusal(self, name: str, token: str, refused: HeldLock | StoreError) -> Exception:
        if isinstance(refused, HeldLock):
            return LockTaken(name, refused.owner, refused.purpose, _moment(refused.until))
        if isinstance(refused, StoreUnavailable):
            self._abandon(name, token)
        return refused

    async def _doze(self, name: str, seconds: float) -> None:
        """Until the lock is given up, if this can be heard, and for `seconds` at most."""
        if self._listener is None or self._listening >= _MOST_LISTENERS:
            await asyncio.sleep(seconds)
            return
        woken_by = LockKeys(self._namespace, self._stage, name).wake
        start = time.monotonic()
        self._listening += 1
        try:
            await self._listener.execute_command("BLPOP", woken_by, f"{max(seconds, 0.01):.3f}")
        except Exception as error:  # noqa: BLE001 - whatever it is, asking again after the pause is as good
            _log.debug("lock %s: cannot listen: %s", name, error)
            await asyncio.sleep(seconds - (time.monotonic() - start))
        finally:
            self._listening -= 1

    async def _note(self, name: str, token: str, until: int) -> None:
        """Write the lock into the list. The list is for operators to look at: without it, the lock holds all the same."""
        try:
            await self._listed.note(name=name, until=until)
        except asyncio.CancelledError:
            self._abandon(name, token)
            raise
        except StoreError as error:
            _log.warning("lock %s: held, but not in the list of locks: %s", name, error)

    async def _forget(self, name: str, until: int) -> None:
        try:
            await self._listed.forget(name=name, until=until)
        except StoreError as error:
            _log.debug("lock %s: free, but in the list of locks until it would have ended: %s", name, error)

    def _abandon(self, name: str, token: str) -> None:
        task = asyncio.get_running_loop().create_task(self._try_release(name, token))
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)

    async def _try_release(self, name: str, token: str) -> None:
        """Three times within seconds: the call that acquires it may be on its way still."""
        failure: StoreError | None = None
        for pause in _ABANDON_PAUSES:
            await asyncio.sleep(pause)
            try:
                answer = await self._of(name).release(token=token)
            except StoreError as error:
                failure = error
                continue
            failure = None
            if not isinstance(answer, Gone):
                await self._forget(name, answer.until)
                return
        if failure is not None:
            _log.warning("lock %s: may be held until its time runs out; it could not be given up: %s", name, failure)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _view(name: str, held: HeldLock) -> LockView:
    return LockView(
        name, held.token, held.fence, _moment(held.since), _moment(held.until), held.owner, held.purpose, held.holder
    )


def _check_text(field_name: str, text: str) -> None:
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        raise ConfigurationError(field_name, text, f"at most {_LONGEST_TEXT} characters of printable text")


def _read_cursor(cursor: str) -> tuple[int, str]:
    if not cursor:
        return -1, ""
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise ConfigurationError("cursor", cursor, "the cursor of an earlier page of this list")
    return int(found[1]), bytes.fromhex(found[2]).decode(errors="replace")
