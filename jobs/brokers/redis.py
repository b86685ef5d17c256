"""Keeps jobs in Redis or Valkey, one server or a cluster: the broker that workers and producers use."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from ropeline.jobs.broker import LARGEST_HAND_OUT
from ropeline.jobs.brokers.checks import (
    check_enqueue,
    check_id,
    check_ids,
    check_limit,
    check_milliseconds,
    check_names,
    check_purge,
    check_renewal,
    check_settings,
    check_step,
    check_task,
    too_many_tasks,
)
from ropeline.jobs.brokers.redis_cron import RedisCronStore
from ropeline.jobs.errors import OutcomeUnknown, QueueFull
from ropeline.jobs.locks.locks import Locks
from ropeline.jobs.records import (
    Claimed,
    Depths,
    Enqueued,
    EnqueueResult,
    Finish,
    FinishResult,
    HandOver,
    JobState,
    JobView,
    NewJob,
    Outgoing,
    OutgoingKind,
    Page,
    Part,
    PartOutcome,
    PartState,
    PausedTask,
    Progress,
    QueueSettings,
    Renewal,
    SplitOrder,
    StepReply,
    part_outcome,
)
from ropeline.lua.calls import TestClock
from ropeline.lua.client import Client, RedisSettings, connect
from ropeline.lua.errors import REDIS_ERRORS, ConfigurationError, StoreFull, StoreTimeout, StoreUnavailable, store_error
from ropeline.lua.keys import QueueKeys, mark_key, queues_key
from ropeline.lua.queue_scripts import (
    QueueScripts,
    StepAnswer,
    StoredJob,
    StoredSplit,
    count_jobs,
    has_slot,
    limit_key,
    pack_finishes,
    pack_held,
    pack_job,
    pack_jobs,
    pack_limit,
    pack_outgoing,
    pack_part,
    pack_split,
    read_step,
    strip_head,
    unpack_split,
)

__all__ = ["PATIENCE", "RedisBroker"]

PATIENCE: Final = timedelta(seconds=5)
"""How long a call waits for a connection, for connecting and for its reply, each."""
_LONGEST_WAIT: Final = timedelta(seconds=60)
_LARGE_FROM: Final = 16_384
_MOST_BYTES: Final = 1_048_576
_LISTED: Final[dict[JobState, tuple[str, ...]]] = {
    state: ("suspects", "pending") if state is JobState.PENDING else (state.value,)
    for state in JobState
    if state is not JobState.HELD
}
_LARGE: Final = 2
_PART: Final = 16
_JOINED: Final = 32
_SHAPED: Final = _PART | _JOINED
_OUTCOMES_A_CALL: Final = 64
# No call may hold up the others for longer than two milliseconds.
_PURGED_A_CALL: Final = 50
_REQUEUED_A_CALL: Final = 25
_VIEWED_A_CALL: Final = 50
_TAKEN_OVER_A_CALL: Final = 100
_UNPARKED: Final = 100
_TAKEN_IN: Final = Enqueued(EnqueueResult.ENQUEUED, b"")
_AGAIN: Final = 30_000
_ENTRY_NAME: Final = 17
_REMEMBERED: Final = 7 * 86_400_000
_REMEMBERED_SETTLED: Final = 60_000


class RedisBroker:
    """Jobs of one stage, under keys that begin with `namespace`.

    `settings`: where the store is; its waits should be of seconds, not of the milliseconds of a request. `client`: used
    instead, and left open. `test_clock`: replaces the server's time and run id.
    """

    keeps_places = True

    def __init__(
        self,
        settings: RedisSettings | str,
        *,
        namespace: str = "jobs",
        stage: str = "prod",
        client: Client | None = None,
        test_clock: TestClock | None = None,
    ) -> None:
        if isinstance(settings, str):
            settings = RedisSettings(settings, pool_wait=PATIENCE, connect_timeout=PATIENCE, call_timeout=PATIENCE)
        self.settings = settings
        self.namespace, self.stage = namespace, stage
        self._own_client = client is None
        self._client = connect(settings) if client is None else client
        self._waiting_client: Client | None = None
        self._locks: Locks | None = None
        self._test_clock = test_clock
        self._scripts: dict[str, QueueScripts] = {}
        self._registered: set[str] = set()

    async def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Take in 1 to 100 jobs; see Broker."""
        check_enqueue(jobs)
        packed = [pack_job(job.id, job.body) if job.is_plain else _packed(job) for job in jobs]
        size = sum(map(len, packed))
        if size > 2 * _MOST_BYTES:
            raise ConfigurationError("jobs", f"{size} bytes", f"at most {2 * _MOST_BYTES} bytes a call")
        if queue not in self._registered:
            await self._register(queue)
        try:
            answers = await self.scripts(queue).enqueue(packed, large_from=_LARGE_FROM)
        except StoreFull as error:
            raise QueueFull(queue, str(error).removeprefix("FULL ")) from error
        except StoreUnavailable as error:
            raise OutcomeUnknown(queue, [job.id for job in jobs]) from error
        return [Enqueued(EnqueueResult(result), holder) if result else _TAKEN_IN for result, holder in answers]

    async def step(
        self,
        queue: str,
        *,
        worker: bytes,
        lane: int,
        call: int,
        finishes: Sequence[Finish] = (),
        claim: int = 0,
        suspects: bool = True,
        lease: int = 30_000,
        hard: int = 330_000,
        max_lost: int = 3,
    ) -> StepReply:
        """Finish runs, tend the queue, claim jobs; see Broker."""
        check_step(
            worker=worker,
            lane=lane,
            call=call,
            finishes=finishes,
            claim=claim,
            lease=lease,
            hard=hard,
            max_lost=max_lost,
        )
        scripts = self.scripts(queue)
        plain = [end for end in finishes if end.kind == 0 and not end.keep and not end.result and not end.hand_over]
        completed = pack_held([(finish.id, finish.fence) for finish in plain]) if plain else b""
        others = b""
        if len(plain) < len(finishes):
            others = pack_finishes(
                [
                    (
                        *(f.kind, f.id, f.fence, f.delay, f.error[:1024], f.result, f.keep, f.detail[:255]),
                        _packed_split(f.split) if f.split else _packed_hand_over(f.hand_over) if f.hand_over else b"",
                    )
                    for f in finishes
                    if not _is_plain(f)
                ]
            )
        answer = await scripts.step(
            worker=worker,
            lane=lane,
            call=call,
            completed=completed,
            finishes=others,
            claim=claim,
            suspects=suspects,
            lease=lease,
            hard=hard,
            max_lost=max_lost,
        )
        claimed = await self._claimed(queue, answer)
        finished = [_FINISH_RESULTS[result] for result in answer.finished]
        if others and plain:
            done, rest = iter(finished[: len(plain)]), iter(finished[len(plain) :])
            finished = [next(done) if _is_plain(finish) else next(rest) for finish in finishes]
        return StepReply(finished, claimed, answer.now, answer.more, answer.next_due, answer.paused, answer.outgoing)

    async def step_when_woken(
        self,
        queue: str,
        seconds: float,
        *,
        woken: Callable[[], object],
        worker: bytes,
        lane: int,
        call: int,
        claim: int,
        suspects: bool = True,
        lease: int = 30_000,
        hard: int = 330_000,
        max_lost: int = 3,
    ) -> StepReply:
        """Wait, then step; see Broker. On one server both travel at once: it goes on with the step when the wait is over."""
        check_step(
            worker=worker, lane=lane, call=call, finishes=(), claim=claim, lease=lease, hard=hard, max_lost=max_lost
        )
        step = partial(
            self.step,
            queue,
            worker=worker,
            lane=lane,
            call=call,
            claim=claim,
            suspects=suspects,
            lease=lease,
            hard=hard,
            max_lost=max_lost,
        )
        client = self._patient_client()
        if not isinstance(client, Redis):
            await self.wait([queue], seconds)
            woken()
            return await step()
        command = self.scripts(queue).step_command(
            worker=worker,
            lane=lane,
            call=call,
            claim=claim,
            suspects=suspects,
            lease=lease,
            hard=hard,
            max_lost=max_lost,
        )
        wake, seconds = QueueKeys(self.namespace, self.stage, queue).wake, _bounded(seconds)
        try:
            reply = await _ask_after(client, ("BLPOP", wake, seconds), command, seconds, woken)
        except NoScriptError:
            return await step()
        except REDIS_ERRORS as error:
            raise store_error(error) from error
        answer = read_step(reply)
        claimed = await self._claimed(queue, answer)
        return StepReply([], claimed, answer.now, answer.more, answer.next_due, answer.paused, answer.outgoing)

    async def renew(self, queue: str, *, worker: bytes, held: Sequence[tuple[bytes, int]], lease: int) -> list[Renewal]:
        """Prolong 1 to 200 leases; see Broker."""
        check_renewal(worker=worker, held=held, lease=lease)
        answers = await self.scripts(queue).renew(worker=worker, lease=lease, held=pack_held(held))
        return [Renewal(answer) for answer in answers]

    async def wait(self, queues: Sequence[str], seconds: float) -> None:
        """Return when one of the queues may have something to claim; see Broker."""
        client = self._patient_client()
        seconds = _bounded(seconds)
        if len(queues) == 1 or isinstance(client, Redis):
            await self._wait_for(client, queues, seconds)
            return
        # On a cluster each queue is a slot of its own, and one call cannot wait for two.
        waits = [asyncio.create_task(self._wait_for(client, [queue], seconds)) for queue in queues]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        for wait in done:
            wait.result()

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

    async def cancel(self, queue: str, id: bytes) -> JobState | None:
        """End a job for good; see Broker."""
        check_id("id", id)
        state = await self.scripts(queue).cancel(id=id)
        return JobState(state) if state else None

    async def requeue(self, queue: str, ids: Sequence[bytes]) -> list[Enqueued | None]:
        """Make jobs pending that are dead, parked, cancelled, scheduled or retrying; see Broker."""
        check_ids(ids)
        scripts, answers = self.scripts(queue), list[tuple[int, bytes]]()
        for first in range(0, len(ids), _REQUEUED_A_CALL):
            answers += await scripts.requeue(ids[first : first + _REQUEUED_A_CALL])
        return [Enqueued(EnqueueResult(result), holder) if result < 3 else None for result, holder in answers]

    async def purge(self, queue: str, state: JobState, *, limit: int = 1000, ids: Sequence[bytes] = ()) -> int:
        """Remove jobs in a state; see Broker."""
        check_purge(state, limit)
        if ids:
            check_ids(ids)
            chunks = [ids[first : first + _PURGED_A_CALL] for first in range(0, len(ids), _PURGED_A_CALL)]
            return sum([await self.scripts(queue).purge(state=state.value, limit=1, ids=chunk) for chunk in chunks])
        removed = 0
        while removed < limit:
            most = min(limit - removed, _PURGED_A_CALL)
            now_removed = await self.scripts(queue).purge(state=state.value, limit=most)
            removed += now_removed
            if now_removed < most:
                break
        return removed

    async def unpark(self, queue: str, task: bytes) -> int:
        """Make at most 100 parked jobs of this task type pending; how many it were."""
        moved, after = 0, b""
        while True:
            now_moved, after = await self.scripts(queue).unpark(task=task, most=_UNPARKED - moved, after=after)
            moved += now_moved
            if moved == _UNPARKED or not after:
                return moved

    async def pause(self, queue: str, *, reason: str, resume_after: int = 0, task: bytes = b"") -> None:
        """Claim nothing until the queue, or the task, is resumed; see Broker."""
        check_milliseconds("resume_after", resume_after)
        check_task(task)
        await self._register(queue)
        if not await self.scripts(queue).pause(paused=True, reason=reason, after=resume_after, task=task):
            raise too_many_tasks(task)

    async def resume(self, queue: str, *, task: bytes = b"") -> None:
        """Claim again; see Broker."""
        check_task(task)
        await self.scripts(queue).pause(paused=False, task=task)

    async def configure(self, queue: str, changes: Mapping[str, int]) -> QueueSettings:
        """Change settings, or read them; see Broker."""
        check_settings(changes)
        if changes:
            await self._register(queue)
        return QueueSettings(**await self.scripts(queue).configure(changes))

    async def mark(self, key: bytes, keep: int) -> None:
        """Remember 16 bytes for `keep` ms."""
        check_id("key", key)
        check_milliseconds("keep", keep, least=1)
        await self._command("SET", mark_key(self.namespace, self.stage, key.hex()), 1, "PX", keep)

    async def is_marked(self, key: bytes) -> bool:
        """Whether they are remembered."""
        check_id("key", key)
        return bool(await self._command("EXISTS", mark_key(self.namespace, self.stage, key.hex())))

    async def hand_out(self, queue: str, *, limit: int = LARGEST_HAND_OUT) -> list[Outgoing]:
        """Entries of the outbox that are to be delivered; see Broker."""
        entries = await self.scripts(queue).hand_out(limit=limit, again=_AGAIN)
        return [
            Outgoing(entry.name, OutgoingKind(entry.kind), entry.queue, entry.content, entry.made, entry.tries)
            for entry in entries
        ]

    async def take_over(self, queue: str, entries: Sequence[Outgoing]) -> int:
        """Carry out entries of other queues' outboxes; see Broker."""
        check_names([entry.name for entry in entries])
        if queue not in self._registered:
            await self._register(queue)
        scripts, jobs, told = self.scripts(queue), [], []
        for entry in entries:
            content: Any = entry.content
            if entry.kind is OutgoingKind.JOBS:
                jobs.append(entry.name + content)
            else:
                told.append(entry.name[:1] + content)
        if told:
            await scripts.report(told)
        try:
            return sum(
                [
                    await scripts.take_over(some, large_from=_LARGE_FROM, remember=_REMEMBERED)
                    for some in _few_jobs_each(jobs)
                ]
            )
        except StoreFull as error:
            raise QueueFull(queue, str(error).removeprefix("FULL ")) from error

    async def stop(self, queue: str, id: bytes) -> JobState | None:
        """Ask a job to end; see Broker."""
        check_id("id", id)
        state = await self.scripts(queue).stop(id=id)
        return JobState(state) if state else None

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

    async def missing_parts(self, queue: str, id: bytes) -> list[Part]:
        """The parts of a job that have not reported."""
        split = await self._split(queue, id)
        states = b"" if split is None else split.states
        return [Part(queue, id, 0 if split is None else split.round, n) for n, state in enumerate(states) if not state]

    async def report_lost(self, part: Part) -> None:
        """Count a part as purged that is nowhere."""
        reference = pack_part("", part.id, part.round, part.number)[:-1]
        report = bytes((OutgoingKind.REPORT,)) + reference + bytes((PartState.PURGED,)) + b"lost"
        await self.scripts(part.queue).report([report])

    async def outbox(self, queue: str) -> AsyncIterator[tuple[bytes, bytes]]:
        """Name and content of every entry of the outbox, some of them more than once."""
        key = QueueKeys(self.namespace, self.stage, queue).state("outbox")
        async for name in self._scan("HSCAN", key):
            entry = await self._command("HGET", key, name)
            if entry is not None:
                yield name, entry

    async def is_stuck(self, queue: str, name: bytes, *, repair: bool) -> bool:
        """Whether an entry of the outbox is none of those that are delivered some time; with `repair` it is one then."""
        keys = QueueKeys(self.namespace, self.stage, queue)
        if await self._command("ZSCORE", keys.state("outgoing"), name) is not None:
            return False
        if not await self._command("HEXISTS", keys.state("outbox"), name):
            return False
        if repair:
            await self._command("ZADD", keys.state("outgoing"), "NX", 0, name)
        return True

    async def _split(self, queue: str, id: bytes) -> StoredSplit | None:
        check_id("id", id)
        packed = await self._command("HGET", QueueKeys(self.namespace, self.stage, queue).state("parts"), id)
        return None if packed is None else unpack_split(packed)

    async def settle(self, queue: str, names: Sequence[bytes]) -> int:
        """Remove entries from the outbox; see Broker."""
        check_names(names)
        return await self.scripts(queue).settle(names)

    async def forget_settled(self, queue: str, names: Sequence[bytes]) -> None:
        """Remember entries for a minute only; see Broker."""
        check_names(names)
        await self.scripts(queue).forget(names, remember=_REMEMBERED_SETTLED)

    async def is_outgoing(self, queue: str, id: bytes, *, kind: OutgoingKind = OutgoingKind.JOBS) -> bool:
        """Whether the outbox hands over this job, or has another entry of its; see Broker."""
        check_id("id", id)
        key = QueueKeys(self.namespace, self.stage, queue).state("outbox")
        return bool(await self._command("HEXISTS", key, bytes((kind,)) + id))

    async def close(self) -> None:
        """Give up the connections."""
        if self._locks is not None:
            await self._locks.close()
            self._locks = None
        for client in (self._waiting_client, self._client if self._own_client else None):
            if client is not None:
                with contextlib.suppress(*REDIS_ERRORS):
                    await client.aclose()
        self._waiting_client = None

    def cron_store(self) -> RedisCronStore:
        """The cron jobs of this stage."""
        return RedisCronStore(self._client, namespace=self.namespace, stage=self.stage, test_clock=self._test_clock)

    def locks(self) -> Locks:
        """The locks of this stage; they end with this broker."""
        if self._locks is None:
            self._locks = Locks(
                self._client,
                namespace=self.namespace,
                stage=self.stage,
                listener=self._patient_client(),
                test_clock=self._test_clock,
            )
        return self._locks

    def scripts(self, queue: str) -> QueueScripts:
        """The scripts on one queue."""
        scripts = self._scripts.get(queue)
        if scripts is None:
            scripts = QueueScripts(self._client, self.namespace, self.stage, queue, test_clock=self._test_clock)
            self._scripts[queue] = scripts
        return scripts

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

    async def check_slots(self, queue: str, key: bytes, *, seen: bytes, given: int, repair: bool) -> bool:
        """Whether the numbers of a limit key are known to be wrong; see the script."""
        return await self.scripts(queue).check_slots(key=key, seen=seen, given=given, repair=repair)

    async def limit_keys(self, queue: str) -> int:
        """How many limit keys have jobs, or have not all their tokens yet."""
        return int(await self._command("HLEN", QueueKeys(self.namespace, self.stage, queue).state("keys")))

    async def _scan(self, command: str, key: str) -> AsyncIterator[bytes]:
        async for member, _ in self._scan_pairs(command, key):
            yield member

    async def _scan_pairs(self, command: str, key: str) -> AsyncIterator[tuple[bytes, Any]]:
        cursor = 0
        while True:
            reply = await self._command(command, key, cursor, "COUNT", 500)
            cursor, found = int(reply[0]), reply[1]
            for pair in found.items() if isinstance(found, dict) else _pairs(found):
                yield pair
            if cursor == 0:
                return

    async def _register(self, queue: str) -> None:
        """Before the first job: a queue that nobody knows of would not be tended."""
        await self._command("ZADD", queues_key(self.namespace, self.stage), "NX", int(time.time() * 1000), queue)
        self._registered.add(queue)

    def _patient_client(self) -> Client:
        """The client for calls that wait: a connection that blocks is no call that is late."""
        if self._waiting_client is None:
            patient = dataclasses.replace(self.settings, call_timeout=PATIENCE + _LONGEST_WAIT)
            self._waiting_client = connect(patient)
        return self._waiting_client

    async def _claimed(self, queue: str, answer: StepAnswer) -> list[Claimed]:
        """The deliveries of a step's answer; a large body is fetched by itself."""
        now, fence, values = answer.now, answer.fence, answer.jobs
        claimed = []
        for at in range(0, len(values), 5):
            body: bytes = values[at + 1]
            flags = body[0]
            if flags & _LARGE:
                body = await self._large(queue, values[at])
            else:
                body = strip_head(body) if flags else body[2:]
            delivery = Claimed(values[at], body, fence, values[at + 2], values[at + 3], values[at + 4], now)
            if flags & _SHAPED:
                outcomes = await self.outcomes(queue, values[at]) if flags & _JOINED else None
                delivery = delivery._replace(is_part=bool(flags & _PART), outcomes=outcomes)
            claimed.append(delivery)
        return claimed

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
            pairs = [(float(score), member) for member, score in _pairs(found)]
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

    async def _command(self, *arguments: str | bytes | int) -> Any:
        try:
            return await self._client.execute_command(*arguments)
        except REDIS_ERRORS as error:
            raise store_error(error) from error

    async def _wait_for(self, client: Client, queues: Sequence[str], seconds: float) -> None:
        keys = [QueueKeys(self.namespace, self.stage, queue).wake for queue in queues]
        try:
            await client.execute_command("BLPOP", *keys, seconds)
        except REDIS_ERRORS as error:
            failure = store_error(error)
            if not isinstance(failure, StoreTimeout):
                raise failure from error


