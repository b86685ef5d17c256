"""What would become of a request: the same as the gate decides, with the reason."""

from typing import Any

import pytest

from tests.admin_api.calls import problem
from tests.admin_api.conftest import Caller, MakeCaller

RULES = [
    {
        "action": "bypass",
        "description": "static files pass",
        "conditions": [{"subject": "path", "operator": "prefix", "value": "/static"}],
    },
    {
        "action": "block",
        "conditions": [
            {"subject": "client_address", "operator": "cidr", "value": "192.0.2.0/24"},
            {"subject": "method", "operator": "equals", "value": "POST"},
        ],
    },
    {"action": "bypass", "conditions": [{"subject": "cookie", "name": "plan", "operator": "equals", "value": "gold"}]},
]


@pytest.fixture
async def acme(superuser: Caller) -> None:
    acme = {"name": "acme", "host": "acme.example.com", "total_active_users": 3, "rules": RULES}
    assert (await superuser("POST", "/v1/tenants", json=acme)).status_code == 201
    beta = {"name": "beta", "host": "*.example.com", "path": "/beta", "total_active_users": 3}
    assert (await superuser("POST", "/v1/tenants", json=beta)).status_code == 201


async def test_it_says_which_tenant_and_rule_a_request_meets_and_why(superuser: Caller, acme: None) -> None:
    async def ask(url: str, **more: Any) -> tuple[str | None, str | None, int | None]:
        said = (await superuser("POST", "/v1/requests/test", json={"url": url, **more})).json()
        return said["tenant"], said["action"], said["rule"]

    assert await ask("https://acme.example.com/static/a.css") == ("acme", "bypass", 0)
    assert await ask("https://acme.example.com/static/../a?q=1") == ("acme", "queue", None)
    assert await ask("https://ACME.example.com:8443/cart") == ("acme", "queue", None)
    assert await ask("https://acme.example.com", method="POST", client_address="192.0.2.7") == ("acme", "block", 1)
    assert await ask("https://acme.example.com", method="POST", client_address="198.51.100.7") == (
        "acme",
        "queue",
        None,
    )
    gold = [{"name": "Cookie", "value": "a=1; plan=gold"}]
    assert await ask("https://acme.example.com", headers=gold) == ("acme", "bypass", 2)
    assert await ask("https://shop.example.com/beta/x") == ("beta", "queue", None)
    assert await ask("https://shop.example.com/") == (None, None, None)
    said = (
        await superuser("POST", "/v1/requests/test", json={"url": "http://acme.example.com/", "method": "POST"})
    ).json()
    assert (said["route"], said["why"]) == ("acme.example.com/", "no rule applies: it queues like any other")
    assert [rule["conditions"] for rule in said["rules"]] == [[False], [False, True], [False]]


async def test_a_tenant_of_others_is_not_told_of(acme: None, caller_of: MakeCaller) -> None:
    viewer = await caller_of("viewer", "beta")
    said = (await viewer("POST", "/v1/requests/test", json={"url": "https://acme.example.com/"})).json()
    assert (said["tenant"], said["route"], said["rules"]) == (None, None, [])


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://a"}, "url"),
        ({"url": "https://a:b@c/"}, "url"),
        ({"url": "https://[/"}, "url"),
        ({"url": "/cart"}, "url"),
        ({"url": "https://a.test/", "method": "G T"}, "method"),
        ({"url": "https://a.test/", "client_address": "x"}, "client_address"),
        ({"url": "https://a.test/", "headers": [{"name": "host", "value": "b"}]}, "headers"),
        ({"url": "https://a.test/", "headers": [{"name": "ü", "value": "b"}]}, "headers[0].name"),
    ],
)
async def test_what_is_no_request_is_refused(superuser: Caller, draft: dict[str, Any], field: str) -> None:
    said = problem(await superuser("POST", "/v1/requests/test", json=draft))
    assert (said["status"], said["field"]) == (422, field)
