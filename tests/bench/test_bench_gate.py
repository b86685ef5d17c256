"""The gate's benchmark gives every figure that it promises; how good they are is for people to read."""

from ropeline.bench.gate import bench_gate, table
from ropeline.server import EmbeddedServer

CASES = {"exempt", "waiting_poll", "admitted_strict", "admitted_recheck", "admitted_measured"}


async def test_every_figure_is_there_and_the_server_is_left_as_it_was() -> None:
    told: list[str] = []
    with EmbeddedServer() as server:
        figures = await bench_gate(server.url, told.append, quick=True, sizes={"1e3": 200, "1e5": 400, "1e6": 2_000})
        from redis.asyncio import Redis

        client = Redis.from_url(server.url)
        left = await client.keys("*")
        await client.aclose()
    assert list(figures) == [
        "awaited_ping_us",
        "added_us",
        "rps",
        "decision_server_us",
        "bytes_per_waiting_session",
        "survey",
        "mass_expiry_call_ms",
        "decisions_per_s",
    ]
    assert set(figures["added_us"]) == CASES
    assert set(figures["rps"]) == {"bare", *CASES}
    assert set(figures["decision_server_us"]) == {"1e3", "1e5", "1e6"}
    assert set(figures["survey"]) == {"tenants", "server_ms", "status_us", "decision_alone_us"}
    assert set(figures["mass_expiry_call_ms"]) == {"p50", "p99", "max"}
    assert set(figures["decisions_per_s"]) == {"one_by_one", "batched"}
    assert all(value > 0 for value in figures["rps"].values())
    assert told
    assert "awaited PING" in table(figures)
    assert left == []
