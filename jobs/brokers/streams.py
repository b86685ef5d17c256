"""Keeps jobs in Redis or Valkey with the pending and active ones in streams: the broker that the default one is compared with."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

from ropeline.jobs.brokers.checks import check_enqueue, check_limit
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.brokers.redis_cron import RedisCronStore
from ropeline.jobs.cron.cron_jobs import CronJob
from ropeline.jobs.records import Enqueued, Finish, FinishKind, JobState, NewJob, Page, QueueSettings, StepReply
from ropeline.lua.errors import ConfigurationError
from ropeline.lua.keys import StreamKeys
from ropeline.lua.stream_scripts import StreamCronScripts, StreamScripts

__all__ = ["StreamsBroker"]

_IN_STREAMS: Final = (JobState.PENDING, JobState.ACTIVE)
_NO_PLACES: Final = "the streams broker claims the jobs of a priority in the order in which they were written"
_CURSOR: Final = re.compile(r"([0-9]|10)-([0-9]{1,20}-[0-9]{1,20})", re.ASCII)


class StreamsBroker(RedisBroker):
    """Jobs of one stage, under keys that begin with `namespace`; its arguments are those of RedisBroker.

    Pending jobs of a priority go in the order in which they were written, as the entries of a stream do. So `ageing` is
    refused (ConfigurationError), and a job whose limit asks for a share: one with a weight, or with neither `most` nor `rate`.
    """

    keeps_places = False

    async def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Take in 1 to 100 jobs; see Broker."""
        if limited := [job for job in jobs if job.limit is not None]:
            check_enqueue(jobs)
            if refusal := _refusal(limited):
                raise refusal
        return await super().enqueue(queue, jobs)

    async def step(self, queue: str, *, finishes: Sequence[Finish] = (), **options: Any) -> StepReply:
        """Finish runs, tend the queue, claim jobs; see Broker. A run that hands over a job that is refused makes a dead letter."""
        ends = [_carried_out(end) if end.hand_over or end.split else end for end in finishes]
        return await super().step(queue, finishes=ends, **options)

    async def configure(self, queue: str, changes: Mapping[str, int]) -> QueueSettings:
        """Change settings, or read them; see Broker. Raises ConfigurationError for `ageing`."""
        if changes.get("ageing"):
            raise ConfigurationError("ageing", changes["ageing"], f"0: {_NO_PLACES}")
        return await super().configure(queue, changes)

    async def jobs_in(self, queue: str, state: JobState, *, cursor: str = "", limit: int = 100) -> Page:
        """Jobs in a state, the next to be claimed, due, or the oldest first; see Broker."""
        if state not in _IN_STREAMS:
            return await super().jobs_in(queue, state, cursor=cursor, limit=limit)
        check_limit(limit)
        stream, entry = _read_cursor(cursor)
        scripts = self.scripts(queue)
        ids: list[bytes] = []
        more: list[bytes] = []
        while stream >= 0 and len(ids) < limit:
            stream, entry, more = await scripts.list(state=state, limit=limit - len(ids), stream=stream, entry=entry)
            ids += more
        following, more = f"{stream}-{entry.decode()}", []
        while stream >= 0 and not more:
            stream, entry, more = await scripts.list(state=state, limit=1, stream=stream, entry=entry)
        stored = await self._stored(queue, ids)
        views = [await self._view(queue, id_, job) for id_, job in zip(ids, stored, strict=True) if job.state == state]
        return Page(views, following if more else "")

    def scripts(self, queue: str) -> StreamScripts:
        """The scripts on one queue."""
        scripts = self._scripts.get(queue)
        if not isinstance(scripts, StreamScripts):
            scripts = StreamScripts(self._client, self.namespace, self.stage, queue, test_clock=self._test_clock)
            self._scripts[queue] = scripts
        return scripts

    def cron_store(self) -> RedisCronStore:
        """The cron jobs of this stage."""
        return _StreamCronStore(
            self._client,
            namespace=self.namespace,
            stage=self.stage,
            test_clock=self._test_clock,
            scripts=StreamCronScripts,
        )

    async def ids(self, queue: str) -> AsyncIterator[bytes]:
        """Every id that the queue knows anything of, some of them more than once; those that come or go meanwhile may be missed."""
        keys = StreamKeys(self.namespace, self.stage, queue)
        for noun in ("body", "meta", "entries"):
            async for id_ in self._scan("HSCAN", keys.state(noun)):
                yield id_
        for state in JobState:
            if state is not JobState.HELD and state not in _IN_STREAMS:
                async for id_ in self._scan("ZSCAN", keys.state(state)):
                    yield id_


class _StreamCronStore(RedisCronStore):
    """Keeps the cron jobs of queues that are in streams; see RedisCronStore."""

    async def define(self, cron: CronJob, *, expected: int = -1) -> int:
        """Write a definition, unless it is there already; see CronStore."""
        if refusal := _refusal([cron.job]):
            raise refusal
        return await super().define(cron, expected=expected)


def _refusal(jobs: Iterable[NewJob]) -> ConfigurationError | None:
    """What is wrong with the first of the jobs whose limit asks for a share."""
    for limit in (job.limit for job in jobs if job.limit is not None):
        if limit.weight != 1:
            return ConfigurationError("limit.weight", limit.weight, f"1: {_NO_PLACES}")
        if not (limit.most or limit.rate):
            return ConfigurationError("limit", "a share alone", f"`most` or `rate`: {_NO_PLACES}")
    return None


def _carried_out(finish: Finish) -> Finish:
    """The finish, or the dead letter that is made instead, since nobody is there any more whom a refusal would reach."""
    hand_overs = finish.hand_over if finish.split is None else finish.split.parts
    refusal = _refusal(job for hand_over in hand_overs for job in hand_over.jobs)
    if refusal is None:
        return finish
    return Finish(FinishKind.DEAD, finish.id, finish.fence, error=str(refusal).encode(), detail=b"discarded")


def _read_cursor(cursor: str) -> tuple[int, bytes]:
    if not cursor:
        return 0, b""
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise ConfigurationError("cursor", cursor, "the cursor of an earlier page of this list")
    return int(found[1]), found[2].encode()
