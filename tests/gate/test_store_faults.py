"""A store that fails in every way it can: each answer is the policy's, and when it is back nobody has lost a place."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from ropeline.bench.fault_proxy import Fault, FaultProxy
from ropeline.gate.tickets import Ticket, TicketState
from ropeline.lua.loader import load_script
from tests.gate.visitors import JSON, PREFIX, Gated, Visitor, running, tenant
from tests.servers import Server, StartServer
from tests.support import wait_until, wait_until_sync

# A busy machine must not look like a failing store, nor make a test of one that never answers last for ever.
DEADLINE_MS = 1500


@dataclass
class Launch:
    """A full house on a store of its own: one visitor on the site, three in line, one who has drawn a place."""

    gated: Gated
    server: Server
    admitted: Visitor
    waiting: list[Visitor]
    unconfirmed: Visitor

    def newcomer(self) -> Visitor:
        return self.gated.visitor("acme", accept=JSON)

    async def positions(self) -> list[int | None]:
        return [(await visitor.poll())["position"] for visitor in self.waiting]

    async def is_back(self) -> bool:
        """Whether the store is asked again."""
        return not self.gated.line("acme").breaker.is_open


@asynccontextmanager
async def launch(server: Server, url: str = "", **settings: Any) -> AsyncIterator[Launch]:
    settings.setdefault("emergency_rate", 1)
    # What a test waits for is the visitors' own requests, so nothing ends meanwhile.
    held = tenant("acme", confirm_within=600, claim_within=600, **settings)
    async with running(url or server.url, "gate", [held], deadline_ms=DEADLINE_MS) as gated:
        admitted = gated.visitor("acme", accept=JSON)
        await admitted.get()
        await admitted.get()
        waiting = [gated.visitor("acme", accept=JSON) for _ in range(3)]
        for visitor in waiting:
            await visitor.get()
            await visitor.get()
        unconfirmed = gated.visitor("acme", accept=JSON)
        await unconfirmed.get()
        scene = Launch(gated, server, admitted, waiting, unconfirmed)
        assert await scene.positions() == [1, 2, 3]
        yield scene


async def as_bounded_says(scene: Launch) -> Visitor:
    """What the policy promises while the store is away; returns the one newcomer who was let in."""
    assert (await scene.admitted.get()).told == "failing-open"
    lucky = scene.newcomer()
    answer = await lucky.get()
    assert (answer.status, answer.told) == (200, "failing-open")
    assert (await lucky.get()).told == "failing-open", "the emergency ticket passes on its signature"
    for visitor in (scene.newcomer(), *scene.waiting, scene.unconfirmed):
        before = dict(visitor.cookies)
        answer = await visitor.get()
        assert (answer.status, answer.told, answer.room["state"]) == (503, "unavailable", "store_down")
        assert int(answer.header("retry-after")) >= 1
        assert visitor.cookies == before, "the place is kept"
    page = await scene.newcomer().get("/event/7", accept="text/html")
    assert page.status == 503
    assert b"/event/7" in page.body
    assert b"<style>" in page.body, "the page brings everything along"
    assert (await scene.newcomer().get(f"{PREFIX}status")).room["state"] == "store_down"
    answer = await scene.waiting[0].post(f"{PREFIX}leave")
    assert (answer.status, answer.told) == (503, "unavailable"), "never a false yes"
    assert scene.waiting[0].cookies
    return lucky


async def nobody_lost_anything(scene: Launch, lucky: Visitor) -> None:
    """The line as it was, the drawn place behind it, and then whoever was let in meanwhile."""
    await wait_until(scene.is_back, timeout=20)

    async def is_settled() -> bool:
        return await scene.positions() == [1, 2, 3]

    await wait_until(is_settled, timeout=20, message="the line is as it was")
    assert (await scene.admitted.get()).told == "admitted"
    assert (await scene.unconfirmed.poll())["position"] == 4
    room = await lucky.poll()
    assert (room["state"], room["position"]) == ("waiting", 5), "the room is full: by the time of arrival"


Break = Callable[[Server], None]


def follow_nobody(server: Server) -> None:
    server.call("REPLICAOF", "127.0.0.1", 1)


def lead(server: Server) -> None:
    server.call("REPLICAOF", "NO", "ONE")


def fail_to_save(server: Server) -> None:
    gone = server.folder / "gone"
    gone.mkdir()
    server.call("CONFIG SET", "dir", str(gone))
    gone.rmdir()
    server.call("CONFIG SET", "save", "3600 1000000")
    server.call("BGSAVE")
    wait_until_sync(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", timeout=10)


def save_again(server: Server) -> None:
    server.call("CONFIG SET", "save", "")
    server.call("CONFIG SET", "dir", str(server.folder))


FAULTS: dict[str, tuple[Break, Break]] = {
    "paused": (Server.pause, Server.resume),
    "read-only": (follow_nobody, lead),
    "disk refuses": (fail_to_save, save_again),
}


@pytest.fixture
def server(start_server: StartServer) -> Server:
    return start_server("--enable-protected-configs", "local", "--enable-debug-command", "local")


@pytest.mark.parametrize("name", FAULTS)
async def test_the_policy_answers_and_nobody_loses_a_place(server: Server, name: str) -> None:
    fail, mend = FAULTS[name]
    async with launch(server) as scene:
        fail(server)
        try:
            lucky = await as_bounded_says(scene)
        finally:
            mend(server)
        await nobody_lost_anything(scene, lucky)


async def test_a_store_that_loads_its_data_is_one_that_is_away(server: Server) -> None:
    async with launch(server) as scene:
        # It looks at its connections after each so many bytes, so there has to be something to load.
        server.call("DEBUG", "POPULATE", 1000, "ballast", 1024)
        server.call("CONFIG SET", "key-load-delay", 10_000)
        server.call("CONFIG SET", "loading-process-events-interval-bytes", 1024)
        loader = redis.Redis(port=server.port, socket_timeout=60)
        loading = asyncio.create_task(asyncio.to_thread(loader.execute_command, "DEBUG", "RELOAD"))
        try:
            await wait_until(lambda: _answers_loading(server))
            lucky = await as_bounded_says(scene)
        finally:
            server.call("CONFIG SET", "key-load-delay", 0)
            await loading
            loader.close()
        await nobody_lost_anything(scene, lucky)


def _answers_loading(server: Server) -> bool:
    try:
        server.call("GET", "x")
    except redis.BusyLoadingError:
        return True
    return False


@pytest.mark.parametrize("fault", ["delay", "blackhole", "refuse", "reset"])
async def test_a_network_that_fails_is_a_store_that_is_away(server: Server, fault: str) -> None:
    async with FaultProxy(server.port, delay=4.0) as proxy, launch(server, proxy.url) as scene:
        await proxy.set(Fault(fault))
        lucky = await as_bounded_says(scene)
        await proxy.set(Fault.NONE)
        proxy.cut()
        await nobody_lost_anything(scene, lucky)


async def test_a_lost_reply_is_not_asked_for_twice_and_costs_no_place(server: Server) -> None:
    async with FaultProxy(server.port) as proxy, launch(server, proxy.url) as scene:
        before = scene.gated.head("acme").sequence
        # Not the next script's: that may be the tick's.
        proxy.lose_reply(to=load_script("line/visit").sha.encode())
        assert (await scene.unconfirmed.get()).told in ("unavailable", "failing-open")
        await wait_until(scene.is_back)
        assert (await scene.unconfirmed.poll())["position"] == 4
        assert await scene.positions() == [1, 2, 3]
        assert scene.gated.head("acme").sequence - before <= 12


async def test_the_first_who_meets_the_fault_waits_for_the_deadline_and_nobody_after(server: Server) -> None:
    async with launch(server) as scene:
        clock = asyncio.get_running_loop().time
        server.pause()
        try:
            first = clock()
            await scene.newcomer().get()
            waited = clock() - first
            after = clock()
            for _ in range(50):
                await scene.newcomer().get()
            assert (clock() - after) / 50 < waited / 5, "from the second on nobody waits"
        finally:
            server.resume()


@pytest.mark.parametrize(("policy", "told"), [("open", "failing-open"), ("closed", "unavailable")])
async def test_a_tenant_chooses_its_policy(server: Server, policy: str, told: str) -> None:
    async with launch(server, on_store_error=policy) as scene:
        server.pause()
        try:
            for visitor in (scene.newcomer(), scene.newcomer(), scene.waiting[0], scene.unconfirmed):
                assert (await visitor.get()).told == told
            assert (await scene.admitted.get()).told == "failing-open"
        finally:
            server.resume()
        await wait_until(scene.is_back, timeout=20)
        assert await scene.positions() == [1, 2, 3], "also who was on the site meanwhile is back at the old place"


async def test_who_was_let_in_meanwhile_stays_where_there_is_room(server: Server) -> None:
    async with running(server.url, "gate", [tenant("acme", total_active_users=5)], deadline_ms=DEADLINE_MS) as gated:
        await gated.visitor("acme").get()
        server.pause()
        visitor = gated.visitor("acme")
        assert (await visitor.get()).told == "failing-open"
        server.resume()
        await wait_until(lambda: not gated.line("acme").breaker.is_open, timeout=20)
        assert (await visitor.get()).told == "admitted"
        assert _ticket_of(gated, visitor).state is TicketState.ADMITTED
        # The first question was answered after all, when nobody waited any more: a slot is held for it for a minute.
        assert gated.head("acme").active in (2, 3)


async def test_a_gate_that_starts_without_the_store_has_its_policy_and_no_place_is_lost(server: Server) -> None:
    async with launch(server) as scene:
        server.pause()
        held = tenant("acme", confirm_within=600, claim_within=600, emergency_rate=1)
        async with running(server.url, "gate", [held], deadline_ms=300) as late:
            old = late.visitor("acme", cookies=scene.admitted.cookies)
            assert (await old.get()).told == "failing-open"
            lucky = late.visitor("acme", accept=JSON)
            assert (await lucky.get()).told == "failing-open"
            assert (await lucky.get()).told == "failing-open"
            assert (await lucky.poll())["sessionEndsInSeconds"] is None, "who knows no clock promises nothing"
            assert (await late.visitor("acme").get()).told == "unavailable"
            server.resume()
            await wait_until(lambda: late.line("acme").head is not None, timeout=20)
            await wait_until(lambda: not late.line("acme").breaker.is_open, timeout=20)

            async def is_in_line() -> bool:
                return bool((await lucky.poll())["state"] == "waiting")

            await wait_until(is_in_line, timeout=20)
            assert (await old.get()).told == "admitted"
        await wait_until(scene.is_back, timeout=20)
        assert await scene.positions() == [1, 2, 3]


async def test_a_gate_and_an_empty_store_find_each_other_again(server: Server) -> None:
    server.kill()
    async with running(server.url, "gate", [tenant("acme")], deadline_ms=DEADLINE_MS) as gated:
        assert (await gated.visitor("acme").get()).status in (200, 503)
        server.start()

        async def is_served() -> bool:
            return (await gated.visitor("acme").get()).told == "queued"

        await wait_until(is_served, timeout=20)


# --- a store without memory -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "first", "second"),
    [
        ("bounded", "failing-open", "unavailable"),
        ("open", "failing-open", "failing-open"),
        ("closed",) + ("unavailable",) * 2,
    ],
)
async def test_a_full_store_serves_whom_it_knows_and_asks_the_policy_about_others(
    server: Server, policy: str, first: str, second: str
) -> None:
    async with launch(server, on_store_error=policy) as scene:
        server.call("CONFIG SET", "maxmemory", 1)
        lucky = scene.newcomer()
        for _ in range(2):
            assert (await lucky.get()).told == first, "who was let in stays in"
        assert (await scene.newcomer().get()).told == second
        assert (await scene.admitted.get()).told == "admitted"
        assert await scene.positions() == [1, 2, 3]
        if policy != "open":
            answer = await scene.unconfirmed.get()
            assert answer.told == "unavailable"
            assert answer.header("set-cookie"), "the drawn place is held on"
        await scene.waiting[0].post(f"{PREFIX}leave")
        assert [(await visitor.poll())["position"] for visitor in scene.waiting[1:]] == [1, 2]
        server.call("CONFIG SET", "maxmemory", 0)
        if policy != "open":
            assert (await scene.unconfirmed.poll())["position"] == 3
        assert not scene.gated.line("acme").breaker.is_open, "a store that answers is never cut off"


async def test_a_full_store_does_not_let_back_in_who_was_revoked(server: Server) -> None:
    async with launch(server) as scene:
        await scene.newcomer().get()
        held = _ticket_of(scene.gated, scene.admitted)
        await scene.gated.gate.store.revoke("acme", [held.id])
        server.call("CONFIG SET", "maxmemory", 1)
        async with running(server.url, "gate", deadline_ms=DEADLINE_MS) as other:
            thrown_out = other.visitor("acme", cookies=scene.admitted.cookies)
            assert (await thrown_out.get()).told == "failing-open", "as any new visitor, by the emergency rate"
            again = other.visitor("acme", cookies=scene.admitted.cookies)
            assert (await again.get()).told == "unavailable"


# --- what only an operator can mend ---------------------------------------------------------------------------------


async def test_a_right_taken_away_closes_the_tenant_whatever_its_policy(server: Server) -> None:
    server.call("ACL", "SETUSER", "admin", "on", ">secret", "~*", "&*", "+@all")
    admin = redis.Redis(port=server.port, username="admin", password="secret")
    async with launch(server, on_store_error="open") as scene:
        admin.execute_command("ACL", "SETUSER", "default", "-@all")  # type: ignore[no-untyped-call]
        for _ in range(3):
            assert (await scene.newcomer().get()).told == "unavailable"
        assert (await scene.admitted.get()).told == "failing-open"
        admin.execute_command("ACL", "SETUSER", "default", "+@all")  # type: ignore[no-untyped-call]
        await wait_until(scene.is_back)
        assert await scene.positions() == [1, 2, 3]
    admin.close()


# --- what happens meanwhile -----------------------------------------------------------------------------------------


async def test_a_revoke_during_the_outage_reaches_the_store_afterwards(server: Server) -> None:
    async with launch(server) as scene:
        held = _ticket_of(scene.gated, scene.admitted)
        server.pause()
        scene.gated.site.answer_headers = [(b"waiting-room-command", b"revoke")]
        assert (await scene.admitted.get("/logout")).told == "failing-open"
        await wait_until(lambda: held.id in scene.gated.line("acme").revoked)
        thief = scene.gated.visitor("acme", cookies=scene.admitted.cookies)
        answer = await thief.get()
        assert answer.told in ("unavailable", "failing-open")
        server.resume()
        await wait_until(scene.is_back, timeout=20)
        await wait_until(lambda: server.call("ZSCORE", "gate:{acme}:gone", held.id) is not None, timeout=10)


async def test_a_flush_is_heeded_without_the_store_too(server: Server) -> None:
    async with launch(server, emergency_rate=0) as scene:
        await scene.gated.gate.store.flush("acme")
        await wait_until(lambda: scene.gated.line("acme").settings.generation == 1)
        server.pause()
        try:
            assert (await scene.admitted.get()).told == "unavailable"
        finally:
            server.resume()


async def test_an_outage_is_told_in_two_lines_and_not_once_for_each_visitor(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with launch(server) as scene:
        with caplog.at_level(logging.INFO):
            server.pause()
            await asyncio.gather(*(scene.newcomer().get() for _ in range(300)))
            for _ in range(100):
                await scene.newcomer().get()
            server.resume()
            await wait_until(scene.is_back, timeout=20)
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 2, told
        assert all("\n" not in message for message in told)


def _ticket_of(gated: Gated, visitor: Visitor) -> Ticket:
    ticket = gated.gate.signer.read(visitor.ticket, "acme")
    assert ticket is not None
    return ticket
