"""The jobs of the campaign: each run of one is a line in a file, which no kill takes back."""

from __future__ import annotations

import asyncio
import os
import random
import time

from ropeline.jobs.app import Jobs
from ropeline.jobs.context import JobContext

__all__ = ["LEDGER_VARIABLE", "app", "counted"]

LEDGER_VARIABLE = "KILLS_LEDGER"
"""Names the file of runs."""

app = Jobs(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), stage="kills", namespace="kills")
_random = random.Random()
_ledger = os.open(os.environ.get(LEDGER_VARIABLE, os.devnull), os.O_WRONLY | os.O_APPEND)


@app.task(name="kills:count", max_attempts=1000, backoff=0.05, max_lost=100)
async def counted(job: JobContext, number: int) -> None:
    """Take a moment, sometimes fail, sometimes block the event loop, and note the run."""
    await asyncio.sleep(_random.random() * 0.03)
    chance = _random.random()
    if chance < 0.02:
        raise RuntimeError(f"job {number} fails now and then")
    if chance < 0.025:
        time.sleep(0.2)  # noqa: ASYNC251 - as a careless handler does
    os.write(_ledger, f"{job.id}\n".encode())
