"""Packs jobs, hand-overs and splits as the scripts of a queue take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ropeline.jobs.records import (
    Finish,
    HandOver,
    NewJob,
    OutgoingKind,
    SplitOrder,
)
from ropeline.lua.queue_scripts import (
    count_jobs,
    pack_job,
    pack_jobs,
    pack_limit,
    pack_outgoing,
    pack_part,
    pack_split,
)

__all__ = ["few_jobs_each", "is_plain", "packed_hand_over", "packed_job", "packed_split"]

_TAKEN_OVER_A_CALL: Final = 100
_ENTRY_NAME: Final = 17


def few_jobs_each(entries: Sequence[bytes]) -> list[list[bytes]]:
    """Entries (name and `pack_jobs`) in their order, so many together that a call has few jobs to take in."""
    groups: list[list[bytes]] = []
    jobs = _TAKEN_OVER_A_CALL
    for entry in entries:
        many = count_jobs(entry[_ENTRY_NAME:])
        if jobs + many > _TAKEN_OVER_A_CALL:
            groups.append([])
            jobs = 0
        groups[-1].append(entry)
        jobs += many
    return groups


def packed_job(job: NewJob) -> bytes:
    """A job for `enqueue`."""
    return pack_job(
        job.id,
        job.body,
        due=job.due,
        delay=job.delay,
        priority=job.priority,
        unique=job.unique,
        unique_for=job.unique_for,
        until_start=job.until_start,
        limit=b"" if job.limit is None else pack_limit(**job.limit._asdict()),
        part=b"" if job.part is None else pack_part(*job.part),
    )


def packed_hand_over(hand_overs: Sequence[HandOver]) -> bytes:
    """What a run hands over, for its finish."""
    return pack_outgoing(
        (bytes((OutgoingKind.JOBS,)) + jobs[0].id, OutgoingKind.JOBS, queue, pack_jobs(map(packed_job, jobs)))
        for queue, jobs in hand_overs
    )


def packed_split(split: SplitOrder) -> bytes:
    """The parts of a job, for the finish that splits it."""
    stops = pack_outgoing(
        (bytes((OutgoingKind.STOP,)) + jobs[0].id, OutgoingKind.STOP, queue, b"".join(job.id for job in jobs))
        for queue, jobs in split.parts
    )
    entries = packed_hand_over(split.parts)
    return pack_split(fails=split.fails, total=split.total, body=split.body, stops=stops, entries=entries)


def is_plain(finish: Finish) -> bool:
    """Whether the run completed and leaves nothing."""
    return finish.kind == 0 and not finish.keep and not finish.result and not finish.hand_over
