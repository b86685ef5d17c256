"""One typed method per script of a queue of jobs: callers never see KEYS, ARGV or a status number.

What is in a job is the caller's affair; here a job is an id, a body and the numbers by which the queue moves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import Any, NamedTuple

from ropeline.lua.calls import CommandClient, Scripts, TestClock
from ropeline.lua.keys import QueueKeys
from ropeline.lua.loader import load_script

__all__ = [
    "JobMeta",
    "QueueDepths",
    "QueueScripts",
    "StepAnswer",
    "StoredEntry",
    "StoredJob",
    "StoredSplit",
    "count_jobs",
    "has_slot",
    "limit_key",
    "pack_finishes",
    "pack_held",
    "pack_job",
    "pack_jobs",
    "pack_limit",
    "pack_outgoing",
    "pack_part",
    "pack_split",
    "read_step",
    "strip_head",
    "unpack_meta",
    "unpack_slots",
    "unpack_split",
]

_JOB = Struct("<16sBBddd")
_FINISH = Struct("<B16sdddH")
_LENGTH = Struct("<I")
_PAIR = Struct("<16sd")
_META = Struct("<BHHddIdd16sB")
_WORD = Struct("<H")
_LIMIT = Struct("<16sHHHI")
_ENTRY = Struct("<dHB")
_PART = Struct("<16sdHB")
_SPLIT = Struct("<HHHBBd")
_ORDER = Struct("<BHI")
_SLOTS = Struct("<II")

_UNIQUE = 1
_UNTIL_START = 4
_LIMITED = 8
_IS_PART = 16
_CANCELLING = 1
_META_LIMITED = 8
_META_WAITS = 16


class StepAnswer(NamedTuple):
    """What a step brought. `finished`: 0 done, 1 stale, 2 cancelled. `jobs`: id, body, attempts, lost, ready of each, one after the other."""

    now: int
    more: bool
    next_due: int
    paused: bool
    fence: int
    outgoing: int
    finished: list[int]
    jobs: list[Any]


class JobMeta(NamedTuple):
    """What the store knows of a job besides its body; times in wall ms, 0 unknown."""

    flags: int
    attempts: int
    lost: int
    at: int
    worker: bytes
    reason: str
    error: str

    @property
    def is_cancelling(self) -> bool:
        """Whether its worker has been, or will be, told to stop it."""
        return bool(self.flags & _CANCELLING)

    @property
    def is_limited(self) -> bool:
        """Whether it is pending, active or held under a limit key; its place among the pending is no time then."""
        return bool(self.flags & _LIMITED)


class StoredJob(NamedTuple):
    """One job as the store has it. `state`: empty when it is not there. `body`: empty where it is in the `large` hash."""

    state: str
    score: float
    meta: JobMeta
    priority: int
    body: bytes
    is_large: bool
    result: bytes


class StoredEntry(NamedTuple):
    """An entry of an outbox. `made`: wall ms. `tries`: how often it was handed out. `queue`: that it is for. `content`: by its kind."""

    name: bytes
    made: int
    tries: int
    kind: int
    queue: str
    content: bytes


class StoredSplit(NamedTuple):
    """What is known of the parts of a job. `left`: have not reported. `states`: of each 0, or 1 more than its outcome."""

    total: int
    left: int
    failed: int
    fails: bool
    stopped: bool
    round: int
    states: bytes


class QueueDepths(NamedTuple):
    """The numbers of a queue; times in wall ms, 0 none."""

    scheduled: int
    pending: int
    active: int
    retry: int
    parked: int
    dead: int
    completed: int
    cancelled: int
    held: int
    blocked: int
    now: int
    oldest_pending: int
    next_due: int
    paused: bool
    reason: str
    resumes_at: int
    bytes: int
    dead_bytes: int
    paused_tasks: dict[str, tuple[str, int]]
    counters: dict[str, int]


class QueueScripts(Scripts):
    """The scripts on one queue of a stage.

    `test_clock` replaces the server's time and run id in each call. Every method raises StoreError when the server does
    not answer or refuses.
    """

    keys: type[QueueKeys] = QueueKeys

    def __init__(
        self, client: CommandClient, namespace: str, stage: str, queue: str, *, test_clock: TestClock | None = None
    ) -> None:
        super().__init__(client, namespace)
        keys = self.keys(namespace, stage, queue)
        self._jobs, self._step = _encoded(keys.jobs()), _encoded(keys.step())
        self._pause = _encoded(keys.pause())
        self._outbox, self._take_over, self._forget = map(_encoded, (keys.outbox(), keys.take_over(), keys.forget()))
        self._test_clock = test_clock

    async def enqueue(self, jobs: Sequence[bytes], *, large_from: int = 16_384) -> list[tuple[int, bytes]]:
        """Take in 1 to 100 jobs (`pack_job`): 0 and nothing, 1 and nothing when it is known, 2 and the holder of its unique key."""
        reply = await self._run(load_script("queue/enqueue"), self._jobs, self._now(), large_from, *jobs)
        return list(zip(reply[::2], reply[1::2], strict=True))

    async def step(
        self,
        *,
        worker: bytes,
        lane: int,
        call: int,
        completed: bytes,
        finishes: bytes,
        claim: int,
        suspects: bool,
        lease: int,
        hard: int,
        max_lost: int,
    ) -> StepAnswer:
        """Finish runs (`pack_held` and `pack_finishes`), tend the queue, claim up to 64 jobs; see the script for the numbers."""
        arguments = (worker, lane, call, claim, int(suspects), lease, hard, max_lost, completed, finishes)
        reply = await self._run(load_script("queue/step"), self._step, self._now(), self._run_id(), *arguments)
        return read_step(reply)

    def step_command(
        self, *, worker: bytes, lane: int, call: int, claim: int, suspects: bool, lease: int, hard: int, max_lost: int
    ) -> tuple[str | bytes | int, ...]:
        """A step that finishes nothing as a command, for a connection that waits first; its reply is for `read_step`."""
        numbers = (worker, lane, call, claim, int(suspects), lease, hard, max_lost, b"", b"")
        script = load_script("queue/step")
        return ("EVALSHA", script.sha, len(self._step), *self._step, self._now(), self._run_id(), *numbers)

    async def renew(self, *, worker: bytes, lease: int, held: bytes) -> list[int]:
        """Prolong 1 to 200 leases (`pack_held`): 0 held, 1 lost, 2 held and to be cancelled, 3 past its hard end."""
        return await self._run(load_script("queue/renew"), self._jobs, self._now(), self._run_id(), worker, lease, held)

    async def cancel(self, *, id: bytes) -> str:
        """End a job for good; the state that it is in now, empty when the queue does not have it."""
        return await self._word("queue/cancel", id)

    async def requeue(self, ids: Sequence[bytes]) -> list[tuple[int, bytes]]:
        """Make 1 to 100 jobs pending as if they were new: 0, or 2 and the holder of the unique key, or 3 where that cannot be."""
        reply = await self._run(load_script("queue/requeue"), self._jobs, self._now(), self._run_id(), *ids)
        return list(zip(reply[::2], reply[1::2], strict=True))

    async def unpark(self, *, task: bytes, most: int = 100, after: bytes = b"") -> tuple[int, bytes]:
        """Make at most 100 parked jobs of a task type pending, of 150 that are looked at after those that an earlier call left.

        How many it were, and what the next call goes on `after`, empty when there is nothing to go on to.
        """
        arguments = (self._now(), self._run_id(), task, most, after)
        moved, after = await self._run(load_script("queue/unpark"), self._jobs, *arguments)
        return moved, after

    async def purge(self, *, state: str, limit: int, ids: Sequence[bytes] = ()) -> int:
        """Remove the first 1 to 100 jobs in a state, or those of 1 to 100 `ids` that are in it; how many it were."""
        return await self._number("queue/purge", self._jobs, self._now(), self._run_id(), state, limit, *(ids or [b""]))

    async def pause(self, *, paused: bool, reason: str = "", after: int = 0, task: bytes = b"") -> bool:
        """Stop claiming, jobs of one task or all, for `after` ms or (0) until resumed; or go on. False: too many tasks are paused."""
        reply = await self._number("queue/pause", self._pause, self._now(), int(paused), reason, after, task)
        return reply == 1

    async def configure(self, changes: Mapping[str, int]) -> dict[str, int]:
        """Change settings of the queue, and read them all."""
        pairs = [word for change in changes.items() for word in change]
        reply = iter(await self._run(load_script("queue/configure"), self._pause, *pairs))
        return {name.decode(): int(number) for name, number in zip(reply, reply, strict=True)}

    async def depths(self) -> QueueDepths:
        """How many jobs are in which state, changing nothing."""
        reply = await self._run(load_script("queue/depths"), self._jobs, self._now())
        names, numbers = reply[19::2], reply[20::2]
        return QueueDepths(
            scheduled=reply[0],
            pending=reply[1],
            active=reply[2],
            retry=reply[3],
            parked=reply[4],
            dead=reply[5],
            completed=reply[6],
            cancelled=reply[7],
            held=reply[8],
            blocked=reply[9],
            now=reply[10],
            oldest_pending=reply[11],
            next_due=reply[12],
            paused=reply[13] == 1,
            reason=reply[14].decode(),
            resumes_at=reply[15],
            bytes=reply[16],
            dead_bytes=reply[17],
            paused_tasks=_paused_tasks(reply[18]),
            counters={name.decode(): number for name, number in zip(names, numbers, strict=True)},
        )

    async def view(self, ids: Sequence[bytes]) -> list[StoredJob]:
        """Of 1 to 50 jobs the first ones as they stand, as many as a MiB of bodies and results holds, one at least; changes nothing."""
        reply = iter(await self._run(load_script("queue/view"), self._jobs, *ids))
        return [
            StoredJob(state.decode(), float(score), unpack_meta(meta), *_unpack_body(body), result)
            for state, score, meta, body, result in zip(reply, reply, reply, reply, reply, strict=True)
        ]

    async def check(self, ids: Sequence[bytes], *, repair: bool) -> list[str]:
        """What is wrong with 1 to 100 jobs, empty for nothing; with `repair` it is put right."""
        reply = await self._run(load_script("queue/check"), self._jobs, self._now(), self._run_id(), int(repair), *ids)
        return [wrong.decode() for wrong in reply]

    async def check_keys(self, keys: Sequence[bytes], *, repair: bool) -> list[bool]:
        """Which of 1 to 100 unique keys are held by nobody who lives; with `repair` they are free then."""
        return [
            wrong == 1 for wrong in await self._run(load_script("queue/check_keys"), self._jobs, int(repair), *keys)
        ]

    async def check_slots(self, *, key: bytes, seen: bytes, given: int, repair: bool) -> bool:
        """Whether the numbers of a limit key are wrong, of which `given` jobs were counted that have a slot; with `repair` they are put right.

        `seen`: what was stored under the key before the count; False when that has changed since.
        """
        arguments = (self._now(), self._run_id(), int(repair), key, seen, given)
        return await self._number("queue/check_slots", self._jobs, *arguments) == 1

    async def hand_out(self, *, limit: int, again: int) -> list[StoredEntry]:
        """1 to 20 entries of the outbox that are to be delivered; `again` ms later they come again unless they are settled."""
        reply = iter(await self._run(load_script("queue/hand_out"), self._outbox, self._now(), limit, again))
        return [_unpack_entry(name, stored) for name, stored in zip(reply, reply, strict=True)]

    async def take_over(self, arrivals: Sequence[bytes], *, large_from: int = 16_384, remember: int) -> int:
        """Take in the jobs of 1 to 20 entries (name and `pack_jobs`) of other queues, each entry once; how many jobs it were."""
        return await self._number("queue/take_over", self._take_over, self._now(), large_from, remember, *arrivals)

    async def report(self, arrivals: Sequence[bytes]) -> None:
        """Carry out 1 to 20 entries (kind and content) of other queues that say how parts ended, or which jobs are to stop."""
        await self._number("queue/report", self._jobs, self._now(), self._run_id(), *arrivals)

    async def stop(self, *, id: bytes) -> str:
        """Keep a job from starting, or ask it or its parts to end; the state that it is in now, empty when it is not there."""
        return await self._word("queue/stop", id)

    async def settle(self, names: Sequence[bytes]) -> int:
        """Remove 1 to 20 entries from the outbox; how many there were."""
        return await self._number("queue/settle", self._outbox, *names)

    async def forget(self, names: Sequence[bytes], *, remember: int) -> None:
        """1 to 20 entries need not be remembered for longer than `remember` ms."""
        await self._number("queue/forget", self._forget, self._now(), remember, *names)

    def _now(self) -> str | int:
        return "" if self._test_clock is None else self._test_clock.now

    def _run_id(self) -> str:
        return "" if self._test_clock is None else self._test_clock.run

    async def _word(self, name: str, *arguments: bytes) -> str:
        reply = await self._reply(load_script(name), self._jobs, self._now(), self._run_id(), *arguments)
        return str(reply.decode())

    async def _number(self, name: str, keys: tuple[bytes, ...], *arguments: str | bytes | int) -> int:
        return int(await self._reply(load_script(name), keys, *arguments))


def read_step(reply: list[Any]) -> StepAnswer:
    """What the `step` script answers with."""
    now, more, next_due, paused, fence, outgoing, finished, *jobs = reply
    return StepAnswer(now, more == 1, next_due, paused == 1, fence, outgoing, finished, jobs)


def pack_job(
    id: bytes,
    body: bytes,
    *,
    due: int = 0,
    delay: int = 0,
    priority: int = 5,
    unique: bytes = b"",
    unique_for: int = 0,
    until_start: bool = False,
    limit: bytes = b"",
    part: bytes = b"",
) -> bytes:
    """A job for `enqueue`; see NewJob in `ropeline.jobs.records` for what the numbers mean."""
    flags = (_UNIQUE if unique else 0) | (_UNTIL_START if until_start else 0) | (_LIMITED if limit else 0)
    flags |= _IS_PART if part else 0
    return _JOB.pack(id, flags, priority, due, delay, unique_for) + unique + limit + part + body


def pack_limit(key: bytes, *, most: int = 0, weight: int = 1, rate: int = 0, period: int = 0) -> bytes:
    """The key of a job, for `pack_job`: at most `most` jobs of it at once and `rate` of them in `period` ms, 0 for no limit."""
    return _LIMIT.pack(key, most, weight, rate, period)


def unpack_slots(packed: bytes) -> tuple[int, int]:
    """How many jobs of a limit key have a slot and how many wait for one, as `includes/queue/limits.lua` packs it; 0 and 0 for nothing."""
    return _SLOTS.unpack_from(packed) if packed else (0, 0)


def has_slot(meta: bytes) -> bool:
    """Whether a job of this meta is pending or active under a limit key."""
    return meta[0] & (_META_LIMITED | _META_WAITS) == _META_LIMITED


def limit_key(stored: bytes) -> bytes:
    """The limit key of a stored body, empty: it has none."""
    starts = 2 + (16 if stored[0] & _UNIQUE else 0)
    return stored[starts : starts + 16] if stored[0] & _LIMITED else b""


def strip_head(stored: bytes) -> bytes:
    """What the worker needs, of a stored body that is not large."""
    flags = stored[0]
    starts = 2 + (16 if flags & _UNIQUE else 0) + (_LIMIT.size if flags & _LIMITED else 0)
    if flags & _IS_PART:
        starts += _PART.size + stored[starts + _PART.size - 1]
    return stored[starts:]


def pack_finishes(finishes: Iterable[tuple[int, bytes, int, int, bytes, bytes, int, bytes, bytes]]) -> bytes:
    """Finishes for `step`: kind, id, fence, delay (ms), error, result, keep (ms), detail and `pack_outgoing` of each."""
    parts = []
    for kind, id_, fence, delay, error, result, keep, detail, outgoing in finishes:
        parts.append(_FINISH.pack(kind, id_, fence, delay, keep, len(error)))
        parts.append(b"%b%b%b%b%b" % (error, _LENGTH.pack(len(result)), result, bytes((len(detail),)), detail))
        parts.append(_LENGTH.pack(len(outgoing)) + outgoing)
    return b"".join(parts)


def pack_jobs(jobs: Iterable[bytes]) -> bytes:
    """Jobs (`pack_job`) for an entry of an outbox, and for `take_over`, after the entry's name there."""
    return b"".join(_LENGTH.pack(len(job)) + job for job in jobs)


