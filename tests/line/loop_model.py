"""The closed loop in plain Python: for the same measurements it takes the same steps as the script."""

from __future__ import annotations

import math

from ropeline.lua.line_settings import Method
from ropeline.lua.measured import Measured
from tests.line.line_state import LineState

_COUNTS = ("calls", "near", "slow", "failed")


def steer(line: LineState, measured: Measured | None) -> None:
    """What a tick does for the closed loop, with what its caller has measured."""
    numbers = line.numbers
    if numbers.lowest == 0:
        line.state.steered = 0
        return
    if measured is None or measured.version != line.config.version:
        return
    is_first = line.state.steered == 0
    if is_first and line.is_recovering and not measured.quota:
        return
    goes_on = line.loop.get("version") == measured.version
    counts = {name: getattr(measured, name) + (line.loop[name] if goes_on else 0) for name in _COUNTS}
    began = line.loop["began"] if goes_on else line.clock
    drains = line.sessions.count_below(0) > line.quota
    is_over = goes_on and not drains and line.clock - began >= measured.interval
    if is_first:
        wanted = measured.quota or line.sessions.count_below(0)
        reason = "restored" if measured.quota else "begun"
        _step(line, max(numbers.lowest, min(numbers.quota, wanted)), reason, counts)
    elif is_over:
        quota, reason = judge(line, measured, **counts)
        if reason:
            _step(line, quota, reason, counts)
    if is_first or is_over or drains or not goes_on:
        began, counts = line.clock, dict.fromkeys(_COUNTS, 0)
    line.loop = {"version": measured.version, "began": began, **counts}


def judge(line: LineState, rules: Measured, *, calls: int, near: int, slow: int, failed: int) -> tuple[int, str]:
    """The quota after an interval, and why it is another one; no reason: it stays."""
    active, quota, numbers = line.sessions.count_below(0), line.quota, line.numbers
    if calls < 20 or line.is_closed or numbers.method is not Method.FIFO:
        return quota, ""
    tolerated = (calls - failed) * rules.slow_share
    if failed > calls * rules.failed_share or slow > tolerated:
        lower = max(numbers.lowest, math.floor(active * rules.factor))
        if lower >= quota:
            return quota, ""
        return lower, "failing" if failed > calls * rules.failed_share else "slow"
    is_wanted = len(line.sessions) > active or active >= quota
    if near > tolerated or quota >= numbers.quota or not is_wanted:
        return quota, ""
    return min(numbers.quota, quota + rules.step), "well"


def _step(line: LineState, quota: int, reason: str, counts: dict[str, int]) -> None:
    before, active = line.quota, line.sessions.count_below(0)
    line.state.steered = quota
    standing = {"active": active, "waiting": len(line.sessions) - active}
    line.steps.append({"clock": line.clock, "before": before, "after": quota, "reason": reason, **counts, **standing})
