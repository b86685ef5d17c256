"""Keeps jobs in Redis or Valkey, one server or a cluster: the broker that workers and producers use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
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
from ropeline.jobs.brokers.redis_packing import few_jobs_each, is_plain, packed_hand_over, packed_job, packed_split
from ropeline.jobs.brokers.redis_seen import SeenQueues
from ropeline.jobs.brokers.redis_store import PATIENCE
from ropeline.jobs.errors import OutcomeUnknown, QueueFull
from ropeline.jobs.locks.locks import Locks
from ropeline.jobs.records import (
    Claimed,
    Enqueued,
    EnqueueResult,
    Finish,
    FinishResult,
    JobState,
    NewJob,
    Outgoing,
    OutgoingKind,
    Part,
    PartState,
    QueueSettings,
    Renewal,
    StepReply,
)
from ropeline.lua.errors import REDIS_ERRORS, ConfigurationError, StoreFull, StoreUnavailable, store_error
from ropeline.lua.keys import QueueKeys, mark_key
from ropeline.lua.queue_scripts import (
    StepAnswer,
    pack_finishes,
    pack_held,
    pack_job,
    pack_part,
    read_step,
    strip_head,
)

__all__ = ["PATIENCE", "RedisBroker"]

_LONGEST_WAIT: Final = timedelta(seconds=60)
_LARGE_FROM: Final = 16_384
_MOST_BYTES: Final = 1_048_576
_LARGE: Final = 2
_PART: Final = 16
_JOINED: Final = 32
_SHAPED: Final = _PART | _JOINED
# No call may hold up the others for longer than two milliseconds.
_PURGED_A_CALL: Final = 50
_REQUEUED_A_CALL: Final = 25
_UNPARKED: Final = 100
_TAKEN_IN: Final = Enqueued(EnqueueResult.ENQUEUED, b"")
_AGAIN: Final = 30_000
_REMEMBERED: Final = 7 * 86_400_000
_REMEMBERED_SETTLED: Final = 60_000


class RedisBroker(SeenQueues):
    """Jobs of one stage, under keys that begin with `namespace`.

    `settings`: where the store is; its waits should be of seconds, not of the milliseconds of a request. `client`: used
    instead, and left open. `test_clock`: replaces the server's time and run id.
    """

    async def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Take in 1 to 100 jobs; see Broker."""
        check_enqueue(jobs)
        packed = [pack_job(job.id, job.body) if job.is_plain else packed_job(job) for job in jobs]
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
                        packed_split(f.split) if f.split else packed_hand_over(f.hand_over) if f.hand_over else b"",
                    )
                    for f in finishes
                    if not is_plain(f)
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
            finished = [next(done) if is_plain(finish) else next(rest) for finish in finishes]
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
                    for some in few_jobs_each(jobs)
                ]
            )
        except StoreFull as error:
            raise QueueFull(queue, str(error).removeprefix("FULL ")) from error

    async def stop(self, queue: str, id: bytes) -> JobState | None:
        """Ask a job to end; see Broker."""
        check_id("id", id)
        state = await self.scripts(queue).stop(id=id)
        return JobState(state) if state else None

    async def report_lost(self, part: Part) -> None:
        """Count a part as purged that is nowhere."""
        reference = pack_part("", part.id, part.round, part.number)[:-1]
        report = bytes((OutgoingKind.REPORT,)) + reference + bytes((PartState.PURGED,)) + b"lost"
        await self.scripts(part.queue).report([report])

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

    async def settle(self, queue: str, names: Sequence[bytes]) -> int:
        """Remove entries from the outbox; see Broker."""
        check_names(names)
        return await self.scripts(queue).settle(names)

    async def forget_settled(self, queue: str, names: Sequence[bytes]) -> None:
        """Remember entries for a minute only; see Broker."""
        check_names(names)
        await self.scripts(queue).forget(names, remember=_REMEMBERED_SETTLED)

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

    async def check_slots(self, queue: str, key: bytes, *, seen: bytes, given: int, repair: bool) -> bool:
        """Whether the numbers of a limit key are known to be wrong; see the script."""
        return await self.scripts(queue).check_slots(key=key, seen=seen, given=given, repair=repair)

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
