"""The worker: claims jobs, runs their handlers, keeps their leases, and says how it is."""

from ropeline.jobs.worker.worker import Worker, WorkerSettings

__all__ = ["Worker", "WorkerSettings"]
