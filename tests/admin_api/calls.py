"""What tests say about answers of the API."""

from typing import Any

import httpx

from ropeline.admin_api.problems import CONTENT_TYPE

MEMBERS = ["type", "title", "status", "code", "detail", "field", "value", "expected", "request_id"]


def problem(reply: httpx.Response) -> dict[str, Any]:
    """The problem that an answer is; fails when it is none."""
    assert reply.headers["content-type"] == CONTENT_TYPE, reply.text
    document: dict[str, Any] = reply.json()
    assert list(document)[: len(MEMBERS)] == MEMBERS
    assert document["status"] == reply.status_code
    assert document["request_id"] == reply.headers["x-request-id"]
    return document


def refusal(reply: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem."""
    return reply.status_code, problem(reply)["code"]
