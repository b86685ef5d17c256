"""Holds what one visitor is told against what the store holds of it."""

from __future__ import annotations

from collections.abc import Mapping

from loadtests.campaign.facts import Call, require
from ropeline.lua.line_settings import LineSettings
from ropeline.lua.results import Outcome, Verdict
from ropeline.lua.visits import Visit

__all__ = ["check_words"]

_SECOND = 1_000_000


def check_words(call: Call, visit: Visit, outcome: Outcome, numbers: LineSettings, places: Mapping[bytes, int]) -> None:
    """Raise Violation when the outcome of a visit is not the truth; `places`: of everybody who ever had one."""
    if outcome.verdict is Verdict.WAITING:
        _check_waiting(call, visit, outcome, numbers, places)
    elif outcome.verdict is Verdict.ADMITTED:
        _check_admitted(call, visit, outcome, numbers)
    elif outcome.verdict is Verdict.UNCONFIRMED:
        require(visit.fresh not in call.after.scores, "an unconfirmed visitor was stored")
        is_in_time = outcome.end == call.head.clock + numbers.confirm_within
        require(is_in_time, "a place is to be confirmed at another time")
        if numbers.window:
            is_none = (outcome.place, outcome.position) == (numbers.window * _SECOND, -1)
            require(is_none, "a place was drawn before anybody knows who takes part")
        else:
            _check_position(call, outcome, (outcome.place, b""))
    elif outcome.verdict is Verdict.CALLED:
        require(call.after.is_called(visit.fresh), "a first contact passes without a slot")


def _check_waiting(
    call: Call, visit: Visit, outcome: Outcome, numbers: LineSettings, places: Mapping[bytes, int]
) -> None:
    who = visit.id
    require(call.after.is_waiting(who), "told to wait, and not in line")
    require(call.after.scores[who] == places[who], "a place changed")
    if numbers.window and places[who] // _SECOND == numbers.window:
        is_hidden = (outcome.place, outcome.position) == (numbers.window * _SECOND, -1)
        require(is_hidden, "a place by lot was shown before the start")
    else:
        require(outcome.place == places[who], "another place was told than the store has")
        _check_position(call, outcome, (outcome.place, who))
    is_renewed = outcome.end - call.head.clock > numbers.waiting_ttl * 3 / 4
    require(outcome.end == call.after.ends[who] and is_renewed, "a present visitor's hold was not renewed")


def _check_position(call: Call, outcome: Outcome, place: tuple[int, bytes]) -> None:
    if call.head.recovering:
        require(outcome.position == -1, "a position was named while the store recovers")
    else:
        # Only a process's own time can equal a drawn place: the ids decide then.
        ahead = sum((other, who) < place for who, other in call.after.waiting.items())
        require(outcome.position == ahead + 1, "a wrong position")


def _check_admitted(call: Call, visit: Visit, outcome: Outcome, numbers: LineSettings) -> None:
    who, after = visit.id, call.after
    require(after.is_admitted(who), "told to be admitted, and is not")
    is_own = (outcome.since, outcome.end) == (-after.scores[who], after.ends[who])
    require(is_own, "told of another visit's times")
    last = outcome.since + numbers.session_max if numbers.session_max else 0
    is_renewed = outcome.end - call.head.clock > numbers.session_ttl * 3 / 4 or not numbers.renew
    require(is_renewed or 0 < last <= outcome.end, "a visit was not renewed")
    is_in_bounds = not last or outcome.end <= max(last, call.before.ends.get(who, 0), visit.end)
    require(is_in_bounds, "a visit lasts longer than session_max")
