"""The cluster client needs no retries: first calls, dead nodes and impatient callers cost nobody else a call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from ropeline.bench.fault_proxy import Fault, FaultProxy
from ropeline.lua.client import RedisSettings, connect
from ropeline.lua.cluster import PatientCluster
from ropeline.lua.errors import REDIS_ERRORS
from tests.servers import Cluster, StartServer, add_replica, form_cluster, is_formed
from tests.support import wait_until

LATE = timedelta(milliseconds=400)
AGES = timedelta(seconds=5)


@asynccontextmanager
async def connected(
    url: str, *, timeouts: timedelta = AGES, max_connections: int = 32
) -> AsyncIterator[PatientCluster]:
    client = connect(RedisSettings(url, max_connections, AGES, timeouts, timeouts))
    assert isinstance(client, PatientCluster)
    try:
        yield client
    finally:
        await client.aclose()


async def increment(client: PatientCluster, key: str, *, patience: float = 0.1) -> bool:
    """Whether the call succeeded within the patience of its caller."""
    try:
        async with asyncio.timeout(patience):
            return bool(await client.execute_command("INCR", key))
    except REDIS_ERRORS:  # the caller's own time-out among them
        return False


async def test_calls_made_at_once_by_a_new_client_all_succeed(cluster: Cluster) -> None:
    for _ in range(5):
        async with connected(cluster.url) as client:
            calls = (client.execute_command("SET", f"first-{number}", number) for number in range(32))
            assert len(await asyncio.gather(*calls)) == 32


async def test_callers_with_less_patience_than_the_first_search_takes_are_served_after_it(
    start_server: StartServer,
) -> None:
    server = start_server(in_cluster=True)
    server.call("CLUSTER ADDSLOTSRANGE", 0, 16383)
    await wait_until(lambda: is_formed(server, 1))
    async with FaultProxy(server.port, delay=0.06) as proxy:
        server.call("CONFIG SET", "cluster-announce-port", proxy.port)
        await proxy.set(Fault.DELAY)
        async with connected(f"redis+cluster://127.0.0.1:{proxy.port}") as client:
            assert not await increment(client, "counter", patience=0.18), "two connections and two replies take longer"
            await wait_until(lambda: increment(client, "counter", patience=0.18))


async def test_redirections_close_no_connection_under_the_calls_of_others(cluster: Cluster) -> None:
    async with connected(cluster.url) as client:
        await client.initialize()
        nodes = client.nodes_manager
        for _ in range(10):
            # Every slot under a wrong node: each call is redirected.
            rotated = [*client.get_primaries()[1:], client.get_primaries()[0]]
            successor = dict(zip((node.name for node in client.get_primaries()), rotated, strict=True))
            nodes.slots_cache = {slot: [successor[home[0].name]] for slot, home in nodes.slots_cache.items()}
            calls = (client.execute_command("SET", f"moved-{number}", number) for number in range(32))
            assert len(await asyncio.gather(*calls)) == 32


async def test_a_node_that_falls_silent_is_replaced_although_its_callers_give_up_first(
    start_server: StartServer,
) -> None:
    cluster = form_cluster(start_server)
    home = cluster.node_of("counter")
    elsewhere = next(key for key in ("a", "b", "c", "d") if cluster.node_of(key) is not home)
    heir = add_replica(start_server, cluster, home)
    async with connected(cluster.url, timeouts=LATE) as client:
        assert await client.execute_command("INCR", "counter") == 1
        home.pause()
        for _ in range(8):  # for less than the two seconds after which the cluster itself gives up on the node
            assert not await increment(client, "counter")
            async with asyncio.timeout(2):  # the others' slots are served meanwhile, by the layout of before
                assert await client.execute_command("INCR", elsewhere)
        heir.call("CLUSTER FAILOVER", "TAKEOVER")
        await wait_until(lambda: increment(client, "counter"), timeout=10)
        home.kill()
    assert heir.call("EXISTS", "counter") == 1


async def test_a_subscription_moves_on_when_its_node_is_gone(start_server: StartServer) -> None:
    cluster = form_cluster(start_server)
    home = cluster.node_of("news")
    heir = add_replica(start_server, cluster, home)

    async def is_subscribed() -> bool:
        async with client.pubsub() as subscription:
            try:
                async with asyncio.timeout(0.3):
                    await subscription.subscribe("news")
                    return await subscription.get_message(timeout=None) is not None
            except REDIS_ERRORS:
                return False

    async with connected(cluster.url, timeouts=LATE) as client:
        assert await is_subscribed(), "a subscription may be the first thing that is asked"
        home.pause()
        heir.call("CLUSTER FAILOVER", "TAKEOVER")
        await wait_until(is_subscribed, timeout=10)
        home.kill()


async def test_a_cluster_that_is_gone_for_a_while_is_found_again(start_server: StartServer) -> None:
    cluster = form_cluster(start_server)
    async with connected(cluster.url) as client:
        for node in cluster.nodes:
            node.kill()
        with pytest.raises(REDIS_ERRORS):
            await client.execute_command("INCR", "counter")
        for node in cluster.nodes:
            node.start()
        await wait_until(lambda: increment(client, "counter"), timeout=10)
        for node in cluster.nodes:
            node.kill()
        assert not await increment(client, "counter")
        for node in cluster.nodes:
            node.start()
        await wait_until(lambda: increment(client, "counter"), timeout=10)


async def test_a_closed_client_can_be_used_again(cluster: Cluster) -> None:
    async with connected(cluster.url) as client:
        assert await client.execute_command("SET", "key", "1")
        await client.aclose()
        assert await client.execute_command("GET", "key") == b"1"
