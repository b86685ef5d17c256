"""The gate's own endpoints: status, keepalive, leave, confirm, auth and the assets; the stream has a file of its own."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ropeline.pages import ASSETS
from tests.gate.visitors import HTML, JSON, PREFIX, Gated, Visitor, quick_tenant, running, tenant
from tests.servers import Server
from tests.support import wait_until


@pytest.fixture
async def gated(valkey: Server, tenant_name: str) -> AsyncIterator[Gated]:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]) as gated:
        yield gated


@pytest.fixture
async def admitted(gated: Gated, tenant_name: str) -> Visitor:
    visitor = gated.visitor(tenant_name)
    await visitor.get()
    await visitor.get()
    return visitor


@pytest.fixture
async def waiting(gated: Gated, admitted: Visitor, tenant_name: str) -> Visitor:
    visitor = gated.visitor(tenant_name)
    await visitor.get()
    await visitor.poll()
    return visitor


# --- status and keepalive -------------------------------------------------------------------------------------------


async def test_the_status_of_a_visitor_on_the_site_says_how_long_the_session_lasts(admitted: Visitor) -> None:
    room = await admitted.poll()
    assert (room["state"], room["inWaitingRoom"], room["position"]) == ("admitted", False, None)
    assert 298 <= room["sessionEndsInSeconds"] <= 300
    assert room["keepaliveIntervalSeconds"] == 75


async def test_the_status_is_a_200_whatever_the_page_answers(waiting: Visitor) -> None:
    answer = await waiting.get(f"{PREFIX}status")
    assert (answer.status, answer.header("content-type")) == (200, JSON)
    assert answer.header("cache-control") == "no-store, private"
    head = await waiting.ask("HEAD", f"{PREFIX}status")
    assert (head.status, head.body) == (200, b"")
    assert int(head.header("content-length")) > 100


async def test_the_status_may_be_a_clients_first_contact(gated: Gated, tenant_name: str) -> None:
    client = gated.visitor(tenant_name)
    answer = await client.get(f"{PREFIX}status")
    assert answer.room["state"] == "admitted"
    assert answer.header("set-cookie")


async def test_polls_that_come_early_change_nothing(waiting: Visitor) -> None:
    first = await waiting.get(f"{PREFIX}status")
    for _ in range(5):
        answer = await waiting.get(f"{PREFIX}status")
        assert answer.header("set-cookie") == ""
        assert answer.room["position"] == first.room["position"]


async def test_keepalive_renews_a_session_and_begins_none(valkey: Server, tenant_name: str) -> None:
    quick = quick_tenant(tenant_name, session_duration=2 / 60)
    async with running(valkey.url, tenant_name, [quick]) as gated:
        visitor = gated.visitor(tenant_name)
        answer = await visitor.post(f"{PREFIX}keepalive")
        assert (answer.room["state"], answer.all("set-cookie")) == ("ended", [])
        assert gated.line(tenant_name).head is None, "the store was not even asked"
        await visitor.get()
        await visitor.get()
        started = gated.head(tenant_name).clock

        async def kept_for_twice_its_time() -> bool:
            assert (await visitor.post(f"{PREFIX}keepalive")).room["state"] == "admitted"
            return gated.head(tenant_name).clock > started + 4000

        await wait_until(kept_for_twice_its_time, timeout=20)
        assert (await visitor.get()).told == "admitted"


async def test_keepalive_of_a_session_that_ended_says_so(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [quick_tenant(tenant_name)]) as gated:
        visitor = gated.visitor(tenant_name)
        await visitor.get()
        await visitor.get()

        async def is_over() -> bool:
            return gated.head(tenant_name).active == 0

        await wait_until(is_over, timeout=10)
        assert (await visitor.post(f"{PREFIX}keepalive")).room["state"] == "ended"


# --- leave ----------------------------------------------------------------------------------------------------------


async def test_leaving_frees_the_slot_at_once_and_takes_the_cookie_back(waiting: Visitor, admitted: Visitor) -> None:
    answer = await admitted.submit(f"{PREFIX}leave", "return_url=%2Fevent%2F7")
    assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
    assert b'href="/event/7"' in answer.body
    assert "Max-Age=0" in answer.header("set-cookie")
    assert admitted.cookies == {}
    assert (await waiting.poll())["state"] == "admitted"


async def test_leaving_the_line_gives_the_place_up_for_good(waiting: Visitor, gated: Gated) -> None:
    old = dict(waiting.cookies)
    answer = await waiting.post(f"{PREFIX}leave", accept=JSON)
    assert answer.room["state"] == "ended"
    waiting.cookies = old
    assert (await waiting.poll())["state"] == "unconfirmed", "the old ticket is worthless"


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "/\\evil.example", "https://evil.example/", "/%0d%0aset-cookie:x", "%09//evil", "é"]
)
async def test_a_return_url_never_leads_to_another_host(admitted: Visitor, wanted: str) -> None:
    answer = await admitted.submit(f"{PREFIX}leave", f"return_url={wanted}")
    assert b'href="/"' in answer.body
    assert b"evil" not in answer.body
    answer = await admitted.get(f"{PREFIX}confirm?return_url={wanted}")
    assert b"evil" not in answer.body
    assert answer.header("location") in ("/", "")


@pytest.mark.parametrize(
    "headers",
    [{"sec_fetch_site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "http://evil.example"}],
)
async def test_another_site_cannot_make_a_visitor_leave(admitted: Visitor, headers: dict[str, str]) -> None:
    for query in ("", "?beacon=1"):
        assert (await admitted.post(f"{PREFIX}leave{query}", **headers)).status == 403
    assert (await admitted.poll())["sessionEndsInSeconds"] > 290


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "https://OWN"}, {"origin": "null"}, {"sec_fetch_site": "same-site", "origin": "null"}]
)
async def test_the_site_itself_can(gated: Gated, admitted: Visitor, headers: dict[str, str]) -> None:
    given = {name: value.replace("OWN", admitted.host) for name, value in headers.items()}
    assert (await admitted.post(f"{PREFIX}leave", **given)).status == 200
    assert gated.head(admitted.host.partition(".")[0]).active == 0


async def test_who_has_no_ticket_leaves_in_peace(gated: Gated, tenant_name: str) -> None:
    stranger = gated.visitor(tenant_name)
    assert (await stranger.post(f"{PREFIX}leave")).status == 200
    assert (await stranger.post(f"{PREFIX}leave?beacon=1")).status == 204


async def test_the_closing_beacon_only_shortens_the_hold_and_the_next_visit_takes_it_back(admitted: Visitor) -> None:
    answer = await admitted.post(f"{PREFIX}leave?beacon=1", sec_fetch_site="same-origin")
    assert (answer.status, answer.all("set-cookie"), answer.body) == (204, [], b"")
    # Any request takes it back, the one that asks included.
    assert (await admitted.get()).told == "admitted"
    assert (await admitted.poll())["sessionEndsInSeconds"] > 290


async def test_a_closed_tab_frees_its_slot_after_the_leave_hold(valkey: Server, tenant_name: str) -> None:
    short = tenant(tenant_name, leave_hold=0.2)
    async with running(valkey.url, tenant_name, [short]) as gated:
        first, second = gated.visitor(tenant_name), gated.visitor(tenant_name)
        for visitor in (first, first, second, second):
            await visitor.get()
        await first.post(f"{PREFIX}leave?beacon=1")

        async def is_in() -> bool:
            return (await second.get()).told == "admitted"

        await wait_until(is_in)
        assert (await first.get()).told == "queued"


async def test_a_body_without_end_is_not_read_to_its_end(gated: Gated, tenant_name: str) -> None:
    received = 0

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 4096
        return {"type": "http.request", "body": b"x" * 4096, "more_body": True}

    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = gated.visitor(tenant_name).scope("POST", f"{PREFIX}leave")
    await gated.app(scope, receive, send)
    assert sent[0]["status"] == 200
    assert received <= 16_384


# --- the check for browsers without scripts -------------------------------------------------------------------------


async def test_without_scripts_a_page_whose_place_is_not_confirmed_refreshes_through_the_check(
    gated: Gated, admitted: Visitor, tenant_name: str
) -> None:
    visitor = gated.visitor(tenant_name)
    page = await visitor.get("/event/7?a=1&b=2")
    check = f"{PREFIX}confirm?tenant={tenant_name}&return_url=/event/7?a=1%26b=2"
    assert f'content="1;url={check.replace("&", "&amp;")}"'.encode() in page.body
    answer = await visitor.get(check)
    assert (answer.status, answer.header("location")) == (303, "/event/7?a=1&b=2")
    assert answer.header("set-cookie")
    assert answer.header("cache-control") == "no-store, private"
    page = await visitor.get("/event/7?a=1&b=2")
    assert b"confirm?" not in page.body
    assert (await visitor.poll())["state"] == "waiting"


async def test_a_browser_that_refuses_cookies_is_told_so_and_may_try_again(
    gated: Gated, admitted: Visitor, tenant_name: str
) -> None:
    visitor = gated.visitor(tenant_name, keeps_cookies=False)
    await visitor.get("/event/7")
    for cookies in ({}, {"theme": "dark"}):
        visitor.cookies = dict(cookies)
        answer = await visitor.get(f"{PREFIX}confirm?tenant={tenant_name}&return_url=/event/7")
        assert (answer.status, answer.all("set-cookie"), answer.header("location")) == (503, [], "")
        assert b"ookies" in answer.body
        assert b'href="/event/7"' in answer.body, "where it gets a cookie anew"


async def test_a_ticket_that_has_ended_is_no_sign_of_refused_cookies(
    gated: Gated, admitted: Visitor, tenant_name: str
) -> None:
    visitor = gated.visitor(tenant_name, cookies={f"__Host-wr_{tenant_name}": "x" * 120})
    answer = await visitor.get(f"{PREFIX}confirm?tenant={tenant_name}&return_url=/event/7")
    assert (answer.status, answer.header("location")) == (303, "/event/7")


# --- forward-auth ---------------------------------------------------------------------------------------------------


async def test_a_proxy_may_ask_before_each_request(gated: Gated, tenant_name: str) -> None:
    first, second = gated.visitor(tenant_name), gated.visitor(tenant_name)
    for name in ("x_original_uri", "x_forwarded_uri"):
        answer = await first.get(f"{PREFIX}auth", **{name: "/event/7?a=1"})
        assert (answer.status, answer.told, answer.body) == (204, "admitted", b"")
    answer = await second.get(f"{PREFIX}auth", x_original_uri="/event/7")
    assert (answer.status, answer.told, answer.body) == (401, "queued", b"")
    assert second.cookies, "the proxy hands the cookie on"
    assert gated.site.requests == []


async def test_rules_look_at_what_the_proxy_was_asked_for(valkey: Server, tenant_name: str) -> None:
    bypass = {"action": "bypass", "conditions": [{"subject": "path", "operator": "prefix", "value": "/public"}]}
    get_only = {
        "action": "block",
        "conditions": [{"subject": "method", "operator": "equals", "value": "TRACE"}],
    }
    ruled = quick_tenant(tenant_name, total_active_users=0, rules=[get_only, bypass])
    async with running(valkey.url, tenant_name, [ruled], trusted_proxies=("192.0.2.0/24",)) as gated:

        async def ask(uri: str, **headers: str) -> str:
            answer = await gated.visitor(tenant_name).get(f"{PREFIX}auth", x_original_uri=uri, **headers)
            assert answer.status == (204 if answer.told == "bypass" else 401)
            return answer.told

        assert await ask("/public/logo.png") == "bypass"
        for uri in ("/public/../admin", "/public/%2e%2e/admin", "http://x/public", "public", ""):
            assert await ask(uri) == "queued", uri
        assert await ask("/public", x_original_method="TRACE") == "blocked"


async def test_the_host_that_a_trusted_proxy_was_asked_for_counts(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)], trusted_proxies=("192.0.2.1",)) as gated:
        host = f"{tenant_name}.example.com"
        proxy = gated.visitor(tenant_name, host="gate.internal:8000")
        assert (await proxy.get(f"{PREFIX}auth", x_forwarded_host=host)).told == "admitted"
        assert (await proxy.get(f"{PREFIX}auth", x_forwarded_host=f"{host}, other")).status == 401
        assert (await proxy.get(f"{PREFIX}auth")).status == 401
        stranger = gated.visitor(tenant_name, host="gate.internal:8000", address="198.51.100.1")
        assert (await stranger.get(f"{PREFIX}auth", x_forwarded_host=host)).status == 401


async def test_where_unknown_hosts_pass_the_proxy_is_told_to_let_them(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)], unknown_host="pass") as gated:
        assert (await gated.visitor(tenant_name, host="other.example").get(f"{PREFIX}auth")).status == 204


# --- assets and the rest --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ASSETS))
async def test_assets_are_cached_by_version_and_asked_for_again_by_etag(
    gated: Gated, tenant_name: str, name: str
) -> None:
    visitor = gated.visitor(tenant_name)
    plain = await visitor.get(f"{PREFIX}{name}")
    assert (plain.status, plain.header("cache-control"), plain.all("set-cookie")) == (200, "no-cache", [])
    assert plain.header("x-content-type-options") == "nosniff"
    versioned = await visitor.get(f"{PREFIX}{name}?v={ASSETS[name].version}")
    assert versioned.header("cache-control") == "public, max-age=31536000, immutable"
    assert (await visitor.get(f"{PREFIX}{name}?v=old")).header("cache-control") == "no-cache"
    etag = plain.header("etag")
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        answer = await visitor.get(f"{PREFIX}{name}", if_none_match=known)
        assert (answer.status, answer.body, answer.header("etag")) == (304, b"", etag)
    assert (await visitor.get(f"{PREFIX}{name}", if_none_match='"other"')).status == 200
    assert (await visitor.ask("HEAD", f"{PREFIX}{name}")).body == b""
    refused = await visitor.post(f"{PREFIX}{name}")
    assert (refused.status, refused.header("allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("method", "name", "allow"),
    [
        ("POST", "status", "GET, HEAD"),
        ("GET", "keepalive", "POST"),
        ("GET", "leave", "POST"),
        ("HEAD", "leave", "POST"),
        ("POST", "confirm", "GET, HEAD"),
        ("POST", "events", "GET, HEAD"),
        ("OPTIONS", "status", "GET, HEAD"),
    ],
)
async def test_an_endpoint_says_which_methods_it_has(
    gated: Gated, tenant_name: str, method: str, name: str, allow: str
) -> None:
    answer = await gated.visitor(tenant_name).ask(method, f"{PREFIX}{name}")
    assert (answer.status, answer.header("allow")) == (405, allow)
    assert answer.all("set-cookie") == []


@pytest.mark.parametrize("name", ["", "nothing", "../admin", "status/", "status%2f", "STATUS", "page.js/x", "é"])
async def test_what_is_no_endpoint_is_no_path_of_the_site_either(gated: Gated, tenant_name: str, name: str) -> None:
    answer = await gated.visitor(tenant_name).get(f"{PREFIX}{name}")
    assert (answer.status, answer.header("content-type")) == (404, "application/problem+json")
    assert gated.site.requests == []


async def test_the_endpoints_move_with_the_setting(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)], well_known_prefix="/_queue/") as gated:
        visitor = gated.visitor(tenant_name)
        assert (await visitor.get("/_queue/status")).room["statusUrl"] == f"/_queue/status?tenant={tenant_name}"
        assert (await visitor.get(f"{PREFIX}status")).body == b"site /.well-known/waiting-room/status"
        page = await gated.visitor(tenant_name).get()
        assert b"/_queue/page.js" in page.body
        assert b".well-known" not in page.body


async def test_tenants_that_share_a_host_are_told_apart(valkey: Server, tenant_name: str) -> None:
    host = f"{tenant_name}.example.com"
    north = tenant(f"{tenant_name}-n", host=host, path="/north", total_active_users=0)
    south = tenant(f"{tenant_name}-s", host=host, path="/south", total_active_users=0)
    elsewhere = tenant(f"{tenant_name}-e", total_active_users=0)
    async with running(valkey.url, tenant_name, [north, south, elsewhere]) as gated:
        visitor = gated.visitor(tenant_name, accept=JSON)
        for name, path in ((north.name, "/north"), (south.name, "/south/7")):
            room = (await visitor.get(path)).room
            assert room["tenant"] == name
            assert (await visitor.get(room["statusUrl"])).room["tenant"] == name
        assert len(visitor.cookies) == 2
        fresh = gated.visitor(tenant_name, accept=JSON)
        await fresh.get("/south")
        assert (await fresh.get(f"{PREFIX}status")).room["tenant"] == south.name, "the one whose cookie it has"
        assert (await fresh.get(f"{PREFIX}status?tenant={elsewhere.name}")).status == 421, "not at home here"
        assert (await fresh.get(f"{PREFIX}status?a=1&tenant=nobody")).status == 421


async def test_the_demo_on_plain_http_keeps_its_place_too(valkey: Server, tenant_name: str) -> None:
    local = tenant(tenant_name, host="127.0.0.1")
    async with running(valkey.url, tenant_name, [local]) as gated:
        visitor = gated.visitor(tenant_name, host="127.0.0.1:8000", scheme="http")
        answer = await visitor.get(accept=HTML)
        assert answer.header("set-cookie").startswith(f"wr_{tenant_name}=")
        assert "Secure" not in answer.header("set-cookie")
        assert (await visitor.get()).told == "admitted"
