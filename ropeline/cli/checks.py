"""The checks that `ropeline doctor` makes of a store."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING, Final

from redis.exceptions import ResponseError

from ropeline.lua.errors import REDIS_ERRORS, RopelineError, StoreDenied, StoreError, StoreRefused, store_error
from ropeline.lua.loader import load_script, script_names
from ropeline.lua.server_report import ServerReport, check_servers

if TYPE_CHECKING:
    from ropeline.gate.tenant_store import TenantStore
    from ropeline.lua.client import Client

__all__ = ["Check", "Result", "check_store"]

_OLDEST_REDIS: Final = (7, 0)
_PINGS: Final = 50
_SLOW_MS: Final = 10.0
_DEADLINE_MS: Final = 250
_LARGEST_SKEW: Final = timedelta(seconds=1)
_FULL: Final = 0.95
_NEARLY_FULL: Final = 0.8


class Result(StrEnum):
    """How a check came out."""

    OK = "OK"
    WARN = "WARN"
    """It works, and something about it will surprise one day; or the check could not be made."""
    FAIL = "FAIL"
    """The gate does not work with it, or not reliably."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was found, and what is right."""

    name: str
    result: Result
    found: str
    right: str


async def check_store(client: Client, store: TenantStore) -> list[Check]:
    """Make every check; one that the user has no right to make says so. Raises StoreError when the store is away."""
    checks: list[Check] = []
    try:
        reports = await check_servers(client)
    except (StoreDenied, StoreRefused) as error:
        checks += [_not_made(name, error) for name in _SERVER_CHECKS]
    else:
        for report in reports:
            where = f" of {report.run_id[:8]}" if len(reports) > 1 else ""
            checks += [_named(check, where) for check in _of_server(report)]
    checks.append(await _made("scripts", _scripts(client)))
    checks.append(await _made("tenants", _tenants(store)))
    checks.append(await _made("round trip", _round_trip(client)))
    return checks


def _of_server(report: ServerReport) -> Iterable[Check]:
    yield _version(report)
    yield _role(report)
    yield _eviction(report)
    yield _persistence(report)
    yield _memory(report)
    yield _clock(report)
    yield _slow_log(report)


_SERVER_CHECKS: Final = ("version", "role", "eviction", "persistence", "memory", "clock", "slow log")


def _version(report: ServerReport) -> Check:
    product = "Valkey" if report.is_valkey else "Redis"
    numbers = tuple(int(part) for part in report.version.split(".")[:2] if part.isdigit())
    is_known = report.is_valkey or numbers >= _OLDEST_REDIS
    found = f"{product} {report.version}, {report.mode}"
    return Check("version", Result.OK if is_known else Result.FAIL, found, "Valkey, or Redis from 7.0 on")


def _role(report: ServerReport) -> Check:
    is_master = report.role == "master"
    found = f"{report.role}, {report.replicas} replicas"
    return Check("role", Result.OK if is_master else Result.FAIL, found, "a master: a replica takes no writes")


def _eviction(report: ServerReport) -> Check:
    is_safe = report.eviction_policy == "noeviction"
    right = "maxmemory-policy noeviction: any other deletes visitors' places when memory is short"
    return Check("eviction", Result.OK if is_safe else Result.FAIL, report.eviction_policy, right)


def _persistence(report: ServerReport) -> Check:
    right = "appendonly yes with appendfsync everysec; without it a restart leaves the places to the visitors' tickets"
    if report.append_only:
        fsync = report.append_fsync or "not known"
        result = Result.WARN if fsync == "no" else Result.OK
        return Check("persistence", result, f"append-only file, synced: {fsync}", right)
    if report.snapshots is None:
        return Check("persistence", Result.WARN, "no append-only file, snapshots not known", right)
    return Check("persistence", Result.WARN, "snapshots only" if report.snapshots else "none", right)


def _memory(report: ServerReport) -> Check:
    used = f"{report.used_memory / 1024**2:.1f} MiB used"
    right = "maxmemory well above what is used: a full store takes nobody new"
    if not report.max_memory:
        return Check("memory", Result.OK, f"{used}, no limit", right)
    share = report.used_memory / report.max_memory
    result = Result.FAIL if share > _FULL else Result.WARN if share > _NEARLY_FULL else Result.OK
    return Check("memory", result, f"{used}, {share:.0%} of {report.max_memory / 1024**2:.1f} MiB", right)


def _clock(report: ServerReport) -> Check:
    result = Result.OK if abs(report.clock_skew) <= _LARGEST_SKEW else Result.WARN
    found = f"{report.clock_skew.total_seconds() * 1000:+.0f} ms against this machine"
    return Check("clock", result, found, "less than a second apart, by NTP on both: emergency places take ours")


def _slow_log(report: ServerReport) -> Check:
    right = "an empty slow log: see SLOWLOG GET, and SLOWLOG RESET once it is understood"
    if report.slow_log_length is None:
        return Check("slow log", Result.WARN, "could not be read: the user may not run SLOWLOG", right)
    result = Result.WARN if report.slow_log_length else Result.OK
    return Check("slow log", result, f"{report.slow_log_length} slow calls", right)


async def _scripts(client: Client) -> Check:
    names = script_names()
    for name in names:
        source = load_script(name)
        # The shipped user may not fill the cache; a script that is not there has to be sent with its call anyway.
        sha: object = await client.script_load(source.text)
        if sha not in (source.sha, source.sha.encode()):
            return Check("scripts", Result.FAIL, f"{name} is kept as {sha!r}", f"the name {source.sha}")
    return Check("scripts", Result.OK, f"all {len(names)} load", "a server that takes every script")


async def _tenants(store: TenantStore) -> Check:
    right = "settings that this version can read: ropeline tenant list"
    names = await store.names()
    for name in names:
        try:
            await store.find(name)
        except StoreError:
            raise
        except RopelineError as error:
            return Check("tenants", Result.FAIL, str(error), right)
    return Check("tenants", Result.OK, f"{len(names)} tenants", right)


async def _round_trip(client: Client) -> Check:
    times = []
    for _ in range(_PINGS):
        started = time.perf_counter()
        await client.execute_command("PING")
        times.append((time.perf_counter() - started) * 1000)
    middle = median(times)
    result = Result.FAIL if middle > _DEADLINE_MS else Result.WARN if middle > _SLOW_MS else Result.OK
    right = f"below {_SLOW_MS:g} ms: a request waits {_DEADLINE_MS} ms at most, ROPELINE_DEADLINE_MS"
    return Check("round trip", result, f"{middle:.2f} ms (median of {_PINGS})", right)


async def _made(name: str, check: Awaitable[Check]) -> Check:
    try:
        return await check
    except REDIS_ERRORS as error:
        failure = store_error(error)
    except StoreError as error:
        failure = error
    if isinstance(failure, StoreDenied):
        return _not_made(name, failure)
    if isinstance(failure.__cause__, ResponseError) or isinstance(failure, StoreRefused):
        return Check(name, Result.FAIL, f"refused: {failure}", "a server that carries it out")
    raise failure


def _not_made(name: str, error: StoreError) -> Check:
    return Check(name, Result.WARN, f"could not be made: {error}", "a user with the rights for this check")


def _named(check: Check, where: str) -> Check:
    return Check(f"{check.name}{where}", check.result, check.found, check.right) if where else check
