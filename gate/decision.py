"""What the gate has decided about one request, before it is said in HTTP."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ropeline.gate.tenant import Tenant
from ropeline.gate.tickets import Ticket
from ropeline.lua.results import LineHead

__all__ = ["Decision", "Kind"]


class Kind(Enum):
    """What happens to the request: its word in the `Waiting-Room` header, and whether it goes to the site."""

    BYPASS = "bypass", True
    """To the site, unseen by the line: no tenant's, a suspended tenant's, or exempted by a rule."""
    ADMITTED = "admitted", True
    """To the site, as one of the quota."""
    FAILING_OPEN = "failing-open", True
    """To the site, although the store could not be asked."""
    QUEUED = "queued", False
    """In line."""
    CLOSED = "closed", False
    """The tenant takes nobody new."""
    NO_TICKET = "no-ticket", False
    """A request that may not get a ticket of its own (an image, a prefetch), or whose ticket has ended."""
    LIMITED = "limited", False
    """Too many new visitors from this address."""
    UNAVAILABLE = "unavailable", False
    """The store cannot be asked, and the failure policy does not let this visitor in."""
    BLOCKED = "blocked", False
    """Refused by a rule."""
    PREFLIGHT = "preflight", False
    """A browser asks whether it may send a request across origins; it brings no cookie for this."""
    MISDIRECTED = "misdirected", False
    """For a host that no tenant has."""

    # Plain attributes: an Enum's own properties cost more than the rest of the comparison, and this is asked of each request.
    def __init__(self, word: str, passes: bool) -> None:  # noqa: FBT001 - the two columns of the table above
        self.word = word
        self.passes = passes


class Decision(NamedTuple):
    """The decision, whom it is about and what they hold now.

    `ticket`: what the visitor holds from now on, None: nothing. `is_signed_anew`: it has to be sent. `head`: how the line
    stood, None when the store was not asked. `position`: people ahead + 1, 0 on the site, -1 not known.
    `wait`: estimated seconds until the turn, lowest and highest, None: not known.
    """

    kind: Kind
    tenant: Tenant | None = None
    ticket: Ticket | None = None
    is_signed_anew: bool = False
    head: LineHead | None = None
    position: int = -1
    wait: tuple[int, int] | None = None

    @property
    def seconds_until_start(self) -> int | None:
        """In a pre-queue: how long until visitors are let in, by the server's clock when the line was looked at; else None."""
        phase = None if self.tenant is None else self.tenant.phase
        if phase is None or phase.event is None or not phase.is_prequeue or self.head is None:
            return None
        return _seconds_until(phase.event.starts_at, self.head)

    @property
    def seconds_until_end(self) -> int | None:
        """While an event lasts, its pre-queue included: how long it goes on, counted as above; else None."""
        phase = None if self.tenant is None else self.tenant.phase
        if phase is None or phase.event is None or self.head is None:
            return None
        return _seconds_until(phase.event.ends_at, self.head)


def _seconds_until(moment: int, head: LineHead) -> int:
    return max(0, moment - head.now // 1_000_000)
