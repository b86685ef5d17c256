"""What tests of the shop's jobs share: jobs of a stage of their own, a worker that runs them, and somebody who buys."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx

from ropeline.examples.ticketshop.jobs import QUEUES, TicketJobs
from ropeline.examples.ticketshop.tickets import PaidOrder
from ropeline.jobs.background import end
from ropeline.jobs.worker import Worker, WorkerSettings

_stages = itertools.count(1)


@asynccontextmanager
async def shop_jobs(url: str, folder: Path) -> AsyncIterator[TicketJobs]:
    """The shop's jobs in a stage that no other test uses, their connections closed at the end."""
    jobs = TicketJobs(url, folder, stage=f"shop-{os.getpid()}-{next(_stages)}")
    async with jobs.app:
        yield jobs


@asynccontextmanager
async def worker_of(jobs: TicketJobs) -> AsyncIterator[Worker]:
    """A worker that runs them while the context lasts, and drains at its end."""
    worker = Worker.of_app(jobs.app, WorkerSettings(queues=dict(QUEUES), concurrency=8))
    working = asyncio.create_task(worker.run())
    try:
        yield worker
        worker.drain()
        await working
    finally:
        await end([working])


def paid_order(**changes: object) -> PaidOrder:
    """A paid order of three seats for two events; `changes` replace what it says."""
    fields: dict[str, object] = {
        "number": uuid4().hex,
        "name": "Anna Berg",
        "email": "anna@example.com",
        "seats": {"paper-lions": 2, "aurora-vale": 1},
        "total_cents": 15_200,
        "paid_at": datetime(2030, 6, 1, 12, tzinfo=UTC),
        **changes,
    }
    return PaidOrder(**fields)  # type: ignore[arg-type]  # as each field has it


async def buy(buyer: httpx.AsyncClient, **seats: int) -> str:
    """Put seats into the cart and order them; the path of the order's page."""
    for event, count in seats.items():
        await buyer.post("/cart", data={"slug": event.replace("_", "-"), "seats": str(count)})
    placed = await buyer.post("/checkout", data={"name": "Anna Berg", "email": "anna@example.com"})
    assert placed.status_code == 303, placed.text
    return placed.headers["location"]
