"""Tenants are made, read, changed and deleted, by whole versions, once for each call, and within what a role may do."""

import asyncio
import json
from dataclasses import fields
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ropeline.admin_api import AdminSettings, create_app
from ropeline.admin_api.bodies import LARGEST_JSON
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.visits import Visit
from tests.admin_api.calls import problem, refusal
from tests.admin_api.conftest import SECRET_KEYS, Caller, MakeCaller, key_of
from tests.servers import StartServer

ACME = {"name": "acme", "host": "acme.example.com", "total_active_users": 3}


@pytest.fixture
def tenants(app: FastAPI) -> TenantStore:
    store = app.state.context.tenants
    assert isinstance(store, TenantStore)
    return store


@pytest.fixture
async def acme(superuser: Caller) -> dict[str, Any]:
    reply = await superuser("POST", "/v1/tenants", json=ACME)
    assert (reply.status_code, reply.headers["etag"], reply.headers["location"]) == (201, '"1"', "/v1/tenants/acme")
    document: dict[str, Any] = reply.json()
    return document


async def test_a_tenant_is_made_and_read_with_every_setting(superuser: Caller, acme: dict[str, Any]) -> None:
    assert list(acme["settings"]) == [field.name for field in fields(TenantSettings)]
    assert (acme["settings"]["new_users_per_minute"], acme["settings"]["poll"]["floor"]) == (None, 5)
    read = await superuser("GET", "/v1/tenants/acme")
    assert (read.json(), read.headers["etag"]) == (acme, '"1"')
    assert refusal(await superuser("POST", "/v1/tenants", json=ACME)) == (409, "tenant_exists")
    other = {**ACME, "name": "beta"}
    assert refusal(await superuser("POST", "/v1/tenants", json=other)) == (409, "route_taken")
    assert refusal(await superuser("GET", "/v1/tenants/beta")) == (404, "unknown_tenant")


async def test_what_is_read_can_be_put_back(superuser: Caller, acme: dict[str, Any]) -> None:
    headers = {"If-Match": '"1"'}
    same = await superuser("PUT", "/v1/tenants/acme", json=acme["settings"], headers=headers)
    assert (same.status_code, same.json()["version"]) == (200, 1), "nothing has changed, so there is no new version"
    less = {"host": "acme.example.com", "total_active_users": 9}
    replaced = await superuser("PUT", "/v1/tenants/acme", json=less, headers=headers)
    assert (replaced.json()["version"], replaced.headers["etag"]) == (2, '"2"')
    assert replaced.json()["settings"]["total_active_users"] == 9


async def test_a_put_needs_the_version_that_was_read(superuser: Caller, acme: dict[str, Any]) -> None:
    body = {**ACME, "total_active_users": 9}
    assert refusal(await superuser("PUT", "/v1/tenants/acme", json=body)) == (428, "if_match_required")
    for tag in ('"7"', '"0"'):
        stale = await superuser("PUT", "/v1/tenants/acme", json=body, headers={"If-Match": tag})
        assert refusal(stale) == (412, "changed_meanwhile")
    for tag in ("7", 'W/"1"', "x" * 300, ""):
        wrong = await superuser("PUT", "/v1/tenants/acme", json=body, headers={"If-Match": tag})
        assert problem(wrong)["field"] == "If-Match"
    assert (await superuser("PUT", "/v1/tenants/acme", json=body, headers={"If-Match": "*"})).status_code == 200
    gone = await superuser("DELETE", "/v1/tenants/acme?confirm=acme", headers={"If-Match": '"1"'})
    assert refusal(gone) == (412, "changed_meanwhile")


