"""A simulated store whose every call is also made on the model: both have to answer and to hold the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypedDict, TypeVar

from loadtests.campaign.blocking import BlockingClient
from loadtests.campaign.store import NAMESPACE, SimulatedStore, SimulatedTime, Snapshot
from ropeline.lua.audit import Author
from ropeline.lua.keys import TenantKeys
from ropeline.lua.line_settings import LineSettings, Turn
from ropeline.lua.measured import Measured
from ropeline.lua.results import Configured, LineHead, Outcome, StaleSettings, Status, Ticked
from ropeline.lua.scripts import LineScripts
from ropeline.lua.session_scripts import SessionScripts
from ropeline.lua.visits import Departure, Visit
from tests.line.comparison import assert_same_line
from tests.line.line_model import LineModel

T = TypeVar("T")


class _Moment(TypedDict):
    now: int
    run: str


class MirroredScripts(LineScripts):
    """LineScripts that fail when the model answers or stores anything else."""

    def __init__(self, client: BlockingClient, tenant: str, time: SimulatedTime) -> None:
        super().__init__(client, NAMESPACE, tenant, test_clock=time)
        self.model = LineModel()
        self.is_full = False
        self._time = time
        self.keys = TenantKeys(NAMESPACE, tenant)
        self._blocking = client
        self.sessions = SessionScripts(client, NAMESPACE, tenant, test_clock=time)

    async def visit(
        self, visits: Sequence[Visit], *, caller_clock: int = 0, known_version: int = 0, known_generation: int = 0
    ) -> tuple[LineHead, list[Outcome]] | StaleSettings:
        reply = await super().visit(
            visits, caller_clock=caller_clock, known_version=known_version, known_generation=known_generation
        )
        expected = self.model.visit(
            visits,
            **self._at,
            caller_clock=caller_clock,
            known_version=known_version,
            known_generation=known_generation,
            full=self.is_full,
        )
        return self._same(reply, expected)

    async def tick(self, *, caller_clock: int = 0, measured: Measured | None = None) -> Ticked | None:
        reply = await super().tick(caller_clock=caller_clock, measured=measured)
        return self._same(reply, self.model.tick(**self._at, caller_clock=caller_clock, measured=measured))

    async def leave(
        self, departures: Sequence[Departure], *, caller_clock: int = 0
    ) -> tuple[LineHead, list[bool]] | None:
        reply = await super().leave(departures, caller_clock=caller_clock)
        return self._same(reply, self.model.leave(departures, **self._at, caller_clock=caller_clock))

    async def revoke(self, ids: Sequence[bytes], *, caller_clock: int = 0) -> tuple[LineHead, int] | None:
        reply = await super().revoke(ids, caller_clock=caller_clock)
        return self._same(reply, self.model.revoke(ids, **self._at, caller_clock=caller_clock))

    async def flush(self, *, caller_clock: int = 0) -> LineHead | None:
        reply = await super().flush(caller_clock=caller_clock)
        return self._same(reply, self.model.flush(**self._at, caller_clock=caller_clock))

    async def configure(
        self,
        *,
        expected: int,
        version: int,
        settings: str,
        numbers: LineSettings,
        turns: Sequence[Turn] = (),
        seeds: Mapping[int, bytes] = MappingProxyType({}),
        reached: int = 0,
        generation: int = 0,
        caller_clock: int = 0,
    ) -> Configured:
        reply = await super().configure(
            expected=expected,
            version=version,
            settings=settings,
            numbers=numbers,
            turns=turns,
            seeds=seeds,
            reached=reached,
            generation=generation,
            caller_clock=caller_clock,
        )
        model_reply = self.model.configure(
            **self._at,
            expected=expected,
            version=version,
            numbers=numbers,
            turns=turns,
            seeds=seeds,
            reached=reached,
            generation=generation,
            caller_clock=caller_clock,
        )
        return self._same(reply, model_reply)

    async def status(self, *, caller_clock: int = 0) -> Status | None:
        reply = await super().status(caller_clock=caller_clock)
        return self._same(reply, self.model.status(**self._at, caller_clock=caller_clock))

    async def front(self, session: bytes, *, caller_clock: int = 0) -> tuple[int, int, int] | None:
        """Whether the session was moved, its score and its position; see SessionScripts."""
        moved = await self.sessions.front(session, author=Author("test", "front"), caller_clock=caller_clock)
        reply = None if moved is None else (int(moved.outcome), moved.score, moved.position)
        return self._same(reply, self.model.front(session, **self._at, caller_clock=caller_clock))

    async def page(
        self, *, state: int, backward: bool, after: tuple[int, bytes] | None, limit: int, caller_clock: int = 0
    ) -> list[tuple[bytes, int, int]] | None:
        """A page of sessions: id, score and end of each; see SessionScripts."""
        score, id_ = after or (0, b"")
        found = await self.sessions.page(
            state=state, backward=backward, score=score, id=id_, limit=limit, caller_clock=caller_clock
        )
        page = None if found is None else (found.head, [(each.id, each.score, each.end) for each in found.sessions])
        expected = self.model.page(
            state=state, backward=backward, after=after, limit=limit, caller_clock=caller_clock, **self._at
        )
        self._same(page, expected)
        return None if page is None else page[1]

    async def _call(
        self, name: str, *arguments: str | bytes | int, keys: tuple[bytes, ...] | None = None
    ) -> list[object]:
        # The script for a server without memory, without having to fill one.
        name = "line/visit_full" if name == "line/visit" and self.is_full else name
        return await super()._call(name, *arguments, keys=keys)

    @property
    def _at(self) -> _Moment:
        return _Moment(now=self._time.now, run=self._time.run)

    def _same(self, reply: T, expected: T) -> T:
        assert reply == expected
        watched, self._blocking.watched = self._blocking.watched, ()
        assert_same_line(self._blocking, self.keys, self.model)
        self._blocking.watched = watched
        return reply


class MirroredStore(SimulatedStore):
    """A SimulatedStore whose losses happen to the model too."""

    def __init__(self, client: BlockingClient, tenant: str) -> None:
        super().__init__(client, tenant)
        self.mirror = MirroredScripts(client, tenant, self.time)
        self.scripts = self.mirror

    def take_snapshot(self) -> Snapshot:
        snapshot = super().take_snapshot()
        return replace(snapshot, companion=copy.deepcopy(self.mirror.model))

    def go_back_to(self, snapshot: Snapshot) -> None:
        super().go_back_to(snapshot)
        if not isinstance(snapshot.companion, LineModel):
            raise TypeError("the snapshot was taken of another store")
        self.mirror.model = copy.deepcopy(snapshot.companion)

    def lose_everything(self) -> None:
        super().lose_everything()
        self.mirror.model = LineModel()
