"""What the gate answers, and what reaches the site: each promise of the HTTP side, on a real store."""

import asyncio
from collections.abc import AsyncIterator
from itertools import product
from typing import Any

import pytest

from ropeline.gate.middleware import GateMiddleware
from ropeline.gate.tickets import Ticket, TicketSigner, TicketState
from ropeline.lua.keys import TenantKeys
from tests.gate.visitors import (
    JSON,
    KEYS,
    PREFIX,
    Gated,
    Site,
    Visitor,
    quick_tenant,
    running,
    settings,
    tenant,
)
from tests.servers import Server
from tests.support import wait_until


@pytest.fixture
async def gated(valkey: Server, tenant_name: str) -> AsyncIterator[Gated]:
    """A site of one tenant, `tenant_name`, with room for one visitor."""
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]) as gated:
        yield gated


@pytest.fixture
async def admitted_first(gated: Gated, tenant_name: str) -> Visitor:
    """Who takes the only slot."""
    visitor = gated.visitor(tenant_name)
    assert (await visitor.get()).status == 200
    return visitor


@pytest.fixture
async def waiting(gated: Gated, admitted_first: Visitor, tenant_name: str) -> Visitor:
    """Somebody in line: the room is full, and the place is confirmed."""
    visitor = gated.visitor(tenant_name)
    await visitor.get()
    assert (await visitor.poll())["state"] == "waiting"
    return visitor


@pytest.fixture
async def admitted(gated: Gated, tenant_name: str) -> Visitor:
    """Somebody on the site whose cookie has been seen."""
    visitor = gated.visitor(tenant_name)
    await visitor.get()
    assert (await visitor.get()).told == "admitted"
    return visitor


# --- who passes and who waits --------------------------------------------------------------------------------------


async def test_the_first_visitor_passes_and_the_next_one_waits(gated: Gated, tenant_name: str) -> None:
    first, second = gated.visitor(tenant_name), gated.visitor(tenant_name)
    answer = await first.get("/event/7")
    assert (answer.status, answer.told, answer.body) == (200, "admitted", b"site /event/7")
    answer = await second.get("/event/7")
    assert (answer.status, answer.told) == (503, "queued")
    assert gated.site.paths == ["/event/7"]


async def test_whose_turn_has_come_lands_on_the_url_that_was_asked_for(gated: Gated, tenant_name: str) -> None:
    first, second = gated.visitor(tenant_name), gated.visitor(tenant_name)
    await first.get()
    await first.get()
    page = await second.get("/event/7?seats=2&from=mail")
    assert b"/event/7?seats=2&amp;from=mail" in page.body
    assert (await second.poll())["state"] == "waiting"
    await first.post(f"{PREFIX}leave")
    assert (await second.poll())["state"] == "admitted"
    answer = await second.get("/event/7?seats=2&from=mail")
    assert answer.body == b"site /event/7"


async def test_a_waiting_answer_is_kept_out_of_caches_and_search_engines(gated: Gated, waiting: Visitor) -> None:
    answer = await waiting.get()
    assert answer.status == 503
    assert answer.header("cache-control") == "no-store, private"
    assert answer.header("vary") == "Accept, Accept-Language, Cookie"
    assert answer.header("x-robots-tag") == "noindex"
    assert answer.header("content-security-policy").startswith("default-src 'none'")
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert int(answer.header("retry-after")) >= 1
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("waiting-room").endswith(f";tenant={waiting.host.partition('.')[0]}")


@pytest.mark.parametrize("status", [200, 202, 429])
async def test_the_status_code_of_the_waiting_answer_is_the_tenants(
    valkey: Server, tenant_name: str, status: int
) -> None:
    shut = tenant(tenant_name, total_active_users=0, queueing_status_code=status)
    async with running(valkey.url, tenant_name, [shut]) as gated:
        visitor = gated.visitor(tenant_name)
        for accept in ("text/html", JSON):
            answer = await visitor.get(accept=accept)
            assert (answer.status, answer.told) == (status, "queued")
            assert answer.header("retry-after")


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("application/json", True),
        ("application/json, text/html;q=0.9", True),
        ("text/html;q=0.1, application/json;q=0.2", True),
        ("application/problem+json", True),
        ("text/html, application/json", False),
        ("application/json;q=0.5, text/html", False),
        ("application/json;q=0", False),
        ("*/*", False),
        ("", False),
    ],
)
async def test_who_prefers_json_gets_json(waiting: Visitor, accept: str, is_json: bool) -> None:
    answer = await waiting.get(accept=accept)
    assert answer.header("content-type") == (JSON if is_json else "text/html; charset=utf-8")
    assert answer.status == 503


