"""10,000 waiting and a full house, and then the store loses everything, dies, or fails over without its newest data.

Real servers, real time; visitors come back in batches, in any order, within recovery_hold.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from redis.asyncio import Redis

from loadtests.campaign.blocking import BlockingClient, result_of
from loadtests.campaign.visitors import ticket_after
from ropeline.bench.fault_proxy import Fault, FaultProxy
from ropeline.lua.client import RedisSettings, connect
from ropeline.lua.keys import TenantKeys
from ropeline.lua.line_settings import LineSettings
from ropeline.lua.results import LineHead, Outcome, StaleSettings, Verdict
from ropeline.lua.scripts import LineScripts
from ropeline.lua.visits import LARGEST_BATCH, Departure, Visit
from tests.servers import Server, StartServer
from tests.support import wait_until

QUOTA, WAITING = 300, 10_000
HOLD = 5_000
SETTINGS = LineSettings(quota=QUOTA, recovery_hold=HOLD)
LARGE = os.environ.get("ROPELINE_LARGE") == "1"
_PATIENT = timedelta(seconds=30)


@dataclass
class House:
    """A tenant on a server, all its visitors with their tickets, and one gate process's memory."""

    client: Redis
    tenant: str
    clock: int = 0
    version: int = 0
    tickets: dict[bytes, Visit] = field(default_factory=dict)
    heads: list[LineHead] = field(default_factory=list)

    @property
    def scripts(self) -> LineScripts:
        return LineScripts(self.client, "gate", self.tenant)

    async def configure(self, quota: int, version: int) -> None:
        numbers = LineSettings(quota=quota, recovery_hold=HOLD)
        call = self.scripts.configure(expected=-1, version=version, settings="{}", numbers=numbers)
        assert (await call).written
        self.version = version

    async def decide(self, visits: Sequence[Visit]) -> list[Outcome]:
        """One call, after which every visitor holds what it was given."""
        reply = await self.scripts.visit(visits, caller_clock=self.clock, known_version=self.version)
        assert not isinstance(reply, StaleSettings)
        head, outcomes = reply
        self.heads.append(head)
        self.clock = max(self.clock, head.clock)
        for visit, outcome in zip(visits, outcomes, strict=True):
            ticket = ticket_after(visit, head, outcome)
            assert ticket is not None
            if outcome.is_new and visit.ticketed:
                del self.tickets[visit.id]
            self.tickets[ticket.id] = ticket
        return outcomes

    async def visit_all(self, ids: Sequence[bytes]) -> list[Outcome]:
        """Everybody visits with its ticket, in batches; outcomes in the order of `ids`."""
        outcomes = []
        for start in range(0, len(ids), LARGEST_BATCH):
            batch = [self.tickets[who]._replace(fresh=os.urandom(16)) for who in ids[start : start + LARGEST_BATCH]]
            outcomes += await self.decide(batch)
        return outcomes

    async def line_up(self, count: int) -> list[bytes]:
        """So many newcomers arrive and confirm their places; their ids in this order."""
        before = set(self.tickets)
        for start in range(0, count, LARGEST_BATCH):
            await self.decide([Visit(os.urandom(16)) for _ in range(min(LARGEST_BATCH, count - start))])
        ids = [who for who in self.tickets if who not in before]
        await self.visit_all(ids)
        return ids

    async def order(self) -> list[bytes]:
        """Ids in line, first to last."""
        return await self._ids("(0", "+inf")

    async def active(self) -> set[bytes]:
        return set(await self._ids("-inf", "(0"))

    async def _ids(self, lowest: str, highest: str) -> list[bytes]:
        sessions = TenantKeys("gate", self.tenant).sessions
        command = ("ZRANGEBYSCORE", sessions, lowest, highest)
        ids: list[bytes] = await self.client.execute_command(*command)  # type: ignore[no-untyped-call]
        return ids

    async def everybody_returns(self, inside: Sequence[bytes], order: Sequence[bytes]) -> None:
        """All visitors come back in any order; each is where it was, and nobody is let in or told a position."""
        ids = [*inside, *order]
        random.Random(len(ids)).shuffle(ids)
        outcomes = dict(zip(ids, await self.visit_all(ids), strict=True))
        assert all(head.recovering for head in self.heads[-(len(ids) // LARGEST_BATCH) :])
        assert {outcomes[who].verdict for who in inside} == {Verdict.ADMITTED}
        assert {(outcomes[who].verdict, outcomes[who].position) for who in order} == {(Verdict.WAITING, -1)}
        assert await self.active() == set(inside)
        assert await self.order() == list(order)

    async def recovers(self, order: Sequence[bytes]) -> None:
        """Recovery ends with the order as it was, nobody over the quota, and true positions."""

        async def is_over() -> bool:
            ticked = await self.scripts.tick(caller_clock=self.clock)
            return ticked is not None and not ticked[0].recovering

        await wait_until(is_over, timeout=HOLD / 1000 + 5)
        outcomes = await self.visit_all(list(order))
        assert [outcome.position for outcome in outcomes] == list(range(1, len(order) + 1))
        assert max(head.active for head in self.heads) == QUOTA


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Redis]:
    settings = RedisSettings(server.url, pool_wait=_PATIENT, connect_timeout=_PATIENT, call_timeout=_PATIENT)
    client = connect(settings)
    assert isinstance(client, Redis)
    try:
        yield client
    finally:
        await client.aclose()


async def full_house(client: Redis, waiting: int) -> tuple[House, list[bytes], list[bytes]]:
    """A house whose quota is full, and the ids inside and in line."""
    house = House(client, "house")
    await house.configure(0, 1)
    ids = await house.line_up(QUOTA + waiting)
    await house.configure(QUOTA, 2)
    outcomes = await house.visit_all(ids)
    # Those whom the first calls admitted before they were seen are seen now.
    outcomes = await house.visit_all(ids)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.ADMITTED] * QUOTA + [Verdict.WAITING] * waiting
    return house, ids[:QUOTA], ids[QUOTA:]


async def test_everybody_is_back_in_order_after_a_flush_of_the_whole_server(fresh_server: Server) -> None:
    async with connected(fresh_server) as client:
        house, inside, order = await full_house(client, WAITING)
        fresh_server.call("FLUSHALL")
        await house.configure(QUOTA, 2)
        await house.everybody_returns(inside, order)
        await house.recovers(order)


async def test_everybody_is_back_in_order_after_the_server_was_killed_and_came_back_empty(fresh_server: Server) -> None:
    async with connected(fresh_server) as client:
        house, inside, order = await full_house(client, WAITING)
    fresh_server.restart()
    async with connected(fresh_server) as client:
        house.client = client
        assert await client.dbsize() == 0
        await house.configure(QUOTA, 2)
        await house.everybody_returns(inside, order)
        await house.recovers(order)


async def test_everybody_is_back_in_order_after_an_asynchronous_failover_lost_its_tail(
    start_server: StartServer,
) -> None:
    primary = start_server("--repl-diskless-sync-delay", "0")
    async with FaultProxy(primary.port) as proxy, connected(primary) as client:
        replica = start_server("--replicaof", f"127.0.0.1 {proxy.port}")

        def follows() -> bool:
            return replica.info("replication")["master_link_status"] == "up"

        await wait_until(lambda: asyncio.to_thread(follows), timeout=20)
        house, inside, order = await full_house(client, WAITING - 2_000)
        keys = TenantKeys("gate", house.tenant)
        await wait_until(lambda: _counts_are_equal(primary, replica, keys.sessions), timeout=20)

        await proxy.set(Fault.BLACKHOLE)
        order += await house.line_up(2_000)
        left, inside = inside[:50], inside[50:]
        for who in left:
            await house.scripts.leave([Departure(who)], caller_clock=house.clock)
            del house.tickets[who]
        outcomes = await house.visit_all(order)
        assert [outcome.verdict for outcome in outcomes[:50]] == [Verdict.ADMITTED] * 50
        inside, order = inside + order[:50], order[50:]
        primary.kill()
    replica.call("REPLICAOF", "NO", "ONE")
    async with connected(replica) as client:
        house.client = client
        assert len(await house.order()) == WAITING - 2_000
        ids = [*inside, *order]
        random.Random(7).shuffle(ids)
        told = dict(zip(ids, await house.visit_all(ids), strict=True))
        assert {told[who].verdict for who in inside} == {Verdict.ADMITTED}
        assert {(told[who].verdict, told[who].position) for who in order} == {(Verdict.WAITING, -1)}
        assert await house.order() == order
        # What the lost part had let out is still inside, for the server knows nothing else; nobody else came in.
        assert await house.active() == set(inside) | set(left)


async def _counts_are_equal(primary: Server, replica: Server, key: str) -> bool:
    offsets = [server.info("replication")["master_repl_offset"] for server in (primary, replica)]
    return offsets[0] == offsets[1] and primary.call("ZCARD", key) == replica.call("ZCARD", key)


def test_cookie_less_arrivals_at_a_full_room_leave_memory_flat(fresh_server: Server) -> None:
    arrivals = 1_000_000 if LARGE else 100_000
    client = BlockingClient(fresh_server.port)
    scripts, keys = LineScripts(client, "gate", "flood"), TenantKeys("gate", "flood")
    numbers = LineSettings(quota=1, join_limit=1_000_000, session_ttl=3_600_000)
    result_of(scripts.configure(expected=0, version=1, settings="{}", numbers=numbers))

    def flood(count: int) -> Iterator[list[Outcome]]:
        for start in range(0, count, LARGEST_BATCH):
            batch = [
                Visit(os.urandom(16), first=number * 7 % 2048, second=number * 13 % 2048)
                for number in range(start, min(start + LARGEST_BATCH, count))
            ]
            reply = result_of(scripts.visit(batch))
            assert not isinstance(reply, StaleSettings)
            yield reply[1]

    # One who is let in fills the room; every bucket of the join limit is in use from then on.
    newcomer = Visit(os.urandom(16))
    reply = result_of(scripts.visit([newcomer]))
    assert not isinstance(reply, StaleSettings)
    ticket = ticket_after(newcomer, reply[0], reply[1][0])
    assert ticket is not None
    result_of(scripts.visit([ticket]))
    for _ in flood(20_480):
        pass
    before = _memory(fresh_server)
    for outcomes in flood(arrivals):
        assert {outcome.verdict for outcome in outcomes} == {Verdict.UNCONFIRMED}
    # The interpreter's garbage comes and goes; a hundred thousand sessions would be 15 MB, as many bare ids 6 MB.
    assert abs(_memory(fresh_server) - before) < 1_000_000
    assert {client.call("HLEN", keys.joins), client.call("ZCARD", keys.sessions)} == {4096, 1}
    client.close()


def _memory(server: Server) -> int:
    return int(server.info("memory")["used_memory"])
