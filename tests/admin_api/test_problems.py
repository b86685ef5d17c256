"""Whatever is wrong with a call is said in one shape, with the request id; a mistake of ours is said and not shown."""

import logging

import httpx
import pytest
from fastapi import FastAPI, Query

from ropeline.admin_api import AdminSettings, create_app
from ropeline.admin_api.envelope import LARGEST_BODY
from tests.admin_api.calls import problem
from tests.servers import StartServer


async def test_a_path_or_method_that_is_not_there_is_a_problem(caller: httpx.AsyncClient) -> None:
    assert problem(await caller.get("/v1/nothing"))["code"] == "not_found"
    refused = await caller.delete("/healthz")
    assert problem(refused)["code"] == "method_not_allowed"
    assert refused.headers["allow"] == "GET"
    assert (await caller.post("/v1/tenants/acme")).headers["allow"] == "DELETE, GET, PATCH, PUT"


async def test_a_parameter_that_is_wrong_is_named_with_what_would_be_right(
    app: FastAPI, caller: httpx.AsyncClient
) -> None:
    @app.get("/of-a-test")
    async def of_a_test(limit: int = Query(ge=1, le=100)) -> None: ...

    said = problem(await caller.get("/of-a-test?limit=many"))
    assert (said["status"], said["code"], said["field"], said["value"]) == (422, "invalid_value", "limit", "many")
    assert problem(await caller.get("/of-a-test?limit=101"))["expected"] == "less than or equal to 100"


async def test_a_mistake_of_ours_goes_to_the_log_and_not_to_the_caller(
    app: FastAPI, caller: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/of-a-test")
    async def of_a_test() -> None:
        raise ValueError("a secret")

    with caplog.at_level(logging.ERROR):
        reply = await caller.get("/of-a-test", headers={"X-Request-Id": "call-7"})
    assert problem(reply)["code"] == "internal_error"
    assert "a secret" not in reply.text
    assert "call call-7 went wrong" in caplog.text


@pytest.mark.parametrize(("given", "is_kept"), [("a.b_c-9", True), ("x" * 65, False), ("a b", False), ("", False)])
async def test_a_callers_request_id_is_kept_when_it_can_be(
    caller: httpx.AsyncClient, given: str, *, is_kept: bool
) -> None:
    reply = await caller.get("/healthz", headers={"X-Request-Id": given})
    assert (reply.headers["x-request-id"] == given) is is_kept
    assert reply.headers["x-request-id"]


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(caller: httpx.AsyncClient) -> None:
    said = problem(await caller.post("/healthz", content=bytes(LARGEST_BODY + 1)))
    assert (said["status"], said["code"]) == (413, "body_too_large")


async def test_a_store_that_is_away_is_a_problem_that_passes(start_server: StartServer) -> None:
    server = start_server()
    settings = AdminSettings(redis_url=server.url, secret_keys=("a key of sixteen bytes",))
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as caller:
        assert (await caller.get("/readyz")).status_code == 200
        server.kill()
        reply = await caller.get("/readyz")
        assert (await caller.get("/healthz")).status_code == 200
    assert problem(reply)["code"] == "store_unavailable"
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert str(server.port) not in reply.text, "where the store is is not for everybody to know"
    await app.state.context.client.aclose()
