"""Visitors without cookies leave nothing behind, however many they are."""

from loadtests.flood import flood
from tests.servers import Server


async def test_fifty_thousand_hits_without_a_cookie_leave_memory_flat(fresh_server: Server) -> None:
    figures = await flood(fresh_server.url, 50_000)
    assert figures["waiting_pages"] >= 69_000
    assert figures["stored_visitors"] <= 1
    assert figures["bytes_grown"] < 32_000, "less than a byte a hit: the history's samples"
    assert figures["server_bytes_grown"] < 1_000_000
    assert figures["keys"] <= 9
