"""What a look at all lines costs the server, beside a decision in a call of its own."""

from __future__ import annotations

import os
import statistics
from typing import Any

from redis.asyncio import Redis

from ropeline.bench.site import NAMESPACE, forget
from ropeline.gate.settings import TenantSettings
from ropeline.gate.survey import Survey
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.visits import Visit

__all__ = ["measure_survey"]

_NAMESPACE = f"{NAMESPACE}-survey"


async def measure_survey(client: Redis, *, tenants: int, rounds: int) -> dict[str, float]:
    """Server milliseconds for the status of all tenants, server microseconds for one of them and for a decision alone."""
    store = TenantStore(client, _NAMESPACE)
    names = [f"tenant-{number}" for number in range(tenants)]
    try:
        for name in names:
            settings = TenantSettings(name=name, host=f"{name}.example.com", total_active_users=1, join_limit_per_ip=0)
            await store.save(settings, expected=0)
            await store.scripts(name).visit([Visit(os.urandom(16))])
        known: dict[str, Any] = {}
        await Survey(store, deadline=10, known=known).look()
        looks, decisions = [], []
        for _ in range(rounds):
            before = await _script_us(client)
            await Survey(store, deadline=10, known=known).look()
            between = await _script_us(client)
            for name in names:
                await store.scripts(name).visit([Visit(os.urandom(16))])
            looks.append(between - before)
            decisions.append(await _script_us(client) - between)
        return {
            "tenants": tenants,
            "server_ms": round(statistics.median(looks) / 1000, 2),
            "status_us": round(statistics.median(looks) / tenants, 2),
            "decision_alone_us": round(statistics.median(decisions) / tenants, 2),
        }
    finally:
        await forget(client, _NAMESPACE)


async def _script_us(client: Redis) -> float:
    stats: dict[str, dict[str, float]] = await client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("usec", 0.0) for name in ("evalsha", "eval", "hkeys"))