async def test_the_json_says_what_a_client_needs_under_the_known_names(waiting: Visitor, tenant_name: str) -> None:
    room = (await waiting.get(accept=JSON)).room
    assert room["inWaitingRoom"] is True
    assert (room["state"], room["position"], room["usersAhead"]) == ("waiting", 1, 0)
    assert room["statusUrl"] == f"{PREFIX}status?tenant={tenant_name}"
    assert (room["waitTimeKnown"], room["estimatedWaitSeconds"], room["waitTime"]) == (False, None, 0)
    assert room["refreshIntervalSeconds"] >= 5
    assert room["placeHeldSeconds"] == 780
    assert (room["isFIFOQueue"], room["queueIsFull"], room["tenant"]) == (True, False, tenant_name)
    answer = await waiting.get(accept=JSON, waiting_room_alias="cfWaitingRoom")
    assert answer.body.startswith(b'{"cfWaitingRoom":{"inWaitingRoom":true')


async def test_the_wait_is_foretold_from_measured_admissions_and_its_error_recorded(
    gated: Gated, waiting: Visitor, admitted_first: Visitor, tenant_name: str
) -> None:
    state = TenantKeys(tenant_name, tenant_name).state
    client = gated.gate.store.client
    await client.execute_command("HSET", state, "fast", "0.1", "slow", "0.05", "samples", "5")
    room = (await waiting.get(accept=JSON)).room
    assert room["waitTimeKnown"] is True
    assert room["estimatedWaitSeconds"] == {"low": 0, "high": 40}
    assert (room["waitTime"], room["waitTimeFormatted"]) == (1, "1 minute")
    page = await waiting.get()
    assert b"minute" in page.body
    newcomer = gated.visitor(tenant_name, accept=JSON)
    assert (await newcomer.get()).room["waitTimeKnown"] is True
    await newcomer.poll()
    await admitted_first.post(f"{PREFIX}leave")
    assert (await waiting.get()).told == "admitted"
    await waiting.post(f"{PREFIX}leave")
    assert (await newcomer.get()).told == "admitted"
    counters = (await gated.gate.store.status(tenant_name)).counters
    assert counters.estimates == 1, "of the visitor who was told before the place was confirmed"


async def test_a_tenant_may_keep_to_html(valkey: Server, tenant_name: str) -> None:
    plain = tenant(tenant_name, total_active_users=0, json_response_enabled=False)
    async with running(valkey.url, tenant_name, [plain]) as gated:
        answer = await gated.visitor(tenant_name).get(accept=JSON)
        assert answer.header("content-type") == "text/html; charset=utf-8"


async def test_a_client_without_cookies_keeps_its_place_by_the_token(gated: Gated, tenant_name: str) -> None:
    await gated.visitor(tenant_name).get()
    client = gated.visitor(tenant_name, keeps_cookies=False, accept=JSON)
    answer = await client.get()
    assert 1 <= answer.room["refreshIntervalSeconds"] <= 3, "it is asked back at once to confirm"
    client.token = answer.header("waiting-room-token")
    answer = await client.get()
    assert answer.room["state"] == "waiting"
    client.token = answer.header("waiting-room-token")
    assert (await client.get()).header("waiting-room-token") == "", "nothing to hand over while nothing changes"
    browser = await gated.visitor(tenant_name).get()
    assert browser.header("waiting-room-token") == "", "a page's scripts cannot read what only the cookie holds"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND", "get", "FOO", "TRACE"])
async def test_every_verb_is_gated(gated: Gated, waiting: Visitor, method: str) -> None:
    reached = len(gated.site.requests)
    answer = await waiting.ask(method, "/admin")
    assert (answer.status, answer.told, len(gated.site.requests)) == (503, "queued", reached)
    assert (answer.body == b"") == (method == "HEAD")
    assert int(answer.header("content-length")) > 0


# --- what is told to the site and what is taken from it -------------------------------------------------------------


