"""Says who passes while the store cannot be reached: the policy of a tenant, and its bound.

`bounded`: admitted visitors pass on their ticket's signature, new ones share a rate that each process keeps by itself.
`open`: everybody passes. `closed`: admitted visitors pass, nobody new does. A tenant that lets nobody in anyhow (paused,
`queue_all`, `reject`, a limit of 0) stays that way, and so does one that lets in everybody (`passthrough`). A store that
refuses for a reason which only an operator can mend (a wrong password, a missing right) lets nobody new in at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ropeline.gate.settings import TenantSettings
from ropeline.gate.tickets import Ticket, TicketState

__all__ = ["FailurePolicy"]

# How far a tenant clock may be behind the time of day: it stands still while the store is away. A process that has not
# heard from the store yet takes no ticket for ended that may be good.
_LONGEST_LAG_MS: Final = 86_400_000


class FailurePolicy:
    """Decides for one tenant in one process. `monotonic`, `wall`: seconds and nanoseconds, replaced by tests."""

    __slots__ = ("_burst", "_filled_at", "_monotonic", "_per_second", "_policy", "_settings", "_tokens", "_wall")

    def __init__(
        self,
        settings: TenantSettings,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self._settings = settings
        self._policy = "open" if settings.queueing_method == "passthrough" else settings.on_store_error
        is_shut = settings.paused or settings.queue_all or settings.queueing_method == "reject"
        if is_shut or settings.quota == 0 or settings.rate == 0:
            self._policy = "closed"
        self._per_second = settings.emergency_admissions_per_minute / 60
        self._monotonic = monotonic
        self._wall = wall
        self._tokens = self._burst = max(1.0, self._per_second) if self._per_second > 0 else 0.0
        self._filled_at = monotonic()

    def worth(self, ticket: Ticket | None, *, clock: int, generation: int) -> Ticket | None:
        """The ticket, or None when the store would take its holder for a new visitor.

        `clock`: tenant ms, 0 not known. `generation`: of the last flush that is known.
        """
        if ticket is None or ticket.generation < generation:
            return None
        holds_place = ticket.state in (TicketState.WAITING, TicketState.EMERGENCY)
        ends = ticket.end + (self._settings.return_within_ms if holds_place else 0)
        return ticket if ends > self._earliest(clock) else None

    def passes_on_signature(self, ticket: Ticket, *, clock: int) -> bool:
        """Whether a ticket that was admitted, by the store or in an emergency, is good until its end; `clock` as above."""
        return ticket.state in (TicketState.ADMITTED, TicketState.EMERGENCY) and ticket.end > self._earliest(clock)

    def admits_new(self, *, may_mend: bool) -> bool:
        """Whether one more visitor without an admitted ticket passes now; `may_mend`: the store may come back by itself."""
        if self._policy != "bounded" or not may_mend:
            return self._policy == "open" and may_mend
        now = self._monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def emergency_ticket(
        self, ticket: Ticket | None, fresh: bytes, *, clock: int, epoch: int, sequence: int, generation: int
    ) -> Ticket:
        """What a visitor holds whom this process lets in by itself: at the place it had, else at this process's own time.

        `ticket`: as `worth` gave it. `fresh`: the id for somebody new. The others: as last heard from the store, 0 never.
        """
        now_us = self._wall() // 1000
        return Ticket(
            self._settings.name,
            fresh if ticket is None else ticket.id,
            TicketState.EMERGENCY,
            now_us + (now_us % 1_000_000 == 0) if ticket is None else ticket.place,  # a whole second is no place
            0,
            (clock or now_us // 1000) + self._settings.session_ttl_ms,
            epoch,
            sequence,
            generation if ticket is None else ticket.generation,
            0,
        )

    def _earliest(self, clock: int) -> int:
        """The earliest that the tenant clock may show."""
        return clock or self._wall() // 1_000_000 - _LONGEST_LAG_MS
