"""The audit trail over HTTP: replaying it gives the state, and everybody reads only their own."""

from typing import Any

from tests.admin_api.calls import refusal
from tests.admin_api.conftest import Caller, MakeCaller
from tests.admin_api.test_tenants import ACME


async def test_replaying_the_trail_gives_the_settings(superuser: Caller) -> None:
    await superuser("POST", "/v1/tenants", json=ACME)
    for patch in ({"total_active_users": 5}, {"poll": {"floor": 2}, "title": "Ünï"}, {"title": None}, {"paused": True}):
        assert (await superuser("PATCH", "/v1/tenants/acme?reason=a+test", json=patch)).status_code == 200
    await superuser("POST", "/v1/tenants/acme/flush", json={"confirm": "acme"})
    entries: list[dict[str, Any]] = []
    before = ""
    while True:
        page = (await superuser("GET", f"/v1/tenants/acme/audit?limit=2&before={before}")).json()
        entries += page["entries"]
        before = page["next"]
        if before is None:
            break
    entries.reverse()
    assert [entry["sequence"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    state: dict[str, Any] = {}
    for entry in entries:
        for name, change in entry["changes"].items():
            assert state.get(name) == change["before"] or name == "generation"
            state[name] = change["after"]
    now = (await superuser("GET", "/v1/tenants/acme")).json()
    assert {name: value for name, value in state.items() if name != "generation"} == {
        name: value for name, value in now["settings"].items() if name in state
    } | {"poll": now["settings"]["poll"], "cookie_attributes": state["cookie_attributes"]}
    assert (state["generation"], entries[-1]["version"]) == (now["generation"], now["version"])
    assert entries[1]["changes"] == {"total_active_users": {"before": 3, "after": 5}}
    assert (entries[1]["reason"], entries[1]["action"], entries[1]["about"]) == ("a test", "change", "acme")
    assert entries[1]["actor"] == f"key:{(await superuser('GET', '/v1/me')).json()['key_id']}"


async def test_everybody_reads_only_the_trail_of_their_tenants(superuser: Caller, caller_of: MakeCaller) -> None:
    for name in ("acme", "beta"):
        await superuser("POST", "/v1/tenants", json={**ACME, "name": name, "host": f"{name}.example.com"})
    await superuser("DELETE", "/v1/tenants/acme?confirm=acme")
    viewer = await caller_of("viewer", "acme")
    trail = (await viewer("GET", "/v1/tenants/acme/audit")).json()["entries"]
    assert [(entry["action"], entry["after"] is None) for entry in trail] == [("delete", True), ("create", False)]
    assert refusal(await viewer("GET", "/v1/tenants/beta/audit")) == (404, "unknown_tenant")
    assert refusal(await superuser("GET", "/v1/tenants/nobody/audit")) == (404, "unknown_tenant")
    assert refusal(await viewer("GET", "/v1/audit")) == (403, "role_too_low")
    assert (await superuser("GET", "/v1/tenants/acme/audit?before=x")).status_code == 422
    for first in ("0-0", "00-0", "1-0"):
        assert (await superuser("GET", f"/v1/tenants/acme/audit?before={first}")).json() == {
            "entries": [],
            "next": None,
        }


async def test_the_trail_of_keys_shows_no_hash(superuser: Caller) -> None:
    made = (await superuser("POST", "/v1/keys", json={"name": "Anna", "role": "viewer"})).json()
    await superuser("DELETE", f"/v1/keys/{made['key']['id']}")
    revoked, created, _ = (await superuser("GET", "/v1/audit")).json()["entries"]
    assert (created["action"], revoked["action"]) == ("create_key", "revoke_key")
    assert created["about"] == revoked["about"] == made["key"]["id"]
    assert created["after"]["name"] == revoked["before"]["name"] == "Anna"
    assert "hash" not in {**created["after"], **revoked["before"], **created["changes"]}
