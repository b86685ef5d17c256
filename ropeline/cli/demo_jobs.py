"""The worker of `ropeline up`: makes the tickets that the demo shop sells, in the event loop that serves the shop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ropeline.examples.ticketshop.jobs import QUEUES, TicketJobs
from ropeline.jobs.names import check_name
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.lua.errors import StoreError

__all__ = ["DemoWorker", "demo_jobs"]

_SLOTS: Final = 8
_DRAIN_SECONDS: Final = 3.0


def demo_jobs(url: str, folder: Path, environ: Mapping[str, str] = os.environ) -> TicketJobs:
    """The shop's jobs in the store at `url`, with their files in the data folder."""
    namespace = check_name("ROPELINE_JOBS_NAMESPACE", environ.get("ROPELINE_JOBS_NAMESPACE") or "jobs")
    return TicketJobs(url, folder, namespace=namespace)


class DemoWorker:
    """Runs the jobs of the shop. Made and used in one event loop; the jobs' connections are the caller's to close."""

    def __init__(self, jobs: TicketJobs) -> None:
        settings = WorkerSettings(queues=dict(QUEUES), concurrency=_SLOTS, drain_timeout=_DRAIN_SECONDS)
        self._worker = Worker.of_app(jobs.app, settings)

    async def run(self) -> None:
        """Work until `drain`; raises only for a fault of ours."""
        await self._worker.run()

    def drain(self) -> None:
        """Begin nothing more, and give what runs three seconds; what has not ended then is handed back."""
        if not self._worker.is_draining:
            self._worker.drain()

    def hurry(self) -> None:
        """End at once: what runs is handed back."""
        self.drain()
        self._worker.drain()

    async def summary(self) -> str:
        """How many jobs are done and how many are not, in words."""
        try:
            queues = (await self._worker.depths()).values()
        except StoreError as error:
            return f"not known: {error}"
        done = sum(depths.counters.get("completed", 0) for depths in queues)
        waiting = sum(depths.pending + depths.scheduled + depths.retry + depths.held for depths in queues)
        counts = {"running": sum(depths.active for depths in queues), "dead": sum(depths.dead for depths in queues)}
        others = "".join(f", {count} {word}" for word, count in counts.items() if count)
        return f"{done} done, {waiting} waiting{others}"
