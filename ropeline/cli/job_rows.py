"""Jobs and depths as rows for people and as documents for programs.

What a job brought along is shown with its control characters written out: an error text must not move the cursor of the
operator's terminal.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from ropeline.cli.times import age, iso_utc, until_or_since
from ropeline.jobs.errors import Undecodable
from ropeline.jobs.ids import created_ms
from ropeline.jobs.payloads.codec import codec_numbered
from ropeline.jobs.payloads.envelope import Envelope, unpack
from ropeline.jobs.records import Depths, JobState, JobView, PausedTask
from ropeline.lua.errors import ConfigurationError

__all__ = [
    "STATES",
    "depths_document",
    "job_details",
    "job_document",
    "job_row",
    "job_type",
    "pause_words",
    "printable",
    "task_pause_words",
]

STATES: Final = (
    JobState.PENDING,
    JobState.ACTIVE,
    JobState.SCHEDULED,
    JobState.RETRY,
    JobState.HELD,
    JobState.PARKED,
    JobState.BLOCKED,
    JobState.DEAD,
    JobState.COMPLETED,
    JobState.CANCELLED,
)
"""Every state, in the order in which operators ask."""
_AT: Final = {
    JobState.SCHEDULED: "runs at",
    JobState.RETRY: "runs at",
    JobState.PENDING: "pending since",
    JobState.ACTIVE: "running since",
    JobState.PARKED: "parked at",
    JobState.DEAD: "died at",
    JobState.COMPLETED: "completed at",
    JobState.CANCELLED: "cancelled at",
}
_LONGEST_ERROR: Final = 60
_LONGEST_VALUE: Final = 1000
_NO_TYPE: Final = "(cannot be read)"


def printable(text: str, most: int = _LONGEST_VALUE) -> str:
    """The text in one line of at most `most` characters, what does not print as its escape."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def job_type(view: JobView) -> str | None:
    """The task type of a job, None when its body cannot be read."""
    envelope = _envelope(view)
    return None if isinstance(envelope, str) else envelope.type


def job_row(view: JobView, now: int) -> list[str]:
    """A job as one row: id, type, attempts, the time that matters in its state, how far that is from `now`, and what went wrong."""
    moment = [iso_utc(view.at), until_or_since(view.at, now)] if view.at else ["-", "-"]
    wrong = ": ".join(part for part in (view.reason, view.error) if part)
    return [
        view.id.hex(),
        printable(job_type(view) or _NO_TYPE),
        str(view.attempts),
        *moment,
        printable(wrong, _LONGEST_ERROR),
    ]


def job_details(queue: str, view: JobView, now: int) -> list[list[str]]:
    """Everything about a job, a label and a text each."""
    envelope = _envelope(view)
    state = f"{view.state}, its worker is being told to stop" if view.is_cancelling else str(view.state)
    rows = [["id", view.id.hex()], ["queue", queue], ["state", state]]
    if isinstance(envelope, str):
        rows.append(["type", f"{_NO_TYPE}: {envelope}"])
    else:
        rows.append(["type", envelope.type])
    created = created_ms(view.id)
    for label, moment in (("created at", created), (_AT.get(view.state, "since"), view.at)):
        if moment:
            rows.append([label, f"{iso_utc(moment)}  {until_or_since(moment, now)}"])
    rows += [["priority", str(view.priority)], ["attempts", str(view.attempts)], ["lost leases", str(view.lost)]]
    if not isinstance(envelope, str):
        rows += [[name, str(value)] for name, value in _own_options(envelope).items()]
        rows += [[f"metadata {printable(name)}", value] for name, value in envelope.metadata.items()]
        value, codec = _plain(envelope.payload, envelope.codec)
        rows.append([f"payload, {codec}", _one_line(value, len(envelope.payload))])
    rows += [
        [label, text]
        for label, text in (("worker", view.worker), ("reason", view.reason), ("error", view.error))
        if text
    ]
    if view.result:
        value, codec = _plain(view.result[1:], view.result[0])
        rows.append([f"result, {codec}", _one_line(value, len(view.result) - 1)])
    return [[label, printable(text, _LONGEST_VALUE + 60)] for label, text in rows]


