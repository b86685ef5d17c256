"""A stage of jobs that tests of commands prepare and look at behind the commands' back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.ids import new_id
from ropeline.jobs.payloads.envelope import Envelope, pack
from ropeline.jobs.records import Claimed, Finish, FinishKind, FinishResult, JobState, NewJob
from tests.servers import patient

__all__ = ["Work"]

_Result = TypeVar("_Result")
_calls = itertools.count(1)
_WORKER = b"worker of a test"


@dataclass(frozen=True, slots=True)
class Work:
    """The jobs of one stage of a store."""

    url: str
    stage: str

    @property
    def environ(self) -> dict[str, str]:
        """Points a command at these jobs."""
        return {"REDIS_URL": self.url, "ROPELINE_STAGE": self.stage}

    def ask(self, work: Callable[[RedisBroker], Awaitable[_Result]]) -> _Result:
        """What `work` returns of a broker of this stage."""

        async def run() -> _Result:
            broker = RedisBroker(patient(self.url), stage=self.stage)
            try:
                return await work(broker)
            finally:
                await broker.close()

        return asyncio.run(run())

    def enqueue(self, many: int = 1, *, queue: str = "default", type_: str = "mail", **details: Any) -> list[str]:
        """Enqueue jobs of one type, and return their ids."""
        body = pack(Envelope(type_, b"{}", 1, 0))
        jobs = [NewJob(new_id(), details.get("body", body), **_without(details, "body")) for _ in range(many)]

        async def put(broker: RedisBroker) -> None:
            for start in range(0, many, 100):
                await broker.enqueue(queue, jobs[start : start + 100])

        self.ask(put)
        return [job.id.hex() for job in jobs]

    def claim(self, many: int = 1, *, queue: str = "default") -> list[Claimed]:
        """Take jobs to run them."""
        return self.ask(lambda broker: _whole_step(broker, queue, claim=many))

    def finish(self, jobs: Sequence[Claimed], kind: FinishKind, *, queue: str = "default", **details: Any) -> None:
        """End the runs of jobs."""
        finishes = [Finish(kind, job.id, job.fence, **details) for job in jobs]

        async def end(broker: RedisBroker) -> None:
            for start in range(0, len(finishes), 64):
                reply = await broker.step(
                    queue, worker=_WORKER, lane=0, call=next(_calls), finishes=finishes[start : start + 64]
                )
                assert set(reply.finished) == {FinishResult.DONE}

        self.ask(end)

    def bury(
        self, many: int = 1, *, queue: str = "default", reason: str = "attempts", error: str = "no", **details: Any
    ) -> list[str]:
        """Make dead letters, and return their ids."""
        ids = self.enqueue(many, queue=queue, **details)
        jobs = self.claim(many, queue=queue)
        assert [job.id.hex() for job in jobs] == ids
        self.finish(jobs, FinishKind.DEAD, queue=queue, error=error.encode(), detail=reason.encode())
        return ids

    def state(self, id: str, *, queue: str = "default") -> JobState | None:
        """Where a job is, None: the queue does not have it."""
        view = self.ask(lambda broker: broker.find(queue, bytes.fromhex(id)))
        return None if view is None else view.state

    def queues(self) -> list[str]:
        """Every queue that the stage knows of."""
        return self.ask(lambda broker: broker.queues())


async def _whole_step(broker: RedisBroker, queue: str, *, claim: int) -> list[Claimed]:
    claimed: list[Claimed] = []
    while len(claimed) < claim:
        reply = await broker.step(queue, worker=_WORKER, lane=0, call=next(_calls), claim=min(64, claim - len(claimed)))
        assert reply.claimed, "there is nothing to claim"
        claimed += reply.claimed
    return claimed


def _without(details: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in details.items() if key != name}
