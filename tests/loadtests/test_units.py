"""What the campaign of kills takes for a loss, and what not."""

from __future__ import annotations

import pytest

from loadtests.kills.units import DOOMED, Left, Unit, what_is_wrong
from ropeline.jobs.records import JobState, JobView

ID = b"i" * 16


def view(state: JobState, reason: str = "", error: str = "", id: bytes = ID) -> JobView:
    return JobView(id, state, b"", 0, 0, 5, 0, error, reason, b"", "", is_cancelling=False)


DISCARDED = view(JobState.DEAD, DOOMED, id=b"j" * 16)
PARENT = view(JobState.DEAD, "part", f"part 1: {DOOMED}: doomed from the beginning")
POISONED = view(JobState.DEAD, "poison", "lost 100 leases")

WHOLE = {
    "plain": Left({0: [None]}, [], None, None),
    "limited": Left({0: [3]}, [], None, None),
    "chain": Left({0: [None], 1: [70, 70], 2: [71]}, [], None, None),
    "group": Left({0: [None], 1: [None], 2: [None]}, [], None, [70, 71, 72]),
    "chord": Left({0: [None], 1: [None], 2: [None], 3: [[70, 71, 72]]}, [], None, None),
    "split": Left({0: [None], 1: [None], 2: [71], 3: [None], 4: [73], 5: [[72, 74]]}, [], None, None),
}
FAILED = {
    "chain": Left({0: [None]}, [DISCARDED], None, None),
    "group": Left({0: [None]}, [DISCARDED, PARENT], PARENT, None),
    "chord": Left({0: [None], 2: [None], 3: [[70, None, 72]]}, [DISCARDED], None, None),
    "split": Left({0: [None], 3: [None]}, [DISCARDED, PARENT], PARENT, None),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_unit_that_ran_as_a_whole_is_right_and_one_with_a_job_missing_is_not(kind: str) -> None:
    unit, left = Unit(7, kind, ID, None), WHOLE[kind]
    assert what_is_wrong(unit, left) == ""
    for place in left.runs:
        runs = {each: given for each, given in left.runs.items() if each != place}
        assert what_is_wrong(unit, left._replace(runs=runs)) == f"no run at [{place}]"
        assert what_is_wrong(unit, left._replace(runs=runs, dead=[POISONED])) == ""
        assert "was given" in what_is_wrong(unit, left._replace(runs={**left.runs, place: [99]}))
    assert "a dead letter" in what_is_wrong(unit, left._replace(dead=[DISCARDED]))


@pytest.mark.parametrize("kind", FAILED)
def test_a_unit_whose_job_was_doomed_says_so_by_a_dead_letter_and_nothing_follows_it(kind: str) -> None:
    unit, left = Unit(7, kind, ID, 1), FAILED[kind]
    assert what_is_wrong(unit, left) == ""
    assert what_is_wrong(unit, left._replace(dead=[])) == "no dead letter of the one that failed"
    runs = {**left.runs, 1: [70 if kind == "chain" else None]}
    assert "after the one that failed" in what_is_wrong(unit, left._replace(runs=runs))
    if kind in {"group", "split"}:
        blocked = view(JobState.BLOCKED)
        assert what_is_wrong(unit, left._replace(view=blocked)) == "it does not tell of its failed part"
    if kind == "group":
        whole = WHOLE["group"]
        assert "its result" in what_is_wrong(unit._replace(doomed=None), whole._replace(result=[70, None, 72]))
