"""The JSON that tells a visitor or its client how things stand, with Cloudflare's field names where it has them.

Written by hand as text, since it is the answer to nearly every poll: what does not change is put together once for each
version of the settings.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Final

from ropeline.gate.decision import Decision, Kind
from ropeline.gate.tenant import Tenant
from ropeline.gate.tickets import TicketState

__all__ = ["StatusText", "place_held_seconds", "state_of"]

_NULL: Final = "null"


def state_of(decision: Decision) -> str:
    """The one word for what a visitor's client has to know."""
    kind, tenant = decision.kind, decision.tenant
    if kind is Kind.QUEUED:
        in_prequeue = tenant is not None and tenant.phase.is_prequeue
        if tenant is not None and tenant.settings.paused and not in_prequeue:
            return "paused"
        if decision.head is not None and decision.head.recovering and not in_prequeue:
            return "recovering"
        if decision.ticket is not None and decision.ticket.state is TicketState.UNCONFIRMED:
            return "unconfirmed"
        return "prequeue" if in_prequeue else "waiting"
    return "admitted" if kind.passes else _STATES[kind]


_STATES = {
    Kind.CLOSED: "closed",
    Kind.NO_TICKET: "ended",
    Kind.LIMITED: "limited",
    Kind.UNAVAILABLE: "store_down",
    Kind.BLOCKED: "blocked",
    Kind.PREFLIGHT: "preflight",
    Kind.MISDIRECTED: "misdirected",
}


def place_held_seconds(decision: Decision) -> int | None:
    """How long the place outlives the last sign of the visitor; None when there is none or it does not count yet."""
    tenant, ticket = decision.tenant, decision.ticket
    if tenant is None or ticket is None or ticket.state is not TicketState.WAITING:
        return None
    return int(tenant.settings.waiting_ttl + tenant.settings.return_within)


def _minutes(minutes: int) -> str:
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def _until(what: str, seconds: int | None) -> str:
    """Cloudflare's two fields for the start or the end of an event, which count in minutes."""
    minutes = 0 if seconds is None else math.ceil(seconds / 60)
    formatted = "" if seconds is None else _minutes(minutes)
    return f'"timeUntilEvent{what}":{minutes},"timeUntilEvent{what}Formatted":"{formatted}",'


class StatusText:
    """Writes the status of one tenant's visitors; `status_path` as clients are to ask for it again."""

    __slots__ = ("_held", "_keepalive", "_lottery", "_second", "_second_text", "_tail")

    def __init__(self, tenant: Tenant, status_path: str) -> None:
        settings = tenant.settings
        method, event = "random" if tenant.phase.window else settings.queueing_method, tenant.phase.event
        constant = {
            "queueAll": settings.queue_all,
            "queueingMethod": method,
            "isFIFOQueue": method == "fifo",
            "isRandomQueue": method == "random",
            "isPassthroughQueue": method == "passthrough",
            "isRejectQueue": method == "reject",
            "isEventActive": event is not None and not tenant.phase.is_prequeue,
            "isEventPrequeueing": tenant.phase.is_prequeue,
            "eventName": None if event is None else event.name,
            "shuffleAtEventStart": event is not None and event.shuffle_at_event_start,
            "waitTime25Percentile": 0,
            "waitTime50Percentile": 0,
            "waitTime75Percentile": 0,
            "statusUrl": status_path,
            "tenant": settings.name,
            "tenantName": settings.title,
        }
        self._tail = json.dumps(constant, separators=(",", ":"))[1:].encode() + b"}"
        self._held = int(settings.waiting_ttl + settings.return_within)
        self._keepalive = settings.keepalive_interval_ms / 1000
        self._lottery = tenant.lottery
        self._second = 0
        self._second_text = ""

    def write(self, decision: Decision, refresh: float, *, alias: bool = False) -> bytes:
        """The status as a JSON document; `refresh`: seconds until it is worth asking again, 0 never.

        With `alias` it stands under `cfWaitingRoom`, for clients that were written for Cloudflare's.
        """
        state = state_of(decision)
        head, wait, position = decision.head, decision.wait, decision.position
        admitted = decision.kind.passes
        start, end = decision.seconds_until_start, decision.seconds_until_end
        if wait is None:
            known, minutes, formatted, estimate = "false", 0, "unknown", _NULL
        else:
            known, minutes = "true", math.ceil(wait[1] / 60)
            formatted = _minutes(minutes)
            estimate = f'{{"low":{wait[0]},"high":{wait[1]}}}'
        in_line = position > 0
        ends: float | str = _NULL
        if admitted and decision.ticket is not None and decision.tenant is not None:
            clock = decision.tenant.line.clock()
            ends = max(0, (decision.ticket.end - clock) // 1000) if clock else _NULL
        held: int | str = _NULL
        if (
            (in_line or start is not None)
            and decision.ticket is not None
            and decision.ticket.state is TicketState.WAITING
        ):
            held = self._held
        text = (
            f'{{"{"cfWaitingRoom" if alias else "waitingRoom"}":{{"inWaitingRoom":{"false" if admitted else "true"},'
            f'"state":"{state}","position":{position if in_line else _NULL},'
            f'"usersAhead":{position - 1 if in_line else _NULL},"waitTimeKnown":{known},"waitTime":{minutes},'
            f'"waitTimeFormatted":"{formatted}","estimatedWaitSeconds":{estimate},'
            f'"queueIsFull":{"true" if state == "closed" else "false"},"lastUpdated":"{self._time(head.now if head else 0)}",'
            f'"refreshIntervalSeconds":{refresh:.3g},"sessionEndsInSeconds":{ends},'
            f'"keepaliveIntervalSeconds":{self._keepalive if admitted else _NULL},'
            f'"placeHeldSeconds":{held},'
            f'"secondsUntilEventStart":{_NULL if start is None else start},"lottery":{self._draw(decision)},{_until("Start", start)}{_until("End", end)}'
        )
        return text.encode() + self._tail

    def _draw(self, decision: Decision) -> str:
        """What is public of the draw by lot, and after the start what the visitor got in it."""
        lottery, head, ticket = self._lottery, decision.head, decision.ticket
        if lottery is None:
            return _NULL
        is_revealed = head is not None and lottery.is_revealed(head.now / 1_000_000)
        is_in = ticket is not None and ticket.place // 1_000_000 == lottery.opened and not ticket.names_window
        return json.dumps(
            {
                "opened": lottery.opened,
                "commit": lottery.commit,
                "seed": lottery.seed.hex() if is_revealed else None,
                "id": ticket.id.hex() if is_in and ticket is not None else None,
                "place": ticket.place if is_in and ticket is not None else None,
            },
            separators=(",", ":"),
        )

    def _time(self, now: int) -> str:
        second = now // 1_000_000 or int(datetime.now(UTC).timestamp())
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._second_text
