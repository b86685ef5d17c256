"""Groups and chords: jobs that run in parallel, and what runs when all of them have ended.

Both are one job of a type of ours that a worker splits as it splits one whose handler returns a Split: it carries its parts and
the body that it has when they have ended.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, TypeVar

from ropeline.jobs.broker import LARGEST_HAND_OVER
from ropeline.jobs.durations import to_ms
from ropeline.jobs.errors import PayloadTooLarge, Undecodable
from ropeline.jobs.handle import JobHandle
from ropeline.jobs.ids import derived_id, new_id
from ropeline.jobs.options import LARGEST_PAYLOAD, Seconds
from ropeline.jobs.payloads.codec import codec_numbered
from ropeline.jobs.payloads.envelope import NO_TRACE, Envelope, pack, unpack, with_trace
from ropeline.jobs.payloads.values import Unfit
from ropeline.jobs.records import HandOver, NewJob, Part, PartOutcome, SplitOrder
from ropeline.jobs.shapes.chains import ChainShape, pack_next, unpack_next
from ropeline.jobs.shapes.split import OnFailure, check_on_failure, check_parts
from ropeline.jobs.task import JobDraft
from ropeline.lua.errors import ConfigurationError

__all__ = ["GATHER", "SPLIT", "chord", "gather_body", "gathered", "group", "order_of", "part_id", "read_split"]

R = TypeVar("R")

SPLIT: Final = "{split}"
"""Task type of a job that a worker splits as its payload says. No task of a user can have it."""
GATHER: Final = "{gather}"
"""Task type of a job whose result is the list of its parts' results."""

_JSON: Final = 1
_HEAD: Final = Struct("<BI")
_LENGTH: Final = Struct("<I")
_LARGEST_ENTRY: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class _GroupShape:
    """See ropeline.jobs.task.Shape."""

    queue: str
    drafts: tuple[JobDraft[Any], ...]

    def handle(self, id: bytes, *, is_new: bool) -> JobHandle[Any]:
        """A handle of the job that waits for the others."""
        return self.drafts[0].task.app.make_handle(self.queue, id, read=self.read, is_new=is_new)

    def read(self, data: bytes) -> Any:
        """The results of the jobs, in their order."""
        codec = codec_numbered(data[0])
        values = codec.decode(data[1:])
        if not isinstance(values, list) or len(values) != len(self.drafts):
            raise Undecodable(f"group: got a result that is no list of {len(self.drafts)}")
        return [
            None if value is None else draft.read(data[:1] + codec.encode(value))
            for draft, value in zip(self.drafts, values, strict=True)
        ]


def group(
    drafts: Iterable[JobDraft[R]], *, on_failure: OnFailure = "fail", result_ttl: Seconds = 3600
) -> JobDraft[list[R]]:
    """Jobs that run in parallel, 1 to 1,000; the handle of the group waits for all, and its result is the list of theirs.

    `on_failure`: see Split; with `continue` the result of a job that failed is None. `result_ttl`: how long the results are kept.
    The jobs' own ids are made when the group begins.

    Raises:
        ConfigurationError: there is no job, or one cannot be in a group.
        PayloadTooLarge: together they take more than 983,040 bytes.

    """
    parts = check_parts(drafts)
    if not parts:
        raise ConfigurationError("group", "no jobs", "one job or more")
    queue = parts[0].queue
    body = _split_body(parts, gather_body(to_ms("result_ttl", result_ttl)), on_failure)
    return JobDraft(parts[0].task, queue, NewJob(new_id(), body), None, _GroupShape(queue, parts))