_FINISH_RESULTS: Final = tuple(FinishResult)


def _bounded(seconds: float) -> float:
    """A wait that the server understands: 0 would be for ever."""
    return min(max(round(seconds, 3), 0.01), _LONGEST_WAIT.total_seconds())


async def _ask_after(
    client: Redis, first: Sequence[Any], second: Sequence[Any], seconds: float, woken: Callable[[], object]
) -> Any:
    """Send two commands at once on a connection of their own; the second one's reply. `woken` is called at the first's."""
    pool = client.connection_pool
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    is_clean = False
    try:
        await connection.send_packed_command(connection.pack_commands([first, second]))
        await connection.read_response(timeout=seconds + PATIENCE.total_seconds())
        woken()
        try:
            reply = await connection.read_response(timeout=PATIENCE.total_seconds())
        finally:
            # An error reply is a reply, too; anything else leaves one on its way.
            is_clean = connection.is_connected
        return reply
    finally:
        if not is_clean:
            await connection.disconnect()
        await pool.release(connection)


def _few_jobs_each(entries: Sequence[bytes]) -> list[list[bytes]]:
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


def _packed(job: NewJob) -> bytes:
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


def _packed_hand_over(hand_overs: Sequence[HandOver]) -> bytes:
    return pack_outgoing(
        (bytes((OutgoingKind.JOBS,)) + jobs[0].id, OutgoingKind.JOBS, queue, pack_jobs(map(_packed, jobs)))
        for queue, jobs in hand_overs
    )


