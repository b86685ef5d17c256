"""An application's tasks, and the way in for its jobs: one object that producers and workers import."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Protocol, Self, TypeVar, overload

from ropeline.jobs.backoff import Backoff, Exponential
from ropeline.jobs.broker import KeepsCronJobs, KeepsLocks
from ropeline.jobs.connections import Connections
from ropeline.jobs.context import JobContext
from ropeline.jobs.cron.cron_jobs import CronJob, Missed
from ropeline.jobs.cron.definitions import Applied, apply_definitions
from ropeline.jobs.durations import to_ms
from ropeline.jobs.errors import UnknownTask
from ropeline.jobs.handle import JobHandle
from ropeline.jobs.ids import job_id
from ropeline.jobs.many import Outcome, all_of, outcome_of, send
from ropeline.jobs.names import check_name, check_task_type
from ropeline.jobs.once import once
from ropeline.jobs.options import (
    LARGEST_PAYLOAD,
    Concurrency,
    Seconds,
    TaskOptions,
    Unique,
    check_metadata,
    check_whole,
)
from ropeline.jobs.payloads.codec import codec_named, codec_numbered
from ropeline.jobs.payloads.envelope import pack, unpack
from ropeline.jobs.queue_settings import settings_changes, shown_settings
from ropeline.jobs.task import AsyncTask, JobDraft, SyncTask, Task
from ropeline.jobs.tracer import enqueue_traced, send_traced
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType
    from uuid import UUID

    from ropeline.jobs.broker import Broker
    from ropeline.jobs.cron.cron_jobs import CronStore
    from ropeline.jobs.locks.locks import Locks
    from ropeline.jobs.tracer import Tracer

__all__ = ["Jobs"]

P = ParamSpec("P")
R = TypeVar("R")

_NO_TEXT: Final[Mapping[str, str]] = MappingProxyType({})
_DEFAULT_BACKOFF: Final = Exponential()


class _NeedsNoArguments(Protocol):
    """A task that `Jobs.cron` may decorate, as type checkers see it."""

    def build(self) -> JobDraft[Any]: ...


T = TypeVar("T", bound=_NeedsNoArguments)


class _Decorator(Protocol):
    """What `Jobs.task` with options returns; its overloads are those of `Jobs.task` without."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # as below
        self, function: Callable[Concatenate[object, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[Concatenate[object, P], R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # as below
        self, function: Callable[Concatenate[object, P], R], /
    ) -> SyncTask[Concatenate[object, P], R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # as below
        self, function: Callable[Concatenate[JobContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # as below
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[JobContext, P], R], /) -> SyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...


class Jobs:
    """The jobs of one stage: defines tasks, enqueues, finds. Belongs to no event loop, and connects when it is first used.

    ```
    app = Jobs("redis://localhost", stage="prod")


    @app.task
    async def confirm(order: int) -> None: ...


    handle = await confirm.enqueue(17)
    ```

    `url`: the store, as `ropeline.lua.address.ADDRESS_FORMS` says; `memory://` keeps jobs in this process, for tests.
    `stage`: jobs of different stages never meet. `queue`: of tasks that name none. `namespace`: first part of every key.
    `codec`: `json`, `msgpack` or `protobuf`. `queues`: names that may be used beside those of the tasks, `*` for any: an
    enqueue to another queue is refused, for nobody may serve it. `metadata`: added to that of every job. `payload_limit`:
    most bytes of a job's arguments, at most 983,040. `broker`: used instead of `url`: a function that makes one for an
    event loop, or a broker; one broker serves all event loops that use this object, which a MemoryBroker can.
    `tracing`: `ropeline.jobs.tracing.Tracing()` makes one OpenTelemetry trace of each job's life; None makes none.

    Each event loop has connections of its own; `async with app:` or `close` gives up those of the running one. The object
    may be used again afterwards.

    Raises:
        ConfigurationError: an argument is wrong; a password in the URL is not shown.

    """

    def __init__(
        self,
        url: str = "redis://127.0.0.1:6379/0",
        *,
        stage: str = "prod",
        queue: str = "default",
        namespace: str = "jobs",
        codec: str = "json",
        queues: Iterable[str] = (),
        metadata: Mapping[str, str] = _NO_TEXT,
        payload_limit: int = LARGEST_PAYLOAD,
        broker: Broker | Callable[[], Broker] | None = None,
        tracing: Tracer | None = None,
    ) -> None:
        self.stage = check_name("stage", stage)
        self.queue = check_name("queue", queue)
        self.namespace = check_name("namespace", namespace)
        self.codec = codec_named("codec", codec)
        self.metadata = check_metadata(metadata)
        self.payload_limit = check_whole("payload_limit", payload_limit, 1, LARGEST_PAYLOAD)
        self.tracing = tracing
        """Traces the jobs that are enqueued from now on, and those of workers that are made from now on; None: nothing does."""
        named = [queues] if isinstance(queues, str) else list(queues)
        self._allows_any_queue = "*" in named
        self._queues = {self.queue, *(check_name("queues", name) for name in named if name != "*")}
        self._tasks: dict[str, Task[..., Any]] = {}
        self._crons: dict[str, CronJob] = {}
        self.connections = Connections(url, namespace=self.namespace, stage=self.stage, broker=broker)
        """What gives each event loop its broker; `ropeline.jobs.testing` puts another one in its place."""
        self.clock: Callable[[], int] = time.time_ns
        """The producer's wall clock, ns: what a deadline counts from."""

    def __repr__(self) -> str:
        return f"<Jobs {self.connections.address} stage {self.stage}, {len(self._tasks)} tasks>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """The tasks by their type."""
        return MappingProxyType(self._tasks)

    @property
    def queues(self) -> frozenset[str]:
        """The queues that jobs may be enqueued to; with `*` more than these."""
        return frozenset(self._queues)

    # Tasks

    # A first parameter that takes any object takes a JobContext too, and is none: such functions come first.
    @overload
    def task(  # type: ignore[overload-overlap]  # the first that fits is meant
        self, function: Callable[Concatenate[object, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[Concatenate[object, P], R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]  # the first that fits is meant
        self, function: Callable[Concatenate[object, P], R], /
    ) -> SyncTask[Concatenate[object, P], R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]  # the first that fits is meant
        self, function: Callable[Concatenate[JobContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]  # the first that fits is meant
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[Concatenate[JobContext, P], R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(
        self,
        *,
        name: str | None = None,
        queue: str | None = None,
        max_attempts: int = 5,
        backoff: Backoff | Seconds = _DEFAULT_BACKOFF,
        timeout: Seconds = 300,
        grace: Seconds = 30,
        deadline: Seconds | None = None,
        priority: int = 5,
        unique: Unique | None = None,
        limit: Concurrency | None = None,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
        give_up_on: type[BaseException] | tuple[type[BaseException], ...] = (),
        result_ttl: Seconds = 0,
        finished_ttl: Seconds = 0,
        max_lost: int = 3,
    ) -> _Decorator: ...
    def task(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        queue: str | None = None,
        max_attempts: int = 5,
        backoff: Backoff | Seconds = _DEFAULT_BACKOFF,
        timeout: Seconds = 300,
        grace: Seconds = 30,
        deadline: Seconds | None = None,
        priority: int = 5,
        unique: Unique | None = None,
        limit: Concurrency | None = None,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
        give_up_on: type[BaseException] | tuple[type[BaseException], ...] = (),
        result_ttl: Seconds = 0,
        finished_ttl: Seconds = 0,
        max_lost: int = 3,
    ) -> Any:
        """Make a function, async or not, a task of this application: `@app.task`, or `@app.task(...)` with options.

        A parameter annotated JobContext is filled by the worker. To a type checker it is no argument of `enqueue` when it
        stands first, or has a default such as `job: JobContext | None = None`.

        `name`: the task's type in its jobs; None, `module:function`. It must stay the same while there are jobs of it.
        `queue`: None, the application's. `max_attempts`: runs that may fail, 1 to 10,000; the last failure makes the job a
        dead letter. `backoff`: the wait before the next attempt: Exponential, Fixed, seconds, or a function of
        (attempt, error, job). `timeout`: longest run, at most 7 days. `grace`: what a run that was told to stop has left
        before the lease is given up. `deadline`: how long after the moment at which it may first run a job is still of use;
        None for ever. `priority`: 0 to 9, the highest first. `unique`: which jobs are the same. `limit`: how many
        jobs of a key run at once or begin in a time, such as `Concurrency(by=("tenant",), most=3)`, and the key's share.
        `retry_on`, `give_up_on`: exceptions after which there is another attempt, and those of them after which there is none. `result_ttl`: how long
        the completed job is kept with its result; 0, not at all. `finished_ttl`: how long a job that has completed and leaves no result is
        remembered, so that another delivery of it does not run; it costs two calls a job; 0, not at all. `max_lost`: leases that a job may lose before it is a dead
        letter, 1 to 100. Lengths of time are seconds or timedeltas.

        Raises:
            ConfigurationError: an option is wrong, an annotation cannot travel, or another task has the name.

        """

        def decorate(function: Callable[..., Any]) -> Task[..., Any]:
            options = TaskOptions.checked(
                queue=self.queue if queue is None else queue,
                max_attempts=max_attempts,
                backoff=backoff,
                timeout=timeout,
                grace=grace,
                deadline=deadline,
                priority=priority,
                unique=unique,
                limit=limit,
                retry_on=retry_on,
                give_up_on=give_up_on,
                result_ttl=result_ttl,
                finished_ttl=finished_ttl,
                max_lost=max_lost,
            )
            return self._add(function, name, options)

        return decorate if function is None else decorate(function)

    def find_task(self, type: str) -> Task[..., Any]:
        """The task of this type; raises UnknownTask."""
        task = self._tasks.get(type)
        if task is None:
            raise UnknownTask(type, list(self._tasks))
        return task

    def check_queue(self, queue: str) -> None:
        """Raise ConfigurationError unless jobs may be enqueued to this queue."""
        if queue not in self._queues and not self._allows_any_queue:
            known = ", ".join(sorted(self._queues))
            raise ConfigurationError("queue", queue, f"one of: {known}; Jobs(queues=[...]) names more, or * for any")

    # Cron jobs

    @property
    def cron_jobs(self) -> Mapping[str, CronJob]:
        """The cron jobs that `cron` and `schedule` have defined, by their names."""
        return MappingProxyType(self._crons)

    def cron(
        self,
        line: str,
        *,
        name: str | None = None,
        timezone: str = "UTC",
        missed: Missed = Missed.LATEST,
        late: Seconds = 60,
    ) -> Callable[[T], T]:
        """Enqueue a job of a task that needs no arguments at every tick: `@app.cron("*/5 * * * *")` above `@app.task`.

        `name`: None, the task's type. The rest, and what is raised, is as for `schedule`; TypeError when the task needs arguments.
        """

        def decorate(task: T) -> T:
            given: object = task
            if not isinstance(given, Task):
                raise ConfigurationError("cron", given, "a task: @app.cron stands above @app.task")
            self.schedule(
                given.type if name is None else name, line, task.build(), timezone=timezone, missed=missed, late=late
            )
            return task

        return decorate

    def schedule(
        self,
        name: str,
        line: str,
        draft: JobDraft[Any],
        *,
        timezone: str = "UTC",
        missed: Missed = Missed.LATEST,
        late: Seconds = 60,
    ) -> CronJob:
        """Enqueue a job that `Task.build` made at every tick: `app.schedule("nightly", "0 3 * * *", report.build(kind="daily"))`.

        Nothing is written yet: workers bring the definition into the store when they start, and so does `ropeline cron apply`.
        Each tick is one job, however many workers there are; its metadata say which: `cron`, `cron_tick`.

        `name`: one in this application. `line`: five fields, `@hourly` to `@yearly`, or `@every` and a distance (`90s`, `1h30m`).
        `timezone`: of the five fields, a name of the IANA data. `missed`: what becomes of ticks at which no worker was there;
        of Missed.SKIP, `late` is how far back a tick may lie that still runs, seconds or a timedelta.

        Raises:
            ConfigurationError: an argument is wrong, another cron job has the name, or the job has a time of its own.

        """
        if name in self._crons:
            raise ConfigurationError("name", name, "a name that no other cron job of this application has")
        if draft.task.app is not self:
            raise ConfigurationError("draft", draft.task.type, "a job of a task of this application")
        # When it was defined is no part of a definition, which is the same in every process.
        envelope = unpack(draft.job.body)._replace(enqueued=0)
        cron = CronJob(
            name=name,
            queue=draft.queue,
            line=line,
            job=draft.job._replace(id=b"", body=pack(envelope)),
            zone=timezone,
            missed=missed,
            late=to_ms("late", late, least=1),
        )
        self._crons[name] = cron
        return cron

    async def define_cron_jobs(self, *, may_go_back: bool = False) -> list[Applied]:
        """Bring the definitions of this application's cron jobs into the store; what became of each. A worker does it by itself.

        One that the store has already stays as it is, and so does one that took the place of this one, unless `may_go_back`.
        Cron jobs that this application does not define stay: `ropeline cron remove` ends them.

        Raises:
            StoreError: the store does not do its work; it may be repeated.
            ConfigurationError: the broker keeps no cron jobs, or the queue has as many as it may.

        """
        return await apply_definitions(self.cron_store(), self._crons.values(), may_go_back=may_go_back)

    def cron_store(self) -> CronStore:
        """Where the cron jobs of this stage are, for the running event loop; raises ConfigurationError for a broker without."""
        broker: object = self.broker()
        if not isinstance(broker, KeepsCronJobs):
            raise ConfigurationError(
                "broker", type(broker).__name__, "one that keeps cron jobs, as those of Ropeline do"
            )
        return broker.cron_store()

    # Locks

    @property
    def locks(self) -> Locks:
        """The locks of this stage, for the running event loop; they end with `close`. Raises ConfigurationError for a broker without."""
        broker: object = self.broker()
        if not isinstance(broker, KeepsLocks):
            raise ConfigurationError("broker", type(broker).__name__, "one that keeps locks, as those of Ropeline do")
        return broker.locks()

    # Jobs

    async def enqueue(self, draft: JobDraft[R]) -> JobHandle[R]:
        """Enqueue one job that `Task.build` made; see `Task.enqueue`."""
        if self.tracing is None:
            (answer,) = await self.broker().enqueue(draft.queue, [draft.job])
        else:
            (answer,) = await enqueue_traced(self.tracing, self.broker(), draft)
        outcome = outcome_of(draft, answer)
        if outcome.handle is None:
            raise outcome.error or AssertionError
        return outcome.handle

    def enqueue_sync(self, draft: JobDraft[R]) -> JobHandle[R]:
        """Enqueue one job from a thread that has no event loop; see `Task.enqueue_sync`."""
        return self.run_sync(lambda: self.enqueue(draft), instead="await task.enqueue(...)")

    async def enqueue_many(self, drafts: Iterable[JobDraft[R]]) -> list[Outcome[R]]:
        """Enqueue jobs that `Task.build` made, in calls of at most 100 jobs and 1 MiB each; what became of each, in their order.

        All drafts are made before the first is sent, so that a wrong argument in the last one enqueues nothing. Jobs of one
        queue are sent in their order. A job whose unique key is held is an outcome here, also with `on_conflict="raise"`.

        Raises:
            PartlyEnqueued: the store failed; its `outcomes` tell for each job whether it is in, may be in, or was not sent.

        """
        made = await all_of(drafts)
        if self.tracing is None:
            return await send(self.broker, made)
        return await send_traced(self.tracing, self.broker, made)

    def job(self, queue: str, id: UUID | bytes | str) -> JobHandle[Any]:
        """A handle of any job, whose result is plain data; `Task.handle` gives one with the task's type. Nothing is asked yet."""
        return self.make_handle(check_name("queue", queue), job_id("id", id), read=_plain_result)

    def make_handle(self, queue: str, id: bytes, *, read: Callable[[bytes], R], is_new: bool = False) -> JobHandle[R]:
        """A handle that asks this application's broker, and reads a result by `read`."""
        return JobHandle(queue, id, broker=self.broker, read=read, is_new=is_new)

    def once(self, *name: str | bytes, keep: Seconds = timedelta(days=7)) -> AbstractAsyncContextManager[bool]:
        """Do an effect for all runs of a job once: `async with app.once("charge", order) as is_first:`; see `ropeline.jobs.once`.

        `name`: of the effect, in this stage. `keep`: how long it counts as done, seconds or a timedelta.
        """
        return once(self.broker(), *name, keep=keep)

    # Queues

    async def configure_queue(self, queue: str, **changes: Seconds) -> dict[str, int | float]:
        """Change settings of a queue for all its producers and workers, at once; all settings as they are then.

        `most_bytes`: of bodies and results; an enqueue beyond it raises QueueFull. `rate`, `per`: jobs that begin in so many
        seconds. `ageing`: seconds after which a pending job counts as of a higher priority. `dead_age`, `dead_count`,
        `dead_bytes`, `cancelled_age`, `completed_count`, `parked_age`: what is kept. 0: no limit. Raises ConfigurationError.
        """
        made = settings_changes(changes)
        return shown_settings(await self.broker().configure(check_name("queue", queue), made))

    # Connections

    def connect(self) -> Broker:
        """A broker for an event loop that looks after it itself, and closes it; with `memory://` and `broker=` the one there is."""
        return self.connections.connect()

    def broker(self) -> Broker:
        """The broker of the running event loop, made when it is first asked for; raises RuntimeError without a loop."""
        return self.connections.broker()

    def run_sync(self, make: Callable[[], Coroutine[Any, Any, R]], *, instead: str) -> R:
        """Run a coroutine for a thread that has no event loop; raises RuntimeError in one that has, naming what to use `instead`."""
        return self.connections.run_sync(make, instead=instead)

    async def close(self) -> None:
        """Give up the connections of the running event loop, and those of `enqueue_sync`."""
        await self.connections.close()

    def close_sync(self) -> None:
        """Give up the connections of `enqueue_sync`, in a program without an event loop of its own."""
        self.connections.close_sync()

    def _add(self, function: Callable[..., Any], name: str | None, options: TaskOptions) -> Task[..., Any]:
        given: object = function
        if not callable(given) or isinstance(given, type | Task) or not hasattr(given, "__qualname__"):
            raise ConfigurationError("task", given, "a function")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError("task", function, "a function that returns, not one that yields")
        type_ = check_task_type("name", _default_type(function) if name is None else name)
        if type_ in self._tasks:
            raise ConfigurationError("name", type_, "a name that no other task of this application has")
        kind: type[Task[..., Any]] = AsyncTask if inspect.iscoroutinefunction(function) else SyncTask
        task = kind(self, function, type_, options)
        self._tasks[type_] = task
        self._queues.add(options.queue)
        return task


def _default_type(function: Callable[..., Any]) -> str:
    module = function.__module__
    if module == "__main__":
        # A worker imports the same file under its own name.
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        file = getattr(main, "__file__", None)
        module = spec.name if spec is not None else Path(file).stem if file else module
    return f"{module}:{function.__qualname__}"


def _plain_result(data: bytes) -> Any:
    return codec_numbered(data[0]).decode(data[1:])
