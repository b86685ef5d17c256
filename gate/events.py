"""Launches of a tenant: which settings hold at which time.

All of it is a function of the settings and a moment. Which moment it is, the server's clock says, in the scripts on the
line; a gate process hears it with each answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from ropeline.gate.fields import SLUG, Flag, build, check_fields, described, to_plain
from ropeline.lua.errors import ConfigurationError

__all__ = ["MOST_EVENTS", "Event", "Phase", "check_events", "moment", "next_draw", "phase_at", "phases", "settings_in"]

MOST_EVENTS = 20
SHORTEST_DRAW = 2
"""Seconds that a shuffled pre-queue lasts at least: its places lie in the first one."""
NEVER_OVERRIDDEN = frozenset({"name", "host", "path", "additional_routes", "cookie_attributes", "events"})
"""Settings that make a tenant findable and a ticket readable: another value for a while would lose places."""

_YEARS = range(2000, 2201)


def moment(text: str) -> datetime | None:
    """The whole second that an ISO 8601 time with an offset names, in UTC; None for anything else."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read.astimezone(UTC) if read.tzinfo is not None and read.microsecond == 0 and read.year in _YEARS else None


@dataclass(frozen=True, slots=True)
class _Moment:
    """A whole second, written as UTC. `absent` as in Number."""

    absent: str = ""

    @property
    def expected(self) -> str:
        words = "a time in whole seconds with its offset, such as 2026-12-01T09:00:00Z or 2026-12-01T10:00:00+01:00"
        return f"{words}, or none: {self.absent}" if self.absent else words

    def check(self, field: str, value: object) -> object:
        if value is None and self.absent:
            return None
        # TOML has times of its own.
        text = value.isoformat() if isinstance(value, datetime) else value
        read = moment(text) if isinstance(text, str) else None
        if read is None:
            raise ConfigurationError(field, value, self.expected)
        return read.strftime("%Y-%m-%dT%H:%M:%SZ")


