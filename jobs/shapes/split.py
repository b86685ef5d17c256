"""What a handler returns to have its job done by parts: these, and what runs when they have ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar

from ropeline.jobs.broker import LARGEST_SPLIT
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.jobs.task import JobDraft

__all__ = ["OnFailure", "Split", "check_on_failure", "check_parts"]

R = TypeVar("R")

OnFailure: TypeAlias = Literal["fail", "continue"]
"""What a part that does not complete does to the job: makes it a dead letter at once and stops the others, or nothing."""

_CHOICES: Final = ("fail", "continue")


class Split(Generic[R]):
    """Returned by a handler: the job goes on as these parts, 1,000 at most, which run in parallel on their queues.

    When all have ended, `finish` runs as this job: under its id, with what it returns as the job's result, which is kept as long
    as this task says. An argument PREVIOUS of it is the list of the parts' results, in their order, None for one that failed; its
    `JobContext.outcomes` tells of each. Without `finish`, that list is the result.

    `on_failure`: a part that fails for good, or is cancelled or purged, makes the job a dead letter at once and has the other
    parts stopped (`fail`), or counts as ended (`continue`).

    Raises:
        ConfigurationError: there are too many parts, or one cannot be a part.

    """

    __slots__ = ("finish", "on_failure", "parts")

    def __init__(
        self, parts: Iterable[JobDraft[Any]], finish: JobDraft[R] | None = None, *, on_failure: OnFailure = "fail"
    ) -> None:
        self.parts = check_parts(parts)
        self.finish = finish
        self.on_failure = check_on_failure(on_failure)


def check_parts(parts: Iterable[JobDraft[Any]]) -> tuple[JobDraft[Any], ...]:
    """The parts of a job; raises ConfigurationError for too many, and for one with a unique key: it might not be taken in."""
    made = tuple(parts)
    if len(made) > LARGEST_SPLIT:
        raise ConfigurationError("parts", len(made), f"at most {LARGEST_SPLIT:,}; a part may be split itself")
    for draft in made:
        if draft.unique is not None:
            raise ConfigurationError("parts", draft.task.type, "jobs without a unique key: task.using(unique=None)")
    return made


def check_on_failure(on_failure: object) -> OnFailure:
    """Raise ConfigurationError unless it is one of the two."""
    if on_failure == "fail":
        return "fail"
    if on_failure == "continue":
        return "continue"
    raise ConfigurationError("on_failure", on_failure, f"one of: {', '.join(_CHOICES)}")