async def test_the_cookie_is_set_when_it_changes_and_the_answer_is_private_then(gated: Gated, tenant_name: str) -> None:
    gated.site.answer_headers = [(b"Cache-Control", b"public, max-age=600"), (b"CDN-Cache-Control", b"max-age=600")]
    visitor = gated.visitor(tenant_name)
    first, second, third = await visitor.get(), await visitor.get(), await visitor.get()
    for answer in (first, second):
        assert answer.header("set-cookie").startswith(f"__Host-wr_{tenant_name}=")
        assert answer.header("cache-control") == "private"
        assert answer.header("cdn-cache-control") == ""
    assert third.header("set-cookie") == ""
    assert third.header("cache-control") == "public, max-age=600"
    assert third.header("cdn-cache-control") == "max-age=600"


@pytest.mark.parametrize("said", [b"no-store", b"max-age=0, private", b"PRIVATE"])
async def test_a_site_that_keeps_its_answer_private_is_left_to_it(gated: Gated, tenant_name: str, said: bytes) -> None:
    gated.site.answer_headers = [(b"cache-control", said)]
    assert (await gated.visitor(tenant_name).get()).header("cache-control") == said.decode()


async def test_a_part_that_is_private_does_not_make_the_whole_so(gated: Gated, tenant_name: str) -> None:
    gated.site.answer_headers = [(b"cache-control", b'max-age=9, private="x-secret"')]
    assert (await gated.visitor(tenant_name).get()).header("cache-control") == "private"


@pytest.mark.parametrize(
    "name", ["waiting-room", "Waiting_Room", "waiting-room-command", "waiting-room-token", "cf-waiting-room-command"]
)
async def test_no_visitor_speaks_to_the_site_in_our_name(admitted: Visitor, gated: Gated, name: str) -> None:
    answer = await admitted.send("GET", "/", [(name.lower(), "admitted;tenant=other")])
    assert answer.status == 200
    assert gated.site.seen("waiting-room") == [f"admitted;tenant={admitted.host.partition('.')[0]}"]
    if name != "waiting-room":
        assert gated.site.seen(name.lower()) == []


async def test_the_site_ends_a_visit_by_its_command_which_the_visitor_never_sees(
    gated: Gated, tenant_name: str
) -> None:
    for command in (b"Waiting-Room-Command", b"cf-waiting-room-command"):
        visitor = gated.visitor(tenant_name)
        await wait_until(lambda: _is_admitted(visitor))  # noqa: B023 - awaited before the next turn
        old = visitor.ticket
        gated.site.answer_headers = [(command, b" Revoke ")]
        answer = await visitor.get("/logout")
        gated.site.answer_headers = []
        assert answer.header(command.decode()) == ""
        await wait_until(lambda: gated.line(tenant_name).revoked)
        back = gated.visitor(tenant_name, cookies=dict(visitor.cookies))
        await back.get()
        assert back.ticket != old, "what was revoked is a new visitor"
        await back.post(f"{PREFIX}leave")


async def test_a_site_that_may_not_command_is_not_heeded(valkey: Server, tenant_name: str) -> None:
    deaf = tenant(tenant_name, enabled_origin_commands=())
    async with running(valkey.url, tenant_name, [deaf]) as gated:
        visitor = gated.visitor(tenant_name)
        gated.site.answer_headers = [(b"waiting-room-command", b"revoke")]
        for _ in range(3):
            answer = await visitor.get()
            assert (answer.told, answer.header("waiting-room-command")) == ("admitted", "")
        assert not gated.line(tenant_name).revoked


async def test_what_the_site_says_in_our_name_is_replaced(gated: Gated, tenant_name: str) -> None:
    gated.site.answer_headers = [(b"Waiting-Room", b"bypass"), (b"X-Shop", b"1")]
    answer = await gated.visitor(tenant_name).get()
    assert answer.all("waiting-room") == [f"admitted;tenant={tenant_name}"]
    assert answer.header("x-shop") == "1"


# --- who may draw ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_dest": "image"},
        {"sec_fetch_dest": "script"},
        {"sec_fetch_dest": "websocket"},
        {"sec_fetch_dest": "document", "sec_purpose": "prefetch"},
        {"sec_purpose": "prefetch;prerender"},
        {"purpose": "prefetch"},
    ],
)
async def test_a_sub_resource_or_a_prefetch_without_a_ticket_draws_nothing(
    gated: Gated, tenant_name: str, headers: dict[str, str]
) -> None:
    for path in ("/logo.png", f"{PREFIX}status"):
        answer = await gated.visitor(tenant_name).get(path, **headers)
        assert (answer.told, answer.all("set-cookie"), answer.header("cache-control")) == (
            "no-ticket",
            [],
            "no-store, private",
        )
        assert len(answer.body) < 1000
    assert gated.site.requests == []
    assert (await gated.visitor(tenant_name).get()).status == 200, "the room is still free"


