"""`ropeline fsck`: proves that each job is in exactly one state, or says which is not, and mends it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

from ropeline.cli.job_store import JobStore, with_jobs
from ropeline.jobs.fsck import Finding, check_queue

if TYPE_CHECKING:
    from argparse import Namespace

__all__ = ["run"]

_WHAT: Final = {
    "no state": "in no state: it would never run",
    "several states": "in several states: it could run twice",
    "no body": "a place without a job",
    "no lease": "active, and held by nobody",
    "no parts": "waits for parts that are not known: it would never run",
    "lost part": "waits for a part that is nowhere: it would never run",
    "stuck entry": "hands over what nobody would deliver",
    "wrong slots": "a limit key whose slots are not those of its jobs: others could wait for ever, or run beside too many",
    "stray key": "a unique key whose job has ended: it would block the next one",
}


def run(options: Namespace) -> int:
    """Look, and with `--repair` mend; 1 when something was found and not mended."""

    async def work(store: JobStore) -> int:
        found: list[Finding] = []
        queues = await store.queues(options.queue)
        for queue in queues:

            def tell(looked_at: int, queue: str = queue) -> None:
                if sys.stderr.isatty():
                    print(f"\r\033[K{queue}: {looked_at:,} jobs looked at", end="", file=sys.stderr, flush=True)

            found += await check_queue(store.broker, queue, repair=options.repair, told=tell)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        if options.json:
            findings = [{"queue": each.queue, "what": each.what, "id": each.id.hex()} for each in found]
            print(json.dumps({"queues": queues, "repaired": options.repair, "findings": findings}))
        else:
            for each in found:
                print(f"{each.queue}  {each.id.hex()}  {_WHAT[each.what]}")
            print(_summary(found, queues, repaired=options.repair))
        return 1 if found and not options.repair else 0

    return with_jobs(options, work)


def _summary(found: list[Finding], queues: list[str], *, repaired: bool) -> str:
    where = f"{len(queues)} queue{'' if len(queues) == 1 else 's'}"
    if not found:
        return f"{where}: every job is in exactly one state"
    counts = ", ".join(f"{count} {what}" for what, count in sorted(Counter(each.what for each in found).items()))
    return f"{where}: {counts}; {'mended' if repaired else '--repair mends it'}"
