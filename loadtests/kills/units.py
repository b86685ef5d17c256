"""What the campaign enqueues: plain jobs, limited ones, chains, groups, chords and splits; and what each must have left in the end."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from loadtests.kills.app import counted, gathered, limited, split, value_of
from ropeline.jobs import PREVIOUS, JobDraft, chain, chord, group
from ropeline.jobs.records import JobState, JobView

__all__ = ["DOOMED", "KINDS", "UNIT", "Left", "Unit", "make_unit", "what_is_wrong"]

KINDS = ("plain", "limited", "chain", "group", "chord", "split")
_WEIGHTS = (70, 8, 8, 5, 4, 5)
_CHANCE_OF_DOOM = 0.05
_KEYS = 5
# Long enough to be asked for when the campaign has ended.
_KEPT = 6 * 3600
UNIT = "unit"
"""The metadata that says which unit a job belongs to."""
DOOMED = "discarded"


class Unit(NamedTuple):
    """One acknowledged enqueue. `id`: of its first job. `doomed`: the place whose job is a dead letter at once, None none."""

    number: int
    kind: str
    id: bytes
    doomed: int | None


class Left(NamedTuple):
    """What a unit has left. `runs`: place to what each run of it was given. `dead`: its dead letters. `view`: its first job."""

    runs: Mapping[int, Sequence[Any]]
    dead: Sequence[JobView]
    view: JobView | None
    result: Any


def make_unit(number: int, chance: random.Random) -> tuple[Unit, JobDraft[Any]]:
    """A unit by chance, and the job that it is enqueued as."""
    [kind] = chance.choices(KINDS, _WEIGHTS)
    doomed: int | None = None
    if kind not in {"plain", "limited"} and chance.random() < _CHANCE_OF_DOOM:
        doomed = chance.randrange(3) + (kind == "split")
    metadata = {UNIT: str(number)}
    here, other = counted.using(metadata=metadata), counted.using(metadata=metadata, queue_name="other")
    three = [task.build(number, place, doomed=doomed == place) for place, task in enumerate((here, other, here))]
    draft: JobDraft[Any]
    if kind == "plain":
        draft = counted.build(number, 0)
    elif kind == "limited":
        draft = limited.using(metadata=metadata).build(number, 0, chance.randrange(_KEYS))
    elif kind == "chain":
        following = [
            task.build(number, place, PREVIOUS, doomed=doomed == place) for place, task in ((1, other), (2, here))
        ]
        draft = chain(three[0], *following)
    elif kind == "group":
        draft = group(three, result_ttl=_KEPT)
    elif kind == "chord":
        draft = chord(three, gathered.using(metadata=metadata).build(number, 3, PREVIOUS), on_failure="continue")
    else:
        draft = split.using(metadata=metadata).build(number, doomed)
    return Unit(number, kind, draft.job.id, doomed), draft


def what_is_wrong(unit: Unit, left: Left) -> str:
    """Why this cannot be what became of a unit, empty if it can.

    Every job of it ran and was given what those before it left, or a dead letter says why not: the one that was doomed, or one
    that was given up for the leases that it lost.
    """
    poisoned = [view for view in left.dead if view.reason == "poison" or "poison" in view.error]
    strange = [view for view in left.dead if view not in poisoned and not _is_expected(unit, view)]
    if strange:
        return f"a dead letter for {strange[0].reason} ({strange[0].error})"
    missing = [place for place in _places(unit) if place not in left.runs]
    if missing and not poisoned:
        return f"no run at {missing}"
    for place, runs in left.runs.items():
        wrong = [given for given in runs if given not in _may_be_given(unit, place)]
        if wrong:
            return f"the run at {place} was given {wrong[0]}"
        if unit.doomed is not None and place in _after_doom(unit):
            return f"a run at {place}, after the one that failed"
    if unit.doomed is not None and not any(view.reason == DOOMED for view in left.dead) and not poisoned:
        return "no dead letter of the one that failed"
    if unit.kind in {"group", "split"} and unit.doomed is not None:
        return (
            "" if left.view is not None and left.view.state is JobState.DEAD else "it does not tell of its failed part"
        )
    if unit.kind == "group" and not poisoned and left.result != [value_of(unit.number, place) for place in range(3)]:
        return f"its result is {left.result}"
    return ""


def _is_expected(unit: Unit, dead: JobView) -> bool:
    if unit.doomed is None:
        return False
    return dead.reason == DOOMED or (dead.reason == "part" and DOOMED in dead.error and dead.id == unit.id)


def _places(unit: Unit) -> Sequence[int]:
    """The places at which a job must have run."""
    doomed = unit.doomed
    if unit.kind in {"plain", "limited"}:
        return (0,)
    if unit.kind == "chain":
        return range(3 if doomed is None else doomed)
    if unit.kind == "chord":
        return [place for place in range(4) if place != doomed]
    if unit.kind == "group":
        # Of a failed one the other parts are told to stop, and may have run already.
        return range(3) if doomed is None else ()
    if doomed is None:
        return range(6)
    return (0, 1) if doomed == 2 else (0, 3) if doomed == 4 else (0,)


def _after_doom(unit: Unit) -> Sequence[int]:
    """The places at which no job may run once the doomed one has failed."""
    if unit.kind == "chain":
        return range(unit.doomed or 0, 3)
    if unit.kind == "split":
        return (5, *((1, 2) if unit.doomed == 1 else (3, 4) if unit.doomed == 3 else (unit.doomed or 0,)))
    return (unit.doomed or 0,)


def _may_be_given(unit: Unit, place: int) -> Sequence[Any]:
    """What the jobs before it may have left for the one at a place."""
    value = value_of(unit.number, place - 1)
    if unit.kind == "limited":
        return range(_KEYS)
    if (unit.kind == "chain" and place > 0) or (unit.kind == "split" and place in {2, 4}):
        return (value,)
    if unit.kind == "chord" and place == 3:
        return ([None if unit.doomed == part else value_of(unit.number, part) for part in range(3)],)
    if unit.kind == "split" and place == 5:
        return ([value_of(unit.number, 2), value_of(unit.number, 4)],)
    return (None,)
