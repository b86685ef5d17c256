"""The jobs of the campaign: each run of one is a line in a file, which no kill takes back."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from typing import Any

from ropeline.jobs import PREVIOUS, Concurrency, Discard, JobContext, Jobs, Split, chain

__all__ = ["LEDGER_VARIABLE", "QUEUES", "app", "counted", "gathered", "limited", "split", "value_of"]

LEDGER_VARIABLE = "KILLS_LEDGER"
"""Names the file of runs."""
QUEUES = ("default", "other")

app = Jobs(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), stage="kills", namespace="kills", queues=["other"])
_random = random.Random()
_ledger = os.open(os.environ.get(LEDGER_VARIABLE, os.devnull), os.O_WRONLY | os.O_APPEND)


def value_of(unit: int, place: int) -> int:
    """What the job at a place of a unit returns."""
    return unit * 10 + place


async def _work(unit: int, place: int, given: Any, *, doomed: bool = False) -> int:
    """Take a moment, sometimes fail, sometimes block the event loop, and note the run with what the job before left."""
    await asyncio.sleep(_random.random() * 0.03)
    if doomed:
        raise Discard("doomed from the beginning")
    chance = _random.random()
    if chance < 0.02:
        raise RuntimeError(f"job {place} of {unit} fails now and then")
    if chance < 0.025:
        time.sleep(0.2)  # noqa: ASYNC251 - as a careless handler does
    os.write(_ledger, f"{unit} {place} {json.dumps(given, separators=(',', ':'))}\n".encode())
    return value_of(unit, place)


@app.task(name="kills:count", max_attempts=1000, backoff=0.05, max_lost=100)
async def counted(unit: int, place: int, given: int | None = None, *, doomed: bool = False) -> int:
    """One job of a unit. `doomed`: it is a dead letter at once. `given`: what the job before it in a chain returned."""
    return await _work(unit, place, given, doomed=doomed)


@app.task(name="kills:limited", max_attempts=1000, backoff=0.05, max_lost=100, limit=Concurrency(by=("key",), most=2))
async def limited(unit: int, place: int, key: int) -> int:
    """A job of a key of which two run at once. `key`: which."""
    return await _work(unit, place, key)


@app.task(name="kills:gather", max_attempts=1000, backoff=0.05, max_lost=100)
async def gathered(unit: int, place: int, given: list[int | None]) -> int:
    """What runs when the parts have ended. `given`: what they returned."""
    return await _work(unit, place, given)


@app.task(name="kills:split", max_attempts=1000, backoff=0.05, max_lost=100)
async def split(job: JobContext, unit: int, doomed: int | None) -> Split[int]:
    """Place 0; parts are two chains over both queues, of places 1, 2 and 3, 4; place 5 gathers. `doomed`: which of them."""
    await _work(unit, 0, None)
    other = counted.using(queue_name="other", metadata=job.metadata)
    here = counted.using(metadata=job.metadata)
    parts = [
        chain(
            here.build(unit, first, doomed=doomed == first),
            other.build(unit, first + 1, PREVIOUS, doomed=doomed == first + 1),
        )
        for first in (1, 3)
    ]
    return Split(parts, gathered.using(metadata=job.metadata).build(unit, 5, PREVIOUS))
