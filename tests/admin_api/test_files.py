"""All tenants as one file, and each setting the same by every way in: API, TOML, command line and gate."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from ropeline.admin_api.schema import example_of
from ropeline.cli.assignments import assign, describe, read_assignment
from ropeline.gate.cloudflare import tenants_from_cloudflare
from ropeline.gate.directory import Directory
from ropeline.gate.fields import Choice, Flag, Number, Text, setting_of
from ropeline.gate.settings import TenantSettings, load_tenants_file, tenants_of
from ropeline.gate.tenant_files import parse
from ropeline.gate.tenant_store import TenantStore
from tests.admin_api.calls import problem, refusal
from tests.admin_api.conftest import Caller

ACME: dict[str, Any] = {"name": "acme", "host": "acme.example.com", "total_active_users": 3}
TOML = {"Content-Type": "application/toml"}


def another_value(name: str) -> object:
    """A value of the setting that is not its default."""
    if name == "cookie_attributes":
        return {"samesite": "strict", "domain": "example.com"}
    if name == "poll":
        return {"floor": 2, "ceiling": 9, "divisor": 7}
    if name == "enabled_origin_commands":
        return []
    field = next(field for field in fields(TenantSettings) if field.name == name)
    kind, default = setting_of(field).kind, field.default
    if isinstance(kind, Flag):
        return not default
    if isinstance(kind, Choice):
        return next(option for option in kind.options if option != default)
    example = example_of(field)
    if example is not None and example != default:
        return example
    if isinstance(kind, Number):
        return default + 1 if isinstance(default, int | float) else kind.high
    if isinstance(kind, Text):
        return {"path": "/tickets", "default_template_language": "de", "theme": "night"}[name]
    raise AssertionError(f"{name}: say here which other value it may have")


SETTINGS = [field.name for field in fields(TenantSettings) if field.name not in ("name", "host")]


@pytest.mark.parametrize("name", SETTINGS)
async def test_a_setting_is_the_same_by_every_way_in(
    superuser: Caller, app: FastAPI, tmp_path: Path, name: str
) -> None:
    store: TenantStore = app.state.context.tenants
    wanted = {**ACME, name: another_value(name)}
    settings = TenantSettings.from_mapping(wanted, source="test")
    default = next(field for field in fields(TenantSettings) if field.name == name)
    if default.default is not MISSING:
        assert getattr(settings, name) != default.default
    made = (await superuser("POST", "/v1/tenants", json=wanted)).json()["settings"]
    assert (await store.read("acme")).settings == settings, "as the store has it"
    assert TenantSettings.from_mapping(made, source="test") == settings, "as the API shows it"
    exported = await superuser("GET", "/v1/export", headers={"Accept": "application/toml"})
    (tmp_path / "tenants.toml").write_text(exported.text, encoding="utf-8")
    assert load_tenants_file(tmp_path / "tenants.toml") == [settings], "as a gate reads it from a file"
    described = [read_assignment(f"{key}={value}") for key, value in describe(settings).items()]
    assert assign("acme", None, described) == settings, "as the command line shows and reads it"
    directory = Directory(store, deadline=10)
    await directory.refresh()
    assert directory.tenants["acme"].settings == settings, "as a gate serves it"
    await directory.close()


async def test_what_is_exported_can_be_imported_after_a_look(superuser: Caller) -> None:
    for name in ("acme", "beta"):
        tenant = {**ACME, "name": name, "host": f"{name}.example.com", "title": 'Ünï "x" \\ 🎟'}
        assert (await superuser("POST", "/v1/tenants", json=tenant)).status_code == 201
    document = (await superuser("GET", "/v1/export")).json()
    text = (await superuser("GET", "/v1/export", headers={"Accept": "application/toml"})).text
    assert parse(text, "toml", source="test") == document
    document["tenant"][0]["total_active_users"] = 9
    document["tenant"].append({**ACME, "name": "gamma", "host": "gamma.example.com"})
    look = (await superuser("POST", "/v1/import?dry_run=true", json=document)).json()
    assert [(tenant["name"], tenant["kind"]) for tenant in look["tenants"]] == [
        ("acme", "changed"),
        ("beta", "unchanged"),
        ("gamma", "created"),
    ]
    assert look["tenants"][0]["changes"] == {"total_active_users": {"before": 3, "after": 9}}
    assert (look["dry_run"], (await superuser("GET", "/v1/export")).json()["tenant"][0]["total_active_users"]) == (
        True,
        3,
    )
    done = (await superuser("POST", "/v1/import?reason=a+move", json=document)).json()
    assert done == {**look, "dry_run": False}
    again = (await superuser("POST", "/v1/import", json=document)).json()
    assert [tenant["kind"] for tenant in again["tenants"]] == ["unchanged"] * 3
    (last, *_) = (await superuser("GET", "/v1/tenants/acme/audit")).json()["entries"]
    assert (last["action"], last["reason"]) == ("import", "a move")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("[[tenant]]\nname = 'acme'", "host"),
        ("nonsense", "body"),
        ("[[room]]\n", "'room'"),
        ("\n".join(2 * ["[[tenant]]\nname = 'a'\nhost = 'a.test'\ntotal_active_users = 1"]), "name"),
    ],
)
async def test_a_file_with_anything_wrong_in_it_changes_nothing(superuser: Caller, body: str, field: str) -> None:
    good = "[[tenant]]\nname = 'good'\nhost = 'good.test'\ntotal_active_users = 1\n"
    said = problem(await superuser("POST", "/v1/import", content=good + body, headers=TOML))
    assert (said["status"], said["field"]) == (422, field)
    assert (await superuser("GET", "/v1/tenants")).json()["tenants"] == []


async def test_a_route_of_a_tenant_outside_the_file_is_refused_before_anything_is_written(superuser: Caller) -> None:
    await superuser("POST", "/v1/tenants", json=ACME)
    good = {**ACME, "name": "good", "host": "good.test"}
    taken = {**ACME, "name": "thief"}
    reply = await superuser("POST", "/v1/import", json={"tenant": [good, taken]})
    assert refusal(reply) == (409, "route_taken")
    assert [tenant["name"] for tenant in (await superuser("GET", "/v1/tenants")).json()["tenants"]] == ["acme"]
    assert refusal(await superuser("POST", "/v1/import", content="x", headers={"Content-Type": "text/plain"}))[0] == 415


ROOM = {
    "id": "699d98642c564d2e855e9661899b7252",
    "created_on": "2014-01-01T05:20:00.12345Z",
    "modified_on": "2014-01-01T05:20:00.12345Z",
    "name": "Production_Webinar",
    "description": "Production - DO NOT MODIFY",
    "host": "shop.example.com",
    "path": "/shop/checkout",
    "additional_routes": [{"host": "shop2.example.com", "path": "/shop2/checkout"}],
    "cookie_suffix": "queue1",
    "cookie_attributes": {"samesite": "auto", "secure": "auto"},
    "total_active_users": 200,
    "new_users_per_minute": 200,
    "session_duration": 5,
    "disable_session_renewal": False,
    "queue_all": False,
    "suspended": False,
    "queueing_method": "random",
    "queueing_status_code": 200,
    "json_response_enabled": False,
    "default_template_language": "de-DE",
    "enabled_origin_commands": ["revoke"],
    "custom_page_html": "<h1>{{waitTime}}</h1>",
    "next_event_start_time": None,
    "turnstile_mode": "invisible",
}


@pytest.mark.parametrize("document", [ROOM, [ROOM], {"success": True, "result": [ROOM]}, {"result": ROOM}])
def test_a_waiting_room_of_cloudflare_becomes_a_tenant(document: object) -> None:
    mapping, notes = tenants_from_cloudflare(document, source="rooms.json")
    (settings,) = tenants_of(mapping, source="rooms.json")
    assert (settings.name, settings.title, settings.quota, settings.rate) == (
        "production-webinar",
        "Production_Webinar",
        200,
        200,
    )
    assert [f"{route.host}{route.path}" for route in settings.routes] == [
        "shop.example.com/shop/checkout",
        "shop2.example.com/shop2/checkout",
    ]
    assert (settings.queueing_method, settings.queueing_status_code) == ("fifo", 200)
    assert notes == [
        "production-webinar: its name was 'Production_Webinar'",
        "production-webinar: queueing_method random became fifo: a lottery belongs to an event here",
        "production-webinar: left out custom_page_html, turnstile_mode",
    ]
