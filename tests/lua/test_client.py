"""The client reaches every kind of store by one URL, sends each command once, and never waits longer than it may."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError

from ropeline.bench.fault_proxy import Fault, FaultProxy
from ropeline.lua.client import CLIENT_NAME, Client, RedisSettings, connect
from ropeline.lua.errors import (
    REDIS_ERRORS,
    ConfigurationError,
    StoreDenied,
    StoreError,
    StoreTimeout,
    StoreUnavailable,
    store_error,
)
from tests.servers import (
    SENTINEL_SERVICE,
    Cluster,
    Server,
    StartServer,
    TlsFiles,
    Watched,
    form_cluster,
    is_formed,
    make_tls_files,
    patient,
    start_watched,
)
from tests.support import wait_until
from tests.system import find_program

SHORT = timedelta(milliseconds=60)
AGES = timedelta(seconds=5)
LATE = timedelta(milliseconds=400)


@asynccontextmanager
async def connected(url: str, **changes: object) -> AsyncIterator[Client]:
    client = connect(replace(patient(url), **changes))  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.aclose()


async def round_trip(url: str) -> None:
    async with connected(url) as client:
        assert await client.execute_command("SET", "greeting", "hello") in {True, b"OK"}
        assert await client.execute_command("GET", "greeting") == b"hello"


async def failure(url: str) -> StoreError:
    async with connected(url) as client:
        try:
            await client.ping()
        except REDIS_ERRORS as error:
            return store_error(error)
    pytest.fail(f"{url} answered")


async def test_a_server_is_reached_by_host_and_port(any_server: Server) -> None:
    await round_trip(f"redis://127.0.0.1:{any_server.port}")
    await round_trip(f"redis://localhost:{any_server.port}")


async def test_arguments_of_every_kind_arrive_as_they_are(any_server: Server) -> None:
    sent: list[str | bytes | int | float] = ["text é", bytes(range(256)), 2**63, -1, 0.1, "", b"x" * 100_000]
    async with connected(f"redis://127.0.0.1:{any_server.port}") as client:
        await client.execute_command("DEL", "list")
        await client.execute_command("RPUSH", "list", *sent)
        assert await client.execute_command("LRANGE", "list", 0, -1) == [
            "text é".encode(), bytes(range(256)), b"9223372036854775808", b"-1", b"0.1", b"", b"x" * 100_000,
        ]  # fmt: skip
        assert await client.execute_command("CONFIG GET", "databases")


async def test_the_database_of_the_url_is_used(valkey: Server) -> None:
    async with connected(f"redis://127.0.0.1:{valkey.port}/7") as client:
        await client.execute_command("SET", "only-in-seven", "1")
    async with connected(f"redis://127.0.0.1:{valkey.port}?db=7") as client:
        assert await client.execute_command("EXISTS", "only-in-seven") == 1
    assert valkey.call("EXISTS", "only-in-seven") == 0


async def test_a_unix_socket_is_reached_by_its_path(start_server: StartServer, tmp_path: Path) -> None:
    start_server("--unixsocket", str(tmp_path / "the socket"))
    await round_trip(f"unix://{tmp_path}/the%20socket")


async def test_user_and_password_of_the_url_are_used(start_server: StartServer) -> None:
    server = start_server("--requirepass", "pass/word", password="pass%2Fword")
    server.call("ACL", "SETUSER", "anna", "on", ">s@cret", "+@all", "~*")
    await round_trip(f"redis://:pass%2Fword@127.0.0.1:{server.port}")
    await round_trip(f"redis://anna:s%40cret@127.0.0.1:{server.port}")
    assert isinstance(await failure(f"redis://anna:pass%2Fword@127.0.0.1:{server.port}"), StoreDenied)


async def test_tls_is_checked_against_the_authority(tls_server: Server, tls_files: TlsFiles) -> None:
    place = f"127.0.0.1:{tls_server.port}"
    await round_trip(f"rediss://{place}?ssl_ca_certs={tls_files.authority}")
    await round_trip(f"rediss://{place}?ssl_cert_reqs=none")
    refused = await failure(f"rediss://{place}")
    assert isinstance(refused, StoreUnavailable)
    assert "certificate" in str(refused).lower()
    assert isinstance(await failure(f"redis://{place}"), StoreUnavailable)


async def test_tls_checks_the_name_of_the_host_unless_told_not_to(start_server: StartServer, tmp_path: Path) -> None:
    files = make_tls_files(tmp_path, names="DNS:elsewhere.example")
    server = start_server(binary=find_program("redis-server"), scheme="rediss", tls=files)
    url = f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={files.authority}"
    assert isinstance(await failure(url), StoreUnavailable)
    await round_trip(f"{url}&ssl_check_hostname=false")


async def test_every_node_of_a_cluster_is_used(cluster: Cluster) -> None:
    async with connected(cluster.url) as client:
        assert isinstance(client, RedisCluster)
        homes = set()
        for number in range(30):
            await client.execute_command("SET", f"key-{number}", number)
            home = cluster.node_of(f"key-{number}")
            assert home.call("GET", f"key-{number}") == str(number).encode()
            homes.add(home.port)
    assert homes == {node.port for node in cluster.nodes}


async def test_a_cluster_is_reached_by_tls_with_a_password(start_server: StartServer, tls_files: TlsFiles) -> None:
    cluster = form_cluster(start_server, scheme="rediss", tls=tls_files, password="secret")
    await round_trip(cluster.url)
    denied = await failure(cluster.url.replace("secret", "wrong"))
    assert isinstance(denied, StoreDenied), "a wrong password is not mistaken for a cluster that is gone"
    for node in cluster.nodes:  # the farewell of TLS takes a moment after an error
        await wait_until(lambda node=node: node.info("clients")["connected_clients"] == 1)  # type: ignore[misc]


async def test_one_living_node_of_the_url_is_enough_for_a_cluster(cluster: Cluster) -> None:
    await round_trip(f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.nodes[2].port}")


async def test_a_lone_server_is_no_cluster(valkey: Server) -> None:
    assert isinstance(await failure(f"redis+cluster://127.0.0.1:{valkey.port}"), StoreUnavailable)


@pytest.mark.parametrize("program", ["", "redis-sentinel"])
async def test_sentinels_lead_to_the_master_also_after_a_failover(start_server: StartServer, program: str) -> None:
    if program:
        watched = start_watched(start_server, find_program("redis-server"), find_program(program))
    else:
        watched = start_watched(start_server)
    async with connected(watched.url) as client:
        await client.execute_command("SET", "greeting", "hello")
        assert watched.pair.primary.call("GET", "greeting") == b"hello"
        await wait_until(lambda: watched.pair.replica.call("GET", "greeting") == b"hello")
        watched.pair.primary.kill()

        failures: list[StoreError] = []

        async def is_served_again() -> bool:
            try:
                return bool(await client.execute_command("SET", "greeting", "again"))
            except REDIS_ERRORS as error:
                failures.append(store_error(error))
                return False

        await wait_until(is_served_again, timeout=15)
        assert all(isinstance(failure, StoreUnavailable) for failure in failures)
    assert watched.pair.replica.call("GET", "greeting") == b"again"


async def test_one_living_sentinel_is_enough(watched: Watched) -> None:
    await round_trip(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{watched.sentinel.port}/{SENTINEL_SERVICE}")
    unknown = await failure(f"redis+sentinel://127.0.0.1:{watched.sentinel.port}/another")
    assert isinstance(unknown, StoreUnavailable)
    assert "another" in str(unknown)


async def test_a_password_of_the_sentinels_is_its_own(start_server: StartServer) -> None:
    server = start_server("--requirepass", "for-data", password="for-data")
    service = f"sentinel monitor acme 127.0.0.1 {server.port} 1\nsentinel auth-pass acme for-data\n"
    sentinel = start_server("--sentinel", config=f"{service}requirepass for-sentinels\n", password="for-sentinels")
    url = f"redis+sentinel://:for-data@127.0.0.1:{sentinel.port}/acme"
    await round_trip(f"{url}?sentinel_password=for-sentinels")
    with pytest.raises(REDIS_ERRORS):
        await round_trip(url)


async def test_closing_leaves_no_connection_behind(watched: Watched, cluster: Cluster) -> None:
    def ours(server: Server) -> list[object]:
        clients = server.call("CLIENT LIST")
        assert isinstance(clients, list)
        return [client for client in clients if client["name"] == CLIENT_NAME]

    def has_none_of_ours(server: Server) -> bool:
        return not ours(server)

    places = {watched.url: [watched.sentinel, watched.pair.primary], cluster.url: cluster.nodes}
    for url, servers in places.items():
        async with connected(url) as client:
            await asyncio.gather(*(client.execute_command("SET", f"key-{number}", number) for number in range(20)))
            assert all(ours(server) for server in servers), "each connection bears our name"
        for server in servers:
            await wait_until(partial(has_none_of_ours, server))


@pytest.mark.parametrize("kind", ["single", "cluster", "sentinel"])
async def test_a_command_whose_reply_is_lost_is_not_sent_again(kind: str, start_server: StartServer) -> None:
    server = start_server(in_cluster=kind == "cluster")
    async with FaultProxy(server.port) as proxy:
        url = proxy.url
        if kind == "cluster":
            server.call("CLUSTER ADDSLOTSRANGE", 0, 16383)
            server.call("CONFIG SET", "cluster-announce-port", proxy.port)
            await wait_until(lambda: is_formed(server, 1))
            url = f"redis+cluster://127.0.0.1:{proxy.port}"
        elif kind == "sentinel":
            config = f"sentinel monitor acme 127.0.0.1 {proxy.port} 1\n"
            url = f"redis+sentinel://127.0.0.1:{start_server('--sentinel', config=config).port}/acme"
        async with connected(url) as client:
            await client.execute_command("INCR", "counter")
            proxy.lose_reply(to=b"INCR")
            with pytest.raises(RedisConnectionError):
                await client.execute_command("INCR", "counter")
            assert await client.execute_command("GET", "counter") == b"2"


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: str(fault.name))
async def test_each_fault_ends_in_time_and_is_over_when_it_is_gone(fresh_server: Server, fault: Fault) -> None:
    async with FaultProxy(fresh_server.port) as proxy, connected(proxy.url, call_timeout=SHORT) as client:
        await client.ping()
        await proxy.set(fault)
        expected: type[StoreError] | None = {
            Fault.NONE: None,
            Fault.SLICE: None,
            Fault.DELAY: StoreTimeout,
            Fault.BLACKHOLE: StoreTimeout,
        }.get(fault, StoreUnavailable)
        for _ in range(2):
            try:
                async with asyncio.timeout(2):
                    await client.execute_command("SET", "key", "value")
                assert expected is None
            except REDIS_ERRORS as error:
                assert type(store_error(error)) is expected  # noqa: PT017 - some faults raise nothing
        await proxy.set(Fault.NONE)
        assert await client.execute_command("GET", "key") in {None, b"value"}


async def test_a_call_given_up_by_its_caller_leaves_a_clean_connection(fresh_server: Server) -> None:
    async with connected(fresh_server.url, max_connections=1) as client:
        await client.execute_command("SET", "key", "mine")
        fresh_server.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.execute_command("GET", "another")
        fresh_server.resume()
        assert await client.execute_command("GET", "key") == b"mine", "not the reply to the call before"


@pytest.mark.parametrize("kind", ["single", "cluster", "sentinel"])
async def test_a_call_is_over_at_whatever_moment_its_caller_gives_it_up(
    kind: str, request: pytest.FixtureRequest, tenant_name: str
) -> None:
    """Moments are turns of the event loop, on connections that are new and on those that are not."""
    fixture = {"single": "valkey", "sentinel": "watched"}.get(kind, kind)
    async with connected(request.getfixturevalue(fixture).url, call_timeout=timedelta(seconds=5)) as client:
        for turns in range(40):
            call = asyncio.create_task(client.execute_command("BLPOP", tenant_name, 2))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call


@pytest.mark.parametrize("kind", ["single", "cluster", "sentinel"])
async def test_the_pool_is_bounded_and_makes_callers_wait(
    kind: str, start_server: StartServer, request: pytest.FixtureRequest
) -> None:
    if kind == "cluster":
        url = request.getfixturevalue("cluster").url
    else:
        url = request.getfixturevalue("watched").url if kind == "sentinel" else start_server().url
    async with connected(url, max_connections=2, pool_wait=timedelta(seconds=5)) as client:
        await asyncio.gather(*(client.execute_command("SET", f"key-{number}", number) for number in range(100)))
    async with connected(url, max_connections=2, pool_wait=SHORT, call_timeout=timedelta(seconds=5)) as client:
        blocked = [asyncio.create_task(client.execute_command("BLPOP", f"{{list}}-{n}", 1)) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RedisConnectionError):
            await client.execute_command("GET", "key")
        assert await asyncio.gather(*blocked) == [None, None]
        assert await client.execute_command("GET", "key-1") == b"1"


@pytest.mark.parametrize("kind", ["single", "cluster", "sentinel"])
async def test_a_silent_subscription_outlives_the_limit_of_a_call(
    kind: str, valkey: Server, request: pytest.FixtureRequest
) -> None:
    if kind == "cluster":
        cluster: Cluster = request.getfixturevalue("cluster")
        url, speakers = cluster.url, cluster.nodes
    elif kind == "sentinel":
        watched: Watched = request.getfixturevalue("watched")
        url, speakers = watched.url, [watched.pair.primary]
    else:
        url, speakers = valkey.url, [valkey]
    async with connected(url, call_timeout=SHORT) as client, client.pubsub() as subscription:
        await subscription.subscribe("news")
        assert await wait_until(lambda: subscription.get_message(timeout=1))
        for speaker in speakers:
            listening = asyncio.create_task(subscription.get_message(timeout=None))
            done, _ = await asyncio.wait({listening}, timeout=0.2)
            assert not done
            speaker.call("PUBLISH", "news", "hello")
            message = await asyncio.wait_for(listening, 2)
            assert message is not None
            assert message["data"] == b"hello"


async def test_a_connection_costs_no_greeting_beyond_its_name(fresh_server: Server) -> None:
    fresh_server.call("INFO")  # its own greeting comes before the reset
    fresh_server.call("CONFIG RESETSTAT")
    async with connected(fresh_server.url) as client:
        await client.ping()
    commands = {str(name).removeprefix("cmdstat_") for name in fresh_server.info("commandstats")}
    assert commands - {"config|resetstat"} == {"client|setname", "ping"}


def test_settings_show_no_secret() -> None:
    settings = RedisSettings("redis://anna:hunter2@127.0.0.1/0")
    assert settings.safe_url == "redis://***@127.0.0.1/0"
    for url in ("redis://:hunter2@a", "redis+cluster://:hunter2@a", "redis+sentinel://:hunter2@a/b"):
        settings = RedisSettings(url)
        assert "hunter2" not in repr(settings) + repr(connect(settings))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "http://a"),
        ("max_connections", 0),
        ("max_connections", 10_001),
        ("pool_wait", timedelta(0)),
        ("connect_timeout", timedelta(seconds=-1)),
        ("call_timeout", timedelta(0)),
    ],
)
def test_a_wrong_setting_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as refused:
        RedisSettings(**{field: value})  # type: ignore[arg-type]
    assert refused.value.field == ("redis_url" if field == "url" else field)
