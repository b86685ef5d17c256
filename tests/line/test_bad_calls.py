"""A call that makes no sense is refused before the first write, whatever is wrong with it."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence

import pytest

from loadtests.campaign.blocking import BlockingClient, result_of
from loadtests.campaign.store import SimulatedStore
from ropeline.lua.errors import ConfigurationError, StoreRefused
from ropeline.lua.line_settings import LineSettings
from ropeline.lua.visits import Visit, pack_visits

FRESH = bytes(range(16))
TICKET = Visit(FRESH, True, False, 1, bytes(16), 10**15, 0, 10**12, 10**15, 7, 0, 0)
_FIRST_NUMBER = 34


def with_byte(position: int, value: int) -> bytes:
    blob = bytearray(pack_visits([TICKET]))
    blob[position] = value
    return bytes(blob)


def with_number(index: int, value: float) -> bytes:
    blob = bytearray(pack_visits([TICKET]))
    struct.pack_into("<d", blob, _FIRST_NUMBER + 8 * index, value)
    return bytes(blob)


@pytest.fixture
def store(blocking_client: BlockingClient) -> SimulatedStore:
    store = SimulatedStore(blocking_client, "bad-calls")
    store.lose_everything()
    result_of(store.scripts.configure(expected=0, version=1, settings="{}", numbers=LineSettings(quota=1)))
    result_of(store.scripts.visit([Visit(FRESH)]))
    return store


def refused(store: SimulatedStore, script: str, *arguments: str | bytes | int) -> str:
    """What the script says; fails when it accepts the call or has written anything."""
    before = store.take_snapshot()
    with pytest.raises(StoreRefused) as refusal:
        result_of(store.scripts._call(script, *arguments))
    assert store.take_snapshot() == before
    return str(refusal.value)


@pytest.mark.parametrize("script", ["line/visit", "line/visit_full"])
@pytest.mark.parametrize(
    ("count", "blob"),
    [
        (0, b""),
        (1, b""),
        (129, pack_visits([TICKET] * 129)),
        (-1, pack_visits([TICKET])),
        (2, pack_visits([TICKET])),
        (1, pack_visits([TICKET]) + b"x"),
        (1, pack_visits([TICKET])[:-1]),
        (1, with_byte(0, 4)),
        (1, with_byte(1, 4)),
        *((1, with_number(index, value)) for index in range(7) for value in (-1.0, 0.5, math.nan, math.inf, 2.0**60)),
    ],
)
def test_a_batch_that_is_not_packed_as_agreed_is_refused_before_any_write(
    store: SimulatedStore, script: str, count: int, blob: bytes
) -> None:
    assert "INVALID visits" in refused(store, script, 0, 0, 0, count, blob)


def test_one_bad_visit_refuses_the_whole_batch(store: SimulatedStore) -> None:
    blob = pack_visits([Visit(FRESH)]) + with_number(0, math.nan)
    assert "INVALID visits" in refused(store, "line/visit", 0, 0, 0, 2, blob)


@pytest.mark.parametrize("position", range(5))
def test_an_argument_that_is_no_number_is_refused_before_any_write(store: SimulatedStore, position: int) -> None:
    arguments: list[str | bytes | int] = [0, 0, 0, 1, pack_visits([Visit(FRESH)])]
    arguments[position] = "many" if position < 4 else ""
    refused(store, "line/visit", *arguments)


@pytest.mark.parametrize(
    "change",
    [
        lambda numbers: numbers.pop("quota"),
        lambda numbers: numbers.update(quota="5"),
        lambda numbers: numbers.update(quota=None),
        lambda numbers: numbers.update(rate=-2),
        lambda numbers: numbers.update(waiting_ttl=0.5),
        lambda numbers: numbers.update(waiting_ttl=2**60),
    ],
)
def test_settings_that_are_no_whole_numbers_are_refused_before_any_write(
    store: SimulatedStore, change: Callable[[dict[str, object]], object]
) -> None:
    numbers = json.loads(LineSettings(quota=1).numbers())
    change(numbers)
    assert "INVALID numbers" in configure_refused(store, numbers, [])
    good = json.loads(LineSettings(quota=1).numbers())
    assert "INVALID numbers" in configure_refused(store, good, [numbers | {"at": 1_790_000_000}])


@pytest.mark.parametrize("begins", [[0], [-1], ["9"], [1.5], [None], [9, 8], [9, 9], range(1, 102)])
def test_turns_that_do_not_follow_one_another_are_refused_before_any_write(
    store: SimulatedStore, begins: Sequence[object]
) -> None:
    numbers = json.loads(LineSettings(quota=1).numbers())
    assert "INVALID" in configure_refused(store, numbers, [numbers | {"at": at} for at in begins])


@pytest.mark.parametrize("seed", [5, "", "ab", "x" * 64, "a" * 63, None])
def test_a_seed_that_is_not_32_bytes_is_refused_before_any_write(store: SimulatedStore, seed: object) -> None:
    numbers = json.loads(LineSettings(quota=1).numbers())
    assert "INVALID seeds" in configure_refused(store, numbers, [], {"1790000000": seed})


def configure_refused(store: SimulatedStore, numbers: object, turns: object, seeds: object = None) -> str:
    arguments = (
        0,
        "channel",
        "message",
        1,
        2,
        0,
        "{}",
        json.dumps(numbers),
        json.dumps(turns),
        json.dumps(seeds or {}),
        0,
    )
    return refused(store, "line/configure", *arguments)


@pytest.mark.parametrize("ids", [[], [b"short"], [bytes(16), bytes(17)], [bytes(16)] * 101])
def test_revoking_anything_but_1_to_100_ids_is_refused_before_any_write(
    store: SimulatedStore, ids: list[bytes]
) -> None:
    assert "INVALID ids" in refused(store, "line/revoke", 0, "channel", "message", *ids)


@pytest.mark.parametrize(
    ("field", "value"),
    [("quota", -1), ("rate", -2), ("waiting_ttl", 0), ("session_ttl", 0), ("claim_within", 0), ("clock_step", 0)],
)
def test_line_settings_that_would_hold_nobody_are_refused(field: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{field}: got {value}, expected a whole number from"):
        LineSettings(**{"quota": 1, field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("departures", [[], [bytes(16)], [bytes(17), bytes(18)], [bytes(17)] * 129])
def test_anything_but_1_to_128_departures_is_refused_before_any_write(
    store: SimulatedStore, departures: list[bytes]
) -> None:
    assert "INVALID departures" in refused(store, "line/leave", 0, "channel", "message", *departures)
