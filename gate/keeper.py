"""What a gate process does without being asked: a tick a second for its lines, and listening for changes.

Changes (settings, flushes, revocations, new tenants) come by a message on one channel. A message can be lost with its
connection, so everything is read again when a new one stands, a silent one is tested, each reply of the store shows
which version it has, and lines that nobody visits are looked at every few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

from ropeline.gate.counts import FAILING
from ropeline.gate.directory import Directory
from ropeline.gate.tasks import end
from ropeline.lua.errors import REDIS_ERRORS, RopelineError, StoreError, StoreTimeout
from ropeline.lua.keys import changes_channel

__all__ = ["Keeper", "Subscriber"]

_log = logging.getLogger("ropeline.gate.keeper")

_TICK_EVERY: Final = 1.0
_IDLE_EVERY: Final = 5
_CHUNKS_A_TICK: Final = 400
_LISTEN_FOR: Final = 1.0
_SILENT_TURNS: Final = 5
_WEATHER: Final[tuple[type[Exception], ...]] = (*REDIS_ERRORS, StoreError)


class Subscriber(Protocol):
    """The part of redis-py's clients that gives a subscription."""

    def pubsub(self, **options: Any) -> Any:
        """A subscription that is not connected yet."""


class Keeper:
    """The background tasks of one gate process; `start` within its event loop, `stop` when it ends.

    `check`: called every few seconds before anything else; what it raises is logged and ends nothing.
    """

    def __init__(
        self, directory: Directory, subscriber: Subscriber, namespace: str, *, check: Callable[[], Awaitable[None]]
    ) -> None:
        self._directory = directory
        self._subscriber = subscriber
        self._channel = changes_channel(namespace)
        self._check = check
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to tick and to listen; does nothing when both are under way."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._tick_for_ever()), asyncio.create_task(self._listen_for_ever())]

    async def stop(self) -> None:
        """End both tasks."""
        await end(self._tasks)
        self._tasks = []

    async def _tick_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        turn = 0
        while True:
            due = loop.time() + _TICK_EVERY
            async with _undisturbed("a tick"):
                if turn % _IDLE_EVERY == 0:
                    await self._check()
                if turn % _IDLE_EVERY == 0 or self._directory.is_incomplete:
                    await self._directory.refresh()
            await asyncio.gather(*(self._tick(name, turn) for name in list(self._directory.tenants)))
            turn += 1
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _tick(self, name: str, turn: int) -> None:
        tenant = self._directory.tenants.get(name)
        if tenant is None:
            return
        line = tenant.line
        tenant.numbers[FAILING] = line.breaker.is_open
        head = line.head
        is_idle = (head is None or head.active + head.waiting == 0) and not (line.is_stale or line.is_turn_near)
        if line.breaker.is_open or (is_idle and turn % _IDLE_EVERY):
            return
        async with _undisturbed(f"the tick of tenant {name}"):
            try:
                if head is None:
                    await self._directory.reload(name)
                for _ in range(_CHUNKS_A_TICK):
                    if not await line.tick():
                        break
                await line.end_revoked()
            except StoreError as error:
                line.breaker.fail(error)
                return
            due = tenant.presence.due(tenant.settings.keepalive_interval_ms / 1000)
            await asyncio.gather(*(line.touch(connection.ticket) for connection in due))

    async def _listen_for_ever(self) -> None:
        while True:
            async with _undisturbed("listening for changes"), self._subscriber.pubsub() as subscription:
                await subscription.subscribe(self._channel)
                await self._read_everything()
                await self._listen(subscription)
            await asyncio.sleep(_TICK_EVERY)

    async def _read_everything(self) -> None:
        """What was changed while nobody listened was not heard."""
        async with _undisturbed("reading everything again"):
            await self._directory.refresh()
        await asyncio.gather(*(self._directory.reload(name) for name in list(self._directory.tenants)))

    async def _listen(self, subscription: Any) -> None:
        """Heed messages until the connection fails, or gives no sign of life when asked for one."""
        silent = 0
        while True:
            message = await subscription.get_message(timeout=_LISTEN_FOR)
            if message is None:
                silent += 1
                if silent == _SILENT_TURNS:
                    await subscription.ping()
                elif silent > _SILENT_TURNS + 1:
                    raise StoreTimeout("the connection that changes come by is dead")
                continue
            silent = 0
            if message["type"] == "message":
                await self._heed(message["data"].decode("ascii", "replace"))

    async def _heed(self, text: str) -> None:
        name, _, change = text.partition(" ")
        kind, _, detail = change.partition(" ")
        if kind not in ("revoke", "recheck"):
            await self._directory.reload(name)
            return
        try:
            ids = [bytes.fromhex(id_) for id_ in detail.split()]
        except ValueError:
            _log.warning("a change was announced that cannot be read: %.100r", text)
            return
        if kind == "revoke":
            self._directory.revoke(name, ids)
        else:
            self._directory.recheck(name, ids)


@contextlib.asynccontextmanager
async def _undisturbed(errand: str) -> AsyncIterator[None]:
    """A background task outlives whatever goes wrong in one of its turns: the next one tries again."""
    try:
        yield
    except _WEATHER as error:
        _log.debug("%s failed: %s", errand, error)
    except RopelineError as error:
        _log.error("%s: %s", errand, error)
    except Exception:  # noqa: BLE001 - see above; it is a fault of ours, and told
        _log.exception("%s went wrong", errand)
