"""`ropeline dlq`: lists dead letters, makes them pending again, and removes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ropeline.cli.answers import agrees, require_somebody, tell_progress
from ropeline.cli.errors import CommandFailed, UsageError
from ropeline.cli.job_pages import CALL, every_match, read_list
from ropeline.cli.job_rows import job_document, job_row, job_type
from ropeline.cli.job_store import JobStore, read_id, with_jobs
from ropeline.cli.tables import aligned
from ropeline.jobs.names import check_task_type
from ropeline.jobs.records import EnqueueResult, JobState, JobView
from ropeline.lua.errors import StoreError

if TYPE_CHECKING:
    from argparse import Namespace

__all__ = ["list_dead", "purge", "requeue"]


@dataclass(slots=True)
class _Outcome:
    """How many were dealt with, and why others were not: id and reason."""

    done: int = 0
    refused: list[tuple[bytes, str]] = field(default_factory=list)


def list_dead(options: Namespace) -> int:
    """List dead letters, of one queue or of all."""
    matches = None if options.type is None and options.reason is None else _filter(options)

    async def work(store: JobStore) -> int:
        queues = await store.queues(options.queue)
        listed = await read_list(
            store.broker, queues, JobState.DEAD, cursor=options.cursor, limit=options.limit, matches=matches
        )
        now = (await store.broker.depths(queues[0])).now if queues else 0
        if options.json:
            jobs = [job_document(queue, view, now, whole=False) for queue, view in listed.jobs]
            print(json.dumps({"stage": store.stage, "jobs": jobs, "cursor": listed.cursor or None}))
            return 0
        if listed.jobs:
            head = ["QUEUE", "ID", "TYPE", "ATTEMPTS", "DIED AT", "", "WHY"]
            print("\n".join(aligned([head, *([queue, *job_row(view, now)] for queue, view in listed.jobs)])))
        else:
            print("no dead letters" if not listed.cursor else "no dead letters on this page")
        if listed.cursor:
            print(f"more with --cursor {listed.cursor}")
        return 0

    return with_jobs(options, work)


def requeue(options: Namespace) -> int:
    """Make dead letters pending again: those named by their ids, or all that match."""

    async def call(store: JobStore, queue: str, ids: Sequence[bytes], outcome: _Outcome) -> None:
        for id_, answer in zip(ids, await store.broker.requeue(queue, ids), strict=True):
            if answer is None:
                outcome.refused.append((id_, "is no dead letter any more"))
            elif answer.result is EnqueueResult.CONFLICT:
                outcome.refused.append((id_, f"job {answer.holder.hex()} holds its unique key"))
            else:
                outcome.done += 1

    return _act(options, "requeue", "requeued", call, asks=options.all)


def purge(options: Namespace) -> int:
    """Remove dead letters for good: those named by their ids, or all that match."""

    async def call(store: JobStore, queue: str, ids: Sequence[bytes], outcome: _Outcome) -> None:
        outcome.done += await store.broker.purge(queue, JobState.DEAD, ids=ids)

    return _act(options, "purge", "purged", call, asks=True)


def _act(
    options: Namespace,
    verb: str,
    done: str,
    call: Callable[[JobStore, str, Sequence[bytes], _Outcome], Awaitable[None]],
    *,
    asks: bool,
) -> int:
    named = list(dict.fromkeys(map(read_id, options.ids)))
    matches = _filter(options)
    if bool(named) is bool(options.all):
        raise UsageError(f"dlq {verb}: got {'both' if named else 'neither'}, expected ids of dead letters or --all")
    if named and (options.type is not None or options.reason is not None):
        raise UsageError(f"dlq {verb}: got ids and a choice, expected --type and --reason with --all only")
    if asks:
        require_somebody(f"dlq {verb}", yes=options.yes)

    async def work(store: JobStore) -> int:
        queues = await store.queues(options.queue)
        outcome = _Outcome()
        if named:
            chosen = await _named(store, queues, named, outcome)
        else:
            chosen = await _matching(store, queues, matches)
        total = sum(map(len, chosen.values()))
        asked = total + len(outcome.refused)
        if total and asks and not options.yes:
            where = ", ".join(f"{len(ids)} of {queue}" for queue, ids in chosen.items())
            print(f"dead letters that are to be {done}: {total:,} ({where})", file=sys.stderr)
            if not agrees():
                print("Nothing was changed.", file=sys.stderr)
                return 1
        calls = 0
        try:
            for queue, ids in _calls(chosen):
                await call(store, queue, ids, outcome)
                calls += len(ids)
                tell_progress(f"{calls:,} of {total:,}")
        except StoreError as error:
            tell_progress("")
            raise CommandFailed(f"{outcome.done:,} of {total:,} {done}, then: {store.place.explain(error)}") from error
        tell_progress("")
        _tell(options, done, asked, outcome)
        return 1 if outcome.refused else 0

    return with_jobs(options, work)


def _filter(options: Namespace) -> Callable[[JobView], bool]:
    type_ = None if options.type is None else check_task_type("--type", options.type)
    reason = options.reason

    def matches(view: JobView) -> bool:
        return (reason is None or view.reason == reason) and (type_ is None or job_type(view) == type_)

    return matches


async def _named(
    store: JobStore, queues: Sequence[str], ids: Sequence[bytes], outcome: _Outcome
) -> dict[str, list[bytes]]:
    """The dead letters among `ids`, by queue; the others are refused."""
    chosen: dict[str, list[bytes]] = {}
    for id_ in ids:
        for queue in queues:
            view = await store.broker.find(queue, id_)
            if view is None:
                continue
            if view.state is JobState.DEAD:
                chosen.setdefault(queue, []).append(id_)
            else:
                outcome.refused.append((id_, f"is {view.state}, not a dead letter"))
            break
        else:
            outcome.refused.append((id_, f"is not in {', '.join(queues) or 'any queue'} of stage {store.stage}"))
    return chosen


async def _matching(
    store: JobStore, queues: Sequence[str], matches: Callable[[JobView], bool]
) -> dict[str, list[bytes]]:
    """All dead letters that match as they are now, by queue: one that dies again meanwhile is not taken twice."""
    chosen: dict[str, list[bytes]] = {}
    for queue in queues:
        async for ids in every_match(store.broker, queue, JobState.DEAD, matches):
            if ids:
                chosen.setdefault(queue, []).extend(ids)
            tell_progress(f"{sum(map(len, chosen.values())):,} found")
    tell_progress("")
    return chosen


def _calls(chosen: dict[str, list[bytes]]) -> Iterator[tuple[str, list[bytes]]]:
    for queue, ids in chosen.items():
        for start in range(0, len(ids), CALL):
            yield queue, ids[start : start + CALL]


def _tell(options: Namespace, done: str, asked: int, outcome: _Outcome) -> None:
    for id_, why in outcome.refused:
        print(f"{id_.hex()}: {why}", file=sys.stderr)
    if options.json:
        refused = [{"id": id_.hex(), "why": why} for id_, why in outcome.refused]
        print(json.dumps({done: outcome.done, "refused": refused}))
    elif asked:
        print(f"{outcome.done:,} of {asked:,} {done}")
    else:
        print("no dead letter matches")
