"""The site of the rehearsal behind the gate, one of several processes: the more requests all of them answer at once, the longer
each takes.

What each request took is a line in a file of the process: when it was answered (s of the system's monotonic clock), and
how long it took (s).
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import struct
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ropeline.gate import GateMiddleware, GateSettings, TenantSettings
from ropeline.gate.asgi import Application, Receive, Scope, Send

__all__ = ["HOST", "PLAN_VARIABLE", "TENANT", "SitePlan", "create", "read_log"]

PLAN_VARIABLE = "CLOSED_LOOP_SITE"
"""Tells a process its SitePlan, as JSON."""
TENANT = "shop"
HOST = "shop.example.com"
_SECRET = "only for rehearsals on this machine"  # noqa: S105 - signs tickets of a throw-away store
_COUNT = struct.Struct("q")


@dataclass(frozen=True, slots=True)
class SitePlan:
    """What one process needs to know.

    `carries`: requests at once that the whole site answers within `seconds` each. More of them share what it can do: twice as
    many, twice as long. `slot`: of this process, from 0, of `slots`. `folder`: where
    all of them count and log. `settings`: of the tenant.
    """

    redis_url: str
    folder: str
    slot: int
    slots: int
    carries: int
    seconds: float
    settings: dict[str, Any]

    def text(self) -> str:
        """For PLAN_VARIABLE."""
        return json.dumps(asdict(self))


class _SlowingSite:
    def __init__(self, plan: SitePlan) -> None:
        self._plan = plan
        # Each process writes its own number only, and reads all of them.
        path = Path(plan.folder) / "under-way"
        with path.open("r+b") as file:
            self._counts = mmap.mmap(file.fileno(), _COUNT.size * plan.slots)
        self._under_way = 0
        self._log = os.open(Path(plan.folder) / f"{plan.slot}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("only HTTP is spoken here")
        began = time.monotonic()
        self._count(1)
        try:
            excess = max(1.0, self._everywhere() / self._plan.carries)
            await asyncio.sleep(self._plan.seconds * excess)
        finally:
            self._count(-1)
        now = time.monotonic()
        os.write(self._log, f"{now:.6f} {now - began:.6f}\n".encode())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"shop"})

    def _count(self, more: int) -> None:
        self._under_way += more
        _COUNT.pack_into(self._counts, _COUNT.size * self._plan.slot, self._under_way)

    def _everywhere(self) -> int:
        return sum(number for (number,) in _COUNT.iter_unpack(self._counts[:]))


def create() -> Application:
    """The gated site that PLAN_VARIABLE describes, for `uvicorn --factory`."""
    plan = SitePlan(**json.loads(os.environ[PLAN_VARIABLE]))
    settings = GateSettings(redis_url=plan.redis_url, secret_keys=(_SECRET,), deadline_ms=10_000)
    tenant = TenantSettings.from_mapping({"name": TENANT, "host": HOST, **plan.settings}, source="rehearsal")
    return GateMiddleware(_SlowingSite(plan), settings, tenants=[tenant])


def prepare(folder: Path, slots: int) -> None:
    """Make what the processes share."""
    (folder / "under-way").write_bytes(bytes(_COUNT.size * slots))


def read_log(folder: Path) -> list[tuple[float, float]]:
    """When each request was answered, and how long it took, in the order of time."""
    lines = [line.split() for path in folder.glob("*.log") for line in path.read_text(encoding="ascii").splitlines()]
    return sorted((float(when), float(took)) for when, took in lines)
