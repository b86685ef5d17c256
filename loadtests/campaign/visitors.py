"""The visitors of a campaign: each holds the ticket it was given last, and none ever loses an older one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtests.campaign.lots import with_fresh
from ropeline.lua.results import LineHead, Outcome, Verdict
from ropeline.lua.visits import Visit

__all__ = ["Visitor", "ticket_after"]

_STATES = {Verdict.UNCONFIRMED: 0, Verdict.WAITING: 1, Verdict.ADMITTED: 2, Verdict.CALLED: 1}
_WAITING = (Verdict.UNCONFIRMED, Verdict.WAITING)
_REMEMBERED = 40


@dataclass(eq=False)
class Visitor:
    """Somebody with a browser. `away_until`: server's clock (us) before which it does not visit."""

    held: Visit | None = None
    tickets: list[Visit] = field(default_factory=list)
    away_until: int = 0
    is_faithless: bool = False
    """Never shows a ticket."""

    def visit(self, fresh: bytes) -> Visit:
        """A visit as the browser makes it: with the ticket that it holds."""
        return Visit(fresh) if self.held is None else with_fresh(self.held, fresh)

    def receive(self, visit: Visit, head: LineHead, outcome: Outcome) -> None:
        """Take the answer to a visit: keep the ticket that comes with it."""
        ticket = ticket_after(visit, head, outcome)
        if outcome.verdict is Verdict.ENDED:
            self.held = None
        if ticket is not None and ticket != self.held:
            self.hold(ticket)

    def hold(self, ticket: Visit) -> None:
        self.held = ticket
        self.tickets.append(ticket)
        del self.tickets[:-_REMEMBERED]


def ticket_after(visit: Visit, head: LineHead, outcome: Outcome) -> Visit | None:
    """The ticket that a visitor holds after an answer; None when the answer carries none."""
    state = _STATES.get(outcome.verdict)
    if state is None:
        return None
    is_same = (
        visit.ticketed
        and not outcome.is_new
        and visit.place == outcome.place
        and (visit.state, visit.end, visit.epoch) == (state, outcome.end, head.epoch)
        and visit.place == outcome.place
    )
    if is_same:
        return visit._replace(fresh=bytes(16))
    who = visit.fresh if outcome.is_new else visit.id
    return Visit(
        bytes(16),
        ticketed=True,
        state=state,
        id=who,
        place=outcome.place,
        since=outcome.since,
        end=outcome.end,
        epoch=head.epoch,
        sequence=head.sequence,
        generation=head.generation,
        estimate=head.clock + 5_000 if outcome.verdict in _WAITING else 0,
    )


def newest(visitors: Sequence[Visitor]) -> Visit | None:
    """The ticket that was signed last."""
    held = [visitor.held for visitor in visitors if visitor.held is not None]
    return max(held, key=lambda ticket: (ticket.epoch, ticket.sequence), default=None)
