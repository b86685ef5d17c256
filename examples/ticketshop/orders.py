"""The cart, which lives in a cookie, and the orders, which live in this process."""

import re
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ropeline.examples.ticketshop.catalogue import EVENTS, MOST_SEATS_AN_ORDER, euros
from ropeline.examples.ticketshop.tickets import PaidOrder

_MOST_ORDERS = 10_000
_CART_ENTRY = re.compile(r"([a-z-]+)\.([1-9])", re.ASCII)


class Cart:
    """What a visitor has chosen: event -> seats. `text` is the value of the cookie; a value that makes no sense is empty."""

    def __init__(self, text: str = "") -> None:
        self.seats: dict[str, int] = {}
        for entry in text.split("_"):
            match = _CART_ENTRY.fullmatch(entry)
            if match and match[1] in EVENTS:
                self.put(match[1], int(match[2]))

    @property
    def text(self) -> str:
        return "_".join(f"{slug}.{count}" for slug, count in self.seats.items())

    @property
    def count(self) -> int:
        return sum(self.seats.values())

    @property
    def total_cents(self) -> int:
        return sum(EVENTS[slug].price_cents * count for slug, count in self.seats.items())

    @property
    def total(self) -> str:
        return euros(self.total_cents)

    def put(self, slug: str, count: int) -> None:
        """Choose so many seats of an event, at most MOST_SEATS_AN_ORDER; none removes it."""
        if count > 0:
            self.seats[slug] = min(count, MOST_SEATS_AN_ORDER)
        else:
            self.seats.pop(slug, None)


@dataclass
class Order:
    """Seats that were taken for somebody. `number`: whoever knows it is the buyer. `paid_at`: None, not yet."""

    seats: Mapping[str, int]
    total_cents: int
    name: str
    email: str
    number: str = field(default_factory=lambda: uuid.uuid4().hex)
    paid_at: datetime | None = None
    has_jobs: bool = False
    """Whether the jobs that follow the payment were enqueued."""

    @property
    def is_paid(self) -> bool:
        return self.paid_at is not None

    @property
    def total(self) -> str:
        return euros(self.total_cents)

    def pay(self) -> None:
        """Note that it is paid; a second time changes nothing."""
        self.paid_at = self.paid_at or datetime.now(UTC)

    def paid(self) -> PaidOrder:
        """What its jobs are told; raises ValueError before it is paid."""
        if self.paid_at is None:
            raise ValueError(f"order {self.number[:8]} is not paid")
        return PaidOrder(self.number, self.name, self.email, dict(self.seats), self.total_cents, self.paid_at)


class Orders:
    """The last 10,000 orders by number."""

    def __init__(self) -> None:
        self._orders: OrderedDict[str, Order] = OrderedDict()

    def add(self, order: Order) -> None:
        self._orders[order.number] = order
        if len(self._orders) > _MOST_ORDERS:
            self._orders.popitem(last=False)

    def find(self, number: str) -> Order | None:
        return self._orders.get(number)
