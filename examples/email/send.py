"""Enqueues a welcome for each customer of a file: lines of number, name and address, with commas between."""

import asyncio
import csv
import sys
from collections.abc import Iterable

from ropeline.examples.email.mails import app, welcome
from ropeline.jobs import derived_id


async def send(lines: Iterable[str]) -> None:
    """Enqueue them in few calls, and say what became of each."""
    drafts = [
        welcome.using(job_id=derived_id("mail:welcome", number)).build(int(number), name, address)
        for number, name, address in csv.reader(lines)
    ]
    async with app:
        for draft, outcome in zip(drafts, await app.enqueue_many(drafts), strict=True):
            is_new = outcome.handle is not None and outcome.handle.is_new
            print(f"job {draft.id}: {'enqueued' if is_new else 'is there already'}")


if __name__ == "__main__":
    asyncio.run(send(sys.stdin))
