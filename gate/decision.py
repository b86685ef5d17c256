"""What the gate has decided about one request, before it is said in HTTP."""

from __future__ import annotations

from typing import NamedTuple

from ropeline.gate.kinds import Kind
from ropeline.gate.tenant import Tenant
from ropeline.gate.tickets import Ticket
from ropeline.lua.results import LineHead

__all__ = ["Decision", "Kind"]


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
