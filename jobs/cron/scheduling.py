"""What a worker does for cron jobs: it brings its application's definitions into the store, and schedules those of its queues."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ropeline.jobs.background import in_background
from ropeline.jobs.cron.definitions import apply_definitions
from ropeline.jobs.cron.scheduler import Scheduler
from ropeline.lua.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from ropeline.jobs.cron.cron_jobs import CronJob, CronStore
    from ropeline.jobs.cron.scheduler import ScheduleCounts
    from ropeline.jobs.tracer import Tracer

__all__ = ["Scheduling"]

_log = logging.getLogger("ropeline.jobs.cron")

_RETRY: Final = 1.0


class Scheduling:
    """One worker's part in the cron jobs of its stage. `crons`: of its application. `queues`: whose ticks it enqueues.

    `tracer`: of their jobs, None: nothing traces them.
    """

    def __init__(
        self, store: CronStore, crons: Sequence[CronJob], *, queues: Sequence[str], tracer: Tracer | None = None
    ) -> None:
        self._store = store
        self._crons = crons
        self._scheduler = Scheduler(store, queues=queues, tracer=tracer)

    @property
    def counts(self) -> ScheduleCounts:
        """What its scheduler has seen."""
        return self._scheduler.counts

    async def run(self) -> None:
        """Go on until it is cancelled; failures of the store are logged, and tried again."""
        async with in_background(self._define()):
            await self._scheduler.run()

    async def _define(self) -> None:
        is_failing = False
        while self._crons:
            try:
                await apply_definitions(self._store, self._crons)
            except ConfigurationError as error:
                _log.error("cron jobs of this application are not in the store: %s", error)
            except StoreError as error:
                if not is_failing:
                    _log.warning("cron jobs of this application wait for the store: %s", error)
                is_failing = True
                await asyncio.sleep(_RETRY)
                continue
            self._scheduler.look_again()
            return
