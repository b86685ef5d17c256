"""Reads lists of jobs in bounded calls, over one queue or several, with a cursor that says how to go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ropeline.jobs.records import JobState, JobView, Page
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.jobs.brokers.redis import RedisBroker

__all__ = ["CALL", "Listed", "every_match", "read_list"]

CALL: Final = 100
"""Most jobs in one call of the store."""
_EXPECTED: Final = "the cursor that this list gave with its last page"


@dataclass(frozen=True, slots=True)
class Listed:
    """Jobs with their queues, and the cursor of the rest, empty when there is none."""

    jobs: list[tuple[str, JobView]]
    cursor: str


async def read_list(
    broker: RedisBroker,
    queues: Sequence[str],
    state: JobState,
    *,
    cursor: str,
    limit: int,
    matches: Callable[[JobView], bool] | None = None,
) -> Listed:
    """The first `limit` jobs that match, from `cursor` on; raises ConfigurationError for a cursor of another list."""
    at, rest = _read_cursor(cursor, queues, state)
    found: list[tuple[str, JobView]] = []
    while at < len(queues):
        room = limit - len(found)
        page = await _page(broker, queues[at], state, rest, CALL if matches else min(CALL, room))
        fitting = _fitting(page, matches)
        if len(fitting) >= room and fitting[room - 1] is not page.jobs[-1]:
            # Only a page that ends with the last job shown has the cursor to go on from.
            page = await _page(broker, queues[at], state, rest, page.jobs.index(fitting[room - 1]) + 1)
            fitting = _fitting(page, matches)
        found += [(queues[at], view) for view in fitting[:room]]
        rest = page.cursor
        at += 0 if rest else 1
        if len(found) == limit:
            break
    return Listed(found, f"{queues[at]}:{state}:{rest}" if at < len(queues) else "")


async def every_match(
    broker: RedisBroker, queue: str, state: JobState, matches: Callable[[JobView], bool]
) -> AsyncIterator[list[bytes]]:
    """The ids of all jobs that match, a call's worth at a time."""
    cursor = ""
    while True:
        page = await broker.jobs_in(queue, state, cursor=cursor, limit=CALL)
        yield [view.id for view in page.jobs if matches(view)]
        cursor = page.cursor
        if not cursor:
            return


async def _page(broker: RedisBroker, queue: str, state: JobState, cursor: str, limit: int) -> Page:
    try:
        return await broker.jobs_in(queue, state, cursor=cursor, limit=limit)
    except ConfigurationError as error:
        raise ConfigurationError("--cursor", error.value, _EXPECTED) from None


def _fitting(page: Page, matches: Callable[[JobView], bool] | None) -> list[JobView]:
    return page.jobs if matches is None else [view for view in page.jobs if matches(view)]


def _read_cursor(cursor: str, queues: Sequence[str], state: JobState) -> tuple[int, str]:
    """Which queue to go on with, and the broker's own cursor in there."""
    if not cursor:
        return 0, ""
    queue, _, others = cursor.partition(":")
    named, sign, rest = others.partition(":")
    if not sign or named != state or queue not in queues:
        raise ConfigurationError("--cursor", cursor, _EXPECTED)
    return queues.index(queue), rest