async def test_a_patch_changes_what_it_names_and_null_brings_the_default_back(
    superuser: Caller, acme: dict[str, Any]
) -> None:
    patch = {"total_active_users": 5, "new_users_per_minute": 60, "poll": {"floor": 2}, "title": "Acme"}
    changed = (await superuser("PATCH", "/v1/tenants/acme", json=patch)).json()
    settings = changed["settings"]
    assert (settings["total_active_users"], settings["new_users_per_minute"], settings["title"]) == (5, 60, "Acme")
    assert settings["poll"] == {**acme["settings"]["poll"], "floor": 2}
    patch = {"new_users_per_minute": None, "poll": None, "title": None}
    back = (await superuser("PATCH", "/v1/tenants/acme", json=patch)).json()
    assert back["version"] == 3
    assert back["settings"] == {**acme["settings"], "total_active_users": 5}


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"total_active_users": -1}, "total_active_users"),
        ({"total_active_users": 10**30}, "total_active_users"),
        ({"total_active_users": "5"}, "total_active_users"),
        ({"total_active_users": None}, "total_active_users"),
        ({"total_active_user": 5}, "total_active_user"),
        ({"poll": {"ceiling": 0}}, "poll.ceiling"),
        ({"poll": {"pace": 1}}, "poll.pace"),
        ({"poll": 7}, "poll"),
        ({"waiting_ttl": 1}, "waiting_ttl"),
        ({"rules": [{"action": "skip", "conditions": []}]}, "rules[0].action"),
        ({"name": "beta"}, "name"),
        ({"\ud800": 1}, "'\\ud800'"),
        ({"title": "a\nb"}, "title"),
        ({"title": "\ud800"}, "title"),
    ],
)
async def test_a_value_that_cannot_be_is_refused_with_the_field_and_nothing_is_changed(
    superuser: Caller, acme: dict[str, Any], patch: dict[str, Any], field: str
) -> None:
    # Half of a surrogate pair is JSON too, as an escape.
    body, headers = json.dumps({"paused": True, **patch}), {"Content-Type": "application/json"}
    said = problem(await superuser("PATCH", "/v1/tenants/acme", content=body, headers=headers))
    assert (said["status"], said["field"]) == (422, field)
    assert said["expected"]
    assert (await superuser("GET", "/v1/tenants/acme")).json() == acme


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"[]", "not_json"),
        (b'{"total_active_users": NaN}', "not_json"),
        (b'{"total_active_users": Infinity}', "not_json"),
        (b"[" * 60_000, "not_json"),
        (b'{"a":' * 10_000, "not_json"),
        (b'{"total_active_users": ' + b"9" * 5000 + b"}", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b" " * (LARGEST_JSON + 1), "body_too_large"),
    ],
)
async def test_what_is_no_json_object_is_refused(
    superuser: Caller, acme: dict[str, Any], body: bytes, code: str
) -> None:
    headers = {"Content-Type": "application/json"}
    reply = await superuser("PATCH", "/v1/tenants/acme", content=body, headers=headers)
    assert problem(reply)["code"] == code
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert refusal(await superuser("PATCH", "/v1/tenants/acme", content=b"a=1", headers=form)) == (415, "not_json")
    assert acme["version"] == 1


async def test_changes_at_once_are_each_built_upon_the_other(superuser: Caller, acme: dict[str, Any]) -> None:
    parts = [{"paused": True}, {"title": "Acme"}, {"total_active_users": 8}, {"leave_hold": 7}]
    replies = await asyncio.gather(*(superuser("PATCH", "/v1/tenants/acme", json=part) for part in parts))
    assert sorted(reply.json()["version"] for reply in replies) == [2, 3, 4, 5]
    settings = (await superuser("GET", "/v1/tenants/acme")).json()["settings"]
    assert settings == {
        **acme["settings"],
        "paused": True,
        "title": "Acme",
        "total_active_users": 8,
        "leave_hold": 7,
    }


