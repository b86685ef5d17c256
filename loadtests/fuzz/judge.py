"""Judges the answers of the fuzzed site: what no policy asked for, and what should not have got through."""

from __future__ import annotations

import json
from collections import Counter

from loadtests.fuzz.requests import Attack

__all__ = ["Findings"]

# What uvicorn says of a WebSocket that was answered in HTTP, as the specification allows: it takes that for no answer.
_UVICORNS_OWN = "ASGI callable returned without completing handshake."
_H11S_OWN = "h11._util.LocalProtocolError: "
_ASKED_FOR = (b"queued", b"closed", b"no-ticket", b"limited", b"unavailable")


class Findings:
    """What was answered by status code, how many visits passed, and what should not have been."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.faults: list[str] = []
        self.servers_own = 0
        """What uvicorn logs for reasons of its own: h11 refuses an answer once it has found the request's body broken."""

    def read(self, attack: Attack, answer: bytes) -> None:
        """Judge what came back on a connection; empty: the server closed it without a word."""
        head = answer.partition(b"\r\n\r\n")[0].lower()
        status = answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.") else "none"
        self.statuses[status] += 1
        told = _header(head, b"waiting-room").partition(b";")[0]
        if status[:1] == "5" and not (status == "503" and told in _ASKED_FOR):
            self._blame(attack, f"status {status} that no policy asked for")
        if breach := _header(head, b"x-breach"):
            self._blame(attack, f"the site was reached: {breach.decode('latin-1')}")
        if _header(head, b"x-site"):
            self.passed[told.decode("latin-1")] += 1
        if attack.is_smuggling and status != "400":
            self._blame(attack, f"a length and a transfer coding together were answered with {status}")
        if attack.is_smuggling and answer.count(b"HTTP/1.1 ") > 1:
            self._blame(attack, "what was smuggled was answered")
        if b"traceback" in answer.lower():
            self._blame(attack, "a traceback reached the client")
        location = _header(head, b"location")
        if b"\nset-cookie: x" in head or (status == "303" and (location[:1] != b"/" or location[1:2] in (b"/", b"\\"))):
            self._blame(attack, "the client wrote a header, or led itself elsewhere")

    def read_log(self, text: str) -> None:
        """Judge what the server logged: one event is one line of JSON, and none is an error."""
        for line in text.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                self.faults.append(f"in the log, no event: {line[:300]!r}")
                continue
            if event["message"] == _UVICORNS_OWN or _H11S_OWN in event.get("exception", ""):
                self.servers_own += 1
            elif event["level"] in ("error", "critical") or "exception" in event:
                self.faults.append(f"in the log: {line}")

    def _blame(self, attack: Attack, what: str) -> None:
        self.faults.append(f"request {attack.seed}: {what}: {attack.raw[:300]!r}")


def _header(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n" + name + b": ")[2].partition(b"\r\n")[0]