async def test_a_sub_resource_with_a_ticket_is_like_any_request(admitted: Visitor) -> None:
    assert (await admitted.get("/logo.png", sec_fetch_dest="image")).status == 200


async def test_the_join_limit_counts_an_address_and_lets_confirmed_visitors_be(
    valkey: Server, tenant_name: str
) -> None:
    limited = tenant(tenant_name, total_active_users=0, join_limit_per_ip=2)
    async with running(valkey.url, tenant_name, [limited]) as gated:
        first = gated.visitor(tenant_name)
        await first.get()
        await first.poll()
        await gated.visitor(tenant_name).get()
        for accept in ("text/html", JSON):
            answer = await gated.visitor(tenant_name).get(accept=accept)
            assert (answer.status, answer.told, answer.all("set-cookie")) == (429, "limited", [])
            assert answer.header("retry-after")
        assert (await gated.visitor(tenant_name, address="192.0.2.2").get()).status == 503
        assert (await first.poll())["state"] == "waiting"


async def test_the_join_limit_believes_trusted_proxies_alone(valkey: Server, tenant_name: str) -> None:
    limited = tenant(tenant_name, total_active_users=0, join_limit_per_ip=1)
    async with running(valkey.url, tenant_name, [limited], trusted_proxies=("10.0.0.0/8",)) as gated:

        async def join(peer: str, forwarded: str) -> str:
            return (await gated.visitor(tenant_name, address=peer).get(x_forwarded_for=forwarded)).told

        assert await join("10.0.0.1", "198.51.100.7") == "queued"
        assert await join("10.0.0.1", "203.0.113.9, 198.51.100.7") == "limited"
        assert await join("10.0.0.1", "198.51.100.8") == "queued"
        assert await join("192.0.2.9", "198.51.100.10") == "queued"
        assert await join("192.0.2.9", "198.51.100.11") == "limited"


# --- settings of a tenant -------------------------------------------------------------------------------------------


def rule(action: str, *conditions: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "action": action,
        "conditions": [
            {"subject": subject, "operator": operator, "value": value} for subject, operator, value in conditions
        ],
    }


async def test_rules_exempt_and_block_in_their_order(valkey: Server, tenant_name: str) -> None:
    ruled = quick_tenant(
        tenant_name,
        total_active_users=0,
        rules=[
            rule("block", ("user_agent", "contains", "BadBot")),
            rule("bypass", ("path", "prefix", "/public")),
            rule("bypass", ("client_address", "cidr", "198.51.100.0/24")),
        ],
    )
    async with running(valkey.url, tenant_name, [ruled]) as gated:
        visitor = gated.visitor(tenant_name)
        for path in ("/public", "/public/logo.png", "/PUBLIC/"):
            told = (await visitor.get(path)).told
            assert told == ("bypass" if path.startswith("/public") else "queued")
        for path in ("/publicity", "/public/../admin", "/public%2f..%2fadmin", "/public/..;/admin", "//public", "/"):
            assert (await visitor.get(path)).told == "queued", path
        assert (await gated.visitor(tenant_name, address="198.51.100.9").get("/")).told == "bypass"
        for path in ("/public", f"{PREFIX}status"):
            for accept in ("text/html", JSON):
                answer = await gated.visitor(tenant_name).get(path, accept=accept, user_agent="BadBot/1")
                assert answer.told == "blocked"
                assert answer.all("set-cookie") == []
        assert (await gated.visitor(tenant_name).get("/public", user_agent="BadBot/1")).status == 403


async def test_an_exempted_request_never_reaches_the_store(start_server: Any, tenant_name: str) -> None:
    server = start_server()
    ruled = quick_tenant(tenant_name, rules=[rule("bypass", ("path", "prefix", "/public"))])
    async with running(server.url, tenant_name, [ruled]) as gated:
        before = server.info("commandstats").get("cmdstat_evalsha")
        for _ in range(20):
            assert (await gated.visitor(tenant_name).get("/public")).all("set-cookie") == []
        after = server.info("commandstats").get("cmdstat_evalsha")
        assert before == after


