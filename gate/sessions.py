"""Sessions of a tenant for operators: found by id or ticket, listed, revoked, moved to the front.

Plain functions over the store, for the command line and the operators' API alike. Each raises StoreError when the store
does not answer, UnknownTenant for a tenant that it does not have, and ConfigurationError for what no session can have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from ropeline.gate.session_cursors import CursorSigner, Position
from ropeline.gate.tenant_store import CallMisused, TenantStore, UnknownTenant
from ropeline.gate.tickets import TicketSigner
from ropeline.lua.audit import Author, Outcome
from ropeline.lua.errors import ConfigurationError, RopelineError
from ropeline.lua.results import LineHead
from ropeline.lua.session_scripts import SessionScripts

__all__ = [
    "LARGEST_PAGE",
    "CannotMove",
    "Session",
    "SessionPage",
    "SessionState",
    "find_session",
    "list_sessions",
    "move_to_front",
    "read_session_id",
    "revoke_sessions",
]

LARGEST_PAGE: Final = 100
# Scores below are of called sessions, from there to 0 of admitted ones, above 0 of waiting ones; see ADR 0003.
_BAND: Final = -(10**14)
# A place at the front is 31 years before the own one; see lua/includes/arrival.lua.
_FRONT_US: Final = 10**15
_LISTED: Final = ("", "waiting", "called", "admitted")


class SessionState(StrEnum):
    """What a session is, or what is known of an id that has none."""

    WAITING = "waiting"
    CALLED = "called"
    """Its turn has come and a slot is held; it has not been seen yet."""
    ADMITTED = "admitted"
    ENDED = "ended"
    """It has run out. A ticket may still bring it back in line, within `return_within`."""
    GONE = "gone"
    """It left, or was revoked: its tickets are worthless."""
    UNKNOWN = "unknown"
    """The store does not know the id: it never came, it has not been confirmed yet, or that is too long ago."""


@dataclass(frozen=True, slots=True)
class Session:
    """One session as it stands.

    `id`: 16 bytes. `place`: its place in line, us of the server's clock; None once it is admitted. `is_moved`: it was moved
    to the front. `arrived`: when it began to wait, us; None once it is admitted. `position`: people ahead and itself; None
    unless it waits, and while the line recovers. `waited_ms`, `visit_ms`: how long it has waited or has been on the site;
    None where it does not. `ends_in_ms`: until it ends unless its visitor is seen, 0 when it has ended.
    """

    id: bytes
    state: SessionState
    place: int | None = None
    is_moved: bool = False
    arrived: int | None = None
    position: int | None = None
    waited_ms: int | None = None
    visit_ms: int | None = None
    ends_in_ms: int = 0


@dataclass(frozen=True, slots=True)
class SessionPage:
    """A page of a list, and the cursors of the pages before and after it; empty where there is none.

    `head`: how the line stood.
    """

    head: LineHead
    sessions: list[Session]
    before: str
    after: str


class CannotMove(RopelineError):
    """A session cannot be moved to the front; `state` says what it is instead of waiting, `waiting`: it is at the front."""

    def __init__(self, id: bytes, state: SessionState) -> None:
        why = "is at the front already" if state is SessionState.WAITING else f"is {state}"
        super().__init__(f"session: got {UUID(bytes=id)}, expected one that waits: this one {why}")
        self.state = state


def read_session_id(text: str, tenant: str, tickets: TicketSigner | None = None) -> bytes:
    """The 16 bytes of an id that is given as a UUID, or, with the signer of `tickets`, as a ticket of the tenant.

    Raises ConfigurationError for text that is neither, and for a ticket that was not signed for this tenant.
    """
    try:
        return UUID(text).bytes
    except ValueError:
        ticket = None if tickets is None else tickets.read(text, tenant)
    if ticket is not None:
        return ticket.id
    expected = "a UUID such as 2f1b6a7e-3c0d-4f5e-9a8b-7c6d5e4f3a2b"
    if tickets is not None:
        expected += f", or a ticket that was signed for {tenant}"
    raise ConfigurationError("SESSION_ID", text[:100], expected)


async def find_session(store: TenantStore, tenant: str, id: bytes) -> Session:
    """What the store knows of an id (16 bytes)."""
    found = await _scripts(store, tenant).find(id)
    if found is None:
        raise UnknownTenant(tenant, await store.names())
    if found.score is not None:
        return _session(found.head, id, found.score, found.end, found.rank)
    if found.gone:
        return Session(id, SessionState.GONE)
    return Session(id, SessionState.ENDED if found.spent or found.missed else SessionState.UNKNOWN)


async def list_sessions(
    store: TenantStore, cursors: CursorSigner, tenant: str, *, state: str = "", cursor: str = "", limit: int = 50
) -> SessionPage:
    """A page of at most `limit` (1 to 100) sessions: called ones, then admitted ones, then the line.

    `state`: `waiting`, `called` or `admitted` alone, empty for all. `cursor`: of the page before or after; it keeps to
    the state of its list. Whoever keeps state and place is listed exactly once from the first page to the last, whatever
    becomes of the others; whoever changes may be missed or come twice.
    """
    if state not in _LISTED:
        raise ConfigurationError("state", state, "waiting, called or admitted")
    if not 1 <= limit <= LARGEST_PAGE:
        raise ConfigurationError("limit", limit, f"a whole number from 1 to {LARGEST_PAGE}")
    at = Position(_LISTED.index(state), False, 0, b"")  # noqa: FBT003 - in the order of the tuple
    if cursor:
        at = cursors.read(tenant, cursor)
        if state and at.state != _LISTED.index(state):
            raise ConfigurationError(
                "state", state, f"that of the list that the cursor is of: {_LISTED[at.state] or 'all'}"
            )
    found = await _scripts(store, tenant).page(
        state=at.state, backward=at.backward, score=at.score, id=at.id, limit=limit
    )
    if found is None:
        raise UnknownTenant(tenant, await store.names())
    before = after = ""
    if found.sessions:
        first, last = found.sessions[0], found.sessions[-1]
        if found.has_before:
            before = cursors.sign(tenant, at._replace(backward=True, score=first.score, id=first.id))
        if found.has_after:
            after = cursors.sign(tenant, at._replace(backward=False, score=last.score, id=last.id))
    sessions = [
        _session(found.head, each.id, each.score, each.end, rank)
        for rank, each in enumerate(found.sessions, found.rank)
    ]
    return SessionPage(found.head, sessions, before, after)


async def revoke_sessions(store: TenantStore, tenant: str, ids: Sequence[bytes]) -> int:
    """End sessions for good, a hundred a call, and say how many were live; see TenantStore.revoke."""
    live = 0
    for start in range(0, len(ids), LARGEST_PAGE):
        live += await store.revoke(tenant, ids[start : start + LARGEST_PAGE])
    return live


async def move_to_front(store: TenantStore, tenant: str, id: bytes, *, author: Author) -> int | None:
    """Give a session that waits a place before all others that wait, and write the audit trail; its position then.

    Those who were moved keep the order in which they had waited. 0: a slot was free and it was called; -1: not known while
    the line recovers; None: the same call was carried out before. Raises CannotMove for one that does not wait or was
    moved already, and CallMisused.
    """
    moved = await _scripts(store, tenant).front(id, author=author)
    if moved is None:
        raise UnknownTenant(tenant, await store.names())
    if moved.outcome is Outcome.REFUSED:
        state = _state(moved.score) if moved.score else (await find_session(store, tenant, id)).state
        raise CannotMove(id, state)
    if moved.outcome is Outcome.MISUSED:
        raise CallMisused(author.call)
    return moved.position if moved.outcome is Outcome.DONE else None


def _scripts(store: TenantStore, tenant: str) -> SessionScripts:
    return SessionScripts(store.client, store.namespace, tenant)


def _state(score: int) -> SessionState:
    if score > 0:
        return SessionState.WAITING
    return SessionState.CALLED if score < _BAND else SessionState.ADMITTED


def _session(head: LineHead, id: bytes, score: int, end: int, rank: int) -> Session:
    state = SessionState.ENDED if end <= head.clock else _state(score)
    ends_in = max(0, end - head.clock)
    if _BAND <= score < 0:
        return Session(id, state, visit_ms=head.clock + score, ends_in_ms=ends_in)
    place = abs(score)
    is_moved = place < head.now - _FRONT_US // 2
    arrived = place + _FRONT_US if is_moved else place
    position = rank - head.active + 1 if score > 0 and not head.recovering else None
    return Session(
        id,
        state,
        place,
        is_moved,
        arrived,
        position,
        waited_ms=max(0, (head.now - arrived) // 1000),
        ends_in_ms=ends_in,
    )
