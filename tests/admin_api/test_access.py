"""Who may do what: keys, logins, and what becomes of bad ones."""

import json
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from ropeline.admin_api import AdminSettings, create_app
from ropeline.admin_api.access import CSRF_HEADER
from ropeline.admin_api.backoff import Backoff
from ropeline.admin_api.operators import KeyDraft, KeyRecord, KeyRing, Presented
from ropeline.lua.audit import Author
from ropeline.lua.errors import ConfigurationError
from ropeline.lua.keys import AccessKeys
from tests.admin_api.calls import problem, refusal
from tests.admin_api.conftest import SECRET_KEYS, Caller, MakeCaller
from tests.servers import Server, StartServer

DRAFT = {"name": "Anna", "role": "viewer"}


async def test_a_key_is_shown_once_and_kept_as_a_hash(superuser: Caller, store: Redis, tenant_name: str) -> None:
    made = await superuser("POST", "/v1/keys", json={**DRAFT, "tenants": ["acme"]})
    assert made.status_code == 201
    secret, key = made.json()["secret"], made.json()["key"]
    assert (key["role"], key["tenants"], key["is_expired"]) == ("viewer", ["acme"], False)
    assert key["expires_at"] - key["made_at"] == 90 * 86_400
    listed = await superuser("GET", "/v1/keys")
    assert key in listed.json()["keys"]
    kept = [await store.dump(name) for name in await store.keys(f"*{tenant_name}*")]
    random_part = secret.rpartition("_")[2][:20].encode()
    assert not [value for value in kept if value and random_part in value]
    me = await Caller(superuser.client, secret)("GET", "/v1/me")
    assert (me.json()["key_id"], me.json()["csrf_token"]) == (key["id"], None)


async def test_a_key_that_is_revoked_ends_at_once_with_its_logins(superuser: Caller, caller_of: MakeCaller) -> None:
    anna = await caller_of("viewer")
    await superuser.client.post("/v1/login", json={"key": anna.key})
    assert (await superuser.client.get("/v1/me")).status_code == 200
    key_id = (await anna("GET", "/v1/me")).json()["key_id"]
    assert (await superuser("DELETE", f"/v1/keys/{key_id}")).status_code == 204
    assert refusal(await anna("GET", "/v1/me")) == (401, "bad_key")
    assert refusal(await superuser.client.get("/v1/me")) == (401, "login_ended")
    assert refusal(await superuser("DELETE", f"/v1/keys/{key_id}")) == (404, "unknown_key")


async def test_a_key_that_has_expired_opens_nothing(
    app: FastAPI, caller_of: MakeCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await caller_of("viewer", days=1)
    for_ever = await caller_of("superuser", days=None)
    assert (await anna("GET", "/v1/me")).status_code == 200
    later = time.time() + 86_400
    monkeypatch.setattr("ropeline.admin_api.operators.time.time", lambda: later)
    assert refusal(await anna("GET", "/v1/me")) == (401, "bad_key")
    listed = (await for_ever("GET", "/v1/keys")).json()["keys"]
    assert sorted(key["is_expired"] for key in listed) == [False, True]


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        ({"role": "viewer"}, "name"),
        ({**DRAFT, "role": "root"}, "role"),
        ({**DRAFT, "role": "tenant_admin"}, "tenants"),
        ({**DRAFT, "role": "superuser", "tenants": ["acme"]}, "tenants"),
        ({**DRAFT, "tenants": ["a b"]}, "tenants[0]"),
        ({**DRAFT, "expires_in_days": 0}, "expires_in_days"),
        ({**DRAFT, "expires_in_days": True}, "expires_in_days"),
        ({**DRAFT, "admin": True}, "admin"),
    ],
)
async def test_a_key_that_cannot_be_is_refused_with_the_field(
    superuser: Caller, draft: dict[str, Any], field: str
) -> None:
    said = problem(await superuser("POST", "/v1/keys", json=draft))
    assert (said["status"], said["field"]) == (422, field)
    assert len((await superuser("GET", "/v1/keys")).json()["keys"]) == 1


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer rlk_", "Basic YTpi", "Bearer rlk_abcdefabcdef_" + "x" * 51, "Bearer ünknown", "rlk_x"],
)
async def test_whoever_shows_no_key_that_is_in_force_is_not_known(caller: httpx.AsyncClient, header: str) -> None:
    headers = [(b"authorization", header.encode())] if header else []
    reply = await caller.get("/v1/me", headers=headers)
    assert reply.status_code == 401
    assert problem(reply)["code"] in ("key_required", "bad_key")
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_a_thousand_bad_keys_ask_the_store_for_nothing_and_do_not_lock_out_a_good_one(
    superuser: Caller, valkey: Server
) -> None:
    def calls() -> int:
        return int(valkey.info("commandstats").get("cmdstat_hget", {"calls": 0})["calls"])  # type: ignore[index]

    bad = Caller(superuser.client, superuser.key[:-9] + "AAAAAAAAA")
    first = [(await bad("GET", "/v1/me")).status_code for _ in range(6)]
    before = calls()
    waits = []
    for _ in range(1000):
        reply = await bad("GET", "/v1/me")
        assert refusal(reply) == (429, "too_many_bad_keys")
        waits.append(int(reply.headers["retry-after"]))
    assert first == [401] * 5 + [429]
    assert waits[:6] == [4, 8, 16, 32, 60, 60]
    assert calls() == before
    assert (await superuser("GET", "/v1/me")).status_code == 200


