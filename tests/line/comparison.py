"""Holds what a server stores of a line against the model, number for number."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from loadtests.campaign.blocking import BlockingClient
from ropeline.lua.keys import TenantKeys
from tests.line.line_model import LineModel

_NUMBERS_OF_CONFIG = ("version", "generation", "worthless", "keep", "turn", "turns_at")
_TEXTS_OF_CONFIG = ("settings", "turns", "seeds")


def assert_same_line(client: BlockingClient, keys: TenantKeys, model: LineModel) -> None:
    """Fail unless the store holds exactly what the model holds."""
    ranges = [("ZRANGE", key, 0, -1, "WITHSCORES") for key in (*keys.line()[:2], *keys.line()[4:7])]
    hashes = [("HGETALL", key) for key in (keys.state, keys.config, keys.joins)]
    loop = [("HGETALL", keys.loop), ("XRANGE", keys.steps, "-", "+")]
    sessions, pool, gone, spent, missed, state, config, joins, samples, interval, steps = client.pipeline(
        [*ranges, *hashes, ("XLEN", keys.history), *loop]
    )
    stored = {
        "sessions": _scores(sessions),
        "pool": _scores(pool),
        "gone": _scores(gone),
        "spent": _scores(spent),
        "missed": _scores(missed),
        "joins": {name: struct.unpack("<3I", packed) for name, packed in _pairs(joins).items()},
        "state": _pairs(state),
        "config": {name: int(value) for name, value in _pairs(config).items() if name not in _TEXTS_OF_CONFIG},
        "samples": samples,
        "loop": {name: int(value) for name, value in _pairs(interval).items()},
        "steps": [_texts(entry[1]) for entry in steps],
    }
    expected = {
        "sessions": model.sessions.scores,
        "pool": model.pool.scores,
        "gone": model.gone.scores,
        "spent": model.spent.scores,
        "missed": model.missed.scores,
        "joins": model.joins,
        "state": _state(model, stored["state"]),
        "config": _config(model),
        "samples": len(model.history),
        "loop": model.loop,
        "steps": [{name: str(value) for name, value in step.items()} for step in model.steps],
    }
    for name, value in expected.items():
        if stored[name] != value:
            raise AssertionError(f"{name}: the store has {stored[name]!r}, the model {value!r}")


def _scores(flat: Sequence[bytes]) -> dict[bytes, int]:
    pairs = iter(flat)
    return {member: int(score) for member, score in zip(pairs, pairs, strict=True)}


def _pairs(flat: Sequence[bytes]) -> dict[str, Any]:
    pairs = iter(flat)
    return {name.decode(): value for name, value in zip(pairs, pairs, strict=True)}


def _texts(flat: Sequence[bytes]) -> dict[str, str]:
    return {name: value.decode() for name, value in _pairs(flat).items()}


def _state(model: LineModel, stored: object) -> dict[str, bytes]:
    """The model's state as the server would spell it; numbers that are equal to a stored spelling take that."""
    if model.stored is None:
        return {}
    formers = model.stored.formers
    spelt: dict[str, Any] = asdict(model.stored)
    spelt |= {name: " ".join(map(str, numbers)) for name, numbers in spelt.pop("tallies").items()}
    spelt["formers"] = " ".join(sorted(f"{epoch}:{ends}" for epoch, ends in formers.items()))
    found = stored if isinstance(stored, dict) else {}
    for name, value in spelt.items():
        spelling = found.get(name, b"absent")
        is_same = spelling.decode() == value if isinstance(value, str) else _is_number(spelling, value)
        spelt[name] = spelling if is_same else repr(value).encode()
    return spelt


def _is_number(spelling: bytes, value: float) -> bool:
    try:
        return float(spelling) == value
    except ValueError:
        return False


def _config(model: LineModel) -> dict[str, int]:
    config = model.stored_config
    if config is None:
        return {}
    own = {name: getattr(config, name) for name in _NUMBERS_OF_CONFIG}
    return own | {name: int(value) for name, value in asdict(config.numbers).items()}
