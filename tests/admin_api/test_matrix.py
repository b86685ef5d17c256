"""Roles x tenants x endpoints: made from the application's own routes, so that a new one without a rule here fails."""

from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from ropeline.admin_api import AdminSettings, create_app
from ropeline.admin_api.access import CSRF_HEADER
from ropeline.admin_api.endpoint import ROLE
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tenant_store import TenantStore
from tests.admin_api.calls import problem
from tests.admin_api.conftest import SECRET_KEYS, Caller, key_of

RULES: dict[tuple[str, str], str | None] = {
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("POST", "/v1/login"): None,
    ("POST", "/v1/logout"): "viewer",
    ("GET", "/v1/me"): "viewer",
    ("GET", "/v1/keys"): "superuser",
    ("POST", "/v1/keys"): "superuser",
    ("DELETE", "/v1/keys/{key_id}"): "superuser",
    ("GET", "/v1/audit"): "superuser",
    ("GET", "/v1/tenants"): "viewer",
    ("POST", "/v1/tenants"): "superuser",
    ("GET", "/v1/tenants/{tenant}"): "viewer",
    ("PUT", "/v1/tenants/{tenant}"): "tenant_admin",
    ("PATCH", "/v1/tenants/{tenant}"): "tenant_admin",
    ("DELETE", "/v1/tenants/{tenant}"): "superuser",
    ("POST", "/v1/tenants/{tenant}/pause"): "tenant_admin",
    ("POST", "/v1/tenants/{tenant}/resume"): "tenant_admin",
    ("POST", "/v1/tenants/{tenant}/flush"): "tenant_admin",
    ("GET", "/v1/tenants/{tenant}/status"): "viewer",
    ("GET", "/v1/tenants/{tenant}/audit"): "viewer",
    ("GET", "/v1/status"): "viewer",
    ("POST", "/v1/requests/test"): "viewer",
    ("GET", "/v1/export"): "superuser",
    ("POST", "/v1/import"): "superuser",
}
RANKS = {"viewer": 1, "tenant_admin": 2, "superuser": 3}


@dataclass(frozen=True)
class Kind:
    """Somebody with a key of a role, for these tenants; none: for all."""

    role: str
    tenants: tuple[str, ...] = ()

    def covers(self, tenant: str) -> bool:
        return not self.tenants or tenant in self.tenants


KINDS = [
    Kind("viewer"),
    Kind("viewer", ("acme",)),
    Kind("tenant_admin", ("acme",)),
    Kind("tenant_admin", ("acme", "gamma")),
    Kind("superuser"),
]


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Every endpoint, those of routers in the application included; the OpenAPI document itself is for everybody."""
    return [(method.upper(), path) for path, operations in app.openapi()["paths"].items() for method in operations]


APP = create_app(AdminSettings(secret_keys=SECRET_KEYS))


def test_every_route_has_a_rule_here_and_says_the_same_in_the_openapi_document() -> None:
    paths = APP.openapi()["paths"]
    assert sorted(routes_of(APP)) == sorted(RULES)
    for (method, path), role in RULES.items():
        assert paths[path][method.lower()].get(ROLE) == role
    hidden = {route.path for route in APP.routes if isinstance(route, APIRoute) and not route.include_in_schema}
    assert hidden == set()


@pytest.fixture
async def tenants(app: FastAPI) -> TenantStore:
    store: TenantStore = app.state.context.tenants
    for name in ("acme", "beta"):
        await store.save(TenantSettings(name=name, host=f"{name}.test", total_active_users=3), expected=0)
    return store


async def call(caller: Caller, method: str, path: str, tenant: str, **headers: str) -> httpx.Response:
    """A call that would change what it can: with a body and a confirmation that fit."""
    filled = path.replace("{tenant}", tenant).replace("{key_id}", "0" * 12)
    bodies: dict[str, dict[str, object]] = {
        "flush": {"confirm": tenant},
        "keys": {"name": "x", "role": "superuser"},
        "tenants": {"name": "gamma", "host": "gamma.test", "total_active_users": 1},
        "import": {"tenant": [{"name": "acme", "host": "acme.test", "total_active_users": 9}]},
        "test": {"url": "http://beta.test/"},
    }
    body = bodies.get(path.rpartition("/")[2], {"total_active_users": 7, "host": f"{tenant}.test"})
    return await caller(method, f"{filled}?confirm={tenant}", json=body, headers={"If-Match": "*", **headers})


@pytest.mark.parametrize(("method", "path"), RULES, ids=lambda part: part)
async def test_nobody_does_more_than_the_role_and_on_no_other_tenant(
    app: FastAPI, caller: httpx.AsyncClient, tenants: TenantStore, method: str, path: str
) -> None:
    rule = RULES[method, path]
    if rule is None:
        assert (await call(Caller(caller), method, path, "acme")).status_code != 403
        return
    for nobody in (Caller(caller), Caller(caller, "rlk_nonsense")):
        assert (await call(nobody, method, path, "acme")).status_code == 401
    for kind in KINDS:
        somebody = Caller(caller, await key_of(app, kind.role, *kind.tenants))
        for tenant in ("acme", "beta", "nobody") if "{tenant}" in path else ("acme",):
            before = [await tenants.find(name) for name in ("acme", "beta")]
            reply = await call(somebody, method, path, tenant)
            is_others = "{tenant}" in path and not kind.covers(tenant)
            if is_others:
                assert reply.status_code == 404, (kind, tenant)
                assert problem(reply)["code"] == "unknown_tenant"
            elif RANKS[kind.role] < RANKS[rule]:
                assert reply.status_code == 403, (kind, tenant)
            else:
                assert reply.status_code not in (401, 403), (kind, tenant, reply.text)
            if is_others or RANKS[kind.role] < RANKS[rule] or method == "GET":
                assert [await tenants.find(name) for name in ("acme", "beta")] == before
            if kind.tenants and method == "GET" and reply.status_code == 200:
                assert "beta" not in reply.text, (kind, tenant)


WRITES = [(method, path) for (method, path), rule in RULES.items() if method != "GET" and rule is not None]


@pytest.mark.parametrize(("method", "path"), WRITES, ids=lambda part: part)
async def test_a_login_writes_nothing_without_its_token(
    app: FastAPI, caller: httpx.AsyncClient, tenants: TenantStore, method: str, path: str
) -> None:
    key = await key_of(app)
    token = (await caller.post("/v1/login", json={"key": key})).json()["csrf_token"]
    other = (await caller.post("/v1/login", json={"key": key})).json()["csrf_token"]
    before = [await tenants.find(name) for name in ("acme", "beta")]
    browser = Caller(caller)
    for wrong in ({}, {CSRF_HEADER: ""}, {CSRF_HEADER: token}, {"X-CSRF-Token": other[:-1]}):
        reply = await call(browser, method, path, "acme", **wrong)
        assert (reply.status_code, problem(reply)["code"]) == (403, "csrf_token")
    assert [await tenants.find(name) for name in ("acme", "beta")] == before
    assert (await call(browser, method, path, "acme", **{CSRF_HEADER: other})).status_code not in (401, 403)
