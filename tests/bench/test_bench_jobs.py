"""The job engine's benchmark gives every figure that it promises, of each broker; how good they are is for people to read."""

from redis.asyncio import Redis

from ropeline.bench.jobs import bench_jobs, jobs_table
from ropeline.server import EmbeddedServer

FIGURES = [
    "awaited_lpush_per_s",
    "awaited_call_spaced_ms",
    "drain_per_s",
    "enqueue_per_s",
    "enqueue_many_per_s",
    "round_trips_per_job",
    "server_us_per_job",
    "latency_ms",
    "bytes_per_pending_job",
    "drain_per_s_with_2_ms",
]


async def test_every_figure_of_both_brokers_is_there_and_the_server_is_left_as_it_was() -> None:
    told: list[str] = []
    with EmbeddedServer() as server:
        both = await bench_jobs(server.url, told.append, quick=True, broker="both")
        client = Redis.from_url(server.url)
        left = await client.keys("*")
        await client.aclose()
    assert list(both) == ["redis", "streams"]
    for figures in both.values():
        assert list(figures) == FIGURES
        assert set(figures["drain_per_s"]) == {"10", "100", "256"}
        assert set(figures["server_us_per_job"]) == {"enqueue_many", "drain"}
        assert set(figures["latency_ms"]) == {"p50", "p99"}
        assert 0 < figures["round_trips_per_job"] <= 0.1
        assert 0 < figures["bytes_per_pending_job"] <= 350
        assert "awaited LPUSH" in jobs_table(figures)
    assert told
    assert jobs_table(both).count("awaited LPUSH") == 2
    assert left == []
