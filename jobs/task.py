"""A task: a function that can be called here and now, or enqueued for a worker to call it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from copy import copy
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, Protocol, TypeVar

from ropeline.jobs.context import JobContext, current_job
from ropeline.jobs.errors import PayloadTooLarge
from ropeline.jobs.handle import JobHandle
from ropeline.jobs.ids import job_id, new_id
from ropeline.jobs.locks.job_locks import JobLocks
from ropeline.jobs.names import check_name
from ropeline.jobs.options import UNSET, CallOptions, Concurrency, Seconds, TaskOptions, Unique, Unset
from ropeline.jobs.payloads.arguments import Arguments
from ropeline.jobs.payloads.envelope import Envelope, pack, pack_plain
from ropeline.jobs.records import NewJob
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from typing import Self
    from uuid import UUID

    from ropeline.jobs.app import Jobs

__all__ = ["AsyncTask", "JobDraft", "Shape", "SyncTask", "Task"]

P = ParamSpec("P")
R = TypeVar("R")


class Shape(Protocol):
    """What a draft stands for that is more than its one job."""

    def handle(self, id: bytes, *, is_new: bool) -> JobHandle[Any]:
        """A handle of all of it. `id`: of the job that was enqueued."""

    def read(self, data: bytes) -> Any:
        """Its result, from the bytes that are kept."""


class JobDraft(NamedTuple, Generic[R]):
    """A job that is checked and packed, and not enqueued yet. Enqueued twice, it is one job: its id is settled."""

    task: Task[..., R]
    queue: str
    job: NewJob
    unique: Unique | None
    shape: Shape | None = None

    @property
    def id(self) -> str:
        """The id that the job will have, 32 hexadecimal digits."""
        return self.job.id.hex()

    def handle(self, id: bytes, *, is_new: bool) -> JobHandle[R]:
        """A handle of this job, or of the one with another id that was there already."""
        if self.shape is not None:
            return self.shape.handle(id, is_new=is_new)
        return self.task.app.make_handle(self.queue, id, read=self.read, is_new=is_new)

    def read(self, data: bytes) -> R:
        """What the job returned, from the bytes that are kept of it."""
        result: R = (self.task.arguments.load_result if self.shape is None else self.shape.read)(data)
        return result


class Task(Generic[P, R]):
    """A function that workers call. Made by `Jobs.task`; never changes.

    Called, it is the function: in this process, now, without a job. A parameter of type JobContext is filled then with the
    current job, or with a stand-in that was never enqueued.

    `type`: the name by which jobs refer to it. `function`: what was decorated. `is_async`: whether it is a coroutine function.
    `options`: what `Jobs.task` was given, in ms. `arguments`: its signature.
    """

    __name__: str

    def __init__(self, app: Jobs, function: Callable[..., Any], type: str, options: TaskOptions) -> None:
        self.app = app
        self.function = function
        self.type = type
        self.options = options
        self.is_async = inspect.iscoroutinefunction(function)
        self.arguments = Arguments(type, function, app.codec)
        self._type_bytes = type.encode()
        self._settle(CallOptions(metadata=app.metadata))
        update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<Task {self.type}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.arguments.context_name:
            return self.function(*args, **kwargs)
        values = self.arguments.bind(args, kwargs)
        args, kwargs = self.arguments.call(values, current_job() or self._stand_in())
        return self.function(*args, **kwargs)

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
    ) -> Self:
        """The same task with other options for the jobs that are enqueued through what is returned; this one stays as it is.

        `queue_name`: instead of the task's. `priority`: 0 to 9, the highest first. `run_after`: not before this moment (with a
        time zone), or this long from now (seconds or a timedelta); None at once. `unique`: instead of the task's, None not
        unique. `limit`: instead of the task's, None no limit. `metadata`: text to text, added to what there is, at most
        1 KiB together. `job_id`: the id, instead of a new one; while the queue has a job of this id, nothing is enqueued. `max_attempts`, `timeout`, `grace`, `deadline`,
        `result_ttl`: as for `Jobs.task`; a deadline may be a moment.

        Raises:
            ConfigurationError: an option is wrong.

        """
        call = self._call.using(
            queue_name=queue_name,
            priority=priority,
            run_after=run_after,
            unique=unique,
            limit=limit,
            metadata=metadata,
            job_id=job_id,
            max_attempts=max_attempts,
            timeout=timeout,
            grace=grace,
            deadline=deadline,
            result_ttl=result_ttl,
        )
        changed = copy(self)
        changed._settle(call)  # noqa: SLF001 - the same class
        return changed

    def build(self, *args: P.args, **kwargs: P.kwargs) -> JobDraft[R]:
        """A job with these arguments for `Jobs.enqueue_many`; raises what `enqueue` raises for them, and writes nothing."""
        app, call = self.app, self._call
        app.check_queue(self._queue)
        values = self.arguments.bind(args, kwargs)
        fills = self.arguments.take_previous(values)
        payload = self.arguments.dump(values)
        if len(payload) > app.payload_limit:
            raise PayloadTooLarge(self.type, len(payload), app.payload_limit)
        now = app.clock() // 1_000_000
        if self._is_plain and not fills:
            body = pack_plain(self._type_bytes, payload, app.codec.number, now)
        else:
            body = self._pack(payload, now, fills)
        job = NewJob(call.id or new_id(), body, call.due, call.delay, self._priority)
        unique = self._unique
        if unique is not None:
            if fills:
                raise ConfigurationError(f"{self.type}: {fills}", "PREVIOUS", "no unique key: task.using(unique=None)")
            job = job._replace(
                unique=unique.key_of(self.type, self.arguments, values, args, kwargs),
                unique_for=unique.for_ms,
                until_start=unique.until == "start",
            )
        if self._limit is not None:
            job = job._replace(limit=self._limit.limit_of(self.type, self.arguments, values, args, kwargs))
        return JobDraft(self, self._queue, job, unique)

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Enqueue a job with these arguments; a handle of it, or of the one that is there already (`is_new` False).

        Raises:
            TypeError: the arguments do not fit the signature or its annotations.
            ConfigurationError: an argument or option has a value that cannot be, such as NaN or an unknown queue.
            PayloadTooLarge: the arguments take too many bytes.
            Conflict: another job holds the unique key, and the task says `on_conflict="raise"`.
            QueueFull: the queue or the store has no room.
            OutcomeUnknown: no reply came. With the same `job_id` it may be enqueued again without harm.
            StoreError: the store did not do its work.

        """
        return await self.app.enqueue(self.build(*args, **kwargs))

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Enqueue a job from a thread that has no event loop; otherwise as `enqueue`.

        The calls of all threads share one event loop, in a thread of its own.

        Raises:
            RuntimeError: an event loop runs in this thread, which the call would block.

        """
        return self.app.enqueue_sync(self.build(*args, **kwargs))

    def handle(self, id: UUID | bytes | str, *, queue_name: str | None = None) -> JobHandle[R]:
        """A handle of a job of this task that was enqueued before; nothing is asked yet. `queue_name`: None, the task's."""
        queue = self._queue if queue_name is None else check_name("queue_name", queue_name)
        return self.app.make_handle(queue, job_id("id", id), read=self.arguments.load_result)

    def read(self, envelope: Envelope, job: JobContext) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a worker calls `function` with: the arguments in a body, and the context.

        Raises:
            Undecodable: they do not fit this version of the task.
            ConfigurationError: the package of their codec is not installed here.

        """
        return self.arguments.call(
            self.arguments.load(envelope.payload, envelope.codec, envelope.fills, envelope.previous), job
        )

    def _settle(self, call: CallOptions) -> None:
        """Keep the options of a call, and what follows from them for each job."""
        options = self.options
        self._call = call
        self._queue = call.queue or options.queue
        self._priority = options.priority if call.priority is None else call.priority
        self._unique = options.unique if isinstance(call.unique, Unset) else call.unique
        self._limit = options.limit if isinstance(call.limit, Unset) else call.limit
        changes = (call.max_attempts, call.timeout, call.grace, call.result_ttl, call.deadline, call.deadline_at)
        self._is_plain = options.deadline is None and not call.metadata and all(each is None for each in changes)
        if self._unique is not None:
            self.arguments.check_names("unique.by", self._unique.by)
        if self._limit is not None:
            self.arguments.check_names("limit.by", self._limit.by)

    def _pack(self, payload: bytes, now: int, fills: str) -> bytes:
        call = self._call
        return pack(
            Envelope(
                self.type,
                payload,
                self.app.codec.number,
                now,
                max_attempts=call.max_attempts,
                timeout=call.timeout,
                grace=call.grace,
                deadline=self._deadline(now),
                result_ttl=call.result_ttl,
                metadata=call.metadata,
                fills=fills.encode(),
            )
        )

    def _deadline(self, now: int) -> int | None:
        call = self._call
        first_run = max(now, call.due) + call.delay
        if call.deadline_at is not None:
            if call.deadline_at <= first_run:
                raise ConfigurationError(
                    "deadline", f"{call.deadline_at} ms", f"a moment after it may run, {first_run} ms"
                )
            return call.deadline_at
        length = self.options.deadline if call.deadline is None else call.deadline
        return None if length is None else first_run + length

    def _stand_in(self) -> JobContext:
        return JobContext(
            id=new_id().hex(),
            task=self.type,
            queue=self.options.queue,
            metadata=self._call.metadata,
            locks=JobLocks(lambda: self.app.locks),
        )


class AsyncTask(Task[P, R]):
    """A task whose function is a coroutine function."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...


class SyncTask(Task[P, R]):
    """A task whose function is a plain one; workers call it in a thread."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