async def test_a_change_that_is_sent_again_is_done_once(superuser: Caller) -> None:
    def once(key: str, **more: str) -> dict[str, str]:
        return {"Idempotency-Key": key, **more}

    made = [await superuser("POST", "/v1/tenants", json=ACME, headers=once("a")) for _ in range(2)]
    assert [reply.status_code for reply in made] == [201, 201]
    assert made[0].json() == made[1].json()
    body = {**ACME, "total_active_users": 9}
    match = {"If-Match": '"1"'}
    put = [await superuser("PUT", "/v1/tenants/acme", json=body, headers={**once("b"), **match}) for _ in range(2)]
    assert [reply.json()["version"] for reply in put] == [2, 2]
    body["total_active_users"] = 10
    other = await superuser("PUT", "/v1/tenants/acme", json=body, headers={**once("b"), **match})
    assert refusal(other) == (409, "idempotency_key_used")
    flushed = [
        await superuser("POST", "/v1/tenants/acme/flush", json={"confirm": "acme"}, headers=once("c")) for _ in range(2)
    ]
    assert [reply.json() for reply in flushed] == [{"generation": 1}] * 2
    gone = [await superuser("DELETE", "/v1/tenants/acme?confirm=acme", headers=once("d")) for _ in range(2)]
    assert [reply.status_code for reply in gone] == [204, 204]
    entries = (await superuser("GET", "/v1/tenants/acme/audit")).json()["entries"]
    assert [entry["action"] for entry in entries] == ["delete", "flush", "replace", "create"]


async def test_pausing_flushing_and_deleting_reach_the_line(
    superuser: Caller, acme: dict[str, Any], tenants: TenantStore
) -> None:
    line = tenants.scripts("acme")
    await line.visit([Visit(b"x" * 16)])
    paused = await superuser("POST", "/v1/tenants/acme/pause?reason=the+till+is+broken")
    assert paused.json()["settings"]["paused"] is True
    assert (await superuser("GET", "/v1/tenants/acme/status")).json()["state"] == "paused"
    assert (await superuser("POST", "/v1/tenants/acme/resume")).json()["settings"]["paused"] is False
    refused: list[dict[str, object]] = [{"confirm": "beta"}, {"confirm": {}}, {}, {"confirm": "acme", "really": True}]
    for wrong in refused:
        assert (await superuser("POST", "/v1/tenants/acme/flush", json=wrong)).status_code == 422
    assert (await tenants.status("acme")).head.active == 1
    assert (await superuser("POST", "/v1/tenants/acme/flush", json={"confirm": "acme"})).json() == {"generation": 1}
    assert (await tenants.status("acme")).head.active == 0
    assert refusal(await superuser("DELETE", "/v1/tenants/acme")) == (422, "not_confirmed")
    assert (await superuser("DELETE", "/v1/tenants/acme?confirm=acme")).status_code == 204
    assert refusal(await superuser("GET", "/v1/tenants/acme")) == (404, "unknown_tenant")
    assert refusal(await superuser("DELETE", "/v1/tenants/acme?confirm=acme")) == (404, "unknown_tenant")
    assert (await superuser("POST", "/v1/tenants", json={**ACME, "name": "beta"})).status_code == 201


async def test_tenants_are_listed_page_by_page_and_one_that_cannot_be_read_hides_no_other(
    superuser: Caller, caller_of: MakeCaller, tenants: TenantStore
) -> None:
    for number in range(5):
        settings = TenantSettings(name=f"t{number}", host=f"t{number}.example.com", total_active_users=1)
        await tenants.save(settings, expected=0)
    await tenants.client.execute_command("HSET", f"{tenants.namespace}:{{t1}}:config", "settings", "nonsense")
    first = (await superuser("GET", "/v1/tenants?limit=2")).json()
    assert ([tenant["name"] for tenant in first["tenants"]], first["unreadable"]) == (["t0"], ["t1"])
    second = (await superuser("GET", f"/v1/tenants?limit=3&after={first['next']}")).json()
    assert ([tenant["name"] for tenant in second["tenants"]], second["next"]) == (["t2", "t3", "t4"], None)
    assert refusal(await superuser("GET", "/v1/tenants/t1")) == (409, "unreadable_settings")
    mine = await (await caller_of("tenant_admin", "t3", "nobody"))("GET", "/v1/tenants")
    assert [tenant["name"] for tenant in mine.json()["tenants"]] == ["t3"]
    for wrong in ("limit=0", "limit=101", "limit=x", f"after={'x' * 64}"):
        assert (await superuser("GET", f"/v1/tenants?{wrong}")).status_code == 422


