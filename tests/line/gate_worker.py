"""A process with gate clients that come and go at random until it is told to end, or is killed.

Run as `python -m tests.line.gate_worker PORT TENANT JAR SEED CLIENTS SECONDS`. The jar is what the visitors' browsers
keep: a file of their newest tickets, which outlives the process.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
import sys
import time
from datetime import timedelta
from pathlib import Path

from loadtests.campaign.visitors import Visitor, ticket_after
from ropeline.lua.client import RedisSettings, connect
from ropeline.lua.results import StaleSettings
from ropeline.lua.scripts import LineScripts
from ropeline.lua.visits import Departure, Visit

_VISITORS_A_CLIENT = 4
_SLIP = struct.Struct("<H16s7QB")
"""Number of the visitor and its ticket: id, place to estimate, state."""
PATIENT = timedelta(seconds=60)


class Jar:
    """The newest ticket of each visitor, kept by appending to a file without a buffer in between."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.newest: dict[int, Visit] = {}
        content = path.read_bytes()
        whole = len(content) // _SLIP.size * _SLIP.size
        for number, who, *fields, state in _SLIP.iter_unpack(content[:whole]):
            self.newest[number] = Visit(bytes(16), True, False, state, who, *fields)

    def keep(self, number: int, ticket: Visit) -> None:
        os.write(self._file, _SLIP.pack(number, ticket.id, *ticket[5:12], ticket.state))


class Worker:
    """One process: its clients share a connection pool and what the process knows of the tenant clock."""

    def __init__(self, port: int, tenant: str, jar: Path, seed: int) -> None:
        url = f"redis://127.0.0.1:{port}/0"
        self.client = connect(RedisSettings(url, pool_wait=PATIENT, connect_timeout=PATIENT, call_timeout=PATIENT))
        self.scripts = LineScripts(self.client, "gate", tenant)
        self.jar = Jar(jar)
        self.random = random.Random(seed)
        self.clock = 0

    async def run(self, clients: int, seconds: float) -> None:
        ends = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self._serve(number, ends))
        await self.client.aclose()

    async def _serve(self, number: int, ends: float) -> None:
        numbers = range(number * _VISITORS_A_CLIENT, (number + 1) * _VISITORS_A_CLIENT)
        visitors = {which: Visitor(held=self.jar.newest.get(which)) for which in numbers}
        silent_until = dict.fromkeys(visitors, 0.0)
        while time.monotonic() < ends:
            await asyncio.sleep(self.random.random() * 0.02)
            present = [which for which in visitors if silent_until[which] < time.monotonic()]
            if not present:
                continue
            chosen = self.random.sample(present, self.random.randint(1, len(present)))
            chance = self.random.random()
            held = visitors[chosen[0]].held
            if chance < 0.04 and held is not None:
                reply = await self.scripts.leave([Departure(held.id, closing=chance < 0.02)], caller_clock=self.clock)
                self.clock = max(self.clock, reply[0].clock if reply else 0)
            elif chance < 0.07:
                ticked = await self.scripts.tick(caller_clock=self.clock)
                self.clock = max(self.clock, ticked[0].clock if ticked else 0)
            elif chance < 0.09:
                visitors[chosen[0]].held = None
            elif chance < 0.14:
                silent_until[chosen[0]] = time.monotonic() + self.random.random()
            else:
                await self._visit({which: visitors[which] for which in chosen})

    async def _visit(self, visitors: dict[int, Visitor]) -> None:
        visits = [visitor.visit(os.urandom(16)) for visitor in visitors.values()]
        reply = await self.scripts.visit(visits, caller_clock=self.clock)
        if isinstance(reply, StaleSettings):
            return
        head, outcomes = reply
        self.clock = max(self.clock, head.clock)
        for (number, visitor), visit, outcome in zip(visitors.items(), visits, outcomes, strict=True):
            ticket = ticket_after(visit, head, outcome)
            if ticket is not None and ticket != visitor.held:
                visitor.held = ticket
                self.jar.keep(number, ticket)


def main() -> None:
    port, tenant, jar, seed, clients, seconds = sys.argv[1:]
    asyncio.run(Worker(int(port), tenant, Path(jar), int(seed)).run(int(clients), float(seconds)))


if __name__ == "__main__":
    main()
