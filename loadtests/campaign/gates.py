"""What a gate process does around the scripts, for a simulated store: it remembers, and gives back what was lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from loadtests.campaign.blocking import result_of
from loadtests.campaign.facts import Caller, Violation
from loadtests.campaign.invariants import Invariants
from loadtests.campaign.lots import SEED
from loadtests.campaign.store import SimulatedStore
from ropeline.lua.line_settings import LineSettings, Method, Turn
from ropeline.lua.results import LineHead, Outcome, StaleSettings
from ropeline.lua.visits import Departure, Visit

__all__ = ["GateProcess"]

_REVOKED_A_CALL = 100


class GateProcess:
    """One process: what it knows of the tenant (clock, settings, flushes, epoch) and the calls that it makes."""

    def __init__(self, store: SimulatedStore, observer: Invariants) -> None:
        self.store = store
        self.observer = observer
        self.peers: Sequence[GateProcess] = (self,)
        """All processes, this one too: each hears by a message of what the others revoke."""
        self.forget()

    def forget(self) -> None:
        """The process starts anew and knows nothing, its settings included."""
        self.clock = self.version = self.generation = self.epoch = 0
        self.numbers: LineSettings | None = None
        self.turns: Sequence[Turn] = ()
        self.windows: Sequence[int] = ()
        self.reached = 0
        self.revoked: dict[bytes, None] = {}

    def read_settings(self) -> bool:
        """Take the store's settings if they are newer; False when this process has none afterwards."""
        found = result_of(self.store.scripts.read_settings())
        if found is not None and (self.numbers is None or found[0] > self.version):
            self.version, generation, text = found
            self.numbers, self.turns, self.windows = settings_from(text)
            self.generation = max(self.generation, generation)
        return self.numbers is not None

    def configure(self, numbers: LineSettings, turns: Sequence[Turn] = (), windows: Sequence[int] = ()) -> None:
        """Change the settings as an operator does; `windows`: when the pre-queues open that are shuffled, s."""
        expected = self.version if self.numbers is not None else 0
        if not self._configure(numbers, turns, windows, expected=expected, version=expected + 1):
            self.give_back()
            if not self._configure(numbers, turns, windows, expected=expected, version=expected + 1):
                raise RuntimeError("the store refuses settings that follow its own")
        self.numbers, self.turns, self.windows, self.version = numbers, turns, windows, expected + 1

    def give_back(self) -> None:
        """Write settings, flush generation and revoked ids into a store that lost them."""
        if self.numbers is not None:
            self._configure(self.numbers, self.turns, self.windows, expected=-1, version=self.version)
        self._give_back_revoked()

    def visit(self, visits: Sequence[Visit]) -> tuple[LineHead, list[Outcome]] | None:
        """Decide on visits; None when neither the store nor this process has settings."""
        if not self.read_settings():
            return None
        for _ in range(2):
            caller = self._knowledge
            reply = result_of(
                self.store.scripts.visit(
                    visits,
                    caller_clock=caller.clock,
                    known_version=self.version,
                    known_generation=self.generation,
                )
            )
            if not isinstance(reply, StaleSettings):
                self.observer.visited(visits, *reply, caller=caller)
                self._heed(reply[0])
                return reply
            self.give_back()
        raise Violation("the store does not keep the settings that are given back to it")

    def tick(self) -> None:
        caller = self._knowledge
        reply = result_of(self.store.scripts.tick(caller_clock=caller.clock))
        if reply is None:
            self.give_back()
            return
        self.observer.ticked(reply[0], caller=caller)
        self._heed(reply[0])

    def leave(self, leaving: bytes, *, closing: bool) -> None:
        caller = self._knowledge
        reply = result_of(self.store.scripts.leave([Departure(leaving, closing)], caller_clock=caller.clock))
        if reply is not None:
            kind = "close" if closing else "leave"
            self.observer.ended([leaving], kind, reply[0], caller=caller)
            self._heed(reply[0])

    def revoke(self, ids: Sequence[bytes]) -> None:
        """End sessions for good; every process knows."""
        for process in self.peers:
            process.revoked.update(dict.fromkeys(ids))
        self._revoke(list(ids))

    def flush(self) -> None:
        caller = self._knowledge
        head = result_of(self.store.scripts.flush(caller_clock=caller.clock))
        if head is not None:
            self.observer.flushed(head, caller=caller)
            self._heed(head)

    @property
    def _knowledge(self) -> Caller:
        return Caller(self.clock, self.version, self.generation)

    def _configure(
        self, numbers: LineSettings, turns: Sequence[Turn], windows: Sequence[int], *, expected: int, version: int
    ) -> bool:
        caller = self._knowledge
        reply = result_of(
            self.store.scripts.configure(
                expected=expected,
                version=version,
                settings=json.dumps([asdict(numbers), windows, *([turn.at, asdict(turn.numbers)] for turn in turns)]),
                numbers=numbers,
                turns=turns,
                seeds=dict.fromkeys(windows, SEED),
                reached=self.reached,
                generation=self.generation,
                caller_clock=caller.clock,
            )
        )
        self.observer.configured(
            numbers, version, turns=turns, windows=windows, reached=self.reached, is_written=reply.written
        )
        return reply.written

    def _revoke(self, ids: Sequence[bytes]) -> None:
        caller = self._knowledge
        reply = result_of(self.store.scripts.revoke(ids, caller_clock=caller.clock))
        if reply is not None:
            self.observer.ended(ids, "revoke", reply[0], caller=caller)
            self._heed(reply[0])

    def _give_back_revoked(self) -> None:
        ids = list(self.revoked)
        for start in range(0, len(ids), _REVOKED_A_CALL):
            self._revoke(ids[start : start + _REVOKED_A_CALL])

    def _heed(self, head: LineHead) -> None:
        known, self.epoch = self.epoch, head.epoch
        self.reached = max(self.reached, head.now)
        self.clock, self.generation = max(self.clock, head.clock), max(self.generation, head.generation)
        if known and known != head.epoch:
            self._give_back_revoked()


def settings_from(text: str) -> tuple[LineSettings, list[Turn], list[int]]:
    """The settings, their turns and the windows that `configure` stored as JSON."""
    values, windows, *turns = json.loads(text)
    return _numbers_from(values), [Turn(at, _numbers_from(later)) for at, later in turns], windows


def _numbers_from(values: dict[str, Any]) -> LineSettings:
    return LineSettings(**values | {"method": Method(values["method"])})
