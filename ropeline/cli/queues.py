"""`ropeline jobs pause`, `resume` and `settings`: what operators do to a queue as a whole, or to one of its tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ropeline.cli.job_rows import depths_document, pause_words
from ropeline.cli.job_store import JobStore, with_jobs
from ropeline.cli.seconds import milliseconds
from ropeline.jobs.names import check_name, check_task_type
from ropeline.jobs.queue_settings import settings_changes, shown_settings
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace

__all__ = ["change_settings", "pause", "resume"]

_LONGEST_REASON: Final = 1024


def pause(options: Namespace) -> int:
    """Start no more jobs of a queue, or of one of its tasks, for now."""
    task = _task(options)
    after = 0 if options.for_ is None else milliseconds("--for", options.for_, least=1)
    if not options.reason.isprintable() or len(options.reason.encode()) > _LONGEST_REASON:
        raise ConfigurationError("--reason", options.reason, f"at most {_LONGEST_REASON:,} bytes of text in one line")

    async def work(store: JobStore) -> int:
        [queue] = await store.queues(options.queue)
        await store.broker.pause(queue, reason=options.reason, resume_after=after, task=task)
        return await _tell_pause(store, queue, as_json=options.json)

    return with_jobs(options, work)


def resume(options: Namespace) -> int:
    """Start jobs of a queue, or of one of its tasks, again."""
    task = _task(options)

    async def work(store: JobStore) -> int:
        [queue] = await store.queues(options.queue)
        await store.broker.resume(queue, task=task)
        return await _tell_pause(store, queue, as_json=options.json)

    return with_jobs(options, work)


def change_settings(options: Namespace) -> int:
    """Change settings of a queue, and show them all."""
    queue = check_name("queue", options.queue)
    changes = settings_changes(dict(map(_read_setting, options.assignments)))

    async def work(store: JobStore) -> int:
        if not changes:
            await store.queues(queue)
        shown = shown_settings(await store.broker.configure(queue, changes))
        if options.json:
            print(json.dumps({"queue": queue, **shown}))
        else:
            print("\n".join(f"{name}={value}" for name, value in shown.items()))
        return 0

    return with_jobs(options, work)


def _task(options: Namespace) -> bytes:
    return b"" if options.task is None else check_task_type("--task", options.task).encode()


def _read_setting(text: str) -> tuple[str, int | float]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ConfigurationError("KEY=VALUE", text, "a setting and its value, such as rate=100")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    raise ConfigurationError(name, value, "a number: times in seconds, sizes in bytes")


async def _tell_pause(store: JobStore, queue: str, *, as_json: bool) -> int:
    depths = await store.broker.depths(queue)
    if as_json:
        document = depths_document(queue, depths)
        names = ("queue", "paused", "pause_reason", "resumes_at", "paused_tasks")
        print(json.dumps({name: document[name] for name in names}))
    else:
        print(f"{queue}: {pause_words(depths)}; {depths.pending} pending, {depths.active} active, {depths.held} held")
    return 0
