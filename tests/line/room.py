"""A waiting room for tests that tell one promise each: guests with tickets, a gate process's memory, simulated time.

Every call is made on the real scripts and on the model, and both have to agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from loadtests.campaign.blocking import BlockingClient, result_of
from loadtests.campaign.visitors import ticket_after
from ropeline.lua.line_settings import LineSettings
from ropeline.lua.measured import Measured
from ropeline.lua.results import Configured, Counters, LineHead, Outcome, StaleSettings, Status, Ticked, Times
from ropeline.lua.visits import Departure, Visit
from tests.line.mirror import MirroredStore

_SECOND = 1_000_000
_rooms = itertools.count(1)


@dataclass(eq=False)
class Guest:
    """One visitor: the ticket it holds, all it ever held, and what it was told last."""

    held: Visit | None = None
    tickets: list[Visit] = field(default_factory=list)
    told: Outcome | None = None

    @property
    def ticket(self) -> Visit:
        if self.held is None:
            raise LookupError("the guest holds no ticket")
        return self.held

    @property
    def outcome(self) -> Outcome:
        if self.told is None:
            raise LookupError("the guest was told nothing yet")
        return self.told

    @property
    def id(self) -> bytes:
        return self.ticket.id


class Room:
    """A tenant with these settings, and one gate process in front of it that remembers what a process does."""

    def __init__(self, client: BlockingClient, **settings: int) -> None:
        self.store = MirroredStore(client, f"room-{next(_rooms)}")
        self.scripts = self.store.mirror
        self.version = self.clock = self.generation = self.steered = 0
        self.head: LineHead | None = None
        self.settings = LineSettings(**{"quota": 1} | settings)  # type: ignore[arg-type] # fields of LineSettings
        self.edit()
        self._ids = (number.to_bytes(16, "big") for number in itertools.count(1))

    # -- guests

    def arrive(self) -> Guest:
        """Somebody's first contact."""
        guest = Guest()
        self.visit(guest)
        return guest

    def line_up(self, count: int = 1) -> list[Guest]:
        """Guests who arrived and confirmed their places."""
        guests = [self.arrive() for _ in range(count)]
        self.visit(*guests)
        return guests

    def fill(self, count: int | None = None) -> list[Guest]:
        """As many admitted guests as the quota, each seen twice."""
        return self.line_up(self.settings.quota if count is None else count)

    def visit(self, *guests: Guest) -> list[Outcome]:
        """One call with a visit of each guest, with what it holds now."""
        visits = [Visit(self.new_id()) if guest.held is None else self.show(guest.held) for guest in guests]
        outcomes = self.decide(visits)
        for guest, visit, outcome in zip(guests, visits, outcomes, strict=True):
            guest.told = outcome
            ticket = ticket_after(visit, self.line, outcome)
            if ticket is not None:
                guest.held = ticket
                guest.tickets.append(ticket)
        return outcomes

    def replay(self, *tickets: Visit) -> list[Outcome]:
        """One call that shows these tickets; nobody receives the answer."""
        return self.decide([self.show(ticket) for ticket in tickets])

    def show(self, ticket: Visit) -> Visit:
        return ticket._replace(fresh=self.new_id())

    def new_id(self) -> bytes:
        return next(self._ids)

    def leave(self, guest: Guest) -> bool:
        return self.depart(Departure(guest.id))[0]

    def close_tab(self, guest: Guest) -> bool:
        return self.depart(Departure(guest.id, closing=True))[0]

    def depart(self, *departures: Departure) -> list[bool]:
        """One call with these departures; whose session was live, nobody's without settings."""
        reply = result_of(self.scripts.leave(departures, caller_clock=self.clock))
        if reply is None:
            return [False] * len(departures)
        self._heed(reply[0])
        return reply[1]

    def revoke(self, *guests: Guest) -> int:
        return self._heed_reply(result_of(self.scripts.revoke([guest.id for guest in guests], caller_clock=self.clock)))

    # -- operators

    def front(self, guest: Guest) -> int | None:
        """Move a guest to the front; its position then, None when it was not moved."""
        reply = result_of(self.scripts.front(guest.id, caller_clock=self.clock))
        return reply[2] if reply is not None and reply[0] == 1 else None

    def listed(self, *, state: int = 0, backward: bool = False, limit: int = 100) -> Iterator[list[bytes]]:
        """The ids of each page, from the first page to the last or the other way; what happens in between is seen."""
        after: tuple[int, bytes] | None = None
        while True:
            call = self.scripts.page(state=state, backward=backward, after=after, limit=limit, caller_clock=self.clock)
            page = result_of(call) or []
            if not page:
                return
            id_, score, _ = page[0 if backward else -1]
            after = (score, id_)
            yield [each[0] for each in page]

    def edit(self, **changes: int) -> Configured:
        """Change settings as an operator does."""
        self.settings = replace(self.settings, **changes)  # type: ignore[arg-type] # fields of LineSettings
        written = self.write_settings(expected=self.version, version=self.version + 1)
        self.version = written.version
        return written

    def write_settings(self, *, expected: int, version: int) -> Configured:
        return result_of(
            self.scripts.configure(
                expected=expected,
                version=version,
                settings="{}",
                numbers=self.settings,
                generation=self.generation,
                caller_clock=self.clock,
            )
        )

    def give_back(self) -> Configured:
        """Write this process's copy of the settings into a store that lost them."""
        return self.write_settings(expected=-1, version=self.version)

    def flush(self) -> None:
        head = result_of(self.scripts.flush(caller_clock=self.clock))
        if head is not None:
            self._heed(head)

    def tick(self) -> bool:
        """True when more has ended than was removed."""
        return bool(self._heed_reply(result_of(self.scripts.tick(caller_clock=self.clock))))

    def measure(
        self, calls: int, *, near: int = 0, slow: int = 0, failed: int = 0, step: int = 2, seconds: float = 1
    ) -> int:
        """Time passes, as much as an interval, and a tick brings what was measured in it; the closed loop's quota.

        Five of a hundred calls may be slow, and as many may fail; a step down takes a quarter of who is in.
        """
        self.jump(seconds)
        measured = Measured(
            self.version,
            self.steered,
            calls,
            max(near, slow),
            slow,
            failed,
            interval=1000,
            slow_share=0.05,
            failed_share=0.05,
            step=step,
            factor=0.75,
        )
        ticked = result_of(self.scripts.tick(caller_clock=self.clock, measured=measured))
        if ticked is None:
            return 0
        self._heed(ticked.head)
        self.steered = ticked.steered or self.steered
        return ticked.steered

    # -- time and losses

    def pass_time(self, seconds: float) -> None:
        """Time goes on, with a tick each second."""
        left = round(seconds * _SECOND)
        while left > 0:
            step = min(left, _SECOND)
            left -= step
            self.store.time.now += step
            self.tick()

    def jump(self, seconds: float) -> None:
        """The server's clock is another one at once: an outage, or somebody set it."""
        self.store.time.now += round(seconds * _SECOND)

    def lose_everything(self) -> None:
        """The store is emptied; the process gives its settings back."""
        self.jump(0.01)
        self.store.lose_everything()
        self.give_back()

    def forget(self) -> None:
        """The gate process starts anew."""
        self.clock = self.version = self.generation = self.steered = 0

    # -- what is true

    @property
    def line(self) -> LineHead:
        """The head of the last reply."""
        if self.head is None:
            raise LookupError("nothing was called yet")
        return self.head

    @property
    def counters(self) -> Counters:
        return self._status().counters

    @property
    def times(self) -> Times:
        return self._status().times

    def _status(self) -> Status:
        status = result_of(self.scripts.status(caller_clock=self.clock))
        if status is None:
            raise LookupError("the tenant has no settings")
        return status

    def holds(self, key: str) -> bool:
        """Whether the store has this key of the tenant."""
        return bool(self.store.client.call("EXISTS", getattr(self.store.keys, key)))

    def decide(self, visits: list[Visit]) -> list[Outcome]:
        reply = self.try_to_decide(visits)
        assert not isinstance(reply, StaleSettings), "the store has older settings than the process"
        return reply

    def try_to_decide(self, visits: list[Visit]) -> list[Outcome] | StaleSettings:
        reply = result_of(
            self.scripts.visit(
                visits,
                caller_clock=self.clock,
                known_version=self.version,
                known_generation=self.generation,
            )
        )
        if isinstance(reply, StaleSettings):
            return reply
        self._heed(reply[0])
        return reply[1]

    def _heed(self, head: LineHead) -> None:
        self.head = head
        self.clock, self.generation = max(self.clock, head.clock), max(self.generation, head.generation)

    def _heed_reply(self, reply: Ticked | tuple[LineHead, int] | None) -> int:
        if reply is None:
            return 0
        self._heed(reply[0])
        return reply[1]
