"""Reads a delivery into a call of its task's function, and says what the end of the run means for the job."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from ropeline.jobs.backoff import Exponential, delay_ms
from ropeline.jobs.context import JobContext, enter
from ropeline.jobs.durations import to_ms
from ropeline.jobs.errors import Cancelled, Discard, JobError, Retry, Snooze, Undecodable
from ropeline.jobs.payloads.envelope import Envelope, pack, unpack
from ropeline.jobs.records import Finish, FinishKind, NewJob
from ropeline.jobs.shapes.chains import next_job
from ropeline.jobs.shapes.groups import GATHER, SPLIT, gather_body, gathered, order_of, read_split
from ropeline.jobs.shapes.split import Split
from ropeline.jobs.worker.finished import FinishedMark
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.jobs.locks.job_locks import JobLocks
    from ropeline.jobs.task import Task
    from ropeline.jobs.worker.run import Run

__all__ = ["LARGEST_ERROR", "LARGEST_PART_RESULT", "LARGEST_RESULT", "TaskHandlers", "UnknownPolicy", "error_text"]

_log = logging.getLogger("ropeline.jobs.worker.handlers")

UnknownPolicy: TypeAlias = Literal["park", "retry", "dead"]
"""What becomes of a job whose task type the worker does not know."""

LARGEST_ERROR: Final = 1024
"""Most bytes of the text that says why a run failed."""
LARGEST_RESULT: Final = 256 * 1024
"""Most bytes of a result that is kept."""
LARGEST_PART_RESULT: Final = 16 * 1024
"""Most bytes of the result that a part leaves for the job that it is a part of."""

_FRAMES_SHOWN: Final = 4
_UNKNOWN: Final = "(unknown)"
_UNDECODABLE: Final = "(undecodable)"
_POLICIES: Final = ("park", "retry", "dead")
_UNKNOWN_ATTEMPTS: Final = 10
_UNKNOWN_BACKOFF: Final = Exponential(base=5.0, cap=600.0)


class TaskHandlers:
    """Knows the tasks of one program. `unknown`: park (until a worker comes that knows the type), retry or dead.

    `locks`: gives locks to the jobs that run; None: nothing does.

    Raises:
        ConfigurationError: `unknown` is something else.

    """

    def __init__(
        self, tasks: Mapping[str, Task[..., Any]], *, unknown: UnknownPolicy = "park", locks: JobLocks | None = None
    ) -> None:
        if unknown not in _POLICIES:
            raise ConfigurationError("unknown", unknown, f"one of: {', '.join(_POLICIES)}")
        self._tasks = tasks
        self._unknown = unknown
        self._locks = locks
        self._task_run: Callable[..., TaskRun] = TaskRun

    def prepare(self, run: Run) -> TaskRun | Finish:
        """See ropeline.jobs.worker.runner.Handlers."""
        claimed = run.claimed
        try:
            envelope = unpack(claimed.body)
        except Undecodable as error:
            return self._undecodable(run, _UNDECODABLE, error)
        task = self._tasks.get(envelope.type)
        if task is None:
            if envelope.type in {SPLIT, GATHER}:
                return self._shape(run, envelope)
            return self._unknown_type(run, envelope, "no task of this type is registered")
        run.task = envelope.type
        options = task.options
        if claimed.lost >= options.max_lost:
            return _dead(run, b"poison", f"lost {claimed.lost} leases")
        if envelope.deadline is not None and claimed.claimed >= envelope.deadline:
            return _dead(run, b"deadline", "claimed after its deadline")
        max_attempts = envelope.max_attempts or options.max_attempts
        context = JobContext(
            id=run.id.hex(),
            task=envelope.type,
            queue=run.queue,
            attempt=claimed.attempts + 1,
            max_attempts=max_attempts,
            metadata=envelope.metadata,
            flags=run,
            locks=self._locks,
            outcomes=claimed.outcomes or (),
        )
        try:
            if claimed.outcomes is not None and envelope.fills:
                envelope = envelope._replace(previous=gathered(claimed.outcomes))
            arguments = task.read(envelope, context)
        except ConfigurationError as error:
            return self._unknown_type(run, envelope, str(error))
        except Exception as error:  # noqa: BLE001 - a type of the user's own may raise anything while it is made
            return self._undecodable(run, envelope.type, error)
        return self._task_run(run, task, envelope, context, arguments)

    def _shape(self, run: Run, envelope: Envelope) -> Finish:
        """A job of a type of ours: it has no handler, and is split, or gathers what its parts have left."""
        run.task = envelope.type
        try:
            if envelope.type == SPLIT:
                parts, body, fails = read_split(envelope.payload)
                finish = unpack(body)._replace(then=envelope.then, trace=envelope.trace)
                return _split(run, parts, finish, fails=fails)
            result = gathered(run.claimed.outcomes or ())
            return _completed(run, envelope, lambda: result, envelope.result_ttl or 0)
        except Exception as error:  # noqa: BLE001 - bytes that no job of ours can have
            return self._undecodable(run, envelope.type, error)

    def _undecodable(self, run: Run, label: str, error: Exception) -> Finish:
        run.task = label
        _log.warning("job %s of %s cannot be read: %s", run.id.hex(), run.queue, error)
        return _dead(run, b"undecodable", str(error) if isinstance(error, Undecodable) else error_text(error))

    def _unknown_type(self, run: Run, envelope: Envelope, why: str) -> Finish:
        # Whoever enqueues chooses the type: as a label it could be anything, and any number of them.
        run.task = _UNKNOWN
        _log.debug("job %s of %s (%s): %s", run.id.hex(), run.queue, envelope.type, why)
        detail = envelope.type.encode()[:255]
        if self._unknown == "park":
            return Finish(FinishKind.PARK, run.id, run.fence, detail=detail)
        failed = run.claimed.attempts + 1
        if self._unknown == "dead" or failed >= (envelope.max_attempts or _UNKNOWN_ATTEMPTS):
            return _dead(run, b"unknown", f"{envelope.type}: {why}")
        delay = round(_UNKNOWN_BACKOFF.ceiling_ms(failed))
        return Finish(FinishKind.RETRY, run.id, run.fence, delay=delay, error=_bounded(f"{envelope.type}: {why}"))


class TaskRun:
    """One call of a task's function. See ropeline.jobs.worker.runner.Prepared."""

    __slots__ = ("_args", "_context", "_envelope", "_kwargs", "_mark", "_run", "_task", "grace", "is_async", "timeout")

    def __init__(
        self,
        run: Run,
        task: Task[..., Any],
        envelope: Envelope,
        context: JobContext,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
    ) -> None:
        options = task.options
        self._run = run
        self._task = task
        self._envelope = envelope
        self._context = context
        self._args, self._kwargs = arguments
        self._mark = None
        if options.finished_ttl and not (self._kept() or envelope.then or run.claimed.is_part):
            self._mark = FinishedMark(task.app, run.queue, run.id, options.finished_ttl)
        self.is_async = task.is_async
        self.timeout = (options.timeout if envelope.timeout is None else envelope.timeout) / 1000
        self.grace = (options.grace if envelope.grace is None else envelope.grace) / 1000

    def enter(self) -> None:
        """Make this the current job of the context that the caller runs in."""
        enter(self._context)

    def call(self) -> Any:
        """Call the task's function."""
        if self._mark is None:
            return self._task.function(*self._args, **self._kwargs)
        call = partial(self._task.function, *self._args, **self._kwargs)
        return self._mark.call(call) if self.is_async else self._mark.call_sync(call)

    def completed(self, value: Any) -> Finish:
        """The run returned: with its result, where one is kept."""
        run = self._run
        keep = self._kept()
        if not keep and not self._envelope.then and not run.claimed.is_part and not isinstance(value, Split):
            return Finish(FinishKind.COMPLETED, run.id, run.fence)
        try:
            if isinstance(value, Split):
                return self._split(value, keep)
            return _completed(run, self._envelope, lambda: self._dumped(value), keep)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it: who waits for the result must be told
            return _dead(run, b"result", str(error) if isinstance(error, JobError) else error_text(error))

    def _kept(self) -> int:
        """How long the result is kept, ms."""
        return self._task.options.result_ttl if self._envelope.result_ttl is None else self._envelope.result_ttl

    def _split(self, split: Split[Any], keep: int) -> Finish:
        """The job goes on as its parts, and then as what finishes it."""
        body = gather_body(keep) if split.finish is None else split.finish.job.body
        finish = unpack(body)
        if finish.type not in {SPLIT, GATHER}:
            ttl = keep if finish.result_ttl is None and keep else finish.result_ttl
            finish = finish._replace(result_ttl=ttl)
        if self._envelope.then or self._envelope.trace:
            finish = finish._replace(then=self._envelope.then or finish.then, trace=self._envelope.trace)
        parts = [(draft.queue, draft.job) for draft in split.parts]
        return _split(self._run, parts, finish, fails=split.on_failure == "fail")

    def _dumped(self, value: Any) -> bytes:
        result = self._task.arguments.dump_result(value)
        if len(result) > LARGEST_RESULT:
            raise JobError(f"the result takes {len(result):,} bytes, at most {LARGEST_RESULT:,} are kept")
        return result

    def failed(self, error: BaseException) -> Finish:
        """The run raised: a word about how it is to go on, or a failure."""
        run = self._run
        if isinstance(error, Cancelled):
            return self.cancelled()
        if isinstance(error, Discard):
            return _dead(run, b"discarded", error.reason or "discarded by its handler")
        try:
            if isinstance(error, Snooze):
                return Finish(FinishKind.SNOOZE, run.id, run.fence, delay=to_ms("after", error.after))
            if isinstance(error, Retry):
                delay = None if error.after is None else to_ms("after", error.after)
                return self._again(error, error.reason or "retry asked for by its handler", delay)
        except ConfigurationError as wrong:
            return self._again(wrong, error_text(wrong), None)
        options = self._task.options
        # What is no Exception, as sys.exit() in a handler, is a failure like any other unless it is named.
        may_retry = (
            options.retries(error) if isinstance(error, Exception) else not isinstance(error, options.give_up_on)
        )
        if not may_retry:
            return _dead(run, b"discarded", error_text(error))
        return self._again(error, error_text(error), None)

    def timed_out(self) -> Finish:
        """The run took too long."""
        return self._again(TimeoutError("timeout"), "timeout", None)

    def cancelled(self) -> Finish:
        """Somebody has cancelled the job."""
        return Finish(FinishKind.CANCELLED, self._run.id, self._run.fence)

    def released(self) -> Finish:
        """The job was taken from its handler."""
        return Finish(FinishKind.RELEASE, self._run.id, self._run.fence)

    def _again(self, error: BaseException, text: str, delay: int | None) -> Finish:
        """Another run, after `delay` ms (None: by the task's back-off), or the end when this was the last one."""
        run, context = self._run, self._context
        if context.attempt >= context.max_attempts:
            return _dead(run, b"attempts", text)
        if delay is None:
            delay = self._delay(error)
        return Finish(FinishKind.RETRY, run.id, run.fence, delay=delay, error=_bounded(text))

    def _delay(self, error: BaseException) -> int:
        attempt = self._context.attempt
        try:
            return delay_ms(self._task.options.backoff, attempt, error, self._context)
        except Exception:  # noqa: BLE001 - the user's function; the job must go on all the same
            _log.exception("%s: its back-off failed; the usual one is used", self._task.type)
            return delay_ms(Exponential(), attempt, error, self._context)


