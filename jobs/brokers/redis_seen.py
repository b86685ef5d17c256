"""What operators, handles and fsck see of the queues of a stage; nothing here changes a job."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

from ropeline.jobs.brokers.checks import (
    check_id,
    check_limit,
)
from ropeline.jobs.brokers.redis_store import QueueStore, pairs_of
from ropeline.jobs.records import (
    Depths,
    JobState,
    JobView,
    OutgoingKind,
    Page,
    Part,
    PartOutcome,
    PartState,
    PausedTask,
    Progress,
    part_outcome,
)
from ropeline.lua.errors import ConfigurationError
from ropeline.lua.keys import QueueKeys, queues_key
from ropeline.lua.queue_scripts import (
    StoredJob,
    StoredSplit,
    has_slot,
    limit_key,
    unpack_split,
)

__all__ = ["SeenQueues"]

_LISTED: Final[dict[JobState, tuple[str, ...]]] = {
    state: ("suspects", "pending") if state is JobState.PENDING else (state.value,)
    for state in JobState
    if state is not JobState.HELD
}
_OUTCOMES_A_CALL: Final = 64
_VIEWED_A_CALL: Final = 40


class SeenQueues(QueueStore):
    """Reads the queues of a stage. Lists come in short calls; see Broker for each."""

    async def depths(self, queue: str) -> Depths:
        """How many jobs are in which state; see Broker."""
        found = await self.scripts(queue).depths()
        return Depths(
            scheduled=found.scheduled,
            pending=found.pending,
            active=found.active,
            retry=found.retry,
            held=found.held,
            parked=found.parked,
            blocked=found.blocked,
            completed=found.completed,
            dead=found.dead,
            cancelled=found.cancelled,
            now=found.now,
            oldest_pending=found.oldest_pending,
            next_due=found.next_due,
            paused=found.paused,
            pause_reason=found.reason,
            resumes_at=found.resumes_at,
            bytes=found.bytes,
            dead_bytes=found.dead_bytes,
            paused_tasks=tuple(PausedTask(task, *pause) for task, pause in found.paused_tasks.items()),
            counters=found.counters,
        )

    async def queues(self) -> list[str]:
        """Every queue that has ever had a job, sorted."""
        names: list[bytes] = await self._command("ZRANGE", queues_key(self.namespace, self.stage), 0, -1)
        return sorted(name.decode() for name in names)

    async def find(self, queue: str, id: bytes) -> JobView | None:
        """One job, or None when the queue does not have it."""
        check_id("id", id)
        [stored] = await self._stored(queue, [id])
        return await self._view(queue, id, stored) if stored.state else None

    async def jobs_in(self, queue: str, state: JobState, *, cursor: str = "", limit: int = 100) -> Page:
        """Jobs in a state, the next to be claimed, due, or the oldest first; see Broker."""
        check_limit(limit)
        if state is JobState.HELD:
            return await self._held(queue, cursor, limit)
        sets = _LISTED.get(state, ())
        which, last = _read_cursor(cursor, len(sets))
        rows: list[tuple[int, float, bytes]] = []
        while which < len(sets) and len(rows) <= limit:
            key = QueueKeys(self.namespace, self.stage, queue).state(sets[which])
            rows += [(which, *row) for row in await self._rows(key, last, limit + 1 - len(rows))]
            which, last = which + 1, None
        more = rows[limit - 1] if len(rows) > limit else None
        rows = rows[:limit]
        stored = await self._stored(queue, [id_ for _, _, id_ in rows])
        views = [
            await self._view(queue, id_, job)
            for (_, _, id_), job in zip(rows, stored, strict=True)
            if job.state == state
        ]
        return Page(views, "" if more is None else f"{more[0]}-{more[1]!r}-{more[2].hex()}")

    async def _held(self, queue: str, cursor: str, limit: int) -> Page:
        """Held jobs, by key and then in the order in which they get a slot."""
        if not re.fullmatch(r"([0-9a-f]{80})?", cursor, re.ASCII):
            raise ConfigurationError("cursor", cursor, "the cursor of an earlier page of this list")
        key = QueueKeys(self.namespace, self.stage, queue).state("held")
        first = b"(" + bytes.fromhex(cursor) if cursor else b"-"
        members = await self._command("ZRANGE", key, first, b"+", "BYLEX", "LIMIT", 0, limit + 1)
        ids = [member[24:] for member in members[:limit]]
        stored = await self._stored(queue, ids)
        views = [
            await self._view(queue, id_, job)
            for id_, job in zip(ids, stored, strict=True)
            if job.state == JobState.HELD
        ]
        return Page(views, members[limit - 1].hex() if len(members) > limit else "")

    async def progress(self, queue: str, id: bytes) -> Progress | None:
        """How far the parts of a job are; see Broker."""
        split = await self._split(queue, id)
        return None if split is None else Progress(split.total - split.left - split.failed, split.failed, split.total)

    async def outcomes(self, queue: str, id: bytes) -> tuple[PartOutcome, ...] | None:
        """How each part of a job ended; see Broker."""
        split = await self._split(queue, id)
        if split is None:
            return None
        key = QueueKeys(self.namespace, self.stage, queue).state("parts")
        left: list[bytes | None] = []
        for first in range(0, split.total, _OUTCOMES_A_CALL):
            fields = [
                id + index.to_bytes(2, "little") for index in range(first, min(first + _OUTCOMES_A_CALL, split.total))
            ]
            left += await self._command("HMGET", key, *fields)
        return tuple(
            part_outcome(index, None if state == 0 else PartState(state - 1), data or b"")
            for index, (state, data) in enumerate(zip(split.states, left, strict=True))
        )

    async def _split(self, queue: str, id: bytes) -> StoredSplit | None:
        check_id("id", id)
        packed = await self._command("HGET", QueueKeys(self.namespace, self.stage, queue).state("parts"), id)
        return None if packed is None else unpack_split(packed)

    async def is_outgoing(self, queue: str, id: bytes, *, kind: OutgoingKind = OutgoingKind.JOBS) -> bool:
        """Whether the outbox hands over this job, or has another entry of its; see Broker."""
        check_id("id", id)
        key = QueueKeys(self.namespace, self.stage, queue).state("outbox")
        return bool(await self._command("HEXISTS", key, bytes((kind,)) + id))

    async def missing_parts(self, queue: str, id: bytes) -> list[Part]:
        """The parts of a job that have not reported."""
        split = await self._split(queue, id)
        states = b"" if split is None else split.states
        return [Part(queue, id, 0 if split is None else split.round, n) for n, state in enumerate(states) if not state]

    async def outbox(self, queue: str) -> AsyncIterator[tuple[bytes, bytes]]:
        """Name and content of every entry of the outbox, some of them more than once."""
        key = QueueKeys(self.namespace, self.stage, queue).state("outbox")
        async for name in self._scan("HSCAN", key):
            entry = await self._command("HGET", key, name)
            if entry is not None:
                yield name, entry

    async def ids(self, queue: str) -> AsyncIterator[bytes]:
        """Every id that the queue knows anything of, some of them more than once; those that come or go meanwhile may be missed."""
        keys = QueueKeys(self.namespace, self.stage, queue)
        for noun in ("body", "meta"):
            async for id_ in self._scan("HSCAN", keys.state(noun)):
                yield id_
        for state in ("active", "suspects", *(name for names in _LISTED.values() for name in names)):
            async for id_ in self._scan("ZSCAN", keys.state(state)):
                yield id_

    def unique_keys(self, queue: str) -> AsyncIterator[bytes]:
        """Every unique key that is held, some of them more than once."""
        return self._scan("HSCAN", QueueKeys(self.namespace, self.stage, queue).state("unique"))

    def limit_entries(self, queue: str) -> AsyncIterator[tuple[bytes, bytes]]:
        """Every limit key that is known, with what is stored under it, some of them more than once."""
        return self._scan_pairs("HSCAN", QueueKeys(self.namespace, self.stage, queue).state("keys"))

    async def held_keys(self, queue: str) -> AsyncIterator[bytes]:
        """The limit key of every held job, of some of them more than once."""
        async for member in self._scan("ZSCAN", QueueKeys(self.namespace, self.stage, queue).state("held")):
            yield member[:16]

    async def slot_holders(self, queue: str) -> AsyncIterator[bytes]:
        """The limit key of every job that has a slot all the time while this goes on, once."""
        keys, found = QueueKeys(self.namespace, self.stage, queue), list[bytes]()
        seen: set[bytes] = set()
        async for id_, packed in self._scan_pairs("HSCAN", keys.state("meta")):
            if has_slot(packed) and id_ not in seen:
                seen.add(id_)
                found.append(id_)
        for first in range(0, len(found), _VIEWED_A_CALL):
            bodies = await self._command("HMGET", keys.state("body"), *found[first : first + _VIEWED_A_CALL])
            for body in bodies:
                if body is not None and (key := limit_key(body)):
                    yield key

    async def limit_keys(self, queue: str) -> int:
        """How many limit keys have jobs, or have not all their tokens yet."""
        return int(await self._command("HLEN", QueueKeys(self.namespace, self.stage, queue).state("keys")))

    async def _stored(self, queue: str, ids: Sequence[bytes]) -> list[StoredJob]:
        """Jobs as they stand, in calls that are short and of a MiB each."""
        stored: list[StoredJob] = []
        while len(stored) < len(ids):
            stored += await self.scripts(queue).view(ids[len(stored) : len(stored) + _VIEWED_A_CALL])
        return stored

    async def _large(self, queue: str, id: bytes) -> bytes:
        key = QueueKeys(self.namespace, self.stage, queue).state("large")
        body: bytes | None = await self._command("HGET", key, id)
        return body or b""

    async def _rows(self, key: str, last: tuple[float, bytes] | None, wanted: int) -> list[tuple[float, bytes]]:
        """The next members of a sorted set after `last`, by score and then by member."""
        rows: list[tuple[float, bytes]] = []
        start = "-inf" if last is None else repr(last[0])
        offset = 0
        while len(rows) < wanted:
            found = await self._command(
                "ZRANGE", key, start, "+inf", "BYSCORE", "LIMIT", offset, wanted + 100, "WITHSCORES"
            )
            pairs = [(float(score), member) for member, score in pairs_of(found)]
            rows += [pair for pair in pairs if last is None or pair > last]
            if len(pairs) < wanted + 100:
                break
            offset += len(pairs)
        return rows[:wanted]

    async def _view(self, queue: str, id: bytes, stored: StoredJob) -> JobView:
        state, meta = JobState(stored.state), stored.meta
        body = await self._large(queue, id) if stored.is_large else stored.body
        at = int(stored.score)
        if meta.is_limited or state in (JobState.ACTIVE, JobState.COMPLETED, JobState.HELD):
            at = meta.at
        elif state is JobState.PENDING:
            at %= 1 << 42
        return JobView(
            id, state, body, meta.attempts, meta.lost, stored.priority, at, meta.error, meta.reason,
            stored.result, meta.worker.hex(), meta.is_cancelling,
        )  # fmt: skip


def _read_cursor(cursor: str, sets: int) -> tuple[int, tuple[float, bytes] | None]:
    if not cursor:
        return 0, None
    found = re.fullmatch(r"([0-9])-([0-9]{1,16}(?:\.[0-9]{1,16})?)-([0-9a-f]{32})", cursor, re.ASCII)
    if found is None or int(found[1]) >= sets:
        raise ConfigurationError("cursor", cursor, "the cursor of an earlier page of this list")
    return int(found[1]), (float(found[2]), bytes.fromhex(found[3]))
