"""Keeps cron jobs in Redis or Valkey, in the slot of their queue: there a tick is recorded and its job enqueued by one script."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from ropeline.jobs.cron.cron_jobs import CronJob, Missed
from ropeline.jobs.errors import CronChanged
from ropeline.jobs.payloads.envelope import NO_TRACE
from ropeline.lua.calls import CommandClient, TestClock
from ropeline.lua.cron_scripts import CronScripts, CronState, DefineResult, Fired, StoredCron
from ropeline.lua.errors import REDIS_ERRORS, ConfigurationError, store_error
from ropeline.lua.keys import queues_key
from ropeline.lua.queue_scripts import pack_job, pack_limit

__all__ = ["RedisCronStore"]

_VIEWED_A_CALL: Final = 100


class RedisCronStore:
    """The cron jobs of one stage; see CronStore. `test_clock` replaces the server's time, `scripts` is what calls those of a queue."""

    def __init__(
        self,
        client: CommandClient,
        *,
        namespace: str = "jobs",
        stage: str = "prod",
        test_clock: TestClock | None = None,
        scripts: type[CronScripts] = CronScripts,
    ) -> None:
        self._client = client
        self._scripts = scripts
        self._namespace, self._stage = namespace, stage
        self._test_clock = test_clock

    async def define(self, cron: CronJob, *, expected: int = -1) -> int:
        """Write a definition, unless it is there already; see CronStore."""
        # Before the definition: schedulers look at the queues that are written down here.
        await self._command("ZADD", queues_key(self._namespace, self._stage), "NX", int(time.time() * 1000), cron.queue)
        answer = await self._of(cron.queue).define(
            name=cron.name, expected=expected, schedule=cron.when, definition=cron.pack()
        )
        if answer.result is DefineResult.FULL:
            raise ConfigurationError("cron name", cron.name, f"at most 1,000 cron jobs in queue {cron.queue}")
        if answer.result is DefineResult.CHANGED:
            raise CronChanged(cron.name, expected, answer.version)
        return answer.version

    async def remove(self, queue: str, name: str, *, expected: int = -1) -> bool:
        """End a cron job; see CronStore."""
        return await self._of(queue).remove(name=name, expected=expected)

    async def queues(self) -> Sequence[str]:
        """Every queue that may have cron jobs."""
        names: list[bytes] = await self._command("ZRANGE", queues_key(self._namespace, self._stage), 0, -1)
        return [name.decode() for name in names]

    async def read(self, queue: str, *, known: int = -1) -> CronState:
        """The cron jobs of a queue; see CronStore."""
        scripts = self._of(queue)
        state = await scripts.read()
        if state.changes == known:
            return state
        # Whoever changes one meanwhile raises the count above the one that is answered with here, and is met by the next reading.
        names, found = list(state.ticks), list[StoredCron | None]()
        while len(found) < len(names):
            found += await scripts.definitions(names[len(found) : len(found) + _VIEWED_A_CALL])
        return state._replace(stored=[stored for stored in found if stored is not None])

    async def fire(self, cron: CronJob, version: int, tick: int, trace: Mapping[str, str] = NO_TRACE) -> Fired:
        """Enqueue the job of a tick and record the tick; see CronStore."""
        job = cron.job_of(tick, trace)
        packed = pack_job(
            job.id,
            job.body,
            priority=job.priority,
            unique=job.unique,
            unique_for=job.unique_for,
            until_start=job.until_start,
            limit=b"" if job.limit is None else pack_limit(**job.limit._asdict()),
        )
        late = cron.late if cron.missed is Missed.SKIP else 0
        return await self._of(cron.queue).fire(name=cron.name, version=version, tick=tick, late=late, job=packed)

    def watched(self, on_change: Callable[[], None]) -> AbstractContextManager[None]:  # noqa: ARG002 - see CronStore
        """The server tells nothing by itself."""
        return nullcontext()

    def _of(self, queue: str) -> CronScripts:
        return self._scripts(self._client, self._namespace, self._stage, queue, test_clock=self._test_clock)

    async def _command(self, *arguments: str | int) -> list[bytes]:
        try:
            reply = await self._client.execute_command(*arguments)
        except REDIS_ERRORS as error:
            raise store_error(error) from error
        return reply if isinstance(reply, list) else []
