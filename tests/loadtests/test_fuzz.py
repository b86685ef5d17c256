"""Hostile requests, through uvicorn with both of its parsers, find nothing; the judge finds what is planted."""

import json

import pytest

from loadtests.fuzz.__main__ import fuzz
from loadtests.fuzz.judge import Findings
from loadtests.fuzz.requests import Attack, make_attack
from loadtests.fuzz.site import readings

HARMLESS = Attack(1, b"GET / HTTP/1.1\r\n\r\n")
SMUGGLING = Attack(2, b"GET / HTTP/1.1\r\n\r\n", is_smuggling=True)


@pytest.mark.parametrize("parser", ["httptools", "h11"])
async def test_hostile_requests_break_nothing_and_get_nowhere(parser: str) -> None:
    found = await fuzz(6_000, parsers=(parser,))
    findings = found[parser]
    assert findings.faults == []
    assert findings.statuses["503"] > 1000
    assert findings.statuses["400"] > 500
    assert findings.statuses["101"] > 20, "WebSockets get through where they may"
    assert findings.passed["admitted"] > 200
    assert findings.passed["bypass"] > 10, "the exempted paths are served"


@pytest.mark.parametrize(
    ("attack", "answer", "words"),
    [
        (HARMLESS, b"HTTP/1.1 500 Internal Server Error\r\n\r\n", "no policy asked for"),
        (HARMLESS, b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "no policy asked for"),
        (HARMLESS, b"HTTP/1.1 502 x\r\nwaiting-room: queued\r\n\r\n", "no policy asked for"),
        (HARMLESS, b"HTTP/1.1 200 OK\r\nX-Breach: read as '/admin'\r\n\r\n", "the site was reached: read as '/admin'"),
        (HARMLESS, b"HTTP/1.1 404 Not Found\r\n\r\nTraceback (most recent call last)", "traceback"),
        (HARMLESS, b"HTTP/1.1 303 x\r\nlocation: //evil\r\n\r\n", "led itself elsewhere"),
        (HARMLESS, b"HTTP/1.1 303 x\r\nset-cookie: x\r\n\r\n", "wrote a header"),
        (SMUGGLING, b"HTTP/1.1 503 x\r\nwaiting-room: queued\r\n\r\n", "a length and a transfer coding"),
        (SMUGGLING, b"", "a length and a transfer coding"),
        (SMUGGLING, b"HTTP/1.1 400 x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "what was smuggled was answered"),
    ],
)
def test_what_is_planted_is_found(attack: Attack, answer: bytes, words: str) -> None:
    findings = Findings()
    findings.read(attack, answer)
    assert words in findings.faults[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Traceback (most recent call last):", "no event"),
        (json.dumps({"level": "error", "message": "x"}), '"message": "x"'),
        (json.dumps({"level": "info", "message": "x", "exception": "y"}), '"exception": "y"'),
    ],
)
def test_what_is_wrong_with_the_log_is_found(line: str, words: str) -> None:
    findings = Findings()
    findings.read_log(f"{json.dumps({'level': 'info', 'message': 'all is well'})}\n{line}\n")
    assert [words in fault for fault in findings.faults] == [True]


@pytest.mark.parametrize(
    "path",
    [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..;/admin",
        "/public\\..\\admin",
        "/public/%252e%252e/ADMIN",
        "/public/．．/admin",
        "/admin;public",
        "/x/..//admin/.",
    ],
)
def test_the_origin_reads_paths_in_every_way(path: str) -> None:
    assert "/admin" in set(readings(path))


def test_a_request_can_be_made_again_from_its_number() -> None:
    tickets = [b"__Host-wr_acme=" + b"A" * 143]
    assert make_attack(7, tickets) == make_attack(7, tickets)
    assert len({make_attack(number, tickets).raw for number in range(200)}) > 190
