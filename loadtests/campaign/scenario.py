"""What may happen in a campaign, and how often: the settings a tenant begins with and the weights of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ropeline.lua.line_settings import LineSettings, Method

__all__ = ["SCENARIOS", "Edit", "Scenario"]

Edit = Mapping[str, int | bool | Method]

# Holds of seconds instead of minutes: a campaign of an hour of simulated time then sees thousands of them run out.
_SETTINGS = LineSettings(
    quota=3,
    waiting_ttl=12_000,
    session_ttl=10_000,
    session_max=40_000,
    confirm_within=4_000,
    claim_within=5_000,
    return_within=20_000,
    leave_hold=3_000,
    recovery_hold=4_000,
    clock_step=3_000,
)

_EDITS: Sequence[Edit] = (
    *({"quota": quota} for quota in (0, 1, 1, 2, 2, 3, 3, 4, 5, 6)),
    *({"session_ttl": hold} for hold in (5_000, 10_000, 20_000)),
    *({"waiting_ttl": hold} for hold in (8_000, 12_000, 24_000)),
    *({"return_within": hold} for hold in (2_000, 20_000, 40_000)),
    *({"session_max": hold} for hold in (0, 25_000, 60_000)),
    *({"claim_within": hold} for hold in (3_000, 5_000, 9_000)),
    {"renew": False},
    {"renew": True},
    {"rate": 90},
    {"rate": -1},
    {"rate": -1},
    {"closed": True},
    {"closed": False},
    {"closed": False},
)


@dataclass(frozen=True)
class Scenario:
    """One kind of campaign.

    `weights`: how often each event happens beside the others. `newcomers`: part of the visits that bring no ticket.
    `faithless`: part of the newcomers who never come back. `absences`: chance that a visitor turns away after a visit,
    and the longest time of that in seconds. `lost_replies`: part of the visits whose answer never arrives.
    `largest_batch`: most visitors in one call. `pause`: longest time between two events, seconds.
    """

    weights: Mapping[str, int]
    settings: LineSettings = _SETTINGS
    edits: Sequence[Edit] = _EDITS
    newcomers: float = 0.2
    faithless: float = 0.3
    absences: tuple[float, float] = (0.08, 40.0)
    lost_replies: float = 0.02
    replays: float = 0.08
    doubles: float = 0.08
    largest_batch: int = 5
    pause: float = 0.7
    people: int = 24
    skew: float = 1.5
    """Most seconds that the clock of a server that takes over is behind."""
    shuffled: float = 0.5
    """Part of the launches whose pre-queue is shuffled."""
    careless: float = 0.1
    """Part of the losses after which no process and no ticket of the first call remembers the tenant."""


_CALM = {"visit": 80, "tick": 6, "leave": 2, "close": 3}
_ALL = {
    "visit": 240,
    "tick": 16,
    "leave": 5,
    "close": 8,
    "revoke": 1,
    "edit": 3,
    "launch": 2,
    "flush": 1,
    "lose": 1,
    "fail over": 3,
    "outage": 1,
    "jump": 1,
    "restart": 1,
    "reboot": 1,
    "emergency": 1,
}

SCENARIOS: Mapping[str, Scenario] = {
    "mixed": Scenario(_ALL),
    "calm": Scenario(_CALM),
    "sleepy": Scenario(_CALM, absences=(0.25, 30.0), replays=0.2),
    "edits": Scenario(_CALM | {"edit": 12, "revoke": 3}, replays=0.3, absences=(0.15, 60.0)),
    "clocks": Scenario(_CALM | {"outage": 3, "jump": 6, "fail over": 2}),
    "losses": Scenario(_CALM | {"fail over": 8, "lose": 4, "revoke": 3, "flush": 1}, replays=0.15),
    "long visits": Scenario(
        _CALM | {"fail over": 10, "lose": 4},
        settings=replace(_SETTINGS, session_ttl=30_000, session_max=0, recovery_hold=2_000),
        newcomers=0.1,
    ),
    "crowd": Scenario(
        _CALM,
        settings=replace(_SETTINGS, quota=40, claim_within=20_000, waiting_ttl=30_000),
        newcomers=0.7,
        faithless=0.8,
        pause=0.3,
        people=50,
    ),
    "rated": Scenario(_CALM, settings=replace(_SETTINGS, quota=8, rate=40), newcomers=0.3),
    "rated first contacts": Scenario(
        _CALM, settings=replace(_SETTINGS, quota=40, rate=60, confirm_within=200), newcomers=0.9, faithless=0.9
    ),
    "leaving": Scenario(
        _CALM | {"leave": 25, "close": 10, "revoke": 3}, settings=replace(_SETTINGS, quota=2), replays=0.2
    ),
    "leaving late": Scenario(
        {"visit": 40, "leave": 40}, settings=replace(_SETTINGS, waiting_ttl=3_000), pause=2.0, newcomers=0.1, people=12
    ),
    "closing": Scenario(
        _CALM | {"close": 25, "fail over": 6, "lose": 2},
        settings=replace(_SETTINGS, session_ttl=30_000, session_max=0, quota=6, recovery_hold=2_000),
        newcomers=0.1,
        replays=0.2,
    ),
    "closing for good": Scenario(
        _CALM | {"close": 25, "edit": 2},
        settings=replace(_SETTINGS, renew=False, session_ttl=8_000, leave_hold=6_500, quota=8),
        edits=({"renew": False},),
        newcomers=0.2,
    ),
    "emergencies": Scenario(
        _CALM | {"emergency": 12, "outage": 1, "fail over": 1},
        settings=replace(_SETTINGS, quota=8, session_ttl=4_000),
        newcomers=0.05,
        doubles=0.5,
        absences=(0.3, 25.0),
    ),
    "ticking": Scenario({"visit": 30, "tick": 60}, absences=(0.3, 30.0)),
    "shorter": Scenario(
        _CALM | {"tick": 15, "leave": 8, "revoke": 3, "edit": 3, "fail over": 4},
        settings=replace(_SETTINGS, return_within=3_000, session_max=0, quota=6),
        edits=(
            {"session_ttl": 3_000, "waiting_ttl": 3_000, "claim_within": 3_000},
            {"session_ttl": 30_000, "waiting_ttl": 30_000, "claim_within": 3_000},
        ),
        replays=0.3,
        absences=(0.2, 20.0),
    ),
    "shorter lost": Scenario(
        _CALM | {"edit": 6, "lose": 3, "fail over": 2},
        settings=replace(_SETTINGS, session_max=0, quota=8, recovery_hold=1_000),
        edits=({"session_ttl": 3_000}, {"session_ttl": 30_000}, {"renew": False}, {"renew": True}),
        newcomers=0.1,
    ),
    "edits lost": Scenario(_CALM | {"edit": 8, "fail over": 8, "restart": 2}),
    "launches": Scenario(_CALM | {"launch": 8, "edit": 2, "jump": 2, "outage": 1}, replays=0.2, absences=(0.15, 40.0)),
    "launches longer": Scenario(
        _CALM | {"launch": 8, "tick": 15, "leave": 8, "revoke": 3},
        settings=replace(_SETTINGS, return_within=1_000, session_ttl=4_000, waiting_ttl=6_000, session_max=0, quota=6),
        edits=({"return_within": 40_000, "session_ttl": 20_000}, {"return_within": 40_000}),
        replays=0.4,
        absences=(0.3, 30.0),
    ),
    "launches lost": Scenario(_CALM | {"launch": 8, "lose": 3, "fail over": 6, "restart": 3}),
    "flushes": Scenario(_CALM | {"flush": 8, "fail over": 8, "lose": 2, "restart": 6}, replays=0.2),
    "careless": Scenario(_CALM | {"lose": 4}, careless=1.0, newcomers=0.7, largest_batch=2, faithless=0.5),
    "epochs": Scenario(
        _CALM | {"jump": 5, "fail over": 12, "reboot": 8}, settings=replace(_SETTINGS, recovery_hold=500)
    ),
    "skewed": Scenario(_CALM | {"fail over": 8}, newcomers=0.6, skew=2.5),
    "jumps lost": Scenario(_CALM | {"lose": 5, "jump": 4}, newcomers=0.4),
    "going back": Scenario(_CALM | {"go back": 6}),
}