def error_text(error: BaseException) -> str:
    """What is kept of a failure: its type and message, and where it was raised, the innermost frame first."""
    frames = [
        f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{line} {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
    ]
    # The outermost frames are the worker's own.
    where = " < ".join(reversed(frames[-_FRAMES_SHOWN:]))
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - the error of an error
        message = "(its message cannot be shown)"
    head = f"{type(error).__name__}: {message}" if message else type(error).__name__
    tail = f"\n{where}" if where else ""
    room = LARGEST_ERROR - len(tail.encode("utf-8", "replace"))
    return _cut(head, room) + tail


def _completed(run: Run, envelope: Envelope, dumped: Callable[[], bytes], keep: int) -> Finish:
    """The end of a job with its result, where somebody wants it: who asks later, the next job, or the job that it is a part of."""
    then, is_part = envelope.then, run.claimed.is_part
    if not keep and not then and not is_part:
        return Finish(FinishKind.COMPLETED, run.id, run.fence)
    hand_over = (next_job(then, run.id, dumped, envelope.trace),) if then else ()
    reports = is_part and not then
    result = dumped() if keep or reports else b""
    if reports and len(result) > LARGEST_PART_RESULT:
        raise JobError(f"the result takes {len(result):,} bytes, a part leaves at most {LARGEST_PART_RESULT:,}")
    return Finish(FinishKind.COMPLETED, run.id, run.fence, result=result, keep=keep, hand_over=hand_over)


def _split(run: Run, parts: Sequence[tuple[str, NewJob]], finish: Envelope, *, fails: bool) -> Finish:
    order = order_of(run.queue, run.id, run.fence, parts, pack(finish), fails=fails, trace=finish.trace)
    return Finish(FinishKind.SPLIT, run.id, run.fence, split=order)


def _dead(run: Run, reason: bytes, text: str) -> Finish:
    return Finish(FinishKind.DEAD, run.id, run.fence, error=_bounded(text), detail=reason)


def _bounded(text: str) -> bytes:
    return _cut(text, LARGEST_ERROR).encode("utf-8", "replace")


def _cut(text: str, size: int) -> str:
    """As much of a text as takes at most `size` bytes."""
    data = text.encode("utf-8", "replace")
    return text if len(data) <= size else f"{data[: size - 3].decode('utf-8', 'ignore')}..."