def count_jobs(packed: bytes) -> int:
    """How many jobs `pack_jobs` packed."""
    count = at = 0
    while at < len(packed):
        at += _LENGTH.size + _LENGTH.unpack_from(packed, at)[0]
        count += 1
    return count


def pack_outgoing(entries: Iterable[tuple[bytes, int, str, bytes]]) -> bytes:
    """Entries for the outbox: name (17 bytes), kind, the queue that it is for, and content of each."""
    parts = []
    for name, kind, queue, content in entries:
        entry = bytes((kind, len(queue))) + queue.encode() + content
        parts.append(name + _LENGTH.pack(len(entry)) + entry)
    return b"".join(parts)


def pack_part(queue: str, id: bytes, round: int, index: int) -> bytes:
    """What a job is a part of, for `pack_job`: the job that was split, its queue, the fence of that run, and which part it is."""
    return _PART.pack(id, round, index, len(queue)) + queue.encode()


def pack_split(*, fails: bool, total: int, body: bytes, stops: bytes, entries: bytes) -> bytes:
    """The parts of a job, for a finish that splits it.

    `fails`: one that fails fails the job. `body`: the job's own for when all have ended. `stops`: entries (`pack_outgoing`) that
    tell them to stop, `entries`: those that bring them into their queues.
    """
    return _ORDER.pack(fails, total, len(body)) + body + _LENGTH.pack(len(stops)) + stops + entries


