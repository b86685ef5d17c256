"""`ropeline doctor` says of each check what was found, and fails for a store that the gate cannot rely on."""

import json

import pytest

from tests.cli.running import Command
from tests.servers import Cluster, Pair, Server, StartServer

CHECKS = [
    "version",
    "role",
    "eviction",
    "persistence",
    "memory",
    "clock",
    "slow log",
    "scripts",
    "tenants",
    "round trip",
]


def results(command: Command, url: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit status, and result and finding of each check."""
    ended = command("doctor", "--json", "--redis-url", url)
    document = json.loads(ended.out)
    assert document["ok"] is (ended.status == 0)
    return ended.status, {check["name"]: (check["result"], check["found"]) for check in document["checks"]}


def test_a_good_store_passes_every_check(command: Command, start_server: StartServer) -> None:
    # A busy machine makes a call slow that is not.
    server = start_server("--appendonly", "yes", "--slowlog-log-slower-than", "-1")
    status, found = results(command, server.url)
    assert status == 0
    assert list(found) == CHECKS
    assert {result for name, (result, _) in found.items() if name != "round trip"} == {"OK"}
    assert found["persistence"][1] == "append-only file, synced: everysec"
    printed = command("doctor", "--redis-url", server.url).out.splitlines()
    assert printed[0] == f"store: {server.url} (from --redis-url)"
    assert [line.split()[0] for line in printed[1:-1]] == ["OK"] * (len(CHECKS) - 1)


def test_redis_7_passes_too(on_store_command: Command, redis7: Server) -> None:
    status, found = results(on_store_command, redis7.url)
    assert status == 0
    assert found["version"][1].startswith("Redis 7.0")


def test_a_store_that_evicts_or_is_a_replica_fails(command: Command, start_server: StartServer, pair: Pair) -> None:
    evicting = start_server("--maxmemory-policy", "allkeys-lru", "--maxmemory", "10mb")
    status, found = results(command, evicting.url)
    assert (status, found["eviction"]) == (1, ("FAIL", "allkeys-lru"))
    text = command("doctor", "--redis-url", evicting.url).out
    assert "allkeys-lru; maxmemory-policy noeviction: any other deletes visitors' places" in text
    status, found = results(command, pair.replica.url)
    assert (status, found["role"]) == (1, ("FAIL", "slave, 0 replicas"))


def test_what_works_and_will_surprise_is_a_warning(command: Command, start_server: StartServer) -> None:
    server = start_server("--slowlog-log-slower-than", "0", "--appendonly", "yes", "--appendfsync", "no")
    status, found = results(command, server.url)
    assert status == 0
    assert found["persistence"] == ("WARN", "append-only file, synced: no")
    assert found["slow log"][0] == "WARN"
    server.call("CONFIG", "SET", "appendonly", "no")
    assert results(command, server.url)[1]["persistence"] == ("WARN", "none")
    server.call("CONFIG", "SET", "maxmemory", int(float(server.info("memory")["used_memory"]) * 1.1))
    assert results(command, server.url)[1]["memory"][0] == "WARN"


def test_a_full_store_fails(command: Command, start_server: StartServer) -> None:
    server = start_server()
    server.call("CONFIG", "SET", "maxmemory", "1mb")
    status, found = results(command, server.url)
    assert (status, found["memory"][0]) == (1, "FAIL")


@pytest.mark.parametrize(
    ("denied", "checks"),
    [
        ("-info", ["version", "role", "eviction", "persistence", "memory", "clock", "slow log"]),
        ("-time", ["version", "role", "eviction", "persistence", "memory", "clock", "slow log"]),
        ("-slowlog", ["slow log"]),
        ("-script|load", ["scripts"]),
        ("-hkeys", ["tenants"]),
        ("-ping", ["round trip"]),
    ],
)
def test_a_check_that_the_user_may_not_make_says_so(
    command: Command, fresh_server: Server, denied: str, checks: list[str]
) -> None:
    fresh_server.call("ACL", "SETUSER", "watcher", "on", ">secret", "~*", "&*", "+@all", denied)
    url = f"redis://watcher:secret@127.0.0.1:{fresh_server.port}/0"
    status, found = results(command, url)
    assert status == 0
    assert "secret" not in command("doctor", "--redis-url", url).out
    assert [name for name, (_, text) in found.items() if text.startswith("could not be ")] == checks
    assert {found[name][0] for name in checks} == {"WARN"}


def test_settings_that_cannot_be_read_fail(on_store_command: Command, on_store: dict[str, str], valkey: Server) -> None:
    on_store_command("tenant", "set", "acme", "host=acme.test", "total_active_users=5")
    wrong = json.dumps({"settings": {"name": "acme", "host": "acme.test", "total_active_users": -5}})
    valkey.call("HSET", f"{on_store['ROPELINE_NAMESPACE']}:{{acme}}:config", "settings", wrong)
    status, found = results(on_store_command, valkey.url)
    assert (status, found["tenants"][0]) == (1, "FAIL")
    assert "total_active_users: got -5" in found["tenants"][1]


def test_each_master_of_a_cluster_is_checked(on_store_command: Command, cluster: Cluster) -> None:
    status, found = results(on_store_command, cluster.url)
    assert status == 0
    assert len([name for name in found if name.startswith("eviction of ")]) == 3
    assert found["scripts"][0] == "OK"
