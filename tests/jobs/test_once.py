"""An effect is had once over all runs of a job, for as long as its mark is kept."""

from __future__ import annotations

import pytest

from ropeline.jobs import Jobs
from ropeline.jobs.brokers.memory import FakeClock, MemoryBroker
from ropeline.lua.errors import ConfigurationError
from tests.jobs.brokers.stage import new_id
from tests.servers import Server


async def test_a_second_run_sees_that_the_effect_is_done() -> None:
    app, seen = Jobs("memory://"), []
    for _ in range(3):
        async with app.once("charge", "order 17") as is_first:
            seen.append(is_first)
    async with app.once("charge", "order 18") as is_first:
        seen.append(is_first)
    assert seen == [True, False, False, True]


async def test_what_failed_is_still_to_be_done() -> None:
    app = Jobs("memory://")
    with pytest.raises(OSError, match="no"):
        async with app.once("mail", "17"):
            raise OSError("no")
    async with app.once("mail", "17") as is_first:
        assert is_first


async def test_a_mark_lasts_as_long_as_it_was_said_to() -> None:
    clock = FakeClock(1_700_000_000_000)
    app = Jobs(broker=MemoryBroker(clock=clock))
    async with app.once("mail", keep=10):
        pass
    clock.advance(9_999)
    async with app.once("mail", keep=10) as is_first:
        assert not is_first
    clock.advance(1)
    async with app.once("mail", keep=10) as is_first:
        assert is_first


async def test_a_job_that_is_delivered_twice_has_its_guarded_effect_once(valkey: Server) -> None:
    app, charged = Jobs(valkey.url, namespace="once-tests", stage=f"once-{new_id().hex()[-4:]}"), []

    async def charge(order: int) -> None:
        async with app.once("charge", str(order), keep=60) as is_first:
            if is_first:
                charged.append(order)

    async with app:
        for _ in range(2):
            await charge(17)
    assert charged == [17]


async def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="keep"):
        async with Jobs("memory://").once("mail", keep=-1):
            pass
