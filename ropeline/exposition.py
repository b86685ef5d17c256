"""Writes metrics as Prometheus reads them: text format 0.0.4, for the gate and the workers alike.

A library would cost every process its import, and several microseconds a measurement; here a count is one addition.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

__all__ = ["CONTENT_TYPE", "Family", "Histogram", "Rows", "write_families", "write_in_steps"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_LINES_A_STEP: Final = 500


class Histogram:
    """How often a measurement fell into which bucket, and the sum of all.

    `bounds`: upper bounds of the buckets, rising, in the unit of the measurements. `counts`: of each bucket, and one more
    for what is above the last bound; `sum`: of the measurements. Both are 0 unless given.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float], counts: Sequence[int] | None = None, sum: float = 0.0) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1) if counts is None else list(counts)
        self.sum = sum

    def observe(self, value: float) -> None:
        """Count one measurement; one below zero, of clocks that differ, as zero."""
        value = max(value, 0.0)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


Rows = Iterable[tuple[Mapping[str, str], float | Histogram]]
"""The series of a family: labels and value."""


class Family:
    """One metric with all its series: rows of labels and a value, or a histogram. `kind`: counter, gauge or histogram."""

    __slots__ = ("kind", "name", "rows", "text")

    def __init__(self, name: str, kind: str, text: str, rows: Rows) -> None:
        self.name = name
        self.kind = kind
        self.text = text
        self.rows = rows

    def lines(self) -> Iterator[str]:
        """The family as Prometheus reads it."""
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.rows:
            if isinstance(value, Histogram):
                yield from self._buckets(labels, value)
            else:
                yield f"{self.name}{_labels(labels)} {_number(value)}"

    def _buckets(self, labels: Mapping[str, str], histogram: Histogram) -> Iterator[str]:
        total = 0
        for bound, count in zip((*map(_number, histogram.bounds), "+Inf"), histogram.counts, strict=True):
            total += count
            yield f"{self.name}_bucket{_labels({**labels, 'le': bound})} {total}"
        yield f"{self.name}_sum{_labels(labels)} {_number(histogram.sum)}"
        yield f"{self.name}_count{_labels(labels)} {total}"


def write_families(families: Iterable[Family]) -> bytes:
    """The text that Prometheus scrapes."""
    return b"".join(write_in_steps(families))


def write_in_steps(families: Iterable[Family]) -> Iterator[bytes]:
    """The same text in pieces of at most 500 lines, for a process that has others to serve between them."""
    lines = (line for family in families for line in family.lines())
    while step := list(islice(lines, _LINES_A_STEP)):
        yield "".join(f"{line}\n" for line in step).encode()


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
