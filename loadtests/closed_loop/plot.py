"""Draws what a rehearsal has seen as an SVG: the site's p95 over the target, and the quota in force over who is in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from loadtests.closed_loop.stampede import Plan, Report

__all__ = ["plot"]

_WIDTH, _LEFT, _RIGHT = 760, 56, 16
_HEIGHT, _TOP, _GAP = 170, 30, 56
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.axis{stroke:#999}.grid{stroke:#e3e3e3}.line{fill:none;stroke-width:2}"
    ".p95{stroke:#b03a2e}.target{stroke:#b03a2e;stroke-dasharray:6 4}.quota{stroke:#1f618d}.active{stroke:#7f8c8d}"
)


def plot(report: Report, plan: Plan) -> str:
    """The drawing as text."""
    end = max(report.seconds, 1.0)
    slowest = max([plan.target * 1.5, *(p95 for _, p95 in report.windows)])
    most = max([1, *(max(sample.quota, sample.active) for sample in report.samples)])
    first, second = _TOP, _TOP + _HEIGHT + _GAP
    latency, people = _scale(first, end, slowest), _scale(second, end, most)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {second + _HEIGHT + 34}" role="img">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{second + _HEIGHT + 34}" fill="#fff"/>',
        *_frame(first, end, slowest, f"p95 of the site, s (dashed: the target, {plan.target:g} s)"),
        _path("target", [latency(0, plan.target), latency(end, plan.target)]),
        _path("p95", [latency(at, p95) for at, p95 in report.windows]),
        *_frame(second, end, most, f"quota in force (blue; set: {plan.quota}) and visitors on the site (grey)"),
        _path("active", [people(sample.at, sample.active) for sample in report.samples]),
        _path("quota", _stairs([people(sample.at, sample.quota) for sample in report.samples])),
        f'<text x="{_WIDTH - _RIGHT}" y="{second + _HEIGHT + 30}" text-anchor="end">seconds</text>',
        "</svg>\n",
    ]
    return "\n".join(parts)


Point = tuple[float, float]


def _scale(top: float, end: float, most: float) -> Callable[[float, float], Point]:
    def place(at: float, value: float) -> Point:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * at / end
        return across, top + _HEIGHT * (1 - value / most)

    return place


def _frame(top: float, end: float, most: float, title: str) -> list[str]:
    place = _scale(top, end, most)
    parts = [f'<text x="{_LEFT}" y="{top - 10}">{title}</text>']
    for value in _marks(most):
        (left, height), (right, _) = place(0, value), place(end, value)
        kind = "axis" if value == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{left:.1f}" y1="{height:.1f}" x2="{right:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for at in _marks(end):
        across, bottom = place(at, 0)
        parts.append(f'<text x="{across:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{at:g}</text>')
    return parts


def _marks(most: float) -> list[float]:
    """Round numbers from 0 to `most`, at most seven."""
    power = 10 ** math.floor(math.log10(most / 6))
    step = next(power * factor for factor in (1, 2, 5, 10) if most / (power * factor) < 7)
    return [round(step * number, 6) for number in range(int(most / step) + 1)]


def _stairs(points: Sequence[Point]) -> list[Point]:
    """The quota goes by steps, not by slopes."""
    stairs = list(points[:1])
    for (_, before), (at, value) in pairwise(points):
        stairs += [(at, before), (at, value)]
    return stairs


def _path(kind: str, points: Sequence[Point]) -> str:
    text = " ".join(f"{across:.1f},{height:.1f}" for across, height in points)
    return f'<polyline class="line {kind}" points="{text}"/>'