def chord(drafts: Iterable[JobDraft[Any]], finish: JobDraft[R], *, on_failure: OnFailure = "fail") -> JobDraft[R]:
    """A group, and a job that runs when all of it has ended: `chord([count.build(n) for n in ...], add_up.build(PREVIOUS))`.

    An argument PREVIOUS of `finish` is the list of the results, and its `JobContext.outcomes` tells of each job. The handle is
    that of `finish`, from the beginning on. `on_failure`: see Split. Without any jobs `finish` runs at once.

    Raises:
        ConfigurationError: one of the jobs cannot be in a group, or `finish` is a chain; `chain(chord(...), ...)` goes on.
        PayloadTooLarge: together they take more than 983,040 bytes.

    """
    if isinstance(finish.shape, ChainShape):
        raise ConfigurationError("finish", "a chain", "one job; chain(chord(...), ...) goes on after it")
    body = _split_body(check_parts(drafts), finish.job.body, on_failure)
    return finish._replace(job=finish.job._replace(body=body))


def gather_body(keep: int) -> bytes:
    """The body of a job whose result is the list of its parts' results, kept for `keep` ms."""
    return pack(Envelope(GATHER, b"[]", _JSON, time.time_ns() // 1_000_000, result_ttl=keep))


def _split_body(parts: Sequence[JobDraft[Any]], finish: bytes, on_failure: OnFailure) -> bytes:
    packed = [_HEAD.pack(check_on_failure(on_failure) == "fail", len(finish)), finish]
    for draft in parts:
        if unpack(draft.job.body).fills:
            raise ConfigurationError("parts", "PREVIOUS", "arguments, since no job comes before the parts")
        part = pack_next(draft.queue, draft.job)
        packed += (_LENGTH.pack(len(part)), part)
    payload = b"".join(packed)
    if len(payload) > LARGEST_PAYLOAD:
        raise PayloadTooLarge("group", len(payload), LARGEST_PAYLOAD)
    return pack(Envelope(SPLIT, payload, _JSON, time.time_ns() // 1_000_000))


def read_split(payload: bytes) -> tuple[list[tuple[str, NewJob]], bytes, bool]:
    """What a job of type SPLIT carries: queue and job of each part, the body for afterwards, and whether a failed part fails it."""
    fails, length = _HEAD.unpack_from(payload)
    at = _HEAD.size + length
    finish, parts = payload[_HEAD.size : at], []
    while at < len(payload):
        (length,) = _LENGTH.unpack_from(payload, at)
        at += _LENGTH.size + length
        parts.append(unpack_next(payload[at - length : at]))
    return parts, finish, fails == 1


def order_of(
    queue: str,
    id: bytes,
    round: int,
    parts: Sequence[tuple[str, NewJob]],
    body: bytes,
    *,
    fails: bool,
    trace: Mapping[str, str] = NO_TRACE,
) -> SplitOrder:
    """The order by which the run of fence `round` splits a job: its parts get ids that follow from it, and travel by queues.

    `trace`: what they carry.
    """
    chunks: dict[str, list[list[NewJob]]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for number, (target, job) in enumerate(parts):
        place = Part(queue, id, round, number)
        part = job._replace(id=part_id(place), body=with_trace(job.body, trace), part=place)
        size = sizes.get(target, 0) + len(part.body)
        if not chunks[target] or len(chunks[target][-1]) == LARGEST_HAND_OVER or size > _LARGEST_ENTRY:
            chunks[target].append([])
            size = len(part.body)
        sizes[target] = size
        chunks[target][-1].append(part)
    handed = tuple(HandOver(target, tuple(jobs)) for target, lists in chunks.items() for jobs in lists)
    return SplitOrder(handed, body, fails)


def part_id(part: Part) -> bytes:
    """The id of a part, which follows from what it is a part of: split anew, a job has other parts."""
    return derived_id("part", part.id, part.round.to_bytes(8), part.number.to_bytes(2))


def gathered(outcomes: Sequence[PartOutcome]) -> bytes:
    """The results of parts as one result, a list; None for one that has none. Raises Undecodable when they cannot be in one."""
    numbers = {outcome.result[0] for outcome in outcomes if outcome.result} or {_JSON}
    codec = codec_numbered(max(numbers))
    if codec.takes_messages:
        raise Undecodable(f"parts: results in {codec.name} cannot be in a list")
    try:
        return bytes((codec.number,)) + codec.encode([outcome.value for outcome in outcomes])
    except Unfit as error:
        raise Undecodable(f"parts: their results cannot be in one list: {error}") from None
