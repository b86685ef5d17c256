"""The options of a task, and those of one enqueue: checked when they are given, in milliseconds from then on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from uuid import UUID

from ropeline.jobs.backoff import Backoff, Exponential, check_backoff
from ropeline.jobs.durations import LONGEST, moment_ms, to_ms
from ropeline.jobs.ids import job_id
from ropeline.jobs.names import check_name
from ropeline.jobs.payloads.envelope import LARGEST_METADATA
from ropeline.jobs.records import Limit
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.jobs.payloads.arguments import Arguments

__all__ = [
    "LARGEST_PAYLOAD",
    "UNSET",
    "CallOptions",
    "Concurrency",
    "Seconds",
    "TaskOptions",
    "Unique",
    "Unset",
    "check_metadata",
    "check_whole",
]

Seconds: TypeAlias = "float | timedelta"
"""A length of time in the public interface: seconds, or a timedelta."""

LARGEST_PAYLOAD: Final = 1024 * 1024 - 64 * 1024
"""Most bytes of a job's arguments: with its envelope, a job always fits into one call of 1 MiB."""

_DAY: Final = 86_400_000
_LONGEST_RUN: Final = 7 * _DAY
_MOST_ATTEMPTS: Final = 10_000
_HIGHEST_PRIORITY: Final = 9
_LONGEST_KEY: Final = 1024
# What a store has room for: two bytes, and four.
_MOST_OF_A_KEY: Final = 65_535
_LONGEST_PERIOD: Final = (1 << 32) - 1
_HIGHEST_WEIGHT: Final = 100
_EMPTY: Final[Mapping[str, str]] = MappingProxyType({})