async def test_where_a_tenant_stands_is_changed_by_a_superuser_alone(
    superuser: Caller, acme: dict[str, Any], caller_of: MakeCaller
) -> None:
    admin = await caller_of("tenant_admin", "acme")
    for patch in ({"host": "other.example.com"}, {"path": "/x"}, {"additional_routes": [{"host": "b.example.com"}]}):
        refused = await admin("PATCH", "/v1/tenants/acme", json=patch)
        assert refusal(refused) == (403, "role_too_low")
        assert problem(refused)["field"] == next(iter(patch))
        headers = {"If-Match": "*"}
        whole = await admin("PUT", "/v1/tenants/acme", json={**acme["settings"], **patch}, headers=headers)
        assert refusal(whole) == (403, "role_too_low")
    assert (await admin("PATCH", "/v1/tenants/acme", json={"total_active_users": 4})).status_code == 200
    assert (await superuser("PATCH", "/v1/tenants/acme", json={"path": "/x"})).json()["settings"]["path"] == "/x"


async def test_the_status_goes_on_marked_as_stale_while_the_store_is_away(start_server: StartServer) -> None:
    server = start_server()
    settings = AdminSettings(redis_url=server.url, secret_keys=SECRET_KEYS, admin_deadline_ms=500)
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        anna = Caller(client, await key_of(app))
        assert (await anna("POST", "/v1/tenants", json=ACME)).status_code == 201
        assert (await anna("POST", "/v1/tenants", json={**ACME, "name": "beta", "host": "b.test"})).status_code == 201
        before = (await anna("GET", "/v1/tenants/acme/status")).json()
        assert (before["stale"], before["status"], before["quota"]) == (False, "not_queueing", 3)
        server.kill()
        after = await anna("GET", "/v1/tenants/acme/status")
        assert (after.status_code, after.json()) == (200, {**before, "stale": True})
        page = (await anna("GET", "/v1/status")).json()
        assert [(tenant["name"], tenant["stale"]) for tenant in page["tenants"]] == [("acme", True)]
        assert refusal(await anna("GET", "/v1/tenants/beta/status")) == (503, "store_unavailable")
        lost = await anna("PATCH", "/v1/tenants/acme", json={"paused": True})
        assert refusal(lost) == (504, "outcome_unknown")
        stranger = Caller(client, anna.key[:-1] + ("A" if anna.key[-1] != "A" else "B"))
        assert refusal(await stranger("GET", "/v1/tenants/acme/status")) == (401, "bad_key")
    await app.state.context.client.aclose()


async def test_the_status_says_whether_a_newcomer_waits(superuser: Caller, acme: dict[str, Any]) -> None:
    async def status() -> tuple[str, str]:
        document = (await superuser("GET", "/v1/tenants/acme/status")).json()
        return document["status"], document["state"]

    assert await status() == ("not_queueing", "open")
    for patch, said in [
        ({"total_active_users": 0}, ("queueing", "open")),
        ({"queue_all": True}, ("queueing", "queue_all")),
        ({"queue_all": False, "queueing_method": "passthrough"}, ("not_queueing", "passthrough")),
        ({"queueing_method": "reject"}, ("not_queueing", "reject")),
        ({"suspended": True}, ("suspended", "suspended")),
    ]:
        assert (await superuser("PATCH", "/v1/tenants/acme", json=patch)).status_code == 200
        assert await status() == said
    assert acme["version"] == 1
