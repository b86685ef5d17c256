"""One tenant's line as a gate process sees it: visits and departures travel to the store
in batches, within one deadline.

What the process has to remember of the line (its clock, its epoch, revoked ids) stays here too, so that it can be given
back to a store that lost it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from ropeline.gate.batches import Batches, again
from ropeline.gate.breaker import Breaker
from ropeline.gate.deadline import within
from ropeline.gate.ids import new_id
from ropeline.gate.meter import Meter
from ropeline.gate.tickets import Ticket
from ropeline.lua.errors import StoreError
from ropeline.lua.line_settings import LineSettings, Turn
from ropeline.lua.results import LineHead, Outcome, StaleSettings
from ropeline.lua.scripts import LineScripts
from ropeline.lua.visits import Departure, Visit

__all__ = ["Line", "SettingsCopy", "ticket_visit"]

_VISIT_CALLS: Final = 2
_LEAVE_CALLS: Final = 1
_NEAR: Final = 10.0
_REVOKED_REMEMBERED: Final = 10_000
_REVOKED_A_CALL: Final = 100


class SettingsCopy:
    """The newest settings of a tenant that this process knows, ready to be written back into a store that lost them.

    `version` and `generation` as in LineScripts; `text` is the settings as JSON, `numbers` their part for the scripts,
    `turns` what that becomes later, `seeds` those of its draws by lot.
    """

    __slots__ = ("generation", "numbers", "seeds", "text", "turns", "version")

    def __init__(
        self,
        version: int,
        generation: int,
        text: str,
        numbers: LineSettings,
        *,
        turns: Sequence[Turn] = (),
        seeds: Mapping[int, bytes] | None = None,
    ) -> None:
        self.version = version
        self.generation = generation
        self.text = text
        self.numbers = numbers
        self.turns = turns
        self.seeds = seeds or {}


class Line:
    """The only caller of a tenant's line scripts in this process.

    `deadline`: seconds for one visit, over waiting for a connection, connecting and the call. Every method raises
    StoreError when the store does not do its work; after the first failure at once, until a probe has found it well.
    """

    def __init__(self, scripts: LineScripts, settings: SettingsCopy, *, deadline: float) -> None:
        self.scripts = scripts
        self.settings = settings
        self.deadline = deadline
        self.head: LineHead | None = None
        self.revoked: OrderedDict[bytes, None] = OrderedDict()
        self.on_stale: Callable[[], object] | None = None
        """Called when a reply shows that the store has newer settings, or another flush generation, than this process."""
        self.turn = 0
        """The server's time (us) from which the settings in force are, as a reply said last."""
        self.on_turn: Callable[[], object] | None = None
        """Called when a reply shows that other settings of the tenant are in force."""
        self._server_time = 0
        self.meter: Meter | None = None
        """What is measured of the site for the closed loop; None when the tenant has none."""
        self._steered = 0
        self._untold: dict[bytes, None] = {}
        self.breaker = Breaker(scripts.tenant, self.tick)
        self._clock_known_at = 0.0
        self._visits = Batches(
            scripts.tenant,
            self._decide,
            deadline=lambda: self.deadline,
            under_way=_VISIT_CALLS,
            on_failure=self._fail,
        )
        self._departures = Batches(
            scripts.tenant,
            self._let_go,
            deadline=lambda: self.deadline,
            under_way=_LEAVE_CALLS,
            on_failure=self._fail,
        )
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_stale(self) -> bool:
        """Whether the store has newer settings or another flush generation than this process."""
        head = self.head
        return head is not None and (
            head.version != self.settings.version or head.generation != self.settings.generation
        )

    @property
    def is_turn_near(self) -> bool:
        """Whether other settings may be in force since the last reply, or will be within seconds."""
        if not self._server_time:
            return bool(self.settings.turns)
        soon = self._server_time + (time.monotonic() - self._clock_known_at + _NEAR) * 1_000_000
        return any(self.turn < turn.at * 1_000_000 <= soon for turn in self.settings.turns)

    @property
    def known_clock(self) -> int:
        """The highest tenant clock (ms) that a reply carried, 0 none."""
        return 0 if self.head is None else self.head.clock

    def clock(self) -> int:
        """The tenant clock (ms) now: the last reply's, carried on by this process's own for one clock step at most; 0 unknown."""
        if self.head is None:
            return 0
        passed = int((time.monotonic() - self._clock_known_at) * 1000)
        return self.head.clock + min(passed, self.settings.numbers.clock_step)

    async def visit(self, visit: Visit) -> tuple[LineHead, Outcome]:
        """Decide on one visit, together with all others that arrive in this turn of the event loop."""
        if self.breaker.failure is not None:
            raise again(self.breaker.failure)
        return await self._visits.add(visit)

    async def touch(self, ticket: Ticket) -> None:
        """Renew a visitor's hold, who is present without asking for anything."""
        await self.visit(ticket_visit(ticket, new_id(), may_begin=False))

    async def tick(self) -> bool:
        """Purge a chunk and give free slots on; True when more has ended than was removed."""
        meter = self.meter
        measured = None if meter is None else meter.take(version=self.settings.version, quota=self._steered)
        reply = await within(self.deadline, self.scripts.tick(caller_clock=self.known_clock, measured=measured))
        if reply is None:
            if self.head is not None:
                await self.give_back()
            elif self.settings.turns:
                # Nobody has visited yet, and for as long as the tenant is suspended nobody will.
                status = await within(self.deadline, self.scripts.status())
                if status is not None:
                    self._note(status.head)
            return False
        head, has_more, steered = reply
        # A store that lost the closed loop's quota has none until it has opened again.
        self._steered = steered or (0 if meter is None else self._steered)
        self._remember(head)
        if head.version < self.settings.version or head.generation < self.settings.generation:
            await self.give_back()
        return has_more

    async def leave(self, id: bytes, *, closing: bool) -> bool:
        """End a session, or with `closing` shorten its hold, together with all others that leave; True when it was live."""
        if self.breaker.failure is not None:
            raise again(self.breaker.failure)
        return await self._departures.add(Departure(id, closing))

    def revoke(self, ids: Iterable[bytes]) -> None:
        """Remember ids that were revoked, the newest ten thousand, whatever becomes of the store."""
        for revoked in ids:
            self.revoked[revoked] = None
            self.revoked.move_to_end(revoked)
        while len(self.revoked) > _REVOKED_REMEMBERED:
            self.revoked.popitem(last=False)

    async def end_revoked(self, ids: Sequence[bytes] = ()) -> None:
        """Revoke ids in the store, and those that it could not be told of before; they are tried again at each tick."""
        self.revoke(ids)
        self._untold.update(dict.fromkeys(ids))
        while self._untold:
            if self.breaker.failure is not None:
                raise again(self.breaker.failure)
            chunk = list(islice(self._untold, _REVOKED_A_CALL))
            try:
                if not await self._revoke_chunk(chunk):
                    await self.give_back()
                    await self._revoke_chunk(chunk)
            except StoreError as error:
                self.breaker.fail(error)
                raise
            for id_ in chunk:
                self._untold.pop(id_, None)

    async def give_back(self) -> None:
        """Write this process's copy of the settings and the revoked ids into a store that lost them."""
        copy = self.settings
        kept = await within(
            self.deadline,
            self.scripts.configure(
                expected=-1,
                version=copy.version,
                settings=copy.text,
                numbers=copy.numbers,
                turns=copy.turns,
                seeds=copy.seeds,
                reached=self._server_time,
                generation=copy.generation,
                caller_clock=self.known_clock,
            ),
        )
        if not kept.written and kept.version > copy.version and self.on_stale is not None:
            self.on_stale()
        await self._give_back_revoked()

    async def close(self) -> None:
        """Let the calls under way end and stop probing."""
        await self.breaker.close()
        await self._visits.close()
        await self._departures.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _fail(self, error: StoreError) -> None:
        """A call failed: those who were to travel with a later one are told so now."""
        self.breaker.fail(error)
        self._visits.refuse(error)
        self._departures.refuse(error)

    async def _decide(self, visits: list[Visit]) -> list[tuple[LineHead, Outcome]]:
        for _ in range(2):
            reply = await self.scripts.visit(
                visits,
                caller_clock=self.known_clock,
                known_version=self.settings.version,
                known_generation=self.settings.generation,
            )
            if not isinstance(reply, StaleSettings):
                head, outcomes = reply
                self._remember(head)
                return [(head, outcome) for outcome in outcomes]
            await self.give_back()
        raise StoreError(f"tenant {self.scripts.tenant}: the store does not keep the settings that are given to it")

    async def _let_go(self, departures: list[Departure]) -> list[bool]:
        reply = await self.scripts.leave(departures, caller_clock=self.known_clock)
        if reply is None:
            return [False] * len(departures)
        self._remember(reply[0])
        return reply[1]

    def _remember(self, head: LineHead) -> None:
        known = self.head
        if known is not None and (head.epoch, head.sequence) < (known.epoch, known.sequence):
            return
        self.head = head
        self._note(head)
        if self.is_stale and self.on_stale is not None:
            self.on_stale()
        if known is not None and head.epoch != known.epoch and self.revoked:
            task = asyncio.create_task(self._give_back_revoked_later())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _note(self, head: LineHead) -> None:
        self._clock_known_at = time.monotonic()
        self._server_time = max(self._server_time, head.now)
        if head.turn != self.turn:
            self.turn = head.turn
            if self.on_turn is not None:
                self.on_turn()

    async def _give_back_revoked_later(self) -> None:
        try:
            await self._give_back_revoked()
        except StoreError as error:
            self.breaker.fail(error)

    async def _give_back_revoked(self) -> None:
        ids = list(self.revoked)
        for start in range(0, len(ids), _REVOKED_A_CALL):
            await self._revoke_chunk(ids[start : start + _REVOKED_A_CALL])

    async def _revoke_chunk(self, ids: list[bytes]) -> bool:
        """Revoke at most a hundred ids; False when the store does not have the tenant."""
        reply = await within(self.deadline, self.scripts.revoke(ids, caller_clock=self.known_clock))
        return reply is not None


def ticket_visit(ticket: Ticket, fresh: bytes, *, may_begin: bool, first: int = 0, second: int = 0) -> Visit:
    """A visit with a ticket; `may_begin`: it gets a new one, with the id `fresh`, when this one has ended."""
    return Visit(fresh, True, not may_begin, ticket.state, ticket.id, *ticket[3:], first, second)  # noqa: FBT003 - in the order of the tuple, for speed
