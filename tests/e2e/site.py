"""A deployed site for browser tests: the gated shop in a uvicorn process, and tenants that each have a host of their own."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import httpx

from ropeline.gate.settings import Poll, TenantSettings
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.client import RedisSettings, connect
from ropeline.lua.errors import StoreError
from ropeline.lua.results import LineHead
from ropeline.server_process import start_watchdog
from tests.contracts.checkout import ROOT
from tests.support import wait_until

PREFIX = "/.well-known/waiting-room/"

_NAMESPACE = "e2e"
_OPTIONS = (
    "--port",
    "0",
    "--no-access-log",
    "--no-proxy-headers",
    "--lifespan",
    "on",
    "--timeout-graceful-shutdown",
    "1",
)
# A machine that is busy with browsers must not be taken for a store that is gone.
_PATIENCE = timedelta(seconds=2)
_PAUSE_SECONDS = 0.05

# Quick enough to watch, slow enough for a machine that does something else as well.
_QUICK = TenantSettings(
    name="quick",
    host="quick.localhost",
    total_active_users=1,
    session_duration=1,
    waiting_ttl=10,
    confirm_within=5,
    claim_within=5,
    leave_hold=0.5,
    recovery_hold=1,
    join_limit_per_ip=0,
    poll=Poll(floor=0.3, ceiling=1),
)


@dataclass
class Site:
    """One running site. `address`: where uvicorn listens. `log`: what it has said so far."""

    process: asyncio.subprocess.Process
    address: str
    store: TenantStore
    log: list[str] = field(default_factory=list)

    async def open_room(self, name: str, **settings: object) -> "Room":
        """Set up a tenant, as an operator does, and return when the gate serves it."""
        port = self.address.rpartition(":")[2]
        room = Room(self, name, f"http://{name}.localhost:{port}")
        changed = {"name": name, "host": f"{name}.localhost", "title": "Acme Tickets", **settings}
        await self.store.save(replace(_QUICK, **changed), expected=0)  # type: ignore[arg-type]  # checked when it is built
        async with httpx.AsyncClient(base_url=self.address, headers={"Host": f"{name}.localhost"}) as client:

            async def is_served() -> bool:
                # An asset needs no tenant and would not do; whoever asks this way is given no ticket.
                return (await client.post(f"{PREFIX}keepalive")).status_code != 421

            await wait_until(is_served)
        return room


@dataclass
class Room:
    """One tenant of a site, at `url`."""

    site: Site
    name: str
    url: str

    async def change(self, **settings: object) -> None:
        """Change settings, as an operator does."""
        stored = await self.site.store.read(self.name)
        changed = replace(stored.settings, **settings)  # type: ignore[arg-type]  # checked when it is built
        await self.site.store.save(changed, expected=stored.version)

    async def head(self) -> LineHead:
        """How the line stands in the store, which is not asked too often while the browsers need the machine."""
        await asyncio.sleep(_PAUSE_SECONDS)
        return (await self.site.store.status(self.name)).head

    async def stands_at(self, active: int, waiting: int) -> None:
        """Wait until so many are on the site and so many in line."""
        seen: list[LineHead] = []

        async def stands() -> bool:
            with suppress(StoreError):
                seen[:] = [await self.head()]
            return bool(seen) and (seen[0].active, seen[0].waiting) == (active, waiting)

        try:
            await wait_until(stands, timeout=10)
        except AssertionError:
            raise AssertionError(f"expected {active} on the site and {waiting} in line: {seen}") from None

    async def time_passes(self, seconds: float) -> None:
        """Wait until the tenant clock, by which all holds end, has come so far."""
        end = (await self.head()).clock + 1000 * seconds

        async def has_come() -> bool:
            return (await self.head()).clock >= end

        await wait_until(has_come, timeout=5 * seconds + 5)


@asynccontextmanager
async def running_site(
    redis_url: str, payment_url: str = "", *, app: str = "tests.e2e.gated_shop:app", folder: Path = ROOT
) -> AsyncIterator[Site]:
    """Start the site on a free port, with tenants of its own in the store, and end it.

    `app`: as uvicorn takes it, found in `folder`.
    """
    environment = {
        **os.environ,
        "ROPELINE_REDIS_URL": redis_url,
        "ROPELINE_SECRET_KEYS": "a key that nobody else has",
        "ROPELINE_NAMESPACE": _NAMESPACE,
        "ROPELINE_DEADLINE_MS": str(round(1000 * _PATIENCE.total_seconds())),
        "PAYMENT_URL": payment_url,
    }
    command = [sys.executable, "-m", "uvicorn", app, *_OPTIONS]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    watchdog = start_watchdog(process.pid)
    client = connect(RedisSettings(redis_url, call_timeout=_PATIENCE, connect_timeout=_PATIENCE))
    log: list[str] = []
    reading: asyncio.Task[None] | None = None
    try:
        address = await _address(process, log)
        reading = asyncio.create_task(_read(process, log))
        yield Site(process, address, TenantStore(client, _NAMESPACE), log)
        assert not [line for line in log if "Traceback" in line], "\n".join(log)
    finally:
        # Before the process is reaped, or the watchdog might meet its id on somebody else.
        watchdog.kill()
        watchdog.communicate()
        if process.returncode is None:
            process.terminate()
        if reading is not None:
            await reading
        await process.wait()
        await client.aclose()


async def _address(process: asyncio.subprocess.Process, log: list[str]) -> str:
    """Where uvicorn says that it listens: it chose the port, so nobody else can have taken it."""
    assert process.stdout is not None
    async for line in process.stdout:
        log.append(line.decode().rstrip())
        found = re.search(r"running on (http://\S+)", log[-1])
        if found:
            return found[1]
    raise AssertionError("the site did not start:\n" + "\n".join(log))


async def _read(process: asyncio.subprocess.Process, log: list[str]) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        log.append(line.decode().rstrip())
