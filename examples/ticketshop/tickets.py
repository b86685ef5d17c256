"""A paid order as its jobs are told of it, and the tickets that belong to it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ropeline.examples.ticketshop.catalogue import EVENTS, MOST_SEATS_AN_ORDER, Event, euros

_NUMBER = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Ticket:
    """One seat of an order: the `number`th that it has for an event, counted from 1."""

    event: Event
    number: int

    @property
    def name(self) -> str:
        """What its file is called, without the end."""
        return f"{self.event.slug}-{self.number}"


@dataclass(frozen=True, slots=True)
class PaidOrder:
    """What the jobs need of an order. Raises ValueError for one that the shop cannot have sold: its number names files."""

    number: str
    name: str
    email: str
    seats: dict[str, int]
    total_cents: int
    paid_at: datetime

    def __post_init__(self) -> None:
        if not _NUMBER.fullmatch(self.number):
            raise ValueError(f"number: got {self.number!r}, expected 32 hexadecimal digits")
        for slug, count in self.seats.items():
            if slug not in EVENTS or not 0 < count <= MOST_SEATS_AN_ORDER:
                raise ValueError(f"seats: got {count} for {slug!r}, expected 1 to {MOST_SEATS_AN_ORDER} of an event")

    @property
    def total(self) -> str:
        return euros(self.total_cents)

    def tickets(self) -> Iterator[Ticket]:
        """All tickets of the order, event after event."""
        for slug, count in self.seats.items():
            for number in range(1, count + 1):
                yield Ticket(EVENTS[slug], number)

    def ticket(self, event: str, number: int) -> Ticket:
        """One ticket of the order; raises ValueError for one that it does not have."""
        if not 0 < number <= self.seats.get(event, 0):
            raise ValueError(f"ticket: got number {number} of {event!r}, which the order does not have")
        return Ticket(EVENTS[event], number)
