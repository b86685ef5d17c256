"""Background tasks end when they are told to, also those that miss it the first time."""

import asyncio

from ropeline.gate.tasks import end


async def lose_one_cancellation(lost: asyncio.Event) -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        lost.set()
    await asyncio.sleep(3600)


async def fail() -> None:
    raise ValueError("a failure that nobody asks for")


async def test_a_task_that_loses_a_cancellation_is_told_again() -> None:
    lost = asyncio.Event()
    stubborn = asyncio.create_task(lose_one_cancellation(lost))
    prompt = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    await asyncio.wait_for(end([stubborn, prompt]), 5)
    assert lost.is_set()
    assert stubborn.cancelled()
    assert prompt.cancelled()


async def test_a_task_that_has_ended_or_failed_already_is_no_trouble() -> None:
    failed = asyncio.create_task(fail())
    done = asyncio.create_task(asyncio.sleep(0))
    await asyncio.wait([failed, done])
    await end([failed, done])
    await end([])