async def test_a_suspended_tenant_lets_everybody_through(valkey: Server, tenant_name: str) -> None:
    off = tenant(tenant_name, suspended=True, total_active_users=0)
    async with running(valkey.url, tenant_name, [off]) as gated:
        visitor = gated.visitor(tenant_name)
        answer = await visitor.get()
        assert (answer.status, answer.told, answer.all("set-cookie")) == (200, "bypass", [])
        assert (await visitor.poll())["state"] == "admitted", "a page that still polls goes on to the site"


@pytest.mark.parametrize(
    ("changes", "state", "told"),
    [
        ({"paused": True}, "paused", "queued"),
        ({"queue_all": True}, "waiting", "queued"),
        ({"queueing_method": "reject"}, "closed", "closed"),
        ({"total_active_users": 0}, "waiting", "queued"),
        ({"new_users_per_minute": 0}, "waiting", "queued"),
    ],
)
async def test_a_tenant_that_takes_nobody_says_so(
    valkey: Server, tenant_name: str, changes: dict[str, Any], state: str, told: str
) -> None:
    shut = tenant(tenant_name, **{"total_active_users": 9, **changes})
    async with running(valkey.url, tenant_name, [shut]) as gated:
        visitor = gated.visitor(tenant_name)
        page = await visitor.get()
        assert (page.status, page.told) == (503, told)
        room = await visitor.poll()
        assert room["state"] == state
        assert room["queueIsFull"] == (state == "closed")
        assert (page.header("retry-after") == "") == (state == "closed")
        assert gated.site.requests == []


async def test_passthrough_counts_and_holds_nobody(valkey: Server, tenant_name: str) -> None:
    open_wide = tenant(tenant_name, total_active_users=1, queueing_method="passthrough")
    async with running(valkey.url, tenant_name, [open_wide]) as gated:
        visitors = [gated.visitor(tenant_name) for _ in range(5)]
        for visitor, _ in product(visitors, range(2)):
            answer = await visitor.get()
            assert (answer.status, answer.told) == (200, "admitted")
        room = await visitors[4].poll()
        assert (room["state"], room["position"], room["inWaitingRoom"]) == ("admitted", None, False)
        assert gated.head(tenant_name).active == 5


# --- hosts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["other.example.com", "", "x y", "acme.example.com@evil", "[::1", "a" * 300])
async def test_a_host_of_no_tenant_is_refused_without_a_page(gated: Gated, tenant_name: str, host: str) -> None:
    for path in ("/", f"{PREFIX}status", f"{PREFIX}status?tenant={tenant_name}", f"{PREFIX}auth"):
        answer = await gated.visitor(tenant_name, host=host).get(path)
        assert answer.status == (401 if path.endswith("auth") else 421)
        assert answer.all("set-cookie") == []
    assert gated.site.requests == []


async def test_hosts_of_no_tenant_may_be_let_through(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)], unknown_host="pass") as gated:
        answer = await gated.visitor(tenant_name, host="other.example.com").get()
        assert answer.status == 200
        assert gated.site.seen("waiting-room") == ["bypass"]


@pytest.mark.parametrize(
    "headers",
    [
        [("host", "second.example.com")],
        [("transfer-encoding", "chunked"), ("content-length", "3")],
        [("content-length", "3"), ("content-length", "4")],
    ],
)
async def test_a_request_that_two_servers_would_read_differently_is_refused(
    gated: Gated, tenant_name: str, headers: list[tuple[str, str]]
) -> None:
    for path in ("/", f"{PREFIX}status"):
        answer = await gated.visitor(tenant_name).send("POST", path, headers)
        assert answer.status == 400
        assert answer.header("content-type") == "application/problem+json"
        assert answer.header("connection") == "close", "what follows may be what was smuggled"
    assert gated.site.requests == []


async def test_over_http_2_there_is_no_connection_to_close(gated: Gated, tenant_name: str) -> None:
    visitor = gated.visitor(tenant_name)
    scope = visitor.scope("GET", "/", [("host", "second.example.com")])
    scope["http_version"] = "2"
    sent: list[Any] = []

    async def nothing() -> Any:
        raise NotImplementedError

    async def send(message: Any) -> None:
        sent.append(message)

    await gated.app(scope, nothing, send)
    assert sent[0]["status"] == 400
    assert b"connection" not in dict(sent[0]["headers"])


