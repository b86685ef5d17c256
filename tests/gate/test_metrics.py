"""What Prometheus reads from a gate: true numbers, for as many series as there are tenants, to whom it may concern."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ropeline.exposition import CONTENT_TYPE
from ropeline.gate.asgi import Message
from ropeline.gate.metrics import Metrics
from ropeline.gate.middleware import GateMiddleware
from ropeline.gate.operator_pages import metrics_page
from ropeline.gate.settings import GateSettings
from ropeline.gate.survey import Survey
from ropeline.lua.errors import ConfigurationError
from tests.gate.scraping import parse, scrape
from tests.gate.visitors import JSON, KEYS, PREFIX, Site, Visitor, running, tenant
from tests.servers import Server, StartServer
from tests.support import wait_until

TOKEN = "a-token-for-the-metrics-of-this-test"


def of(found: dict[str, float], name: str, *labels: str) -> float:
    """The value of the one series with this name and these labels."""
    wanted = set(labels)
    values = [
        value
        for series, value in found.items()
        if series.partition("{")[0] == name and wanted <= set(series.partition("{")[2].rstrip("}").split(","))
    ]
    assert len(values) == 1, (name, labels, values)
    return values[0]


async def test_each_request_is_counted_once_and_the_line_is_told_as_it_stands(valkey: Server, tenant_name: str) -> None:
    rules = [
        {"action": "block", "conditions": [{"subject": "path", "operator": "prefix", "value": "/secret"}]},
        {"action": "bypass", "conditions": [{"subject": "path", "operator": "prefix", "value": "/static"}]},
    ]
    acme = tenant(tenant_name).to_mapping() | {"rules": rules, "new_users_per_minute": 6000}
    served = [type(tenant("x")).from_mapping(acme, source="a test"), tenant("idle", suspended=True)]
    async with running(valkey.url, tenant_name, served) as gated:
        inside, waiting, idle = (gated.visitor(name) for name in (tenant_name, tenant_name, "idle"))
        for _ in range(3):
            await inside.get()
        await waiting.get()
        await waiting.poll()
        await inside.get("/secret")
        await inside.get("/static/a.css")
        await inside.get("/static/b.css")
        await idle.get()
        await gated.visitor("nobody").get()
        await gated.visitor(tenant_name).get(sec_fetch_dest="image")
        found = await scrape(gated.gate)
    mine = f'tenant="{tenant_name}"'
    requests = {
        decision: of(found, "waitingroom_requests_total", mine, f'decision="{decision}"')
        for decision in ("admitted", "queued", "bypass", "failing-open", "refused", "preflight")
    }
    assert requests == {"admitted": 3, "queued": 1, "bypass": 2, "failing-open": 0, "refused": 2, "preflight": 0}
    assert of(found, "waitingroom_requests_total", 'tenant=""', 'decision="refused"') == 1
    assert of(found, "waitingroom_requests_total", 'tenant="idle"', 'decision="bypass"') == 1
    assert of(found, "waitingroom_refused_total", mine, 'reason="blocked"') == 1
    assert of(found, "waitingroom_refused_total", mine, 'reason="no-ticket"') == 1
    assert of(found, "waitingroom_bypassed_total", mine, 'rule="2"') == 2
    assert of(found, "waitingroom_bypassed_total", 'tenant="idle"', 'rule="suspended"') == 1
    assert of(found, "waitingroom_decision_seconds_count", mine) == 5, "three admitted, one queued, its poll"
    assert of(found, "waitingroom_queued_users", mine) == 1
    assert of(found, "waitingroom_active_users", mine) == 1
    assert of(found, "waitingroom_active_users_limit", mine) == 1
    assert of(found, "waitingroom_new_users_per_minute_limit", mine) == 6000
    assert not any("new_users_per_minute_limit" in series and "idle" in series for series in found)
    assert of(found, "waitingroom_status", mine, 'status="queueing"') == 1
    assert of(found, "waitingroom_status", 'tenant="idle"', 'status="suspended"') == 1
    assert of(found, "waitingroom_joined_total", mine) == 2
    assert of(found, "waitingroom_admitted_total", mine) == 1
    assert of(found, "waitingroom_wait_seconds_count", mine) == 1
    assert of(found, "waitingroom_store_up") == 1
    assert of(found, "waitingroom_gate_processes") == 1


async def test_a_visit_that_is_left_moves_the_counters_and_the_histograms(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]) as gated:
        first, second = gated.visitor(tenant_name), gated.visitor(tenant_name, accept=JSON)
        for visitor in (first, first, second, second):
            await visitor.get()
        await first.post(f"{PREFIX}leave")
        assert (await second.get()).told == "admitted"
        found = await scrape(gated.gate)
    for name, value in {
        "waitingroom_sessions_left_total": 1,
        "waitingroom_session_seconds_count": 1,
        "waitingroom_admitted_total": 2,
        "waitingroom_wait_seconds_count": 2,
        "waitingroom_called_total": 2,
    }.items():
        assert of(found, name, f'tenant="{tenant_name}"') == value, name


async def test_a_hundred_thousand_hosts_of_nobody_make_no_series(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]) as gated:
        sent: list[Message] = []

        async def receive() -> Message:
            raise AssertionError("nobody reads the body")

        async def send(message: Message) -> None:
            sent.append(message)

        before = await scrape(gated.gate)
        scope = gated.visitor(tenant_name).scope("GET", "/")
        for number in range(100_000):
            await gated.app({**scope, "headers": [(b"host", b'x%d"}\n.example.org' % number)]}, receive, send)
            sent.clear()
        after = await scrape(gated.gate)
    assert set(after) == set(before)
    assert of(after, "waitingroom_refused_total", 'tenant=""', 'reason="misdirected"') == 100_000


async def test_gate_processes_with_one_folder_tell_the_same_sums(
    valkey: Server, tenant_name: str, tmp_path: Path
) -> None:
    served = [tenant(tenant_name, total_active_users=9)]
    shared: dict[str, Any] = {"metrics_folder": str(tmp_path)}
    async with (
        running(valkey.url, tenant_name, served, **shared) as one,
        running(valkey.url, tenant_name, served, **shared) as other,
    ):
        for gated in (one, one, other):
            await gated.visitor(tenant_name).get()
        texts = [await scrape(gated.gate) for gated in (one, other)]
    for found in texts:
        assert of(found, "waitingroom_requests_total", f'tenant="{tenant_name}"', 'decision="admitted"') == 3
        assert of(found, "waitingroom_gate_processes") == 2


async def test_a_process_that_is_no_gate_tells_the_same(valkey: Server, tenant_name: str, tmp_path: Path) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)], metrics_folder=str(tmp_path)) as gated:
        await gated.visitor(tenant_name).get()
        page = metrics_page(gated.gate.store, deadline=10, folder=tmp_path, token=TOKEN)
        refused = await page.answer("GET", b"")
        answer = await page.answer("GET", f"bearer {TOKEN}".encode())
        expected = await scrape(gated.gate)
    assert (refused.status, answer.status) == (401, 200)
    assert parse(answer.body.decode()) == expected


async def test_a_gate_whose_folder_cannot_be_used_refuses_to_work(
    valkey: Server, tenant_name: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match="metrics_folder"):
        async with running(valkey.url, tenant_name, metrics_folder=str(tmp_path / "file")):
            pass


async def test_the_metrics_are_for_those_who_show_the_token(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)], metrics_token=TOKEN) as gated:
        # Prometheus asks by address, which is no tenant's host.
        prometheus = gated.visitor(tenant_name, host="192.0.2.9:8000")
        for authorization in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
            refused = await prometheus.get(f"{PREFIX}metrics", **authorization)
            assert (refused.status, refused.header("www-authenticate")) == (401, "Bearer")
            assert b"waitingroom" not in refused.body
        answer = await prometheus.get(f"{PREFIX}metrics", authorization=f"Bearer {TOKEN}")
        assert (answer.status, answer.header("content-type")) == (200, CONTENT_TYPE)
        assert of(parse(answer.body.decode()), "waitingroom_active_users", f'tenant="{tenant_name}"') == 0
        head = await prometheus.ask("HEAD", f"{PREFIX}metrics", authorization=f"Bearer {TOKEN}")
        assert (head.status, head.body) == (200, b"")
        posted = await prometheus.post(f"{PREFIX}metrics", authorization=f"Bearer {TOKEN}")
        assert (posted.status, posted.header("allow")) == (405, "GET, HEAD")


async def test_without_a_token_visitors_do_not_learn_that_there_are_metrics(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]) as gated:
        answers = [await gated.visitor(tenant_name).get(f"{PREFIX}{name}") for name in ("metrics", "nothing-here")]
        assert [answer.status for answer in answers] == [404, 404]
        assert answers[0].body == answers[1].body
        assert TOKEN not in repr(GateSettings(secret_keys=KEYS, metrics_token=TOKEN))


@pytest.mark.parametrize("token", ["too short", "with a space in its middle", "x" * 257, "ümlauts are not ascii", ""])
def test_a_token_that_cannot_be_sent_or_guards_nothing_is_refused_unseen(token: str) -> None:
    with pytest.raises(ConfigurationError, match=r"metrics_token: got '\(hidden\)', expected 16 to 256 characters"):
        GateSettings(secret_keys=KEYS, metrics_token=token)


async def test_health_and_readiness_are_told_on_every_host(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name) as gated:
        balancer = gated.visitor(tenant_name, host="192.0.2.9")
        assert [(await balancer.get(f"{PREFIX}{name}")).status for name in ("healthz", "readyz")] == [200, 200]
        assert (await balancer.post(f"{PREFIX}readyz")).status == 405
        assert (await balancer.post(f"{PREFIX}healthz")).status == 405


async def test_while_the_store_is_away_the_process_is_healthy_and_not_ready_and_says_so_in_its_metrics(
    start_server: StartServer,
) -> None:
    server = start_server()
    async with running(server.url, "gate", [tenant("acme")], deadline_ms=1500) as gated:
        admitted = gated.visitor("acme", accept=JSON)
        await admitted.get()
        await admitted.get()
        server.kill()
        assert (await admitted.get()).told == "failing-open"

        async def says_so() -> bool:
            return of(await scrape(gated.gate), "waitingroom_failing_open", 'tenant="acme"') == 1

        await wait_until(says_so, timeout=20)
        found = await scrape(gated.gate)
        assert of(found, "waitingroom_store_up") == 0
        assert of(found, "waitingroom_store_errors_total", 'tenant="acme"') == 1
        assert of(found, "waitingroom_requests_total", 'tenant="acme"', 'decision="failing-open"') == 1
        assert not any(series.startswith("waitingroom_queued_users") for series in found)
        answers = {name: await gated.visitor("acme").get(f"{PREFIX}{name}") for name in ("healthz", "readyz")}
        assert {name: answer.status for name, answer in answers.items()} == {"healthz": 200, "readyz": 503}
        assert answers["readyz"].body == b'{"status": "the store does not answer"}\n'


async def test_a_gate_that_refuses_to_work_is_alive_all_the_same(start_server: StartServer) -> None:
    server = start_server("--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb")
    app = GateMiddleware(Site(), GateSettings(redis_url=server.url, secret_keys=KEYS))
    statuses = [
        (await Visitor(app, "acme.example.com").get(f"{PREFIX}{name}")).status for name in ("healthz", "readyz")
    ]
    assert statuses == [200, 503]
    await app.gate.stop()


async def test_a_scrape_of_many_tenants_lets_the_process_do_its_other_work(valkey: Server, tenant_name: str) -> None:
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    served = [tenant(f"tenant-{number}") for number in range(200)]
    async with running(valkey.url, tenant_name, served) as gated:
        survey = Survey(gated.gate.store, deadline=10, served=gated.gate.directory.tenants.values)
        # What is seen now is told again for a second, so that what follows is the writing alone.
        await survey.look()
        working = asyncio.create_task(other_work())
        await asyncio.sleep(0)
        turns = 0
        text = await Metrics(survey).text()
        working.cancel()
    assert text.count(b"\n") > 12_000
    assert turns >= text.count(b"\n") / 500, "one turn or more for each 500 lines"
