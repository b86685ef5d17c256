"""The metrics of a waiting room, under the names that Prometheus reads: of the store, and of the gate processes of one host.

What the store tells (lines, admissions, waits) is the same from every process that is asked: take one of them, or `max`. What is
counted of requests belongs to the host: add those up. Labels are names of tenants, positions of rules and fixed words, all of
them from the settings: nothing that a visitor sends becomes a series.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from ropeline.exposition import Family, Histogram, Rows, write_in_steps
from ropeline.gate.counts import DECISION_BOUNDS, FAILING, NOBODY, RULES, STORE_ERRORS, SUSPENDED, Sums
from ropeline.gate.kinds import Kind
from ropeline.gate.settings import TenantSettings
from ropeline.gate.snapshot import Snapshot
from ropeline.gate.survey import Survey
from ropeline.lua.results import BOUNDS, TimesCounted

__all__ = ["Metrics", "host_families", "store_families"]

_FRESH_SECONDS: Final = 1.0
_STATUSES: Final = ("not_queueing", "queueing", "suspended")
# Of requests to a site with tenants; the refused ones are told by their reason as well.
_PASSED: Final = (Kind.ADMITTED, Kind.BYPASS, Kind.FAILING_OPEN)
_REFUSED: Final = (Kind.CLOSED, Kind.NO_TICKET, Kind.LIMITED, Kind.UNAVAILABLE, Kind.BLOCKED)


class Metrics:
    """Writes the metrics, once a second at most, whoever asks and however many ask.

    `counted`: what the processes of this host have counted; None where there is no gate.
    """

    def __init__(self, survey: Survey, counted: Callable[[], Sums] | None = None) -> None:
        self._survey = survey
        self._counted = counted
        self._text = b""
        self._written_at = -_FRESH_SECONDS
        self._writing = asyncio.Lock()

    async def text(self) -> bytes:
        """Everything as Prometheus reads it; without the lines while the store does not answer.

        It is written in short steps, between which this process does its other work.
        """
        async with self._writing:
            if time.monotonic() - self._written_at > _FRESH_SECONDS:
                pieces = []
                for piece in write_in_steps(await self._families()):
                    pieces.append(piece)
                    await asyncio.sleep(0)
                self._text, self._written_at = b"".join(pieces), time.monotonic()
        return self._text

    async def _families(self) -> list[Family]:
        snapshots = await self._survey.look()
        families = store_families(snapshots, is_up=not self._survey.problem)
        if self._counted is not None:
            # Files are read: not for long, but there may be one for each process, and visitors wait for the event loop.
            families += host_families(self._survey.tenants, await asyncio.to_thread(self._counted))
        return families


def store_families(snapshots: Sequence[Snapshot], *, is_up: bool) -> list[Family]:
    """What the store tells of all lines."""

    def each(
        value: Callable[[Snapshot], float | Histogram | None],
    ) -> Iterator[tuple[dict[str, str], float | Histogram]]:
        for snapshot in snapshots:
            found = value(snapshot)
            if found is not None:
                yield {"tenant": snapshot.name}, found

    def counter(name: str, text: str, value: Callable[[Snapshot], float]) -> Family:
        return Family(f"waitingroom_{name}_total", "counter", text, each(value))

    def gauge(name: str, text: str, value: Callable[[Snapshot], float | None]) -> Family:
        return Family(f"waitingroom_{name}", "gauge", text, each(value))

    def histogram(name: str, text: str, value: Callable[[Snapshot], TimesCounted]) -> Family:
        return Family(f"waitingroom_{name}_seconds", "histogram", text, each(lambda of: _histogram(value(of))))

    return [
        Family("waitingroom_store_up", "gauge", "1 while the store answers.", [({}, int(is_up))]),
        gauge("queued_users", "Visitors in line.", lambda of: of.status.head.waiting),
        gauge("active_users", "Visitors on the site, those called among them.", lambda of: of.status.head.active),
        gauge("active_users_limit", "The quota in force.", lambda of: of.status.quota),
        gauge("new_users_per_minute_limit", "The rate; absent where there is none.", lambda of: of.settings.rate),
        Family(
            "waitingroom_estimated_wait_seconds",
            "gauge",
            "Between which bounds a visitor who came now would wait; absent while that is not known.",
            _waits(snapshots),
        ),
        Family(
            "waitingroom_status",
            "gauge",
            "1 for how the line stands, 0 for the other words.",
            (
                ({"tenant": of.name, "status": status}, int(of.queueing == status))
                for of in snapshots
                for status in _STATUSES
            ),
        ),
        gauge(
            "recovering", "1 while places come back after a loss of data.", lambda of: int(of.status.head.recovering)
        ),
        counter("joined", "Visitors who joined the line or were let in at once.", lambda of: of.status.counters.joined),
        counter("called", "Visitors whose turn came.", lambda of: of.status.counters.called),
        counter("admitted", "Visitors who were seen on the site after that.", lambda of: of.status.counters.admitted),
        counter("missed", "Calls whose visitor did not come in time.", lambda of: of.status.counters.missed),
        counter("abandoned", "Visitors who fell silent in line.", lambda of: of.status.counters.abandoned),
        counter("sessions_expired", "Visits that ran out.", lambda of: of.status.counters.ended),
        counter("sessions_left", "Sessions that their visitors gave up.", lambda of: of.status.counters.left),
        counter(
            "sessions_revoked", "Sessions ended by the site or an operator.", lambda of: of.status.counters.revoked
        ),
        counter(
            "sessions_restored",
            "Places and visits put back from tickets after a loss of data or an absence.",
            lambda of: of.status.counters.restored,
        ),
        histogram("wait", "From the place to the admission, of all admitted.", lambda of: of.status.times.waits),
        histogram("session", "From the admission until the slot was free again.", lambda of: of.status.times.visits),
        histogram(
            "eta_error",
            "How wrong the first estimate was, in either direction, of those admitted who had one.",
            lambda of: of.status.times.estimate_errors,
        ),
    ]


def host_families(tenants: Sequence[TenantSettings], sums: Sums) -> list[Family]:
    """What the gate processes of this host have counted, added up."""

    def each(value: Callable[[str], float]) -> Rows:
        return (({"tenant": tenant.name}, value(tenant.name)) for tenant in tenants)

    return [
        Family("waitingroom_gate_processes", "gauge", "Gate processes of this host that count.", [({}, sums.living)]),
        Family(
            "waitingroom_requests_total",
            "counter",
            "Requests for the site by what happened to them; those of no tenant have an empty one.",
            _requests(tenants, sums),
        ),
        Family(
            "waitingroom_refused_total",
            "counter",
            "Requests that were refused, by the reason; tenant empty: for a host of no tenant.",
            _refusals(tenants, sums),
        ),
        Family(
            "waitingroom_bypassed_total",
            "counter",
            "Requests that passed unseen by the line: rule is its position, from 1 on, or suspended.",
            _bypasses(tenants, sums),
        ),
        Family(
            "waitingroom_store_errors_total",
            "counter",
            "Visits that the store did not decide.",
            each(lambda name: sums.count(name, STORE_ERRORS)),
        ),
        Family(
            "waitingroom_failing_open",
            "gauge",
            "Gate processes of this host that decide without the store.",
            each(lambda name: sums.count(name, FAILING)),
        ),
        Family(
            "waitingroom_decision_seconds",
            "histogram",
            "How long decisions took that the store was asked about, polls among them.",
            (({"tenant": tenant.name}, Histogram(DECISION_BOUNDS, *sums.times(tenant.name))) for tenant in tenants),
        ),
    ]


def _histogram(counted: TimesCounted) -> Histogram:
    return Histogram(BOUNDS, counted.counts, counted.sum_ms / 1000)


def _waits(snapshots: Iterable[Snapshot]) -> Rows:
    for snapshot in snapshots:
        wait = snapshot.wait
        if wait is not None:
            yield {"tenant": snapshot.name, "bound": "low"}, wait.low
            yield {"tenant": snapshot.name, "bound": "high"}, wait.high


def _requests(tenants: Iterable[TenantSettings], sums: Sums) -> Rows:
    for tenant in tenants:
        counts = {kind.word: sums.count(tenant.name, kind.index) for kind in (*_PASSED, Kind.QUEUED, Kind.PREFLIGHT)}
        counts["refused"] = sum(sums.count(tenant.name, kind.index) for kind in _REFUSED)
        for decision, count in counts.items():
            yield {"tenant": tenant.name, "decision": decision}, count
    yield {"tenant": "", "decision": Kind.BYPASS.word}, sums.count(NOBODY, Kind.BYPASS.index)
    yield {"tenant": "", "decision": "refused"}, sums.count(NOBODY, Kind.MISDIRECTED.index)


def _refusals(tenants: Iterable[TenantSettings], sums: Sums) -> Rows:
    for tenant in tenants:
        for kind in _REFUSED:
            yield {"tenant": tenant.name, "reason": kind.word}, sums.count(tenant.name, kind.index)
    yield {"tenant": "", "reason": Kind.MISDIRECTED.word}, sums.count(NOBODY, Kind.MISDIRECTED.index)


def _bypasses(tenants: Iterable[TenantSettings], sums: Sums) -> Rows:
    for tenant in tenants:
        yield {"tenant": tenant.name, "rule": "suspended"}, sums.count(tenant.name, SUSPENDED)
        for position, rule in enumerate(tenant.rules):
            if rule.action == "bypass":
                yield {"tenant": tenant.name, "rule": str(position + 1)}, sums.count(tenant.name, RULES + position)