class _Overrides:
    """Settings by name. Their values are checked with the rest of the tenant's settings, where they apply."""

    expected: ClassVar[str] = "a table of settings of the tenant, each with another value"
    json_type: ClassVar[str] = "object"

    def check(self, field: str, value: object) -> object:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise ConfigurationError(field, value, self.expected)
        for name in value:
            if name in NEVER_OVERRIDDEN:
                raise ConfigurationError(f"{field}.{name}", value[name], "no such setting: it holds at all times")
        return {name: given for name, given in value.items() if given is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One launch. It opens with its pre-queue, or with its start when it has none, and lasts until its end."""

    name: str = field(metadata=described(SLUG, "Name in commands, answers and logs.", example="spring-sale"))
    event_start_time: str = field(
        metadata=described(_Moment(), "From then on visitors are let in.", example="2030-03-01T09:00:00Z")
    )
    event_end_time: str = field(
        metadata=described(
            _Moment(), "From then on the tenant's own settings hold again.", example="2030-03-01T18:00:00Z"
        )
    )
    prequeue_start_time: str | None = field(
        default=None,
        metadata=described(
            _Moment(absent="the event opens with its start"),
            "From then until the start every new visitor waits, and nobody is let in.",
            example="2030-03-01T08:30:00Z",
        ),
    )
    shuffle_at_event_start: bool = field(
        default=False,
        metadata=described(
            Flag(),
            "True: who gathers in the pre-queue gets a place by lot. Needs a pre-queue that opens after it was planned.",
        ),
    )
    suspended: bool = field(default=False, metadata=described(Flag(), "True: the event does not take place."))
    overrides: Mapping[str, object] = field(
        default_factory=dict,
        metadata=described(
            _Overrides(),
            "Settings that have another value from the opening to the end. Of a group, such as `poll`, the parts that are"
            " named. `queueing_method` `random` is the same as `shuffle_at_event_start`. All but "
            + ", ".join(f"`{name}`" for name in sorted(NEVER_OVERRIDDEN))
            + ".",
            example={"total_active_users": 2000, "poll": {"ceiling": 20}},
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.overrides.get("queueing_method") == "random":
            # Cloudflare's word for it.
            rest = {name: value for name, value in self.overrides.items() if name != "queueing_method"}
            object.__setattr__(self, "overrides", rest)
            object.__setattr__(self, "shuffle_at_event_start", True)
        if self.starts_at >= self.ends_at:
            raise ConfigurationError("event_end_time", self.event_end_time, f"a time after {self.event_start_time}")
        if self.opens_at > self.starts_at or self.prequeue_start_time == self.event_start_time:
            least = f"a time before {self.event_start_time}"
            raise ConfigurationError("prequeue_start_time", self.prequeue_start_time, least)
        if self.shuffle_at_event_start and self.starts_at - self.opens_at < SHORTEST_DRAW:
            least = f"a time at least {SHORTEST_DRAW} seconds before the start, since places are drawn by lot"
            raise ConfigurationError("prequeue_start_time", self.prequeue_start_time, least)

    @property
    def opens_at(self) -> int:
        """Seconds since 1970 at which the pre-queue, or without one the event, begins."""
        return _seconds(self.prequeue_start_time or self.event_start_time)

    @property
    def starts_at(self) -> int:
        """Seconds since 1970 from which visitors are let in."""
        return _seconds(self.event_start_time)

    @property
    def ends_at(self) -> int:
        """Seconds since 1970 at which the event is over."""
        return _seconds(self.event_end_time)


class Phase(NamedTuple):
    """From `at` on (seconds since 1970, 0: always) a tenant is in this `event`, None: in none."""

    at: int
    event: Event | None = None
    is_prequeue: bool = False

    @property
    def window(self) -> int:
        """In a shuffled pre-queue, when it opened; else 0."""
        is_shuffled = self.is_prequeue and self.event is not None and self.event.shuffle_at_event_start
        return self.at if is_shuffled else 0


def phases(events: Sequence[Event]) -> list[Phase]:
    """What follows on one another, in the order of time, from a phase without an event on."""
    found = [Phase(0)]
    for event in sorted((event for event in events if not event.suspended), key=lambda event: event.opens_at):
        if found[-1].at == event.opens_at:
            found.pop()
        if event.opens_at < event.starts_at:
            found.append(Phase(event.opens_at, event, is_prequeue=True))
        found += [Phase(event.starts_at, event), Phase(event.ends_at)]
    return found


def phase_at(events: Sequence[Event], at: float) -> Phase:
    """The phase in force at a moment, seconds since 1970."""
    return [phase for phase in phases(events) if phase.at <= at][-1]


def next_draw(events: Sequence[Event], at: int) -> int:
    """When the first shuffled pre-queue opens that opens at `at` or later, seconds since 1970; 0: there is none."""
    opening = [phase.window for phase in phases(events) if phase.window >= max(at, 1)]
    return opening[0] if opening else 0


class _Settings(Protocol):
    """Any settings with a list of events."""

    @property
    def events(self) -> tuple[Event, ...]: ...


S = TypeVar("S", bound=_Settings)


def settings_in(settings: S, phase: Phase) -> S:
    """The settings that hold in a phase, without the events. A pre-queue takes everybody into line and admits nobody.

    Raises ConfigurationError when the overrides do not go together with the other settings.
    """
    event = phase.event
    if event is None:
        return settings
    mapping: dict[str, Any] = to_plain(settings)
    del mapping["events"]
    for name, value in event.overrides.items():
        before = mapping.get(name)
        mapping[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, Mapping) else value
    made = build(type(settings), mapping, prefix="")
    if phase.is_prequeue:
        made = build(type(settings), to_plain(made) | {"queue_all": True, "queueing_method": "fifo"}, prefix="")
    return made


def check_events(settings: _Settings) -> None:
    """Raise ConfigurationError for events of one name or at one time, or whose overrides cannot work."""
    names: set[str] = set()
    for index, event in enumerate(settings.events):
        if event.name in names:
            raise ConfigurationError(f"events[{index}].name", event.name, "a name that no other event has")
        names.add(event.name)
        try:
            settings_in(settings, Phase(event.starts_at, event))
        except ConfigurationError as error:
            field_name = f"events[{index}].overrides.{error.field}"
            raise ConfigurationError(field_name, error.value, error.expected) from None
    taking_place = sorted(
        (event.opens_at, event.ends_at, index) for index, event in enumerate(settings.events) if not event.suspended
    )
    for (_, ends_at, other), (opens_at, _, index) in pairwise(taking_place):
        if opens_at < ends_at:
            event, earlier = settings.events[index], settings.events[other]
            which = "event_start_time" if event.prequeue_start_time is None else "prequeue_start_time"
            expected = f"a time from {earlier.event_end_time} on, when {earlier.name} has ended"
            raise ConfigurationError(f"events[{index}].{which}", getattr(event, which), expected)


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
