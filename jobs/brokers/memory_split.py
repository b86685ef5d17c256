"""What the broker in memory knows of the parts of one job."""

from __future__ import annotations

from dataclasses import dataclass, field

from ropeline.jobs.records import Part, PartOutcome, PartState, Progress, SplitOrder, part_outcome

__all__ = ["MemorySplit", "PartReport"]


@dataclass(frozen=True, slots=True)
class PartReport:
    """How a part ended, on its way to the job that was split. `data`: its result, or why it did not complete."""

    part: Part
    state: PartState
    data: bytes


@dataclass(slots=True)
class MemorySplit:
    """A job that was split by the run of fence `round`."""

    order: SplitOrder
    round: int
    reports: dict[int, PartReport] = field(default_factory=dict)
    is_stopped: bool = False

    def note(self, report: PartReport) -> bool:
        """Whether a report says something new; it is kept then."""
        part = report.part
        if part.round != self.round or part.number in self.reports:
            return False
        self.reports[part.number] = report
        return True

    @property
    def left(self) -> int:
        return self.order.total - len(self.reports)

    def progress(self) -> Progress:
        """How far the parts are."""
        done = sum(report.state is PartState.COMPLETED for report in self.reports.values())
        return Progress(done, len(self.reports) - done, self.order.total)

    def outcomes(self) -> tuple[PartOutcome, ...]:
        """How each part ended so far."""
        return tuple(
            part_outcome(index, report.state, report.data)
            if (report := self.reports.get(index)) is not None
            else PartOutcome(index, None)
            for index in range(self.order.total)
        )
