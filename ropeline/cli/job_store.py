"""Opens the jobs of one stage for a command: finds the store, checks the names, and finds a job by its id."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ropeline.cli.place import Place, find_place
from ropeline.jobs.brokers.named import broker_named
from ropeline.jobs.ids import job_id
from ropeline.jobs.names import check_name
from ropeline.lua.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.jobs.brokers.redis import RedisBroker
    from ropeline.jobs.records import JobView

__all__ = ["JobStore", "read_id", "with_jobs"]

_NAMESPACE: Final = "jobs"
_STAGE: Final = "prod"
_BROKER: Final = "redis"


@dataclass(frozen=True, slots=True)
class JobStore:
    """The jobs of one stage, and where they are kept."""

    broker: RedisBroker
    place: Place

    @property
    def stage(self) -> str:
        return self.broker.stage

    async def queues(self, queue: str | None) -> list[str]:
        """The queue that was asked for, or (None) every one; raises ConfigurationError for one that the stage does not have."""
        known = await self.broker.queues()
        if queue is None:
            return known
        if queue not in known:
            names = ", ".join(known) or "there is none yet"
            raise ConfigurationError("queue", queue, f"one that stage {self.stage} has: {names}")
        return [queue]

    async def find(self, id: bytes, queue: str | None) -> tuple[str, JobView]:
        """A job and its queue, looked for in every queue unless one is named; raises ConfigurationError when it is nowhere."""
        queues = await self.queues(queue)
        for name in queues:
            view = await self.broker.find(name, id)
            if view is not None:
                return name, view
        where = f"stage {self.stage}" if queue is None else f"queue {queue} of stage {self.stage}"
        raise ConfigurationError(
            "ID", id.hex(), f"the id of a job that {where} has; ended ones are kept for a time only"
        )


def with_jobs(options: Namespace, work: Callable[[JobStore], Awaitable[int]]) -> int:
    """Run `work` on the jobs that the command is about, and return what it returns."""
    place = find_place(options)
    stage = _stage(options)
    namespace = check_name("ROPELINE_JOBS_NAMESPACE", os.environ.get("ROPELINE_JOBS_NAMESPACE") or _NAMESPACE)
    broker_of = broker_named("ROPELINE_JOBS_BROKER", os.environ.get("ROPELINE_JOBS_BROKER") or _BROKER)
    if options.queue is not None:
        check_name("queue", options.queue)
    settings = place.settings()

    async def run() -> int:
        broker = broker_of(settings, namespace=namespace, stage=stage)
        try:
            return await work(JobStore(broker, place))
        except StoreError as error:
            raise place.explain(error) from error
        finally:
            await broker.close()

    return asyncio.run(run())


def read_id(text: str) -> bytes:
    """The id that was written on the command line; raises ConfigurationError."""
    try:
        return job_id("ID", text)
    except ConfigurationError:
        raise ConfigurationError(
            "ID", text, "the 32 hexadecimal digits of a job, as `ropeline jobs list` shows them"
        ) from None


def _stage(options: Namespace) -> str:
    if options.stage is not None:
        return check_name("--stage", options.stage)
    return check_name("ROPELINE_STAGE", os.environ.get("ROPELINE_STAGE") or _STAGE)
