"""Makes the client of the store: one server, a Unix socket, a cluster, or a service under Sentinel.

A client never sends a command twice. redis-py's default of ten retries would run a script again whose reply was lost;
what a failure means is decided by the caller, who knows whether the call may be repeated.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from ropeline.lua.address import Address, parse_address, redacted_address
from ropeline.lua.cluster import PatientCluster
from ropeline.lua.connection import (
    PlainConnection,
    SentinelConnection,
    SentinelTlsConnection,
    TlsConnection,
    UnixSocketConnection,
)
from ropeline.lua.errors import ConfigurationError
from ropeline.lua.server_client import ServerClient, ServerPool

if TYPE_CHECKING:
    from ropeline.lua.address import TlsOptions

__all__ = ["CLIENT_NAME", "Client", "RedisSettings", "connect"]

CLIENT_NAME: Final = "ropeline"
"""What our connections are called in the server's CLIENT LIST."""

Client: TypeAlias = Redis | RedisCluster
"""The clients that `connect` returns; both belong to the event loop that used them first."""

# Every server, proxy and managed offering speaks version 2; nothing here needs version 3, and its greeting costs a trip.
_PROTOCOL: Final = 2


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where the store is and how long a call may wait for it.

    Raises:
        ConfigurationError: a field is out of range or the URL has no known form; the password is never shown.

    """

    url: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    """See `ropeline.lua.address.ADDRESS_FORMS`."""
    max_connections: int = 32
    """Most connections, to each node of a cluster; a call beyond them waits for `pool_wait`."""
    pool_wait: timedelta = timedelta(milliseconds=50)
    """Longest wait for a free connection."""
    connect_timeout: timedelta = timedelta(milliseconds=200)
    """Longest wait for a new connection, its TLS handshake included."""
    call_timeout: timedelta = timedelta(milliseconds=250)
    """Longest wait for the reply to one command."""

    def __post_init__(self) -> None:
        parse_address(self.url)
        if not 0 < self.max_connections <= 10_000:
            raise ConfigurationError("max_connections", self.max_connections, "a number from 1 to 10000")
        for name in ("pool_wait", "connect_timeout", "call_timeout"):
            value: timedelta = getattr(self, name)
            if value <= timedelta(0):
                raise ConfigurationError(name, str(value), "a time above zero")

    @property
    def safe_url(self) -> str:
        """The URL to show: without user, password and other secrets."""
        return redacted_address(self.url)


def connect(settings: RedisSettings) -> Client:
    """Return a client for the store; it connects when it is first used. Close it with `await client.aclose()`.

    Replies are bytes. Make one client for each event loop.
    """
    address = parse_address(settings.url)
    if address.kind == "cluster":
        return _cluster_client(address, settings)
    if address.kind == "sentinel":
        return _sentinel_client(address, settings)
    if address.kind == "unix":
        place: dict[str, Any] = {"connection_class": UnixSocketConnection, "path": address.socket_path}
    else:
        host, port = address.hosts[0]
        connection_class = TlsConnection if address.tls else PlainConnection
        place = {"connection_class": connection_class, "host": host, "port": port, **_tls_arguments(address.tls)}
    pool = ServerPool(
        **place,
        **_pool_size(settings),
        **_connection_arguments(settings),
        **_login(address),
        db=address.database,
        retry=_no_retry(),
        maint_notifications_config=_no_notifications(),
    )
    return ServerClient.from_pool(pool)


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """The blocking pool for the master that the sentinels name; closing it closes the way to the sentinels too."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def _cluster_client(address: Address, settings: RedisSettings) -> RedisCluster:
    return PatientCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        connection_class=TlsConnection if address.tls else PlainConnection,
        pool_wait=settings.pool_wait.total_seconds(),
        max_connections=settings.max_connections,
        retry=_no_retry(),
        maint_notifications_config=_no_notifications(),
        ssl=address.tls is not None,
        **_tls_arguments(address.tls),
        **_connection_arguments(settings),
        **_login(address),
    )


def _sentinel_client(address: Address, settings: RedisSettings) -> Redis:
    shared: dict[str, Any] = {
        **_connection_arguments(settings),
        **_tls_arguments(address.tls),
        "ssl": address.tls is not None,
        "maint_notifications_config": _no_notifications(),
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs={
            **shared,
            "retry": _no_retry(),
            "username": address.sentinel_username,
            "password": address.sentinel_password,
        },
    )
    for watcher in sentinel.sentinels:
        # redis-py has no option for it.
        watcher.connection_pool.connection_class = TlsConnection if address.tls else PlainConnection
    client: Redis = sentinel.master_for(
        address.service,
        redis_class=ServerClient,
        connection_pool_class=_SentinelPool,
        connection_class=SentinelTlsConnection if address.tls else SentinelConnection,
        **shared,
        **_pool_size(settings),
        **_login(address),
        db=address.database,
        retry=_no_retry(),
    )
    return client


def _connection_arguments(settings: RedisSettings) -> dict[str, Any]:
    return {
        "socket_timeout": settings.call_timeout.total_seconds(),
        "socket_connect_timeout": settings.connect_timeout.total_seconds(),
        "health_check_interval": 0,
        "client_name": CLIENT_NAME,
        "driver_info": None,  # two more commands for each connection, and two more rights for the user
        "decode_responses": False,
        "protocol": _PROTOCOL,
    }


def _pool_size(settings: RedisSettings) -> dict[str, Any]:
    return {"max_connections": settings.max_connections, "timeout": settings.pool_wait.total_seconds()}


def _login(address: Address) -> dict[str, Any]:
    return {"username": address.username, "password": address.password}


def _tls_arguments(tls: TlsOptions | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {
        "ssl_ca_certs": tls.ca_file,
        "ssl_certfile": tls.certificate_file,
        "ssl_keyfile": tls.key_file,
        "ssl_cert_reqs": ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE,
        "ssl_check_hostname": tls.check_hostname,
    }


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)


def _no_notifications() -> MaintNotificationsConfig:
    return MaintNotificationsConfig(enabled=False)
