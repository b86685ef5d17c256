"""Says what a cron job is: when, which job, and what becomes of missed ticks; and what keeps it has to promise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol

from ropeline.jobs.cron.lines import Schedule, parse_cron
from ropeline.jobs.durations import LONGEST
from ropeline.jobs.errors import Undecodable
from ropeline.jobs.ids import derived_id
from ropeline.jobs.names import check_name, check_task_type
from ropeline.jobs.payloads.envelope import NO_TRACE, pack, unpack
from ropeline.jobs.records import Limit, NewJob
from ropeline.lua.cron_scripts import CronState, Fired
from ropeline.lua.errors import ConfigurationError

__all__ = ["LARGEST_BODY", "CronJob", "CronStore", "Missed"]

LARGEST_BODY: Final = 65_536
"""Most bytes of the body of a cron job: every scheduler keeps it in memory."""

_VERSION: Final = 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Missed(StrEnum):
    """What becomes of ticks at which no scheduler was there, or the store was not."""

    LATEST = "latest"
    """The latest of them runs, once."""
    ALL = "all"
    """Each of them runs, in no order; of more than a hundred, the latest hundred."""
    SKIP = "skip"
    """None runs that lies further back than `late`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CronJob:
    """A job that is enqueued at every tick of a schedule.

    `name`: one in its queue. `line`, `zone`: when, see `ropeline.jobs.cron.lines`. `job`: which job; its id counts for nothing, each tick
    makes one of its own, and says in the metadata which it is: `cron` the name, `cron_tick` the instant (ISO 8601, UTC). With a
    `unique` key, a tick is passed over while the job of an earlier one is still there. `missed`: what becomes of missed
    ticks. `late`: ms, of Missed.SKIP. `former`: the digests of definitions whose place it took, the latest first.

    Raises:
        ConfigurationError: names the field, its value and what would be right.

    """

    name: str
    queue: str
    line: str
    job: NewJob
    zone: str = "UTC"
    missed: Missed = Missed.LATEST
    late: int = 60_000
    former: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_task_type("cron name", self.name)
        check_name("queue", self.queue)
        self.schedule()
        if not isinstance(self.missed, Missed):
            raise ConfigurationError("missed", self.missed, f"one of: {', '.join(Missed)}")
        if not 1 <= self.late <= LONGEST:
            raise ConfigurationError("late", self.late, f"ms from 1 to {LONGEST}")
        if self.job.due or self.job.delay:
            raise ConfigurationError(
                "job", f"due {self.job.due}, delay {self.job.delay}", "neither: the line says when"
            )
        if len(self.job.body) > LARGEST_BODY:
            raise ConfigurationError("job", f"{len(self.job.body)} bytes", f"at most {LARGEST_BODY} bytes")
        try:
            envelope = unpack(self.job.body)
        except Undecodable as error:
            raise ConfigurationError("job", str(error), "a body that a worker can read") from None
        if envelope.deadline is not None:
            raise ConfigurationError("deadline", envelope.deadline, "none: every tick would have the same one")

    def schedule(self) -> Schedule:
        """When."""
        return parse_cron(self.line, self.zone)

    @property
    def when(self) -> str:
        """Zone and line: what makes another schedule of it, for which no earlier tick was missed."""
        return f"{self.zone} {self.line}"

    @property
    def digest(self) -> str:
        """Short for the definition, whatever it took the place of: 16 hexadecimal digits."""
        text = self._head()
        del text["former"]
        packed = json.dumps([self.name, text]).encode() + self.job.body
        return hashlib.blake2b(packed, digest_size=8).hexdigest()

    def job_of(self, tick: int, trace: Mapping[str, str] = NO_TRACE) -> NewJob:
        """The job of one tick (wall ms), the same whoever makes it but for the `trace` that it carries."""
        envelope = unpack(self.job.body)
        moment = (_EPOCH + timedelta(milliseconds=tick)).isoformat().replace("+00:00", "Z")
        metadata = {**envelope.metadata, "cron": self.name, "cron_tick": moment}
        body = pack(envelope._replace(enqueued=tick, metadata=metadata, trace=trace))
        return self.job._replace(id=derived_id("cron", self.queue, f"{self.name}@{tick}"), body=body)

    def pack(self) -> bytes:
        """The definition as the store keeps it: a line of JSON, then the body."""
        return json.dumps(self._head(), separators=(",", ":")).encode() + b"\n" + self.job.body

    def _head(self) -> dict[str, Any]:
        job, limit = self.job, self.job.limit
        return {
            "version": _VERSION,
            "line": self.line,
            "zone": self.zone,
            "missed": self.missed.value,
            "late": self.late,
            "priority": job.priority,
            "unique": job.unique.hex(),
            "unique_for": job.unique_for,
            "until_start": job.until_start,
            "limit": None if limit is None else {**limit._asdict(), "key": limit.key.hex()},
            "former": list(self.former),
        }

    @classmethod
    def unpack(cls, queue: str, name: str, packed: bytes) -> CronJob:
        """A definition from the store.

        Raises Undecodable for what no CronJob can have packed, or a newer Ropeline did, and ConfigurationError when it is none
        here, such as for a zone that this machine does not know.
        """
        text, _, body = packed.partition(b"\n")
        try:
            head: dict[str, Any] = json.loads(text)
            if head["version"] != _VERSION:
                raise Undecodable(f"cron job {name}: got version {head['version']}, expected version {_VERSION}")
            limit = head["limit"]
            job = NewJob(
                b"",
                body,
                priority=head["priority"],
                unique=bytes.fromhex(head["unique"]),
                unique_for=head["unique_for"],
                until_start=head["until_start"],
                limit=None if limit is None else Limit(**{**limit, "key": bytes.fromhex(limit["key"])}),
            )
            return cls(
                name=name,
                queue=queue,
                line=head["line"],
                job=job,
                zone=head["zone"],
                missed=Missed(head["missed"]),
                late=head["late"],
                former=tuple(head["former"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Undecodable(f"cron job {name}: {type(error).__name__}: {error}") from None


class CronStore(Protocol):
    """Keeps the cron jobs of one stage. Every method raises StoreError when the store does not do its work."""

    async def define(self, cron: CronJob, *, expected: int = -1) -> int:
        """Write a definition, unless it is there already; the version that is there now.

        Its ticks begin now, unless the store knows its name with the same line and zone. `expected`: the version that the caller
        has read, 0 none yet, -1 whatever is there. Raises CronChanged when the store has another version.
        """

    async def remove(self, queue: str, name: str, *, expected: int = -1) -> bool:
        """End a cron job; False when there is none, or it has another version than `expected`."""

    async def queues(self) -> Sequence[str]:
        """Every queue that may have cron jobs."""

    async def read(self, queue: str, *, known: int = -1) -> CronState:
        """The cron jobs of a queue. `known`: the count of changes that the caller has seen, -1 none."""

    async def fire(self, cron: CronJob, version: int, tick: int, trace: Mapping[str, str] = NO_TRACE) -> Fired:
        """Enqueue the job of a tick (wall ms) and record the tick, both or neither; harmless when repeated.

        `version`: of the definition that `cron` was made of. `trace`: what the job carries.
        """

    def watched(self, on_change: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `on_change`, in any thread, when the store can tell that what was read is out of date, while the context lasts."""