def unpack_split(packed: bytes) -> StoredSplit:
    """What `includes/queue/split.lua` packs."""
    total, left, failed, fails, stopped, round_ = _SPLIT.unpack_from(packed)
    return StoredSplit(total, left, failed, fails == 1, stopped == 1, int(round_), packed[_SPLIT.size :])


def pack_held(held: Iterable[tuple[bytes, int]]) -> bytes:
    """Pairs of an id and a fence, for `renew`, and for `step` of runs that completed and leave nothing."""
    return b"".join([_PAIR.pack(id_, fence) for id_, fence in held])


def unpack_meta(packed: bytes) -> JobMeta:
    """What `includes/queue/meta.lua` packs; the defaults of a plain job for an empty one."""
    if not packed:
        return JobMeta(0, 0, 0, 0, b"", "", "")
    flags, attempts, lost, _, _, _, _, at, worker, unique = _META.unpack_from(packed)
    starts = _META.size + unique
    reason = packed[starts + 1 : starts + 1 + packed[starts]]
    starts += 1 + len(reason)
    error = packed[starts + _WORD.size :][: _WORD.unpack_from(packed, starts)[0]]
    owner = worker if any(worker) else b""
    return JobMeta(
        flags, attempts, lost, int(at), owner, reason.decode(errors="replace"), error.decode(errors="replace")
    )


def _paused_tasks(reply: list[Any]) -> dict[str, tuple[str, int]]:
    """Task -> why, and wall ms at which it is resumed by itself, 0 never."""
    parts = iter(reply)
    found = {
        task.decode(errors="replace"): (reason.decode(errors="replace"), at)
        for task, reason, at in zip(parts, parts, parts, strict=True)
    }
    return dict(sorted(found.items()))


def _unpack_entry(name: bytes, stored: bytes) -> StoredEntry:
    made, tries, kind = _ENTRY.unpack_from(stored)
    starts = _ENTRY.size + 1
    ends = starts + stored[_ENTRY.size]
    return StoredEntry(name, int(made), tries, kind, stored[starts:ends].decode(), stored[ends:])


def _unpack_body(stored: bytes) -> tuple[int, bytes, bool]:
    if not stored:
        return 0, b"", False
    return stored[1], strip_head(stored), bool(stored[0] & 2)


def _encoded(keys: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(key.encode() for key in keys)
