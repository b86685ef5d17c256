"""The store of one stage of jobs as a broker reaches it: its clients, its scripts, and single commands."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, Final

from ropeline.jobs.locks.locks import Locks
from ropeline.lua.calls import TestClock
from ropeline.lua.client import Client, RedisSettings, connect
from ropeline.lua.errors import REDIS_ERRORS, StoreTimeout, store_error
from ropeline.lua.keys import QueueKeys, queues_key
from ropeline.lua.queue_scripts import (
    QueueScripts,
)

__all__ = ["PATIENCE", "QueueStore", "pairs_of"]

PATIENCE: Final = timedelta(seconds=5)
"""How long a call waits for a connection, for connecting and for its reply, each."""
_LONGEST_WAIT: Final = timedelta(seconds=60)


class QueueStore:
    """Jobs of one stage, under keys that begin with `namespace`.

    `settings`: where the store is; its waits should be of seconds, not of the milliseconds of a request. `client`: used
    instead, and left open. `test_clock`: replaces the server's time and run id.
    """

    keeps_places = True

    def __init__(
        self,
        settings: RedisSettings | str,
        *,
        namespace: str = "jobs",
        stage: str = "prod",
        client: Client | None = None,
        test_clock: TestClock | None = None,
    ) -> None:
        if isinstance(settings, str):
            settings = RedisSettings(settings, pool_wait=PATIENCE, connect_timeout=PATIENCE, call_timeout=PATIENCE)
        self.settings = settings
        self.namespace, self.stage = namespace, stage
        self._own_client = client is None
        self._client = connect(settings) if client is None else client
        self._waiting_client: Client | None = None
        self._locks: Locks | None = None
        self._test_clock = test_clock
        self._scripts: dict[str, QueueScripts] = {}
        self._registered: set[str] = set()

    def scripts(self, queue: str) -> QueueScripts:
        """The scripts on one queue."""
        scripts = self._scripts.get(queue)
        if scripts is None:
            scripts = QueueScripts(self._client, self.namespace, self.stage, queue, test_clock=self._test_clock)
            self._scripts[queue] = scripts
        return scripts

    async def _register(self, queue: str) -> None:
        """Before the first job: a queue that nobody knows of would not be tended."""
        await self._command("ZADD", queues_key(self.namespace, self.stage), "NX", int(time.time() * 1000), queue)
        self._registered.add(queue)

    def _patient_client(self) -> Client:
        """The client for calls that wait: a connection that blocks is no call that is late."""
        if self._waiting_client is None:
            patient = dataclasses.replace(self.settings, call_timeout=PATIENCE + _LONGEST_WAIT)
            self._waiting_client = connect(patient)
        return self._waiting_client

    async def _command(self, *arguments: str | bytes | int) -> Any:
        try:
            return await self._client.execute_command(*arguments)
        except REDIS_ERRORS as error:
            raise store_error(error) from error

    async def _scan(self, command: str, key: str) -> AsyncIterator[bytes]:
        async for member, _ in self._scan_pairs(command, key):
            yield member

    async def _scan_pairs(self, command: str, key: str) -> AsyncIterator[tuple[bytes, Any]]:
        cursor = 0
        while True:
            reply = await self._command(command, key, cursor, "COUNT", 500)
            cursor, found = int(reply[0]), reply[1]
            for pair in found.items() if isinstance(found, dict) else pairs_of(found):
                yield pair
            if cursor == 0:
                return

    async def _wait_for(self, client: Client, queues: Sequence[str], seconds: float) -> None:
        keys = [QueueKeys(self.namespace, self.stage, queue).wake for queue in queues]
        try:
            await client.execute_command("BLPOP", *keys, seconds)
        except REDIS_ERRORS as error:
            failure = store_error(error)
            if not isinstance(failure, StoreTimeout):
                raise failure from error

    async def close(self) -> None:
        """Give up the connections."""
        if self._locks is not None:
            await self._locks.close()
            self._locks = None
        for client in (self._waiting_client, self._client if self._own_client else None):
            if client is not None:
                with contextlib.suppress(*REDIS_ERRORS):
                    await client.aclose()
        self._waiting_client = None


def pairs_of(found: list[Any]) -> list[tuple[bytes, Any]]:
    """A WITHSCORES reply, which redis-py gives as pairs for some commands and flat for others."""
    if found and isinstance(found[0], (tuple, list)):
        return [(member, score) for member, score in found]
    return list(zip(found[::2], found[1::2], strict=True))
