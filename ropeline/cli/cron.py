"""`ropeline cron`: lists the cron jobs of a stage, removes one, and brings those of an application into the store."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ropeline.cli.errors import CommandFailed, UsageError
from ropeline.cli.job_rows import printable
from ropeline.cli.job_store import JobStore, with_jobs
from ropeline.cli.tables import aligned
from ropeline.cli.times import iso_utc, until_or_since
from ropeline.cli.worker import find_app
from ropeline.jobs.cron.cron_jobs import CronJob
from ropeline.jobs.errors import Undecodable
from ropeline.jobs.names import check_task_type
from ropeline.jobs.payloads.envelope import unpack
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.jobs.cron.cron_jobs import CronStore
    from ropeline.jobs.cron.definitions import Applied
    from ropeline.lua.cron_scripts import StoredCron

__all__ = ["apply", "list_all", "remove"]


@dataclass(frozen=True, slots=True)
class _Listed:
    """A cron job as the list shows it. `now`, `last_tick`, `next_tick`: wall ms, None: none. `problem`: why it cannot be read."""

    queue: str
    name: str
    version: int
    now: int
    cron: CronJob | None = None
    last_tick: int | None = None
    next_tick: int | None = None
    problem: str = ""

    def row(self) -> list[str]:
        """For people."""
        if self.cron is None:
            return [self.queue, self.name, "-", "-", "-", "-", f"cannot be read here: {printable(self.problem)}", ""]
        last = "-" if self.last_tick is None else iso_utc(self.last_tick)
        following = ["-", ""]
        if self.next_tick is not None:
            following = [iso_utc(self.next_tick), until_or_since(self.next_tick, self.now)]
        return [self.queue, self.name, _task(self.cron), self.cron.line, self.cron.zone, last, *following]

    def document(self) -> dict[str, object]:
        """For programs."""
        cron = self.cron
        return {
            "queue": self.queue,
            "name": self.name,
            "task": None if cron is None else _task(cron),
            "line": None if cron is None else cron.line,
            "zone": None if cron is None else cron.zone,
            "missed": None if cron is None else cron.missed.value,
            "last_tick": None if self.last_tick is None else iso_utc(self.last_tick),
            "next_tick": None if self.next_tick is None else iso_utc(self.next_tick),
            "version": self.version,
            "problem": self.problem or None,
        }


def list_all(options: Namespace) -> int:
    """List the cron jobs of one queue, or of all."""

    async def work(store: JobStore) -> int:
        listed = await _read(store.broker.cron_store(), await store.queues(options.queue))
        if options.json:
            print(json.dumps({"stage": store.stage, "cron": [each.document() for each in listed]}))
        elif listed:
            head = ["QUEUE", "NAME", "TASK", "LINE", "ZONE", "LAST TICK", "NEXT TICK", ""]
            print("\n".join(aligned([head, *(each.row() for each in listed)])))
        else:
            print("no cron jobs")
        return 0

    return with_jobs(options, work)


def remove(options: Namespace) -> int:
    """End one cron job; jobs of it that are in the queue stay there."""
    name = check_task_type("NAME", options.name)

    async def work(store: JobStore) -> int:
        cron = store.broker.cron_store()
        queues = await store.queues(options.queue)
        having = [each.queue for each in await _read(cron, queues) if each.name == name]
        if len(having) > 1:
            raise UsageError(f"cron remove: {name} is in {', '.join(having)}, expected --queue with one of them")
        if not having or not await cron.remove(having[0], name):
            where = f"stage {store.stage}" if options.queue is None else f"queue {options.queue}"
            raise CommandFailed(f"{where} has no cron job {name}")
        if options.json:
            print(json.dumps({"removed": name, "queue": having[0]}))
        else:
            print(
                f"{name} of {having[0]} is removed; a worker that still defines it would bring it back when it starts"
            )
        return 0

    return with_jobs(options, work)


def apply(options: Namespace) -> int:
    """Bring the definitions of an application into its store; they count, whatever is there."""
    app = find_app(options.app)

    async def work() -> int:
        async with app:
            applied = await app.define_cron_jobs(may_go_back=True)
            store = app.cron_store()
            known = {(each.cron.queue, each.cron.name) for each in applied}
            stored = await _read(store, sorted({*await store.queues(), *(queue for queue, _ in known)}))
        others = [each for each in stored if (each.queue, each.name) not in known]
        _tell(options, applied, others)
        return 0

    return asyncio.run(work())


def _tell(options: Namespace, applied: list[Applied], others: list[_Listed]) -> None:
    if options.json:
        documents = [
            {"queue": cron.queue, "name": cron.name, "line": cron.line, "zone": cron.zone, "became": became.value}
            for cron, became in applied
        ]
        rest = [{"queue": each.queue, "name": each.name} for each in others]
        print(json.dumps({"cron": documents, "others": rest}))
        return
    rows = [[str(became), cron.queue, cron.name, cron.line, cron.zone] for cron, became in applied]
    print("\n".join(aligned(rows)) if rows else "the application has no cron jobs")
    for each in others:
        print(f"not of this application: {each.name} of {each.queue}, which goes on", file=sys.stderr)


async def _read(store: CronStore, queues: list[str]) -> list[_Listed]:
    listed = []
    for queue in queues:
        state = await store.read(queue)
        rows = sorted(state.stored or ())
        listed += [_listed(queue, row, state.ticks.get(row.name, state.now), state.now) for row in rows]
    return listed


def _listed(queue: str, row: StoredCron, last: int, now: int) -> _Listed:
    try:
        cron = CronJob.unpack(queue, row.name, row.definition)
        schedule = cron.schedule()
    except (Undecodable, ConfigurationError) as error:
        return _Listed(queue, row.name, row.version, now, problem=str(error))
    # Before the first tick, the last one is the moment from which ticks count.
    last_tick = last if schedule.latest_at(last) == last else None
    return _Listed(queue, row.name, row.version, now, cron, last_tick, schedule.next_after(last))


def _task(cron: CronJob) -> str:
    return unpack(cron.job.body).type
