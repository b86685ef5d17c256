"""The measurement of a deep queue calls every script, fills every state, and lets jobs pass that leave nothing behind."""

from __future__ import annotations

from redis.asyncio import Redis

from loadtests.depth.__main__ import measure
from loadtests.depth.filling import Depth
from loadtests.depth.in_and_out import pass_through
from loadtests.depth.server_times import ServerTimes
from ropeline.jobs.records import JobState
from ropeline.lua.loader import script_names
from tests.servers import Server

EACH = 300


async def test_twenty_thousand_jobs_in_and_out_leave_no_key_and_no_memory_behind(fresh_server: Server) -> None:
    client: Redis = Redis.from_url(fresh_server.url)
    passage = await pass_through(fresh_server.url, client, 20_000, warm_up=5_000)
    await client.aclose()
    assert passage.ran == 20_000
    assert passage.bytes_full - passage.bytes_before > 2_000_000
    assert passage.is_clean, passage
    assert not passage._replace(keys_after=passage.keys_before + 1).is_clean
    assert not passage._replace(bytes_after=passage.bytes_before + 2_000_000).is_clean
    assert not passage._replace(ran=19_999).is_clean


async def test_a_deep_queue_has_jobs_in_every_state_and_every_script_is_measured(fresh_server: Server) -> None:
    passage, depths, timings = await measure(fresh_server.url, Depth(2_000, 500, EACH), turns=4)
    assert passage.is_clean
    assert set(depths) == set(JobState)
    assert all(count >= EACH for count in depths.values()), depths
    assert depths["pending"] > 2_000
    assert depths["held"] >= 500 + EACH
    measured = {timing.name.split(",")[0].split()[0] for timing in timings}
    scripts = {
        name.removeprefix("queue/")
        for name in script_names()
        if name.split("/")[0] in {"queue", "cron", "lock", "locks"}
    }
    assert scripts - measured == {"cron/definitions"}, "which is measured with cron/read"
    assert all(timing.calls > 0 and timing.longest >= timing.p99 >= timing.p50 > 0 for timing in timings)


async def test_a_call_that_holds_the_server_up_is_told_of(fresh_server: Server) -> None:
    client: Redis = Redis.from_url(fresh_server.url)
    times = ServerTimes(client)
    await times.start()
    busy = "local n = 0 for i = 1, ARGV[1] do n = n + i end return n"
    slow = await times.measure("slow", 3, lambda _: client.eval(busy, 0, 2_000_000))
    quick = await times.measure("quick", 3, lambda _: client.eval(busy, 0, 1))
    await client.aclose()
    assert (slow.calls, slow.slow, slow.is_short) == (2, 2, False)
    assert not quick._replace(p99=2_001.0).is_short
    assert quick._replace(p99=2_000.0, other_p99=0.0).is_short
