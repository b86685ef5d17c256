"""What a server says about itself: for `ropeline doctor`, and for the check before a gate starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError

from ropeline.lua.errors import REDIS_ERRORS, ConfigurationError, store_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ropeline.lua.client import Client

__all__ = ["ServerReport", "check_servers", "require_noeviction"]

_SAFE_POLICY: Final = "noeviction"


@dataclass(frozen=True, slots=True)
class ServerReport:
    """One server, as it described itself. None: it did not say, or the user has no right to ask."""

    version: str
    is_valkey: bool
    mode: str
    """standalone, cluster or sentinel."""
    role: str
    """master or slave, in the server's own word."""
    run_id: str
    process_id: int
    replicas: int
    eviction_policy: str
    max_memory: int
    """Bytes; 0 is no limit."""
    used_memory: int
    """Bytes."""
    append_only: bool
    append_fsync: str | None
    """always, everysec or no; None also without an append-only file."""
    snapshots: str | None
    """The `save` rules; empty is none."""
    clock_skew: timedelta
    """The server's clock minus ours, measured at the middle of a round trip."""
    slow_log_length: int | None


async def check_servers(client: Client) -> tuple[ServerReport, ...]:
    """Ask the server, or every master of a cluster, about itself.

    Raises:
        StoreError: one of them could not be asked.
    """
    try:
        if not isinstance(client, RedisCluster):
            return (await _report(client, {}),)
        await client.initialize()
        return tuple([await _report(client, {"target_nodes": node}) for node in client.get_primaries()])
    except REDIS_ERRORS as error:
        raise store_error(error) from error


def require_noeviction(reports: Iterable[ServerReport]) -> None:
    """Refuse a server that may delete a line to make room for something else.

    Raises:
        ConfigurationError: a server has another eviction policy than noeviction.
    """
    for report in reports:
        if report.eviction_policy != _SAFE_POLICY:
            raise ConfigurationError(
                "maxmemory-policy",
                report.eviction_policy,
                f"{_SAFE_POLICY} on the Redis or Valkey server: any other deletes visitors' places when memory is short",
            )


async def _report(client: Client, where: dict[str, Any]) -> ServerReport:
    info: dict[str, Any] = await client.info(**where)
    before = time.time()
    seconds, microseconds = await client.time(**where)
    middle = (before + time.time()) / 2
    append_only = bool(info.get("aof_enabled", 0))
    return ServerReport(
        version=str(info.get("valkey_version") or info["redis_version"]),
        is_valkey="valkey_version" in info,
        mode=str(info.get("server_mode") or info["redis_mode"]),
        role=str(info["role"]),
        run_id=str(info["run_id"]),
        process_id=int(info["process_id"]),
        replicas=int(info.get("connected_slaves", 0)),
        eviction_policy=str(info["maxmemory_policy"]),
        max_memory=int(info["maxmemory"]),
        used_memory=int(info["used_memory"]),
        append_only=append_only,
        append_fsync=await _setting(client, "appendfsync", where) if append_only else None,
        snapshots=await _setting(client, "save", where),
        clock_skew=timedelta(seconds=seconds + microseconds / 1e6 - middle),
        slow_log_length=await _slow_log_length(client, where),
    )


async def _setting(client: Client, name: str, where: dict[str, Any]) -> str | None:
    """One setting of the server; managed services and users of few rights are refused CONFIG."""
    try:
        values: dict[str, Any] = await client.config_get(name, **where)  # type: ignore[assignment]
    except ResponseError:
        return None
    return values.get(name)


async def _slow_log_length(client: Client, where: dict[str, Any]) -> int | None:
    try:
        return int(await client.slowlog_len(**where))
    except ResponseError:
        return None
