"""Brings the cron jobs of a program into the store, so that two versions of the program side by side do not undo each other.

A definition that the store has already changes nothing. Another one takes its place, and the store remembers the one before:
a worker of the earlier version that is started once more finds its own definition among those, and leaves the newer one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from typing import Final, NamedTuple

from ropeline.jobs.cron.cron_jobs import CronJob, CronStore
from ropeline.jobs.errors import CronChanged, Undecodable
from ropeline.lua.cron_scripts import StoredCron
from ropeline.lua.errors import ConfigurationError

__all__ = ["Applied", "Became", "apply_definitions"]

_log = logging.getLogger("ropeline.jobs.cron")

_MOST_FORMER: Final = 20


class Became(StrEnum):
    """What became of a definition."""

    NEW = "new"
    CHANGED = "changed"
    """It took the place of another one."""
    UNCHANGED = "unchanged"
    """The store has it already."""
    LEFT = "left"
    """The store has a later one, or one that cannot be read here; nothing was changed."""


class Applied(NamedTuple):
    """One cron job, and what became of its definition."""

    cron: CronJob
    became: Became


async def apply_definitions(store: CronStore, crons: Iterable[CronJob], *, may_go_back: bool = False) -> list[Applied]:
    """Write these definitions where they are new; what became of each. Cron jobs of the store that are not named stay.

    `may_go_back`: what the store has gives way even when it is later. Raises StoreError, with a part of them written, and
    ConfigurationError when a queue has no room for another one; it may be repeated.
    """
    stored: dict[str, dict[str, StoredCron]] = {}
    applied = []
    for cron in crons:
        if cron.queue not in stored:
            stored[cron.queue] = await _read(store, cron.queue)
        while True:
            row = stored[cron.queue].get(cron.name)
            became, wanted = _compare(cron, row, may_go_back=may_go_back)
            if became in (Became.UNCHANGED, Became.LEFT):
                break
            try:
                await store.define(wanted, expected=row.version if row else 0)
                break
            except CronChanged:
                # Somebody else was first, and what he wrote may be the same.
                stored[cron.queue] = await _read(store, cron.queue)
        if became is Became.LEFT:
            _log.warning(
                "queue %s, cron job %s: the store has a later definition, which stays; "
                "`ropeline cron apply` would bring back the one of this program",
                cron.queue,
                cron.name,
            )
        applied.append(Applied(cron, became))
    await _tell_of_others(store, [cron for cron, became in applied if became is Became.NEW])
    return applied


async def _tell_of_others(store: CronStore, crons: list[CronJob]) -> None:
    """A cron job that has moved to another queue runs in both, unless somebody removes it from the earlier one."""
    for queue in await store.queues() if crons else ():
        names = await _read(store, queue)
        for cron in crons:
            if cron.name in names and cron.queue != queue:
                _log.warning(
                    "cron job %s is new in queue %s, and in queue %s as well, where it goes on until it is removed",
                    cron.name,
                    cron.queue,
                    queue,
                )


async def _read(store: CronStore, queue: str) -> dict[str, StoredCron]:
    return {row.name: row for row in (await store.read(queue)).stored or ()}


def _compare(cron: CronJob, row: StoredCron | None, *, may_go_back: bool) -> tuple[Became, CronJob]:
    """What is to become of a definition, and as what it is written."""
    if row is None:
        return Became.NEW, cron
    try:
        there = CronJob.unpack(cron.queue, cron.name, row.definition)
    except (Undecodable, ConfigurationError):
        return (Became.CHANGED if may_go_back else Became.LEFT), cron
    if there.digest == cron.digest:
        return Became.UNCHANGED, cron
    if cron.digest in there.former and not may_go_back:
        return Became.LEFT, cron
    former = (there.digest, *(each for each in there.former if each not in (cron.digest, there.digest)))
    return Became.CHANGED, replace(cron, former=former[:_MOST_FORMER])
