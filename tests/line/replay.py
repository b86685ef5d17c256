"""Reads what a witness heard of a line, and replays it on the model in the order of the sequence numbers."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from ropeline.lua.line_settings import LineSettings, Method, Turn
from ropeline.lua.loader import load_script, script_names
from ropeline.lua.measured import Measured
from ropeline.lua.results import Configured, LineHead, Outcome
from ropeline.lua.visits import Departure, Visit
from tests.line.line_model import LineModel
from tests.line.wire_tap import Exchange

_HEAD = 14
_PACKED = struct.Struct("<BB16s16sdddddddHH")


@dataclass(frozen=True)
class LineCall:
    """One call of a script that changed the line: its name, its arguments from caller_clock on, and its reply."""

    name: str
    arguments: list[bytes]
    reply: list[int]
    started: float
    ended: float
    told_now: int = 0
    """The server's time where the reply does not carry it."""

    @property
    def sequence(self) -> int:
        return self.reply[2]

    @property
    def is_configure(self) -> bool:
        return self.name == "line/configure"

    @property
    def now(self) -> int:
        """Server's time, us."""
        return self.told_now if self.is_configure else self.reply[5]

    @property
    def clock(self) -> int:
        return self.reply[4]

    @property
    def visits(self) -> list[Visit]:
        return unpack_visits(self.arguments[4]) if self.name == "line/visit" else []

    @property
    def outcomes(self) -> list[list[int]]:
        """Verdict, is new, place, since, end, position of each visit."""
        body = self.reply[_HEAD:]
        return [body[index : index + 6] for index in range(0, len(body), 6)]


def unpack_visits(blob: bytes) -> list[Visit]:
    """The inverse of `pack_visits`."""
    return [
        Visit._make((fresh, bool(flags & 1), bool(flags & 2), state, who, *map(int, numbers), first, second))
        for flags, state, who, fresh, *numbers, first, second in _PACKED.iter_unpack(blob)
    ]


def line_calls(history: Sequence[Exchange]) -> list[LineCall]:
    """Every call that a witness heard and that took a sequence number."""
    calls = []
    for exchange in history:
        command, reply = exchange.command, exchange.reply
        if command[0].upper() in {b"EVALSHA", b"EVAL"} and isinstance(reply, list) and len(reply) > 1:
            calls.append(line_call(command, reply, exchange.started, exchange.ended))
    return calls


def line_call(
    command: Sequence[bytes | str | int], reply: list[int], started: float, ended: float, now: int = 0
) -> LineCall:
    """One call, from the command that was sent for it."""
    _, script, keys, *rest = [part if isinstance(part, bytes) else str(part).encode() for part in command]
    # now and run are empty: the server takes its own.
    return LineCall(_names()[script], rest[int(keys) + 2 :], reply, started, ended, now)


@cache
def _names() -> dict[bytes, str]:
    scripts = [load_script(name) for name in script_names()]
    return {text.encode(): script.name for script in scripts for text in (script.sha, script.text)}


def replay(calls: Sequence[LineCall], run: str) -> LineModel:
    """Make every call on a new model, `run` being the server's run id; fails at the first reply that differs."""
    model = LineModel()
    for call in calls:
        if _flat(model, call, run) != call.reply:
            raise AssertionError(f"call {call.sequence}, {call.name}: the server replied {call.reply}")
    return model


def _flat(model: LineModel, call: LineCall, run: str) -> list[int]:
    """What the model replies, in the scripts' form."""
    arguments, clock, now = call.arguments, int(call.arguments[0]), call.now
    if call.name == "line/configure":
        _, _, _, expected, version, generation, _, _, turns, seeds, reached = arguments
        written = model.configure(
            expected=int(expected),
            version=int(version),
            numbers=settings_of(call),
            turns=_turns_from(turns),
            seeds={int(opened): bytes.fromhex(seed) for opened, seed in json.loads(seeds).items()},
            reached=int(reached),
            generation=int(generation),
            caller_clock=clock,
            now=now,
            run=run,
        )
        return _flat_configured(written)
    if call.name == "line/visit":
        reply = model.visit(
            unpack_visits(arguments[4]),
            caller_clock=clock,
            known_version=int(arguments[1]),
            known_generation=int(arguments[2]),
            now=now,
            run=run,
        )
        assert isinstance(reply, tuple)
        return [*_flat_head(reply[0]), *(number for outcome in reply[1] for number in _flat_outcome(outcome))]
    if call.name == "line/tick":
        ticked = model.tick(caller_clock=clock, now=now, run=run, measured=_measured_of(call))
        assert ticked is not None
        return [*_flat_head(ticked.head), int(ticked.has_more), ticked.steered]
    left = model.leave(departures_of(call), caller_clock=clock, now=now, run=run)
    assert left is not None
    return [*_flat_head(left[0]), *map(int, left[1])]


def departures_of(call: LineCall) -> list[Departure]:
    """Who leaves by a call of `leave`."""
    return [Departure(packed[:16], packed[16:] == b"1") for packed in call.arguments[3:]]


def settings_of(call: LineCall) -> LineSettings:
    """The settings that a call of `configure` wrote."""
    return _settings_from(json.loads(call.arguments[-4]))


def _turns_from(text: bytes) -> list[Turn]:
    return [Turn(values.pop("at"), _settings_from(values)) for values in json.loads(text)]


def _settings_from(values: dict[str, int]) -> LineSettings:
    flags = {name: bool(values[name]) for name in ("closed", "renew")}
    return LineSettings(**values | flags | {"method": Method(values["method"])})  # type: ignore[arg-type]


def _measured_of(call: LineCall) -> Measured | None:
    text = call.arguments[1]
    return Measured(**json.loads(text)) if text else None


def _flat_head(head: LineHead) -> list[int]:
    return [int(getattr(head, name)) for name in LineHead.__slots__]


def _flat_outcome(outcome: Outcome) -> list[int]:
    return [int(getattr(outcome, name)) for name in Outcome.__slots__]


def _flat_configured(written: Configured) -> list[int]:
    return [int(getattr(written, name)) for name in Configured.__slots__]
