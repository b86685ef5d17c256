"""`ropeline jobs`: enqueues, lists, shows, cancels and retries jobs, and shows how queues stand."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, Final

from ropeline.cli.errors import CommandFailed
from ropeline.cli.job_pages import read_list
from ropeline.cli.job_rows import (
    STATES,
    depths_document,
    job_details,
    job_document,
    job_row,
    pause_words,
    task_pause_words,
)
from ropeline.cli.job_store import JobStore, read_id, with_jobs
from ropeline.cli.payloads import read_payload
from ropeline.cli.seconds import milliseconds
from ropeline.cli.tables import aligned
from ropeline.cli.times import age, iso_utc, until_or_since
from ropeline.jobs.durations import moment_ms
from ropeline.jobs.errors import OutcomeUnknown
from ropeline.jobs.ids import new_id
from ropeline.jobs.names import check_name, check_task_type
from ropeline.jobs.options import LARGEST_PAYLOAD, Unique
from ropeline.jobs.payloads.arguments import Arguments
from ropeline.jobs.payloads.codec import codec_named
from ropeline.jobs.payloads.envelope import Envelope, pack
from ropeline.jobs.payloads.values import Unfit
from ropeline.jobs.records import Depths, EnqueueResult, JobState, NewJob
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace

__all__ = ["cancel", "enqueue", "get", "list_jobs", "retry", "stats"]

_LONGEST_KEY: Final = 1024
_MOMENT: Final = "a time in ISO 8601 with a zone, such as 2030-01-31T08:00:00+01:00 or 2030-01-31T07:00:00Z"


def enqueue(options: Namespace) -> int:
    """Put one job into a queue, and show its id."""
    queue = check_name("--queue", options.queue)
    job, envelope = _new_job(options)

    async def work(store: JobStore) -> int:
        others = await store.broker.queues()
        try:
            [answer] = await store.broker.enqueue(queue, [job])
        except OutcomeUnknown as error:
            raise CommandFailed(
                f"the store at {store.place} gave no reply: whether job {job.id.hex()} was taken in is not known;"
                f" `ropeline jobs get {job.id.hex()}` tells once it answers"
            ) from error
        is_new = answer.result is EnqueueResult.ENQUEUED
        if options.json:
            holder = {} if is_new else {"holder": answer.holder.hex()}
            print(json.dumps({"id": job.id.hex() if is_new else None, "queue": queue, "enqueued": is_new, **holder}))
        if not is_new:
            raise CommandFailed(
                f"{envelope.type}: job {answer.holder.hex()} holds the unique key; nothing was enqueued"
            )
        if others and queue not in others:
            print(f"queue {queue} is new in stage {store.stage}, beside {', '.join(others)}", file=sys.stderr)
        if not options.json:
            print(f"{job.id.hex()}: {_when(job)} in {queue}")
        return 0

    return with_jobs(options, work)


def stats(options: Namespace) -> int:
    """Show how many jobs each queue has in which state, and what became of those before."""

    async def work(store: JobStore) -> int:
        taken = [(queue, await store.broker.depths(queue)) for queue in await store.queues(options.queue)]
        if options.json:
            document = {"store": str(store.place), "stage": store.stage}
            print(json.dumps({**document, "queues": [depths_document(queue, depths) for queue, depths in taken]}))
        elif options.queue is not None:
            print("\n".join(aligned(_details(*taken[0]))))
        elif taken:
            print("\n".join([*aligned(_depths_table(taken)), "", *aligned(_counters_table(taken))]))
        else:
            print(_no_jobs(store))
        return 0

    return with_jobs(options, work)


def list_jobs(options: Namespace) -> int:
    """List the jobs of a queue that are in one state."""
    state = _state(options.state)

    async def work(store: JobStore) -> int:
        [queue] = await store.queues(options.queue)
        listed = await read_list(store.broker, [queue], state, cursor=options.cursor, limit=options.limit)
        now = (await store.broker.depths(queue)).now
        if options.json:
            jobs = [job_document(queue, view, now, whole=False) for _, view in listed.jobs]
            document = {"stage": store.stage, "queue": queue, "state": str(state), "jobs": jobs}
            print(json.dumps({**document, "cursor": listed.cursor or None}))
            return 0
        if listed.jobs:
            head = ["ID", "TYPE", "ATTEMPTS", "AT", "", "WHAT WENT WRONG"]
            print("\n".join(aligned([head, *(job_row(view, now) for _, view in listed.jobs)])))
        else:
            print(f"no {state} jobs in {queue}")
        if listed.cursor:
            print(f"more with --cursor {listed.cursor}")
        return 0

    return with_jobs(options, work)


def get(options: Namespace) -> int:
    """Show one job with all that is known of it."""
    id_ = read_id(options.id)

    async def work(store: JobStore) -> int:
        queue, view = await store.find(id_, options.queue)
        now = (await store.broker.depths(queue)).now
        if options.json:
            print(json.dumps({"stage": store.stage, **job_document(queue, view, now, whole=True)}))
        else:
            print("\n".join(aligned(job_details(queue, view, now))))
        return 0

    return with_jobs(options, work)


def cancel(options: Namespace) -> int:
    """End a job for good: a waiting one at once, a running one by telling its worker."""
    id_ = read_id(options.id)

    async def work(store: JobStore) -> int:
        queue, _ = await store.find(id_, options.queue)
        state = await store.broker.cancel(queue, id_)
        if options.json:
            print(json.dumps({"id": id_.hex(), "queue": queue, "state": None if state is None else str(state)}))
        if state not in {JobState.CANCELLED, JobState.ACTIVE}:
            raise CommandFailed(f"job {id_.hex()} is {state or 'gone'}: it is too late to cancel it")
        if not options.json:
            words = "it runs, and its worker is told to stop it" if state is JobState.ACTIVE else "cancelled"
            print(f"{id_.hex()}: {words}")
        return 0

    return with_jobs(options, work)


def retry(options: Namespace) -> int:
    """Make a job pending that is dead, parked, cancelled, scheduled or waits for another attempt."""
    id_ = read_id(options.id)

    async def work(store: JobStore) -> int:
        queue, view = await store.find(id_, options.queue)
        [answer] = await store.broker.requeue(queue, [id_])
        is_done = answer is not None and answer.result is EnqueueResult.ENQUEUED
        if options.json:
            holder = {"holder": answer.holder.hex()} if answer is not None and not is_done else {}
            print(json.dumps({"id": id_.hex(), "queue": queue, "requeued": is_done, **holder}))
        if answer is None:
            raise CommandFailed(
                f"job {id_.hex()} is {view.state}, expected one that is dead, parked, cancelled, scheduled or in retry"
            )
        if not is_done:
            raise CommandFailed(f"job {id_.hex()}: job {answer.holder.hex()} holds its unique key; nothing was changed")
        if not options.json:
            print(f"{id_.hex()}: pending in {queue}; it was {view.state}")
        return 0

    return with_jobs(options, work)


def _new_job(options: Namespace) -> tuple[NewJob, Envelope]:
    """The job that the command line describes; raises ConfigurationError."""
    type_ = check_task_type("--type", options.type)
    delay = 0 if options.delay is None else milliseconds("--delay", options.delay)
    due = 0 if options.run_at is None else _moment("--run-at", options.run_at)
    for_ = 0 if options.unique_for is None else milliseconds("--unique-for", options.unique_for, least=1)
    key = options.unique_key
    if key is not None and not 0 < len(key.encode("utf-8", "surrogatepass")) <= _LONGEST_KEY:
        raise ConfigurationError("--unique-key", key, f"1 to {_LONGEST_KEY:,} bytes of text")
    arguments = read_payload(options)
    field = "--payload" if options.payload_file is None else "--payload-file"
    codec = codec_named("codec", "json")
    try:
        payload = codec.encode(arguments)
    except Unfit as error:
        raise ConfigurationError(field, error.value, error.expected) from None
    if len(payload) > LARGEST_PAYLOAD:
        raise ConfigurationError(field, f"{len(payload):,} bytes", f"at most {LARGEST_PAYLOAD:,} bytes")
    unique = b""
    if key is not None or for_:
        unique = _unique(type_, arguments, key)
    envelope = Envelope(type_, payload, codec.number, time.time_ns() // 1_000_000, max_attempts=options.max_attempts)
    job = NewJob(new_id(), pack(envelope), due, delay, options.priority, unique, for_)
    return job, envelope


def _unique(type_: str, arguments: dict[str, Any] | list[Any], key: str | None) -> bytes:
    """The key that a program's own `enqueue` would have for the same task, all of whose arguments are given."""
    if key is None and isinstance(arguments, list):
        raise ConfigurationError(
            "--unique-for",
            "a list of arguments",
            "arguments by name, or --unique-key: a list cannot be compared with them",
        )
    named = arguments if isinstance(arguments, dict) else {}

    def task() -> None:
        """Stands for the function, which is elsewhere."""

    parameters = [Parameter(name, Parameter.KEYWORD_ONLY) for name in named]
    task.__dict__["__signature__"] = Signature(parameters)
    unique = Unique() if key is None else Unique(key=_constant(key))
    return unique.key_of(type_, Arguments(type_, task, codec_named("codec", "json")), named, (), {})