async def test_a_path_may_be_gated_and_the_rest_of_its_host_not(valkey: Server, tenant_name: str) -> None:
    gated_path = tenant(tenant_name, path="/tickets", total_active_users=0)
    async with running(valkey.url, tenant_name, [gated_path]) as gated:
        visitor = gated.visitor(tenant_name)
        assert (await visitor.get("/about")).body == b"site /about"
        for path in ("/tickets", "/Tickets/7", "/about/../tickets", "/%74ickets", "//tickets", "/a\\..\\tickets"):
            assert (await visitor.get(path)).told == "queued", path
        assert (await visitor.poll())["state"] == "waiting", "the status finds the only tenant of the host"


# --- tickets --------------------------------------------------------------------------------------------------------


async def test_whatever_is_wrong_with_a_ticket_makes_a_new_visitor(waiting: Visitor, gated: Gated) -> None:
    name = f"__Host-wr_{waiting.host.partition('.')[0]}"
    good = waiting.ticket
    swapped = good[44:] + good[:44]
    wrong = [good[:-1], good[:20], good + "A", good.replace(".", "!"), swapped, good.swapcase(), "", "é", "x" * 9000]
    wrong += [
        good[:index] + ("A" if good[index] != "A" else "B") + good[index + 1 :] for index in range(0, len(good), 7)
    ]
    for ticket in wrong:
        visitor = gated.visitor(waiting.host.partition(".")[0], cookies={name: ticket}, accept=JSON)
        room = (await visitor.get()).room
        assert room["state"] == "unconfirmed", ticket
    assert (await waiting.poll())["state"] == "waiting"


async def test_a_ticket_of_another_tenant_or_purpose_or_key_is_none(gated: Gated, tenant_name: str) -> None:
    now = 1 << 52
    ticket = Ticket(tenant_name, b"x" * 16, TicketState.ADMITTED, 1, 1, now, 1, 1, 1, 0)
    strangers = [
        TicketSigner(KEYS, purpose="pass").sign(ticket),
        TicketSigner(["another key of sixteen bytes"]).sign(ticket),
        TicketSigner(KEYS).sign(ticket._replace(tenant="other")),
    ]
    await gated.visitor(tenant_name).get()
    for text in strangers:
        visitor = gated.visitor(tenant_name, cookies={f"__Host-wr_{tenant_name}": text}, accept=JSON)
        assert (await visitor.get()).room["state"] == "unconfirmed"


async def test_two_copies_of_the_cookie_are_none(waiting: Visitor) -> None:
    name, value = next(iter(waiting.cookies.items()))
    answer = await waiting.send("GET", "/", [("cookie", f"{name}={value}"), ("accept", JSON)])
    assert answer.room["state"] == "unconfirmed"


async def test_a_key_that_signs_no_longer_still_verifies(valkey: Server, tenant_name: str) -> None:
    old, new = KEYS[0], "a newer key of these tests"
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]) as gated:
        visitor = gated.visitor(tenant_name)
        await visitor.get()
        await visitor.get()
    async with running(valkey.url, tenant_name, secret_keys=(old, new)) as gated:
        again = gated.visitor(tenant_name, cookies=visitor.cookies)
        assert (await again.get()).told == "admitted"
        assert (await gated.visitor(tenant_name).get()).told == "queued"
    async with running(valkey.url, tenant_name, secret_keys=(new,)) as gated:
        forgotten = gated.visitor(tenant_name, cookies=visitor.cookies)
        assert (await forgotten.get()).told == "queued", "a removed key is worth nothing"


# --- CORS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({"origin": "https://app.example.com", "sec_fetch_site": "same-site"}, True),
        ({"origin": "https://evil.example.org", "sec_fetch_site": "cross-site"}, False),
        ({"origin": "https://OWN"}, True),
        ({"origin": "https://OWN", "sec_fetch_site": "cross-site"}, False),
        ({"origin": "http://OWN"}, False),
        ({"origin": "https://app.example.com"}, False),
        ({"origin": "null"}, False),
        ({}, False),
    ],
)
async def test_a_preflight_is_answered_for_pages_of_the_same_site(
    gated: Gated, tenant_name: str, headers: dict[str, str], is_allowed: bool
) -> None:
    given = {name: value.replace("OWN", f"{tenant_name}.example.com") for name, value in headers.items()}
    asked = {"access_control_request_method": "PUT", "access_control_request_headers": "content-type,x-shop"}
    for path in ("/api/cart", f"{PREFIX}keepalive"):
        answer = await gated.visitor(tenant_name).ask("OPTIONS", path, **given, **asked)
        assert (answer.status, answer.body, answer.all("set-cookie")) == (204, b"", [])
        assert answer.header("access-control-allow-origin") == (given["origin"] if is_allowed else "")
        if is_allowed:
            assert answer.header("access-control-allow-credentials") == "true"
            assert answer.header("access-control-allow-methods") == "PUT"
            assert answer.header("access-control-allow-headers") == "content-type,x-shop"
    answer = await gated.visitor(tenant_name, accept=JSON).get(f"{PREFIX}status", **given)
    assert answer.header("access-control-allow-origin") == (given["origin"] if is_allowed else "")
    assert gated.site.requests == []


