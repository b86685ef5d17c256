"""What a server says about itself is read right from each kind of server, and one that evicts is refused."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ropeline.lua.client import connect
from ropeline.lua.errors import ConfigurationError, StoreDenied, StoreUnavailable
from ropeline.lua.server_report import ServerReport, check_servers, require_noeviction
from tests.servers import Cluster, Pair, Server, StartServer, Watched, patient


async def reports_of(url: str) -> tuple[ServerReport, ...]:
    client = connect(patient(url))
    try:
        return await check_servers(client)
    finally:
        await client.aclose()


async def test_a_server_is_described(any_server: Server) -> None:
    (report,) = await reports_of(any_server.url)
    info = any_server.info()
    assert report.is_valkey == ("valkey_version" in info)
    assert report.version == info.get("valkey_version", info["redis_version"])
    assert report.process_id == any_server.pid
    assert report.run_id == info["run_id"]
    assert (report.mode, report.role, report.replicas) == ("standalone", "master", 0)
    assert report.eviction_policy == "noeviction"
    assert report.max_memory == 0
    assert report.used_memory > 100_000
    assert (report.append_only, report.append_fsync, report.snapshots) == (False, None, "")
    assert abs(report.clock_skew) < timedelta(seconds=1)
    assert report.slow_log_length is not None
    require_noeviction([report])


async def test_persistence_is_described(start_server: StartServer) -> None:
    server = start_server("--appendonly", "yes", "--appendfsync", "always", "--save", "3600 1")
    (report,) = await reports_of(server.url)
    assert (report.append_only, report.append_fsync, report.snapshots) == (True, "always", "3600 1")


async def test_the_slow_log_is_counted(start_server: StartServer) -> None:
    server = start_server("--slowlog-log-slower-than", "0")
    for _ in range(5):
        server.call("PING")
    (report,) = await reports_of(server.url)
    assert report.slow_log_length is not None
    assert report.slow_log_length >= 5


async def test_roles_are_described(pair: Pair) -> None:
    (primary,) = await reports_of(pair.primary.url)
    (replica,) = await reports_of(pair.replica.url)
    assert (primary.role, primary.replicas, replica.role) == ("master", 1, "slave")


async def test_every_master_of_a_cluster_is_described(cluster: Cluster) -> None:
    reports = await reports_of(cluster.url)
    assert {report.process_id for report in reports} == {node.pid for node in cluster.nodes}
    assert {report.mode for report in reports} == {"cluster"}


async def test_behind_sentinel_the_master_is_described(watched: Watched) -> None:
    (report,) = await reports_of(watched.url)
    assert report.process_id == watched.pair.primary.pid


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
async def test_a_server_that_evicts_is_refused(start_server: StartServer, policy: str) -> None:
    server = start_server("--maxmemory-policy", policy)
    reports = await reports_of(server.url)
    with pytest.raises(ConfigurationError) as refused:
        require_noeviction(reports)
    assert (refused.value.field, refused.value.value) == ("maxmemory-policy", policy)
    with pytest.raises(ConfigurationError):
        require_noeviction([replace(reports[0], eviction_policy="noeviction"), *reports])


async def test_what_may_not_be_asked_is_left_out(fresh_server: Server) -> None:
    rights = ("+client|setname", "+info", "+time")
    fresh_server.call("CONFIG", "SET", "appendonly", "yes", "maxmemory-policy", "allkeys-lru")
    fresh_server.call("ACL", "SETUSER", "reader", "on", ">secret", *rights)
    (report,) = await reports_of(f"redis://reader:secret@127.0.0.1:{fresh_server.port}")
    assert (report.append_only, report.append_fsync, report.snapshots) == (True, None, None)
    assert report.slow_log_length is None
    assert report.eviction_policy == "allkeys-lru", "INFO tells it where CONFIG is refused"


async def test_a_server_that_cannot_be_asked_is_an_error(fresh_server: Server) -> None:
    fresh_server.call("ACL", "SETUSER", "nobody", "on", ">secret", "+client|setname")
    with pytest.raises(StoreDenied):
        await reports_of(f"redis://nobody:secret@127.0.0.1:{fresh_server.port}")
    fresh_server.kill()
    with pytest.raises(StoreUnavailable):
        await reports_of(fresh_server.url)
