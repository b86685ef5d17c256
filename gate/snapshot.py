"""How a tenant stands at one moment, in numbers for programs and in words for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from ropeline.gate.estimate import WaitEstimate, estimate_wait
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.results import Status, Step

__all__ = ["STATES", "Snapshot", "take_snapshot", "take_snapshots"]

STATES: Final = ("open", "suspended", "recovering", "paused", "queue_all", "passthrough", "reject")
_WORDS: Final = {
    "suspended": "switched off, everybody passes",
    "recovering": "recovering: places come back, nobody is admitted",
    "paused": "paused, nobody is admitted",
    "queue_all": "everybody new waits, nobody is admitted",
    "passthrough": "everybody passes and is counted",
    "reject": "nobody waits: who finds it full is refused",
    "open": "open",
}
_STEPS_SHOWN: Final = 5
_REASONS: Final = {
    "slow": "{slow} of {calls} calls took longer than the target",
    "failing": "{failed} of {calls} calls failed",
    "well": "{calls} calls went well, {waiting} waited",
    "begun": "the closed loop began",
    "restored": "the store had lost it",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One tenant's settings and the numbers of its line; `steps`: the last ones of its closed loop, the newest first."""

    settings: TenantSettings
    version: int
    status: Status
    steps: Sequence[Step] = ()

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def state(self) -> str:
        """The one word for what happens to a new visitor: `open`, or what is in the way."""
        settings = self.settings
        if settings.suspended:
            return "suspended"
        if self.status.head.recovering:
            return "recovering"
        if settings.paused:
            return "paused"
        if settings.queue_all:
            return "queue_all"
        return "open" if settings.queueing_method == "fifo" else settings.queueing_method

    @property
    def queueing(self) -> str:
        """Whether a new visitor would wait, in Cloudflare's words: `suspended`, `queueing` or `not_queueing`."""
        if self.settings.suspended:
            return "suspended"
        if self.settings.queueing_method != "fifo":
            return "not_queueing"
        head = self.status.head
        is_full = head.waiting > 0 or head.active >= self.status.quota
        return "queueing" if is_full or self.state != "open" else "not_queueing"

    @property
    def state_words(self) -> str:
        """`state` as a phrase."""
        return _WORDS[self.state]

    @property
    def wait(self) -> WaitEstimate | None:
        """How long somebody who comes now would wait; None when it is not known."""
        head = self.status.head
        if self.state == "open" and head.waiting == 0 and head.active < self.status.quota:
            return WaitEstimate(0, 0)
        return estimate_wait(
            head.waiting + 1,
            fast=head.fast / 1000,
            slow=head.slow / 1000,
            samples=head.samples,
            closed=self.state not in ("open", "passthrough"),
        )

    @property
    def wait_words(self) -> str:
        """`wait` as a phrase."""
        wait = self.wait
        if wait is None:
            return "not known yet"
        if wait.high == 0:
            return "none"
        if wait.high < 90:
            return f"{wait.low} to {wait.high} s"
        low, high = wait.low // 60, -(-wait.high // 60)
        return f"{low} to {high} min"

    @property
    def admitted_a_minute(self) -> float | None:
        """Admissions a minute over the last twenty seconds in which somebody waited or was admitted; None: none yet."""
        head = self.status.head
        return head.fast * 60 / 1000 if head.samples else None

    @property
    def speed_words(self) -> str:
        """`admitted_a_minute` as a number with three digits."""
        speed = self.admitted_a_minute
        return "-" if speed is None else f"{speed:.3g}"

    @property
    def limit_words(self) -> str:
        """The rate that is set, as a phrase."""
        return "no limit" if self.settings.rate is None else f"at most {self.settings.rate}"

    @property
    def on_site_words(self) -> str:
        """How many are on the site of how many that may be, as a phrase."""
        head, quota = self.status.head, self.status.quota
        is_less = f" (the closed loop's; set: {self.settings.quota})" if quota != self.settings.quota else ""
        return f"{head.active} of {quota}{is_less}"

    @property
    def step_words(self) -> list[str]:
        """The last steps of the closed loop, each as a phrase that says when, what and why."""
        return [
            f"{datetime.fromtimestamp(step.at // 1000, UTC):%Y-%m-%dT%H:%M:%SZ} {step.before} -> {step.after}: "
            + _REASONS.get(step.reason, step.reason).format(**asdict(step))
            for step in self.steps
        ]

    def line(self) -> str:
        """Everything that matters in one line."""
        head = self.status.head
        return (
            f"{self.name}: {self.state_words}; {head.waiting} waiting, {self.on_site_words} on the site,"
            f" {self.speed_words} admitted a minute, wait of a newcomer: {self.wait_words}"
        )

    def to_mapping(self) -> dict[str, object]:
        """The numbers under the names that `ropeline status --json` promises."""
        head, wait, speed = self.status.head, self.wait, self.admitted_a_minute
        return {
            "name": self.name,
            "title": self.settings.title,
            "state": self.state,
            "waiting": head.waiting,
            "active": head.active,
            "quota": self.settings.quota,
            "quota_in_force": self.status.quota,
            "steps": [asdict(step) for step in self.steps],
            "rate": self.settings.rate,
            "admitted_a_minute": None if speed is None else round(speed, 3),
            "estimated_wait_seconds": None if wait is None else {"low": wait.low, "high": wait.high},
            "closed": head.closed,
            "recovering": head.recovering,
            "version": self.version,
            "generation": head.generation,
            "epoch": head.epoch,
            "sequence": head.sequence,
            "clock_ms": head.clock,
            "counters": asdict(self.status.counters),
        }


async def take_snapshot(store: TenantStore, name: str) -> Snapshot:
    """How one tenant stands; raises UnknownTenant."""
    stored = await store.read(name)
    return Snapshot(stored.settings, stored.version, await store.status(name), await _steps(store, stored.settings))


async def take_snapshots(store: TenantStore) -> list[Snapshot]:
    """How all tenants stand that have settings in the store, sorted by name."""
    taken = []
    for name in await store.names():
        stored = await store.find(name)
        status = await store.scripts(name).status()
        if stored is not None and status is not None:
            steps = await _steps(store, stored.settings)
            taken.append(Snapshot(stored.settings, stored.version, status, steps))
    return taken


async def _steps(store: TenantStore, settings: TenantSettings) -> Sequence[Step]:
    return await store.steps(settings.name, _STEPS_SHOWN) if settings.closed_loop.enabled else ()
