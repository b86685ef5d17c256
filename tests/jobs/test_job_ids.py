"""Ids of jobs are UUIDs, rise within a process, tell when they were made, and never meet, also after a fork."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.jobs import ids
from ropeline.jobs.ids import created_ms, derived_id, job_id, new_id
from ropeline.lua.errors import ConfigurationError

FORK = """
import os, time
from ropeline.jobs.ids import new_id
time.time_ns = lambda: 1_800_000_000_000_000_000  # parent and child are in the same ms
new_id()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, b"".join(new_id() for _ in range(300)))
    os._exit(0)
mine = {new_id() for _ in range(300)}
os.wait()
theirs = os.read(reader, 16 * 300)
print(len(mine | {theirs[at : at + 16] for at in range(0, len(theirs), 16)}))
"""


def test_an_id_is_a_uuid_of_version_7_that_tells_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    id_ = new_id()
    after = time.time_ns() // 1_000_000
    made = UUID(bytes=id_)
    assert (made.version, made.variant) == (7, RFC_4122)
    created = created_ms(id_)
    assert created is not None
    # Ids of this process that were made before may have run ahead of the clock by a ms at most.
    assert before <= created <= after + 1
    assert int.from_bytes(id_[:6]) == created


def test_ids_of_a_process_rise() -> None:
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == 20_000


def test_ids_rise_while_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = ids._Maker()
    clock = iter([2_000_000_000_000, 1_999_999_000_000, 1_000, 2_000_000_000_000, 2_000_000_000_001])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock) * 1_000_000)
    made = [maker.next() for _ in range(5)]
    assert made == sorted(set(made))
    assert created_ms(made[0]) == created_ms(made[3]) == 2_000_000_000_000
    assert created_ms(made[4]) == 2_000_000_000_001


def test_ids_rise_into_the_next_millisecond_when_one_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = ids._Maker()
    monkeypatch.setattr(time, "time_ns", lambda: 5_000_000)
    first = maker.next()
    maker._tail = (1 << 74) - 1
    second = maker.next()
    assert (created_ms(first), created_ms(second)) == (5, 6)
    assert UUID(bytes=second).version == 7


def test_threads_never_get_the_same_id() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: [new_id() for _ in range(2_000)], range(8)))
    assert all(part == sorted(part) for part in made)
    assert len({id_ for part in made for id_ in part}) == 16_000


def test_a_forked_process_makes_ids_of_its_own() -> None:
    assert subprocess.run([sys.executable, "-c", FORK], check=True, capture_output=True, text=True).stdout == "600\n"


@given(st.lists(st.text() | st.binary()), st.lists(st.text() | st.binary()))
def test_a_derived_id_follows_from_its_parts_alone(one: list[str | bytes], other: list[str | bytes]) -> None:
    plain = [[part.encode() if isinstance(part, str) else part for part in parts] for parts in (one, other)]
    assert (derived_id(*one) == derived_id(*other)) == (plain[0] == plain[1])
    assert UUID(bytes=derived_id(*one)).version == 8
    assert created_ms(derived_id(*one)) is None


def test_derived_ids_stay_what_they_are_over_versions() -> None:
    """Jobs that were enqueued before an upgrade are found by what follows from their key after it."""
    assert derived_id("receipt", "17").hex() == "79caade3a59888d997920e65c73dd9c8"


def test_an_id_may_be_given_as_bytes_uuid_or_text() -> None:
    made = uuid4()
    assert {job_id("id", form) for form in (made, made.bytes, made.hex, str(made), made.hex.upper())} == {made.bytes}


@pytest.mark.parametrize(
    "id_", ["", "order-17", "0" * 31, "0" * 33, "g" * 32, b"short", 17, None, "{" + "0" * 30 + "}", "+" + "0" * 31]
)
def test_what_is_no_id_is_refused(id_: object) -> None:
    with pytest.raises(ConfigurationError, match=r"job_id: got .*, expected 16 bytes, a UUID.*derived_id"):
        job_id("job_id", id_)
