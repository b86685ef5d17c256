"""What follows a payment, as jobs: an order is confirmed, each of its tickets is made, the receipt is mailed.

`ropeline up` runs them. By hand, with a Redis of your own, in two terminals:

    export TICKETSHOP_STORE=redis://127.0.0.1:6379/0
    uvicorn ropeline.examples.ticketshop.app:app
    ropeline worker ropeline.examples.ticketshop.jobs:app

Every job may run more than once: a worker can die between its work and its word. So each has an id that follows from the
order, each looks whether its file is there before it makes it, and a file is there whole or not at all.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ropeline.examples.ticketshop.drawing import draw
from ropeline.examples.ticketshop.files import ShopFiles, write_whole
from ropeline.examples.ticketshop.receipt import write_mail
from ropeline.examples.ticketshop.tickets import PaidOrder, Ticket
from ropeline.jobs import JobContext, Jobs, Snooze, derived_id
from ropeline.jobs.errors import LockTaken

STAGE = "demo"
QUEUES = {"orders": 3, "tickets": 1}
"""The queues with the weights that a worker gives them."""

_KEPT_SECONDS = 3600
_LOCK_SECONDS = 0.5
_LOOK_AGAIN_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the jobs of an order are. `tickets`: each one, and whether its file is there."""

    tickets: Mapping[Ticket, bool]
    is_receipt_sent: bool

    @property
    def done(self) -> int:
        return sum(self.tickets.values())

    @property
    def is_complete(self) -> bool:
        return self.is_receipt_sent and all(self.tickets.values())


class TicketJobs:
    """The jobs of the shop, in the store at `url`, with their files under `folder`. `stage`: of other jobs they know nothing."""

    def __init__(self, url: str, folder: Path, *, namespace: str = "jobs", stage: str = STAGE) -> None:
        self.files = ShopFiles(folder)
        self.app = Jobs(url, namespace=namespace, stage=stage, queue="orders")
        # Kept for an hour when it is done, a job's id keeps a second one out for as long.
        task = self.app.task
        self.confirm = task(name="order:confirm", queue="orders", result_ttl=_KEPT_SECONDS)(self._confirm)
        self.render = task(name="ticket:render", queue="tickets", result_ttl=_KEPT_SECONDS)(self._render)
        self.mail = task(name="order:receipt", queue="orders", result_ttl=_KEPT_SECONDS)(self._mail)

    async def begin(self, order: PaidOrder) -> None:
        """Enqueue what follows the payment, once however often this is called. Raises StoreError."""
        await self.confirm.using(job_id=derived_id("order:confirm", order.number)).enqueue(order)

    def progress(self, order: PaidOrder) -> Progress:
        """How far an order is; its files tell."""
        made = {ticket: self.files.ticket(order, ticket).exists() for ticket in order.tickets()}
        return Progress(made, self.files.receipt(order).exists())

    # The handlers

    async def _confirm(self, order: PaidOrder) -> None:
        await self.app.enqueue_many(
            self.render.using(job_id=derived_id("ticket:render", order.number, ticket.name)).build(
                order, ticket.event.slug, ticket.number
            )
            for ticket in order.tickets()
        )

    async def _render(self, job: JobContext, order: PaidOrder, event: str, number: int) -> None:
        ticket = order.ticket(event, number)
        path = self.files.ticket(order, ticket)
        if not path.exists():
            try:
                async with job.lock(f"event-{event}", wait=_LOCK_SECONDS, purpose="gives out a seat") as lock:
                    await asyncio.to_thread(self._make_ticket, order, ticket, path, lock.fence)
            except LockTaken as taken:
                # An operator may hold it for hours: no failure of this job.
                raise Snooze(_LOOK_AGAIN_SECONDS, str(taken)) from taken
        # Who made the last one sees all of them. Two may be the last at once: their job for the receipt has one id.
        if all(self.progress(order).tickets.values()):
            await self.mail.using(job_id=derived_id("order:receipt", order.number)).enqueue(order)

    async def _mail(self, order: PaidOrder) -> None:
        path = self.files.receipt(order)
        if not path.exists():
            await asyncio.to_thread(self._write_receipt, order, path)

    def _make_ticket(self, order: PaidOrder, ticket: Ticket, path: Path, fence: int) -> None:
        seat = self.files.take_seat(order, ticket, fence=fence)
        write_whole(path, draw(order, ticket, seat=seat))

    def _write_receipt(self, order: PaidOrder, path: Path) -> None:
        files = [self.files.ticket(order, ticket) for ticket in order.tickets()]
        write_whole(path, write_mail(order, [(file.name, file.read_bytes()) for file in files]))


def ticket_jobs(environ: Mapping[str, str] = os.environ) -> TicketJobs:
    """The jobs in the store TICKETSHOP_STORE, with their files under TICKETSHOP_FOLDER (`.ropeline`)."""
    url = environ.get("TICKETSHOP_STORE") or "redis://127.0.0.1:6379/0"
    return TicketJobs(url, Path(environ.get("TICKETSHOP_FOLDER") or ".ropeline"))


app = ticket_jobs().app