def _constant(key: str) -> Callable[..., str]:
    return lambda: key


def _moment(field: str, text: str) -> int:
    try:
        return moment_ms(field, datetime.fromisoformat(text))
    except ConfigurationError as error:
        expected = error.expected if "zone" not in error.expected else _MOMENT
        raise ConfigurationError(field, text, expected) from None
    except (ValueError, OverflowError):
        raise ConfigurationError(field, text, _MOMENT) from None


def _state(text: str) -> JobState:
    try:
        return JobState(text)
    except ValueError:
        raise ConfigurationError("--state", text, f"one of: {', '.join(STATES)}") from None


def _when(job: NewJob) -> str:
    if job.delay:
        return f"scheduled in {age(job.delay)}"
    now = time.time_ns() // 1_000_000
    return f"scheduled for {iso_utc(job.due)} ({until_or_since(job.due, now)})" if job.due > now else "pending"


def _no_jobs(store: JobStore) -> str:
    return f"no jobs yet in stage {store.stage}; make one: ropeline jobs enqueue --type TYPE"


def _depths_table(taken: list[tuple[str, Depths]]) -> list[list[str]]:
    rows = [["QUEUE", *(state.upper() for state in STATES), "OLDEST PENDING", "STATE"]]
    for queue, depths in taken:
        numbers = [str(getattr(depths, state)) for state in STATES]
        rows.append([queue, *numbers, _oldest(depths), pause_words(depths)])
    return rows


def _counters_table(taken: list[tuple[str, Depths]]) -> list[list[str]]:
    names = list(taken[0][1].counters)
    rows = [["SO FAR", *(name.upper() for name in names)]]
    return rows + [[queue, *(str(depths.counters.get(name, 0)) for name in names)] for queue, depths in taken]


def _details(queue: str, depths: Depths) -> list[list[str]]:
    due = f"{iso_utc(depths.next_due)}  {until_or_since(depths.next_due, depths.now)}" if depths.next_due else "-"
    rows = [["queue", queue], ["state", pause_words(depths)], ["oldest pending", _oldest(depths)], ["next due", due]]
    rows += [[f"task {pause.task}", task_pause_words(pause, depths.now)] for pause in depths.paused_tasks]
    rows += [[str(state), str(getattr(depths, state))] for state in STATES]
    rows += [["bytes", f"{depths.bytes:,}"], ["bytes of dead letters", f"{depths.dead_bytes:,}"]]
    return rows + [[f"total {name}", str(number)] for name, number in depths.counters.items()]


def _oldest(depths: Depths) -> str:
    return age(depths.now - depths.oldest_pending) if depths.oldest_pending else "-"