def test_bad_keys_are_forgotten_after_a_quarter_of_an_hour() -> None:
    now = 0.0
    backoff = Backoff(lambda: now)
    assert [backoff.failed(b"a") for _ in range(7)] == [0, 0, 0, 0, 0, 2, 4]
    assert backoff.failed(b"b") == 0
    now = 901.0
    assert backoff.failed(b"a") == 0


async def test_a_login_reads_by_its_cookie_and_writes_only_with_its_token(superuser: Caller) -> None:
    browser = superuser.client
    reply = await browser.post("/v1/login", json={"key": superuser.key})
    cookie = reply.headers["set-cookie"]
    assert cookie.startswith("ropeline-admin=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    token = reply.json()["csrf_token"]
    assert (await browser.get("/v1/me")).json()["csrf_token"] == token
    assert refusal(await browser.post("/v1/keys", json=DRAFT)) == (403, "csrf_token")
    for wrong in ("", "x", token + "x"):
        assert refusal(await browser.post("/v1/keys", json=DRAFT, headers={CSRF_HEADER: wrong}))[0] == 403
    assert (await browser.post("/v1/keys", json=DRAFT, headers={CSRF_HEADER: token})).status_code == 201
    assert refusal(await browser.post("/v1/logout")) == (403, "csrf_token")
    assert (await browser.post("/v1/logout", headers={CSRF_HEADER: token})).status_code == 204
    assert refusal(await browser.get("/v1/me")) == (401, "key_required")


async def test_over_https_the_cookie_is_bound_to_its_host_and_plain_http_is_for_this_machine(
    superuser: Caller, app: FastAPI, admin_settings: AdminSettings
) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://admin.example.com") as browser:
        reply = await browser.post("/v1/login", json={"key": superuser.key})
        assert reply.headers["set-cookie"].startswith("__Host-ropeline-admin=")
        assert "Secure" in reply.headers["set-cookie"]
        assert (await browser.get("/v1/me")).status_code == 200
        stolen = browser.cookies["__Host-ropeline-admin"]
    async with httpx.AsyncClient(transport=transport, base_url="http://admin.example.com") as browser:
        assert refusal(await browser.post("/v1/login", json={"key": superuser.key})) == (403, "https_required")
        headers = {"X-Forwarded-Proto": "https"}
        assert refusal(await browser.post("/v1/login", json={"key": superuser.key}, headers=headers))[0] == 403
        planted = {"Cookie": f"ropeline-admin={stolen}"}
        assert refusal(await browser.get("/v1/me", headers=planted)) == (401, "key_required")
    behind = create_app(replace(admin_settings, trusted_proxies=("127.0.0.1/32",)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(behind), base_url="http://admin.example.com") as browser:
        reply = await browser.post("/v1/login", json={"key": superuser.key}, headers=headers)
        assert reply.headers["set-cookie"].startswith("__Host-ropeline-admin=")
    await behind.state.context.client.aclose()


async def test_a_cookie_that_was_tampered_with_or_signed_by_another_is_no_login(
    superuser: Caller, admin_settings: AdminSettings
) -> None:
    other = create_app(replace(admin_settings, secret_keys=("another key of sixteen bytes",)))
    await superuser.client.post("/v1/login", json={"key": superuser.key})
    cookie = superuser.client.cookies["ropeline-admin"]
    for wrong in (cookie[:-2] + "xx", "x", cookie.partition(".")[2]):
        reply = await superuser.client.get("/v1/me", headers={"Cookie": f"ropeline-admin={wrong}"})
        assert reply.status_code == 401
    async with httpx.AsyncClient(transport=httpx.ASGITransport(other), base_url="http://127.0.0.1") as caller:
        reply = await caller.get("/v1/me", headers={"Cookie": f"ropeline-admin={cookie}"})
        assert refusal(reply) == (401, "login_ended")
        assert refusal(await Caller(caller, superuser.key)("GET", "/v1/me")) == (401, "bad_key")
    await other.state.context.client.aclose()


async def test_who_can_write_into_the_store_cannot_change_what_a_key_may_do(
    caller_of: MakeCaller, store: Redis, tenant_name: str
) -> None:
    anna = await caller_of("viewer", "acme")
    key_id = (await anna("GET", "/v1/me")).json()["key_id"]
    keys = AccessKeys(tenant_name).keys
    raw = await store.hget(keys, key_id)
    assert raw is not None
    record = json.loads(raw)
    for forged in (
        {**record, "role": "superuser", "tenants": []},
        {**record, "tenants": ["acme", "beta"]},
        {**record, "expires_at": None},
        {**record, "hash": "0" * 64},
        {},
        "no record",
    ):
        await store.hset(keys, key_id, json.dumps(forged))
        assert refusal(await anna("GET", "/v1/me"))[0] in (401, 429)
    await store.hset(keys, key_id, raw)
    assert (await anna("GET", "/v1/me")).status_code == 200


async def test_every_change_of_a_key_is_done_once_and_stands_in_the_audit_trail(
    app: FastAPI, superuser: Caller
) -> None:
    once = {"Idempotency-Key": "a-deployment"}
    made = await superuser("POST", "/v1/keys?reason=a+new+colleague", json=DRAFT, headers=once)
    assert made.headers["idempotency-key"] == once["Idempotency-Key"]
    key_id = made.json()["key"]["id"]
    again = await superuser("POST", "/v1/keys?reason=a+new+colleague", json=DRAFT, headers=once)
    assert refusal(again) == (409, "key_made_before")
    assert key_id in problem(again)["detail"]
    other = await superuser("POST", "/v1/keys", json={**DRAFT, "name": "Ben"}, headers=once)
    assert refusal(other) == (409, "idempotency_key_used")
    for _ in range(2):
        gone = await superuser("DELETE", f"/v1/keys/{key_id}", headers={"Idempotency-Key": "b"})
        assert gone.status_code == 204
    revoked, created, _ = await app.state.context.keys.trail(count=10)
    assert [entry.sequence for entry in (revoked, created)] == [3, 2]
    assert (created.action, created.reason, created.facts["key"]) == ("create_key", "a new colleague", key_id)
    assert created.facts["after"] == revoked.facts["before"]
    assert created.actor == f"key:{(await superuser('GET', '/v1/me')).json()['key_id']}"


async def test_what_makes_no_id_or_reason_is_refused(superuser: Caller) -> None:
    for key in ("x" * 129, "a b", ""):
        reply = await superuser("POST", "/v1/keys", json=DRAFT, headers={"Idempotency-Key": key})
        assert problem(reply)["field"] == "Idempotency-Key"
    reply = await superuser("POST", f"/v1/keys?reason={'x' * 201}", json=DRAFT)
    assert problem(reply)["field"] == "reason"


async def test_a_change_that_got_no_answer_says_so_with_the_key_to_ask_again(start_server: StartServer) -> None:
    server = start_server()
    settings = AdminSettings(redis_url=server.url, secret_keys=SECRET_KEYS, admin_deadline_ms=300)
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    keys = app.state.context.keys
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        text, _ = await keys.create(KeyDraft(name="x", role="superuser"), Author("test", "create_key"))
        anna = Caller(client, text)
        assert (await anna("GET", "/v1/me")).status_code == 200
        server.pause()
        reply = await anna("POST", "/v1/keys", json=DRAFT)
        said = problem(reply)
        assert (said["status"], said["code"]) == (504, "outcome_unknown")
        assert said["idempotency_key"] == reply.headers["idempotency-key"]
        assert (await anna("GET", "/v1/me")).status_code == 200, "what was known of the key a moment ago still holds"
        server.resume()
        once = {"Idempotency-Key": said["idempotency_key"]}
        await anna("POST", "/v1/keys", json=DRAFT, headers=once)
        assert len((await anna("GET", "/v1/keys")).json()["keys"]) == 2, (
            "once, whether the first sending arrived or not"
        )
    await app.state.context.client.aclose()


RING = KeyRing(SECRET_KEYS)
TEXT, RECORD = RING.make(KeyDraft(name="x", role="viewer"), made_by="test")


@given(st.text())
def test_no_other_text_is_read_as_a_key(text: str) -> None:
    assert text == TEXT or RING.read(text) is None


@given(st.integers(0, len(TEXT) - 1), st.characters())
def test_a_key_with_another_character_is_no_key(position: int, character: str) -> None:
    changed = TEXT[:position] + character + TEXT[position + 1 :]
    shown = RING.read(changed)
    assert changed == TEXT or shown is None or not RING.opens(shown, RECORD)


def test_keys_made_under_an_older_secret_key_stay_good_until_it_is_removed() -> None:
    both = KeyRing((*SECRET_KEYS, "a newer key of sixteen bytes"))
    shown = both.read(TEXT)
    assert isinstance(shown, Presented)
    assert both.opens(shown, RECORD)
    assert KeyRing(("a newer key of sixteen bytes",)).read(TEXT) is None
    newer, record = both.make(KeyDraft(name="x", role="viewer"), made_by="test")
    assert RING.read(newer) is None
    assert KeyRecord.decode(record.id, record.encode()) == record


def test_a_draft_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        KeyDraft(name="", role="viewer")