def job_document(queue: str, view: JobView, now: int, *, whole: bool) -> dict[str, object]:
    """A job under the names that `--json` promises; `whole`: with payload, result and options too."""
    envelope = _envelope(view)
    readable = not isinstance(envelope, str)
    created = created_ms(view.id)
    document: dict[str, object] = {
        "id": view.id.hex(),
        "queue": queue,
        "state": str(view.state),
        "type": envelope.type if isinstance(envelope, Envelope) else None,
        "created_at": None if created is None else iso_utc(created),
        "at": iso_utc(view.at) if view.at else None,
        "age_seconds": (now - view.at) / 1000 if view.at else None,
        "priority": view.priority,
        "attempts": view.attempts,
        "lost": view.lost,
        "reason": view.reason,
        "error": view.error,
        "cancelling": view.is_cancelling,
    }
    if whole:
        document["worker"] = view.worker
        if isinstance(envelope, Envelope):
            value, codec = _plain(envelope.payload, envelope.codec)
            document |= {"payload": value, "codec": codec, "payload_bytes": len(envelope.payload)}
            document |= {"options": _own_options(envelope), "metadata": dict(envelope.metadata)}
        document["result"] = _plain(view.result[1:], view.result[0])[0] if view.result else None
    if not readable:
        document["undecodable"] = envelope
    return document


def depths_document(queue: str, depths: Depths) -> dict[str, object]:
    """A queue under the names that `--json` promises."""
    return {
        "queue": queue,
        **{str(state): getattr(depths, state) for state in STATES},
        "oldest_pending_seconds": (depths.now - depths.oldest_pending) / 1000 if depths.oldest_pending else None,
        "next_due": iso_utc(depths.next_due) if depths.next_due else None,
        "paused": depths.paused,
        "pause_reason": depths.pause_reason,
        "resumes_at": iso_utc(depths.resumes_at) if depths.resumes_at else None,
        "paused_tasks": {
            task: {"reason": reason, "resumes_at": iso_utc(at) if at else None}
            for task, reason, at in depths.paused_tasks
        },
        "bytes": depths.bytes,
        "dead_bytes": depths.dead_bytes,
        "counters": depths.counters,
    }


def pause_words(depths: Depths) -> str:
    """Whether the queue is paused, why, and until when; else which of its tasks are."""
    if not depths.paused:
        tasks = ", ".join(printable(task, _LONGEST_ERROR) for task, _, _ in depths.paused_tasks)
        return f"open but for {tasks}" if tasks else "open"
    return task_pause_words(PausedTask("", depths.pause_reason, depths.resumes_at), depths.now)


def task_pause_words(pause: PausedTask, now: int) -> str:
    """That it is paused, why, and until when."""
    words = f"paused: {printable(pause.reason, _LONGEST_ERROR)}" if pause.reason else "paused"
    return f"{words}, resumes in {age(pause.resumes_at - now)}" if pause.resumes_at else words


def _envelope(view: JobView) -> Envelope | str:
    """What the body says, or why it cannot be read."""
    try:
        return unpack(view.body)
    except Undecodable as error:
        return str(error)


def _own_options(envelope: Envelope) -> dict[str, object]:
    """What this job has of its own, in the units of the command line."""
    options: dict[str, object] = {}
    if envelope.max_attempts is not None:
        options["max_attempts"] = envelope.max_attempts
    for name, milliseconds in (
        ("timeout_seconds", envelope.timeout),
        ("grace_seconds", envelope.grace),
        ("result_ttl_seconds", envelope.result_ttl),
    ):
        if milliseconds is not None:
            options[name] = milliseconds / 1000
    if envelope.deadline is not None:
        options["deadline"] = iso_utc(envelope.deadline)
    return options


def _plain(data: bytes, number: int) -> tuple[Any, str]:
    """Data as JSON can show it, and the codec's name; what cannot be read here, or is no JSON, is base 64 of the bytes."""
    try:
        codec = codec_numbered(number)
        value = codec.decode(data)
        json.dumps(value, allow_nan=False)
    except (Undecodable, ConfigurationError, TypeError, ValueError, RecursionError):
        return {"base64": base64.b64encode(data).decode()}, f"codec {number}"
    return value, codec.name


def _one_line(value: Mapping[str, object] | Any, size: int) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}... ({size:,} bytes; --json prints all)"
