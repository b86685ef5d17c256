"""The scenarios as a user runs them: they pass on a line that keeps its promises, and fail on one that is tampered with."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from redis import Redis

from loadtests.run import QUICK, running_demo, set_demo
from loadtests.tickets import TicketFacts, read_ticket
from ropeline.gate.tickets import Ticket, TicketSigner, TicketState
from ropeline.lua.keys import TenantKeys
from tests.contracts.checkout import ROOT
from tests.support import wait_until_sync

KEYS = TenantKeys("gate", "demo")
QUOTA = 2
NEVER = 2**52
STEADY = [str(Path(sys.executable).with_name("locust")), "-f", str(ROOT / "loadtests" / "steady.py"), "--headless"]


def test_a_small_run_passes_and_says_what_it_has_seen() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.run", "small"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed     every promise was kept") == 2
    assert "gone       40\n" in done.stdout
    assert "failed     0\n" in done.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a running demo, and the folder of its data."""
    folder = tmp_path_factory.mktemp("demo")
    with running_demo(folder, "--quota", str(QUOTA)) as url:
        # Or the gate would let those who are thrown out of the store pass on its own word for a while.
        set_demo(folder, "recheck=0", *QUICK)
        yield url, folder


def admit_past_the_quota(store: "Redis") -> None:
    for number in range(QUOTA):
        id_ = number.to_bytes(16)
        store.zadd(KEYS.pool, {id_: NEVER})
        store.zadd(KEYS.sessions, {id_: -1})


def send_the_first_to_the_back(store: "Redis") -> None:
    (first,) = cast("list[bytes]", store.zrange(KEYS.sessions, "(0", "+inf", byscore=True, offset=0, num=1))
    store.zincrby(KEYS.sessions, 1e12, first)


def throw_everybody_out(store: "Redis") -> None:
    """Others take the slots: nobody else is let in, which would be a breach by itself."""
    for id_ in cast("list[bytes]", store.zrange(KEYS.sessions, "-inf", "(0", byscore=True)):
        store.zrem(KEYS.sessions, id_)
        store.zrem(KEYS.pool, id_)
    admit_past_the_quota(store)


def forget_those_in_line(store: "Redis") -> None:
    for id_ in cast("list[bytes]", store.zrange(KEYS.sessions, "(0", "+inf", byscore=True)):
        store.zrem(KEYS.sessions, id_)
        store.zrem(KEYS.pool, id_)
        store.zadd(KEYS.spent, {id_: NEVER})


@pytest.mark.parametrize(
    ("tamper", "promise"),
    [
        (admit_past_the_quota, "nobody is admitted while as many are in as the quota allows"),
        (send_the_first_to_the_back, "nobody who comes back in time loses the place"),
        (throw_everybody_out, "nobody who was admitted is thrown back before the visit's end"),
        (forget_those_in_line, "nobody who comes back in time loses the place"),
    ],
)
def test_a_line_that_is_tampered_with_fails_the_run(
    demo: tuple[str, Path], tamper: Callable[["Redis"], None], promise: str
) -> None:
    url, folder = demo
    with Redis.from_url((folder / "store.url").read_text(encoding="utf-8").strip()) as store:
        for key in (KEYS.sessions, KEYS.pool, KEYS.spent):
            store.delete(key)
        command = [*STEADY, "-u", "12", "-r", "12", "-t", "60s", "--host", url, "--data", str(folder), "--stay", "2"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as locust:
            try:
                # Long enough in line to be confirmed, and for the first ones to be on the site.
                wait_until_sync(lambda: cast("int", store.zcount(KEYS.sessions, "(0", "+inf")) >= 8, timeout=20)
                tamper(store)
                said, _ = locust.communicate(timeout=60)
            finally:
                locust.kill()
    assert f"BROKEN     {promise}" in said, said
    assert "FAILED     promises were broken" in said
    assert locust.returncode == 1


def test_a_run_without_a_store_is_refused_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*STEADY, "--host", "http://127.0.0.1:9", "--data", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "error: no store: give --store, set ROPELINE_REDIS_URL, or start `ropeline up`" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("state", TicketState)
def test_visitors_read_their_own_tickets_rightly(state: TicketState) -> None:
    ticket = Ticket("acme", bytes(range(240, 256)), state, 2**60 + 7, 1, 2, 3, 4, 5, 6)
    text = TicketSigner(["a key that nobody else has"]).sign(ticket)
    assert read_ticket(text) == TicketFacts(ticket.id, ticket.place, state is not TicketState.UNCONFIRMED)
