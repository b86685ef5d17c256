"""Gives each event loop a broker of its own, and one more to callers that have no event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ropeline.jobs.loop_thread import LoopThread
from ropeline.lua.client import RedisSettings
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.jobs.broker import Broker

__all__ = ["Connections"]

T = TypeVar("T")

_MEMORY: Final = "memory://"


class Connections:
    """The brokers of one application. Nothing connects before a broker is used; after `close` they are made anew.

    `url`: the store's, or `memory://`. `broker`: instead of it a function that makes brokers, or one broker that serves
    every event loop. Raises ConfigurationError.
    """

    def __init__(
        self, url: str, *, namespace: str, stage: str, broker: Broker | Callable[[], Broker] | None = None
    ) -> None:
        self._shared: Broker | None = None
        if broker is not None:
            self.address = "broker"
            self._make = self._made_by(broker)
        elif url == _MEMORY:
            from ropeline.jobs.brokers.memory import MemoryBroker

            self.address = url
            self._make = self._made_by(MemoryBroker())
        else:
            self.address = RedisSettings(url).safe_url
            self._make = lambda: _redis_broker(url, namespace, stage)
        self._brokers: dict[asyncio.AbstractEventLoop, Broker] = {}
        self._lock = threading.Lock()
        self._thread = LoopThread()

    def connect(self) -> Broker:
        """A new broker for whoever closes it; the shared one when there is one."""
        return self._make()

    def broker(self) -> Broker:
        """The broker of the running event loop, made when it is first asked for; raises RuntimeError without a loop."""
        if self._shared is not None:
            return self._shared
        loop = asyncio.get_running_loop()
        broker = self._brokers.get(loop)
        if broker is None:
            broker = self._make()
            with self._lock:
                # A loop that ended without `close` has taken its connections with it.
                for ended in [each for each in self._brokers if each.is_closed()]:
                    del self._brokers[ended]
                self._brokers[loop] = broker
        return broker

    def run_sync(self, make: Callable[[], Coroutine[Any, Any, T]], *, instead: str) -> T:
        """Run a coroutine for a thread without an event loop; raises RuntimeError in one that has one, naming what to do `instead`."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._thread.run(make)
        raise RuntimeError(f"an event loop runs in this thread, and the call would block it: use {instead}")

    async def close(self) -> None:
        """Give up the connections of the running event loop, and those of `run_sync`."""
        await asyncio.to_thread(self._thread.stop, self._close_own)
        await self._close_own()
        if self._shared is not None:
            await self._shared.close()

    def close_sync(self) -> None:
        """Give up the connections of `run_sync`."""
        self._thread.stop(self._close_all_of_thread)

    async def _close_all_of_thread(self) -> None:
        await self._close_own()
        if self._shared is not None:
            await self._shared.close()

    async def _close_own(self) -> None:
        broker = self._brokers.pop(asyncio.get_running_loop(), None)
        if broker is not None:
            await broker.close()

    def _made_by(self, given: Any) -> Callable[[], Broker]:
        # A class would be called too, and give each event loop jobs of its own.
        if isinstance(given, type) or not (hasattr(given, "enqueue") or callable(given)):
            raise ConfigurationError("broker", given, "a broker, or a function that makes one for an event loop")
        if not hasattr(given, "enqueue"):
            make: Callable[[], Broker] = given
            return make
        self._shared = given
        return lambda: given


def _redis_broker(url: str, namespace: str, stage: str) -> Broker:
    from ropeline.jobs.brokers.redis import RedisBroker

    return RedisBroker(url, namespace=namespace, stage=stage)
