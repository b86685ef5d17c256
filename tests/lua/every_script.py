"""Calls every packaged script once, and says which typed wrapper and which keys each folder of them has."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ropeline.lua.access_scripts import AccessScripts
from ropeline.lua.audit import Author, Done, Outcome
from ropeline.lua.calls import CommandClient
from ropeline.lua.cron_scripts import CronScripts, DefineResult, FireResult, StoredCron
from ropeline.lua.keys import (
    AccessKeys,
    CronKeys,
    DirectoryKeys,
    LockKeys,
    QueueKeys,
    StreamKeys,
    TenantKeys,
    locks_key,
)
from ropeline.lua.line_settings import LineSettings
from ropeline.lua.lock_scripts import Acquired, Extended, Gone, HeldLock, LockListScripts, LockScripts, Released
from ropeline.lua.measured import Measured
from ropeline.lua.queue_scripts import (
    QueueScripts,
    pack_finishes,
    pack_held,
    pack_job,
    pack_jobs,
    pack_limit,
    pack_outgoing,
    pack_part,
    pack_split,
)
from ropeline.lua.results import LineHead, StaleSettings, Verdict
from ropeline.lua.results import Outcome as VisitOutcome
from ropeline.lua.scripts import DirectoryScripts, LineScripts
from ropeline.lua.session_scripts import SessionScripts
from ropeline.lua.stream_scripts import StreamCronScripts, StreamScripts
from ropeline.lua.tenant_scripts import TenantScripts
from ropeline.lua.visits import Departure, Visit

SETTINGS = LineSettings(quota=2, rate=-1, lowest=2)
MEASURED = Measured(1, 0, 0, 0, 0, 0, interval=1000, slow_share=0.05, failed_share=0.05, step=1, factor=0.5)


@dataclass(frozen=True, slots=True)
class Wrapper:
    """The class whose methods call a folder's scripts, and the keys of each of these, by the script's name."""

    wrapper: type
    keys: Callable[[str], tuple[str, ...]]


def line_keys(script: str) -> tuple[str, ...]:
    keys = TenantKeys("gate", "acme")
    return keys.all() if script == "line/tick" else keys.line()


def tenant_keys(script: str) -> tuple[str, ...]:
    keys = TenantKeys("gate", "acme")
    return keys.removal("call") if script == "tenant/remove" else keys.change("call")


def queue_keys(script: str) -> tuple[str, ...]:
    keys = QueueKeys("jobs", "prod", "default")
    special = {
        "queue/step": keys.step(),
        "queue/pause": keys.pause(),
        "queue/configure": keys.pause(),
        "queue/hand_out": keys.outbox(),
        "queue/settle": keys.outbox(),
        "queue/take_over": keys.take_over(),
        "queue/forget": keys.forget(),
    }
    return special.get(script, keys.jobs())


def stream_keys(script: str) -> tuple[str, ...]:
    keys = StreamKeys("jobs", "prod", "default")
    special = {
        "streams/step": keys.step(),
        "streams/take_over": keys.take_over(),
        "streams/fire": (*keys.jobs(), *CronKeys("jobs", "prod", "default").cron()),
    }
    return special.get(script, keys.jobs())


def cron_keys(script: str) -> tuple[str, ...]:
    keys = CronKeys("jobs", "prod", "default")
    return keys.fire() if script == "cron/fire" else keys.cron()


def session_keys(script: str) -> tuple[str, ...]:
    keys = TenantKeys("gate", "acme")
    return keys.change("call") if script == "session/front" else keys.line()


WRAPPERS = {
    "line": Wrapper(LineScripts, line_keys),
    "tenant": Wrapper(TenantScripts, tenant_keys),
    "access": Wrapper(AccessScripts, lambda _: AccessKeys("gate").change("call")),
    "session": Wrapper(SessionScripts, session_keys),
    "directory": Wrapper(DirectoryScripts, lambda _: (DirectoryKeys("gate").tenants, DirectoryKeys("gate").hosts)),
    "queue": Wrapper(QueueScripts, queue_keys),
    "streams": Wrapper(StreamScripts, stream_keys),
    "cron": Wrapper(CronScripts, cron_keys),
    "lock": Wrapper(LockScripts, lambda _: LockKeys("jobs", "prod", "event").lock()),
    "locks": Wrapper(LockListScripts, lambda _: (locks_key("jobs", "prod"),)),
}


class Recorder:
    """A client that remembers the arguments of the last call of each script."""

    def __init__(self, client: CommandClient) -> None:
        self._client = client
        self.calls: dict[str, tuple[Any, ...]] = {}

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] == "EVALSHA":
            self.calls[args[1]] = args[2:]
        return await self._client.execute_command(*args, **options)


def a_visit(**fields: Any) -> Visit:
    return Visit(os.urandom(16), **fields)


async def call_each_script(client: CommandClient, name: str) -> None:
    """Every script once; `name`: of the tenant, of the queue and of the lock."""
    await call_line(client, name)
    await call_operators(client, name)
    await call_sessions(client, name)
    await call_queue(QueueScripts(client, "jobs", "prod", name), name)
    await call_cron(CronScripts(client, "jobs", "prod", name))
    streams = StreamScripts(client, "jobs", "streams", name)
    await call_queue(streams, name)
    assert await streams.list(state="active", limit=1, stream=0, entry=b"") == (-1, b"", [])
    await call_cron(StreamCronScripts(client, "jobs", "streams", name))
    await call_locks(client, name)


async def call_line(client: CommandClient, tenant: str) -> None:
    """The scripts of the line and the directory, on a line with somebody in each state."""
    line, directory = LineScripts(client, "gate", tenant), DirectoryScripts(client, "gate")
    assert await directory.claim_routes(tenant, routes=[f"{tenant}.example.com/"]) is None
    assert tenant in await directory.tenant_names()
    assert await line.visit([a_visit()]) == StaleSettings(-1)
    written = await line.configure(expected=0, version=1, settings="{}", numbers=SETTINGS)
    assert (written.written, written.version) == (True, 1)
    assert await line.read_settings() == (1, 0, "{}")
    head, outcomes = await decided(line, a_visit(), a_visit(), a_visit())
    assert [outcome.verdict for outcome in outcomes] == [Verdict.CALLED, Verdict.CALLED, Verdict.UNCONFIRMED]
    place, end = outcomes[2].place, outcomes[2].end
    waiting = a_visit(ticketed=True, id=os.urandom(16), place=place, end=end, epoch=head.epoch, sequence=head.sequence)
    head, outcomes = await decided(line, waiting)
    assert (outcomes[0].verdict, outcomes[0].position, head.waiting, head.active) == (Verdict.WAITING, 1, 1, 2)
    ticked = await line.tick(caller_clock=head.clock, measured=MEASURED)
    assert ticked is not None
    assert not ticked[1]
    status = await line.status()
    assert status is not None
    assert (status.counters.joined, status.counters.unseen) == (3, 2)
    left = await line.leave([Departure(waiting.id)])
    assert left is not None
    assert left[1] == [True]
    revoked = await line.revoke([waiting.id])
    assert revoked is not None
    assert revoked[1] == 0
    flushed = await line.flush()
    assert flushed is not None
    assert (flushed.generation, flushed.active) == (1, 0)


async def call_operators(client: CommandClient, tenant: str) -> None:
    """The scripts of operators: each change is done once, however often its call is sent."""
    tenants, access = TenantScripts(client, "gate", f"{tenant}-b"), AccessScripts(client, f"{tenant}-b")

    def author(number: int, fingerprint: str = "same") -> Author:
        return Author("test", "try", "a reason", f"{number:032x}", fingerprint)

    async def change(author: Author, expected: int) -> Done:
        return await tenants.change(expected=expected, settings="{}", numbers=SETTINGS, author=author)

    made = await change(author(1), 0)
    assert (made.outcome, made.version, made.generation) == (Outcome.DONE, 1, 0)
    assert await change(author(1), 0) == Done(Outcome.REPEATED, 0, 0, made.entry)
    assert (await change(author(1, "other"), 0)).outcome == Outcome.MISUSED
    assert await change(author(2), 7) == Done(Outcome.REFUSED, 1, 0, "")
    flushed = await tenants.flush(author=author(3))
    assert (flushed.outcome, flushed.generation) == (Outcome.DONE, 1)
    assert (await tenants.flush(author=author(3))).outcome == Outcome.REPEATED
    assert (await tenants.remove(expected=7, author=author(4))).outcome == Outcome.REFUSED
    removed = await tenants.remove(expected=1, author=author(4))
    assert (removed.outcome, removed.version, removed.generation) == (Outcome.DONE, 2, 2)
    trail = await tenants.trail(count=10)
    assert [(entry.sequence, entry.facts["version"]) for entry in trail] == [(3, "2"), (2, "1"), (1, "1")]
    directory = DirectoryScripts(client, "gate")
    assert await directory.claim_routes(f"{tenant}-b", routes=[f"{tenant}-b.example.com/"]) is None
    assert (await directory.routes())[f"{tenant}-b.example.com/"] == f"{tenant}-b"
    assert [await directory.release_routes(f"{tenant}-b") for _ in range(2)] == [True, False]
    for outcome in (Outcome.DONE, Outcome.REPEATED):
        assert (await access.create_key(key_id="k", record="{}", author=author(1)))[0] == outcome
    assert await access.read_keys() == {"k": "{}"}
    for number, outcome in [(2, Outcome.DONE), (2, Outcome.REPEATED), (3, Outcome.REFUSED)]:
        assert (await access.revoke_key(key_id="k", author=author(number)))[0] == outcome
    assert await access.read_key("k") is None
    assert [entry.facts["key"] for entry in await access.trail(count=10)] == ["k", "k"]


async def call_sessions(client: CommandClient, tenant: str) -> None:
    """The scripts on sessions, on a line of its own with two on the site and one who waits."""
    line, sessions = LineScripts(client, "gate", f"{tenant}-c"), SessionScripts(client, "gate", f"{tenant}-c")
    assert await sessions.find(bytes(16)) is None
    assert await sessions.page() is None
    await line.configure(expected=0, version=1, settings="{}", numbers=SETTINGS)
    _, outcomes = await decided(line, a_visit(), a_visit(), a_visit())
    waiting = a_visit(ticketed=True, id=os.urandom(16), place=outcomes[2].place, end=outcomes[2].end)
    await decided(line, waiting)
    found = await sessions.find(waiting.id)
    assert found is not None
    assert (found.score, found.rank, found.gone) == (waiting.place, 2, 0)
    page = await sessions.page(state=1, limit=1)
    assert page is not None
    assert (page.rank, page.has_before, page.has_after) == (2, False, False)
    assert [each.id for each in page.sessions] == [waiting.id]
    first = await sessions.page(limit=1)
    assert first is not None
    rest = await sessions.page(score=first.sessions[0].score, id=first.sessions[0].id)
    assert rest is not None
    assert (rest.rank, rest.has_before, rest.has_after, rest.sessions[-1].id) == (1, True, False, waiting.id)

    def author(number: int, fingerprint: str = "same") -> Author:
        return Author("test", "front", "a reason", f"{number:032x}", fingerprint)

    moved = await sessions.front(waiting.id, author=author(1))
    assert moved is not None
    assert (moved.outcome, moved.position) == (Outcome.DONE, 1)
    for call, outcome in (
        (author(1), Outcome.REPEATED),
        (author(1, "other"), Outcome.MISUSED),
        (author(2), Outcome.REFUSED),
    ):
        again = await sessions.front(waiting.id, author=call)
        assert again is not None
        assert again.outcome is outcome


async def decided(line: LineScripts, *visits: Visit) -> tuple[LineHead, list[VisitOutcome]]:
    reply = await line.visit(visits)
    assert not isinstance(reply, StaleSettings)
    return reply


async def call_queue(queue: QueueScripts, name: str) -> None:
    """The scripts of a queue, on one with a job in most states."""
    worker = os.urandom(16)
    ids = [os.urandom(16) for _ in range(6)]
    jobs = [pack_job(id_, b"body", unique=id_, delay=60_000 if id_ is ids[5] else 0) for id_ in ids[1:]]
    taken = await queue.enqueue([pack_job(ids[0], bytes(20_000)), *jobs])
    assert taken == [(0, b"")] * 6

    async def step(call: int, completed: bytes = b"", finishes: bytes = b"", claim: int = 0) -> Any:
        return await queue.step(
            worker=worker,
            lane=0,
            call=call,
            completed=completed,
            finishes=finishes,
            claim=claim,
            suspects=True,
            lease=9000,
            hard=9000,
            max_lost=3,
        )

    claimed = await step(1, claim=5)
    assert set(claimed.jobs[::5]) == set(ids[:5])
    fence = claimed.fence
    assert await queue.renew(worker=worker, lease=9000, held=pack_held([(ids[0], fence), (ids[1], fence + 1)])) == [
        0,
        1,
    ]
    assert await queue.cancel(id=ids[4]) == "active"
    next_id = os.urandom(16)
    name_, jobs_ = b"\1" + next_id, pack_jobs([pack_job(next_id, b"next", delay=60_000)])
    ends = pack_finishes(
        [
            (0, ids[0], fence, 0, b"", b"result", 60_000, b"", pack_outgoing([(name_, 1, name, jobs_)])),
            (1, ids[1], fence, 60_000, b"it failed", b"", 0, b"", b""),
            (4, ids[2], fence, 0, b"it failed", b"", 0, b"discarded", b""),
            (5, ids[3], fence, 0, b"", b"", 0, b"a:task", b""),
            (1, ids[4], fence, 0, b"", b"", 0, b"", b""),
        ]
    )
    ended = await step(2, pack_held([(ids[0], fence + 1)]), ends)
    assert ended.finished == [1, 0, 0, 0, 0, 2]
    assert ended.outgoing == 1
    [entry] = await queue.hand_out(limit=20, again=30_000)
    assert (entry.name, entry.tries, entry.kind, entry.queue, entry.content) == (name_, 1, 1, name, jobs_)
    assert await queue.hand_out(limit=20, again=30_000) == []
    assert [await queue.take_over([name_ + jobs_], remember=9000) for _ in range(2)] == [1, 0]
    assert [await queue.settle([name_]) for _ in range(2)] == [1, 0]
    await queue.forget([name_], remember=1000)
    parent, part = os.urandom(16), os.urandom(16)
    await queue.enqueue([pack_job(parent, b"whole", priority=9)])
    whole = await step(3, claim=1)
    job = pack_job(part, b"part", part=pack_part(name, parent, whole.fence, 0), priority=9)
    stops = pack_outgoing([(b"\3" + part, 3, name, part)])
    brings = pack_outgoing([(b"\1" + part, 1, name, pack_jobs([job]))])
    order = pack_split(fails=False, total=1, body=b"joined", stops=stops, entries=brings)
    await step(4, finishes=pack_finishes([(7, parent, whole.fence, 0, b"", b"", 0, b"", order)]))
    assert (await queue.depths()).blocked == 1
    assert await queue.stop(id=parent) == "blocked"
    assert [entry.kind for entry in await queue.hand_out(limit=20, again=9000)] == [1, 3]
    await queue.report([b"\2" + pack_part("", parent, whole.fence, 0)[:-1] + b"\0result", b"\3" + part])
    await queue.settle([b"\1" + part, b"\3" + part])
    joined = await step(5, claim=1)
    assert joined.jobs[0] == parent
    await step(6, pack_held([(parent, joined.fence)]))
    assert await queue.cancel(id=next_id) == "cancelled"
    assert await queue.purge(state="cancelled", limit=1, ids=[next_id]) == 1
    depths = await queue.depths()
    assert (depths.completed, depths.retry, depths.dead, depths.parked, depths.cancelled, depths.scheduled) == (1,) * 6
    views = await queue.view(ids)
    assert [view.state for view in views] == ["completed", "retry", "dead", "parked", "cancelled", "scheduled"]
    assert views[1].meta.error == "it failed"
    assert await queue.requeue([ids[2], ids[0]]) == [(0, b""), (3, b"")]
    assert await queue.unpark(task=b"a:task") == (1, b"")
    assert await queue.purge(state="retry", limit=10) == 1
    assert await queue.check(ids, repair=False) == [""] * 6
    assert await queue.check_keys(ids, repair=True) == [False] * 6
    limit = pack_limit(ids[0], most=1, rate=10, period=1_000)
    assert await queue.enqueue([pack_job(os.urandom(16), b"x", limit=limit) for _ in range(3)]) == [(0, b"")] * 3
    assert (await queue.depths()).held == 2
    assert not await queue.check_slots(key=ids[0], seen=b"of another time", given=1, repair=False)
    await queue.pause(paused=True, reason="a look")
    assert (await queue.depths()).reason == "a look"
    await queue.pause(paused=False)
    assert (await queue.configure({"most_bytes": 10_000_000}))["most_bytes"] == 10_000_000


async def call_cron(cron: CronScripts) -> None:
    """The scripts of the cron jobs of a queue: defined, fired once, removed, and another one that stays."""
    defined = await cron.define(name="nightly", expected=0, schedule="@daily", definition=b"anything")
    assert defined == (DefineResult.WRITTEN, 1)
    state = await cron.read()
    assert (list(state.ticks), state.changes) == (["nightly"], 1)
    assert await cron.definitions(["nightly", "none"]) == [StoredCron("nightly", 1, "@daily", b"anything"), None]
    tick = state.ticks["nightly"] + 1
    job = pack_job(os.urandom(16), b"body")
    fired = await cron.fire(name="nightly", version=2, tick=tick, late=0, job=job)
    assert fired.result is FireResult.CHANGED
    fired = await cron.fire(name="nightly", version=1, tick=state.ticks["nightly"], late=0, job=job)
    assert fired.result is FireResult.PAST
    assert await cron.remove(name="nightly", expected=1)
    assert await cron.define(name="hourly", expected=-1, schedule="@hourly", definition=b"") == (
        DefineResult.WRITTEN,
        3,
    )


async def call_locks(client: CommandClient, name: str) -> None:
    """The scripts of a lock and of the list of locks: held, waited for, passed on and taken away."""
    lock, listed = LockScripts(client, "jobs", "prod", name), LockListScripts(client, "jobs", "prod")
    first = await lock.acquire(token="one", ttl=60_000, owner="a test", purpose="to see")
    assert isinstance(first, Acquired)
    assert await listed.note(name=name, until=first.until) == 0
    assert name in dict(await listed.list(limit=1000))
    refused = await lock.acquire(token="two", ttl=60_000, waits=1000)
    assert isinstance(refused, HeldLock)
    assert (refused.token, refused.owner, refused.purpose) == ("one", "a test", "to see")
    assert isinstance(await lock.extend(token="one", ttl=60_000), Extended)
    assert isinstance(await lock.release(token="one"), Released)
    assert await listed.forget(name=name, until=first.until)
    second = await lock.acquire(token="two", ttl=60_000, waits=1000)
    assert isinstance(second, Acquired)
    assert second.fence > first.fence
    assert isinstance(await lock.acquire(token="three", ttl=60_000, waits=1000), HeldLock)
    taken = await lock.steal(token="", by="an operator", reason="it hangs")
    assert taken is not None
    assert taken.token == "two"
    assert await lock.extend(token="two", ttl=60_000) == Gone("an operator", "it hangs")
    assert await lock.view() is None