def _packed_split(split: SplitOrder) -> bytes:
    stops = pack_outgoing(
        (bytes((OutgoingKind.STOP,)) + jobs[0].id, OutgoingKind.STOP, queue, b"".join(job.id for job in jobs))
        for queue, jobs in split.parts
    )
    entries = _packed_hand_over(split.parts)
    return pack_split(fails=split.fails, total=split.total, body=split.body, stops=stops, entries=entries)


def _is_plain(finish: Finish) -> bool:
    """Whether the run completed and leaves nothing."""
    return finish.kind == 0 and not finish.keep and not finish.result and not finish.hand_over


def _pairs(found: list[Any]) -> list[tuple[bytes, Any]]:
    """A WITHSCORES reply, which redis-py gives as pairs for some commands and flat for others."""
    if found and isinstance(found[0], (tuple, list)):
        return [(member, score) for member, score in found]
    return list(zip(found[::2], found[1::2], strict=True))


def _read_cursor(cursor: str, sets: int) -> tuple[int, tuple[float, bytes] | None]:
    if not cursor:
        return 0, None
    found = re.fullmatch(r"([0-9])-([0-9]{1,16}(?:\.[0-9]{1,16})?)-([0-9a-f]{32})", cursor, re.ASCII)
    if found is None or int(found[1]) >= sets:
        raise ConfigurationError("cursor", cursor, "the cursor of an earlier page of this list")
    return int(found[1]), (float(found[2]), bytes.fromhex(found[3]))