async def test_a_domain_of_the_cookie_is_one_site(valkey: Server, tenant_name: str) -> None:
    spanning = quick_tenant(
        tenant_name, additional_routes=[{"host": "*.example.com"}], cookie_attributes={"domain": "example.com"}
    )
    async with running(valkey.url, tenant_name, [spanning]) as gated:
        answer = await gated.visitor(tenant_name).ask(
            "OPTIONS", "/", origin="https://example.com", access_control_request_method="GET"
        )
        assert answer.header("access-control-allow-origin") == "https://example.com"
        page = await gated.visitor(tenant_name).get()
        assert page.header("set-cookie").startswith(f"__Secure-wr_{tenant_name}=")
        assert "; Domain=example.com" in page.header("set-cookie")


# --- presence -------------------------------------------------------------------------------------------------------


async def test_a_session_nobody_renews_ends_and_its_slot_goes_on(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [quick_tenant(tenant_name)]) as gated:
        first, second = gated.visitor(tenant_name), gated.visitor(tenant_name)
        await first.get()
        await first.get()
        await second.get()
        await wait_until(lambda: _is_admitted(second), timeout=10)
        assert (await first.get()).told == "queued"


async def test_the_recheck_spares_the_store_and_ends_with_a_leave_elsewhere(valkey: Server, tenant_name: str) -> None:
    lax = tenant(tenant_name, recheck=100.0)
    async with (
        running(valkey.url, tenant_name, [lax]) as gated,
        running(valkey.url, tenant_name) as other,
    ):
        visitor = gated.visitor(tenant_name)
        await visitor.get()
        await visitor.get()
        elsewhere = other.visitor(tenant_name, cookies=visitor.cookies)
        await elsewhere.get()
        before = other.head(tenant_name).sequence
        for _ in range(10):
            assert (await elsewhere.get()).told == "admitted"
        assert other.head(tenant_name).sequence == before
        assert (await visitor.post(f"{PREFIX}leave?beacon=1")).status == 204
        tenant_there = other.gate.directory.tenants[tenant_name]
        await wait_until(lambda: not tenant_there.recent.passes(_id_of(other, elsewhere)))
        assert (await elsewhere.get()).told == "admitted"
        assert other.head(tenant_name).sequence > before, "the store was asked, and so took the beacon back"


async def _is_admitted(visitor: Visitor) -> bool:
    return (await visitor.get()).told == "admitted"


def _id_of(gated: Gated, visitor: Visitor) -> bytes:
    ticket = gated.gate.signer.read(visitor.ticket, visitor.host.partition(".")[0])
    assert ticket is not None
    return ticket.id


async def test_many_first_visits_at_once_admit_the_quota_and_no_more(valkey: Server, tenant_name: str) -> None:
    async with running(
        valkey.url, tenant_name, [tenant(tenant_name, total_active_users=7, join_limit_per_ip=0)]
    ) as gated:
        visitors = [gated.visitor(tenant_name) for _ in range(200)]
        answers = await asyncio.gather(*(visitor.get() for visitor in visitors))
        assert sum(answer.status == 200 for answer in answers) == 7
        answers = await asyncio.gather(*(visitor.get() for visitor in visitors))
        assert sum(answer.status == 200 for answer in answers) == 7


async def test_settings_come_from_the_environment_when_none_are_given(
    monkeypatch: pytest.MonkeyPatch, valkey: Server, tenant_name: str
) -> None:
    monkeypatch.setenv("ROPELINE_SECRET_KEYS", KEYS[0])
    monkeypatch.setenv("ROPELINE_REDIS_URL", valkey.url)
    monkeypatch.setenv("ROPELINE_NAMESPACE", tenant_name)
    assert GateMiddleware(Site()).gate.settings == settings(valkey.url, tenant_name, deadline_ms=250)
