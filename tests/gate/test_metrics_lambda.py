"""The metrics as a Lambda: the events of a Function URL and of an HTTP API, answered from a real store."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections.abc import Mapping
from typing import Any

import pytest

from ropeline.exposition import CONTENT_TYPE
from ropeline.gate import metrics_lambda
from ropeline.gate.metrics_lambda import MetricsHandler, handler
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.client import connect
from ropeline.lua.errors import ConfigurationError
from tests.gate.scraping import parse
from tests.gate.visitors import tenant
from tests.servers import Server, StartServer, patient

TOKEN = "a-token-for-the-metrics-of-this-test"


def event(method: str = "GET", **headers: str) -> dict[str, Any]:
    """A scrape, in the payload format 2.0; `accept_encoding=` is a header's name here."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/metrics",
        "rawQueryString": "",
        "headers": {name.replace("_", "-"): value for name, value in headers.items()},
        "requestContext": {"http": {"method": method, "path": "/metrics", "sourceIp": "192.0.2.1"}},
        "isBase64Encoded": False,
    }


def variables(url: str, namespace: str) -> dict[str, str]:
    return {
        "ROPELINE_REDIS_URL": url,
        "ROPELINE_NAMESPACE": namespace,
        "ROPELINE_METRICS_TOKEN": TOKEN,
        "ROPELINE_DEADLINE_MS": "10000",
    }


@pytest.fixture
def environ(valkey: Server, tenant_name: str, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """What the Lambda is started with; the store has one tenant."""

    async def save() -> None:
        client = connect(patient(valkey.url))
        await TenantStore(client, tenant_name).save(tenant(tenant_name, total_active_users=7), expected=0)
        await client.aclose()

    asyncio.run(save())
    given = variables(valkey.url, tenant_name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(metrics_lambda, "_handler", None)
    return given


def test_a_scrape_with_the_token_is_answered_again_and_again(environ: Mapping[str, str], tenant_name: str) -> None:
    assert environ
    for _ in range(3):
        answer = handler(event(authorization=f"Bearer {TOKEN}"), None)
        assert (answer["statusCode"], answer["headers"]["content-type"]) == (200, CONTENT_TYPE)
        found = parse(answer["body"])
        assert found[f'waitingroom_active_users_limit{{tenant="{tenant_name}"}}'] == 7
        assert found["waitingroom_store_up"] == 1
        assert not any("requests_total" in series for series in found), (
            "what is counted on hosts is not a Lambda's to tell"
        )


def test_who_can_have_it_compressed_gets_it_so(environ: Mapping[str, str]) -> None:
    assert environ
    answer = handler(event(authorization=f"Bearer {TOKEN}", accept_encoding="gzip"))
    assert answer["headers"]["content-encoding"] == "gzip"
    assert answer["isBase64Encoded"] is True
    assert parse(gzip.decompress(base64.b64decode(answer["body"])).decode())["waitingroom_store_up"] == 1
    assert handler(event("HEAD", authorization=f"Bearer {TOKEN}", accept_encoding="gzip"))["body"] == ""


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (event(), 401),
        (event(authorization="Bearer of something else"), 401),
        ({}, 401),
        ({"headers": None, "requestContext": {}}, 401),
        (event("POST", authorization=f"Bearer {TOKEN}"), 405),
    ],
)
def test_everybody_else_is_refused(environ: Mapping[str, str], asked: dict[str, Any], status: int) -> None:
    assert environ
    answer = handler(asked)
    assert answer["statusCode"] == status
    assert "waitingroom" not in answer["body"]


def test_without_a_token_it_answers_nobody(environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert environ
    monkeypatch.delenv("ROPELINE_METRICS_TOKEN")
    answer = handler(event(authorization=f"Bearer {TOKEN}"))
    assert answer["statusCode"] == 500
    assert '"misconfigured"' in answer["body"]
    with pytest.raises(ConfigurationError, match="ROPELINE_METRICS_TOKEN: got '', expected a token"):
        MetricsHandler({})


def test_a_store_that_is_away_is_a_metric_and_no_error(start_server: StartServer) -> None:
    server = start_server()
    lambda_ = MetricsHandler(variables(server.url, "gate"))
    server.kill()
    answer = asyncio.run(lambda_.answer(event(authorization=f"Bearer {TOKEN}")))
    assert (answer["statusCode"], parse(answer["body"])) == (200, {"waitingroom_store_up": 0})
