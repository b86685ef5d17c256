"""Reads metrics as Prometheus does."""

from __future__ import annotations

import re

from ropeline.gate.asgi import Message, Scope
from ropeline.gate.gate import Gate
from ropeline.gate.operator_pages import OperatorPages

_SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")


def parse(text: str) -> dict[str, float]:
    """The value of each series; fails for a line that is none, and for a series that is there twice."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        sample = _SAMPLE.fullmatch(line)
        assert sample is not None, line
        series = f"{sample[1]}{{{sample[2]}}}" if sample[2] else sample[1]
        assert series not in found, line
        found[series] = float(sample[3])
    return found


async def scrape(gate: Gate) -> dict[str, float]:
    """The series of a gate as they are now: pages of its own have kept nothing."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("a scrape has no body")

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": []}
    token = gate.settings.metrics_token
    if token is not None:
        scope["headers"] = [(b"authorization", f"Bearer {token}".encode())]
    await OperatorPages(gate)(scope, receive, send)
    start, body = sent
    assert start["status"] == 200
    return parse(body["body"].decode())