class Unset(Enum):
    """Stands for an option that was not given, where None means something."""

    UNSET = "not given"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class Unique:
    """At most one live job of a task for each key; another one is not taken in.

    `by`: names of the arguments that are the key; empty: all of them. `key`: a function of the arguments instead, that
    returns the key as text or bytes. `for_`: the key is free after this long whatever became of the job (seconds or a
    timedelta; None: when the job has ended). `until`: the job holds its key until it is `done` (completed, dead, cancelled
    or removed), or until its first `start`. `on_conflict`: `return` a handle of the job that holds the key, or `raise`
    Conflict. Raises ConfigurationError for anything else.
    """

    by: tuple[str, ...] = ()
    key: Callable[..., str | bytes] | None = None
    for_: Seconds | None = None
    until: Literal["done", "start"] = "done"
    on_conflict: Literal["return", "raise"] = "return"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", _check_by("unique.by", self.by))
        if self.key is not None and (self.by or not callable(self.key)):
            raise ConfigurationError("unique.key", self.key, "a function of the arguments, and then no `by`")
        if self.for_ is not None:
            to_ms("unique.for_", self.for_, least=1)
        _check_choice("unique.until", self.until, ("done", "start"))
        _check_choice("unique.on_conflict", self.on_conflict, ("return", "raise"))

    @property
    def for_ms(self) -> int:
        """`for_` in ms, 0: until the job has ended."""
        return 0 if self.for_ is None else to_ms("unique.for_", self.for_)

    def key_of(
        self, task: str, arguments: Arguments, values: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bytes:
        """The 16 bytes that jobs of this task with the same key share; raises ConfigurationError for a key that is none."""
        if self.key is None:
            part = b"\0arguments\0" + arguments.fingerprint(values, self.by)
        else:
            part = b"\0key\0" + _key_bytes(f"{task}: unique.key", self.key(*args, **kwargs))
        return _digest(b"ropeline unique", task.encode() + part)


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many jobs of a key run at once, how many begin in a time, and the key's share beside other keys of the queue.

    A job that may not run yet is held, in the queue and not in a worker, and takes no attempt; a job that is due, claimed or
    waits to run again after a crash counts, one that waits for its time or its next attempt does not.

    `by`: names of the arguments that are the key, of this task alone; with neither `by` nor `key`, all jobs of the task have one
    key. `key`: text, or a function of the arguments that returns text or bytes: a key that all tasks of the queue share that
    give the same. `most`: jobs of the key at once, 1 to 65,535; None, any number. `rate`: jobs of the key that may begin in `per`
    (seconds or a timedelta, at most 49 days), 1 to 65,535; after a rest as many at once; None, any number. `weight`: 1 to 100,
    the key's share of what workers begin, among keys that have jobs of the same priority. When jobs of one key differ, what
    each of them says counts for itself. Raises ConfigurationError for anything else.
    """

    by: tuple[str, ...] = ()
    key: str | Callable[..., str | bytes] | None = None
    most: int | None = None
    rate: int | None = None
    per: Seconds = 60.0
    weight: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", _check_by("limit.by", self.by))
        if self.key is not None:
            if self.by or not (callable(self.key) or isinstance(self.key, str)):
                raise ConfigurationError("limit.key", self.key, "text or a function of the arguments, and then no `by`")
            if isinstance(self.key, str):
                _key_bytes("limit.key", self.key)
        for name, value in (("most", self.most), ("rate", self.rate)):
            if value is not None:
                check_whole(f"limit.{name}", value, 1, _MOST_OF_A_KEY)
        check_whole("limit.weight", self.weight, 1, _HIGHEST_WEIGHT)
        to_ms("limit.per", self.per, least=1, most=_LONGEST_PERIOD)

    def limit_of(
        self, task: str, arguments: Arguments, values: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Limit:
        """What a broker is told of a job with these arguments; raises ConfigurationError for a key that is none."""
        if self.key is not None:
            key = self.key if isinstance(self.key, str) else self.key(*args, **kwargs)
            part = b"\0key\0" + _key_bytes(f"{task}: limit.key", key)
        elif self.by:
            part = task.encode() + b"\0arguments\0" + arguments.fingerprint(values, self.by)
        else:
            part = task.encode() + b"\0task\0"
        period = to_ms("limit.per", self.per) if self.rate else 0
        return Limit(_digest(b"ropeline limit", part), self.most or 0, self.rate or 0, period, self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """How the jobs of one task are run; every time in ms. `Jobs.task` explains each option."""

    queue: str = "default"
    max_attempts: int = 5
    backoff: Backoff = field(default_factory=Exponential)
    timeout: int = 300_000
    grace: int = 30_000
    deadline: int | None = None
    priority: int = 5
    unique: Unique | None = None
    limit: Concurrency | None = None
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()
    result_ttl: int = 0
    finished_ttl: int = 0
    max_lost: int = 3

    @classmethod
    def checked(
        cls,
        *,
        queue: str,
        max_attempts: int,
        backoff: object,
        timeout: Seconds,
        grace: Seconds,
        deadline: Seconds | None,
        priority: int,
        unique: Unique | None,
        limit: Concurrency | None,
        retry_on: object,
        give_up_on: object,
        result_ttl: Seconds,
        finished_ttl: Seconds,
        max_lost: int,
    ) -> TaskOptions:
        """The options as a user writes them; raises ConfigurationError."""
        return cls(
            queue=check_name("queue", queue),
            max_attempts=check_whole("max_attempts", max_attempts, 1, _MOST_ATTEMPTS),
            backoff=check_backoff("backoff", backoff),
            timeout=to_ms("timeout", timeout, least=1, most=_LONGEST_RUN),
            grace=to_ms("grace", grace, most=_LONGEST_RUN),
            deadline=None if deadline is None else to_ms("deadline", deadline, least=1),
            priority=check_whole("priority", priority, 0, _HIGHEST_PRIORITY),
            unique=_check_unique(unique),
            limit=_check_concurrency(limit),
            retry_on=_check_errors("retry_on", retry_on),
            give_up_on=_check_errors("give_up_on", give_up_on),
            result_ttl=to_ms("result_ttl", result_ttl),
            finished_ttl=to_ms("finished_ttl", finished_ttl),
            max_lost=check_whole("max_lost", max_lost, 1, 100),
        )

    def retries(self, error: BaseException) -> bool:
        """Whether a run that ended with this error may be followed by another one."""
        return isinstance(error, self.retry_on) and not isinstance(error, self.give_up_on)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What is different for some jobs of a task; None, or UNSET: as the task says. Every time in ms.

    `due`: wall ms before which it does not run, `delay`: ms from now; 0 none, and never both. `deadline`: ms after the
    moment at which it may first run; `deadline_at`: wall ms.
    """

    queue: str | None = None
    priority: int | None = None
    due: int = 0
    delay: int = 0
    unique: Unique | Unset | None = UNSET
    limit: Concurrency | Unset | None = UNSET
    metadata: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    id: bytes | None = None
    max_attempts: int | None = None
    timeout: int | None = None
    grace: int | None = None
    deadline: int | None = None
    deadline_at: int | None = None
    result_ttl: int | None = None

    def using(
        self,
        *,
        queue_name: str | Unset = UNSET,
        priority: int | Unset = UNSET,
        run_after: datetime | timedelta | float | Unset | None = UNSET,
        unique: Unique | Unset | None = UNSET,
        limit: Concurrency | Unset | None = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
        job_id: UUID | bytes | str | Unset | None = UNSET,
        max_attempts: int | Unset = UNSET,
        timeout: Seconds | Unset = UNSET,
        grace: Seconds | Unset = UNSET,
        deadline: datetime | timedelta | float | Unset = UNSET,
        result_ttl: Seconds | Unset = UNSET,
    ) -> CallOptions:
        """These options with others in their place; raises ConfigurationError. `Task.using` explains each."""
        changes: dict[str, Any] = {}
        if queue_name is not UNSET:
            changes["queue"] = check_name("queue_name", queue_name)
        if priority is not UNSET:
            changes["priority"] = check_whole("priority", priority, 0, _HIGHEST_PRIORITY)
        if run_after is not UNSET:
            changes["due"], changes["delay"] = _due_and_delay(run_after)
        if unique is not UNSET:
            changes["unique"] = _check_unique(unique)
        if limit is not UNSET:
            changes["limit"] = _check_concurrency(limit)
        if metadata is not UNSET:
            changes["metadata"] = check_metadata({**self.metadata, **_mapping(metadata)})
        if job_id is not UNSET:
            changes["id"] = None if job_id is None else _id(job_id)
        if max_attempts is not UNSET:
            changes["max_attempts"] = check_whole("max_attempts", max_attempts, 1, _MOST_ATTEMPTS)
        for name, length, least, most in (
            ("timeout", timeout, 1, _LONGEST_RUN),
            ("grace", grace, 0, _LONGEST_RUN),
            ("result_ttl", result_ttl, 0, LONGEST),
        ):
            if length is not UNSET:
                changes[name] = to_ms(name, length, least=least, most=most)
        if isinstance(deadline, datetime):
            changes["deadline"], changes["deadline_at"] = None, moment_ms("deadline", deadline)
        elif deadline is not UNSET:
            changes["deadline"], changes["deadline_at"] = to_ms("deadline", deadline, least=1), None
        return replace(self, **changes)


def check_metadata(metadata: object) -> Mapping[str, str]:
    """Metadata that cannot change any more; raises ConfigurationError unless it is text to text, 1 KiB of it at most."""
    size = 0
    for name, value in _mapping(metadata).items():
        for text in (name, value):
            if not isinstance(text, str):
                raise ConfigurationError(f"metadata[{name!r}]", text, "text")
            try:
                size += len(text.encode())
            except UnicodeEncodeError:
                raise ConfigurationError(f"metadata[{name!r}]", text, "text without lone surrogates") from None
        if not name:
            raise ConfigurationError("metadata", name, "names that are not empty")
    if size > LARGEST_METADATA:
        raise ConfigurationError(
            "metadata", f"{size} bytes", f"at most {LARGEST_METADATA} bytes, names and values together"
        )
    return MappingProxyType(dict(_mapping(metadata)))


def check_whole(field: str, value: object, least: int, most: int) -> int:
    """Return a whole number between two bounds, both allowed; raises ConfigurationError for `field`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(field, value, f"a whole number from {least} to {most:,}")
    return value


def _mapping(metadata: object) -> Mapping[str, str]:
    if not isinstance(metadata, Mapping):
        raise ConfigurationError("metadata", metadata, 'a dict of text to text, such as {"client": "acme"}')
    return metadata


def _id(given: object) -> bytes:
    return job_id("job_id", given)


def _due_and_delay(run_after: datetime | timedelta | float | None) -> tuple[int, int]:
    if run_after is None:
        return 0, 0
    if isinstance(run_after, datetime):
        return moment_ms("run_after", run_after), 0
    return 0, to_ms("run_after", run_after, most=LONGEST)


def _check_unique(unique: object) -> Unique | None:
    if unique is not None and not isinstance(unique, Unique):
        raise ConfigurationError("unique", unique, "Unique(...), or None")
    return unique


def _check_concurrency(limit: object) -> Concurrency | None:
    if limit is not None and not isinstance(limit, Concurrency):
        raise ConfigurationError("limit", limit, "Concurrency(...), or None")
    return limit


def _check_by(field: str, by: object) -> tuple[str, ...]:
    # A single name would be read as its letters.
    if isinstance(by, str) or not isinstance(by, tuple | list) or not all(isinstance(each, str) for each in by):
        raise ConfigurationError(field, by, 'a tuple of names of arguments, such as ("tenant",)')
    return tuple(by)


def _key_bytes(field: str, key: object) -> bytes:
    part = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key if isinstance(key, bytes) else b""
    if not 0 < len(part) <= _LONGEST_KEY:
        raise ConfigurationError(field, key, f"text or bytes, 1 to {_LONGEST_KEY} bytes of it")
    return part


def _digest(use: bytes, key: bytes) -> bytes:
    return blake2b(key, digest_size=16, person=use).digest()


def _check_errors(field: str, errors: object) -> tuple[type[BaseException], ...]:
    given = errors if isinstance(errors, tuple | list) else (errors,)
    for each in given:
        if not isinstance(each, type) or not issubclass(each, BaseException):
            raise ConfigurationError(field, each, "an exception class, or a tuple of them")
    return tuple(given)


def _check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(field, value, f"one of: {', '.join(choices)}")
