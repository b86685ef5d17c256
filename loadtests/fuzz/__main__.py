"""`python -m loadtests.fuzz`: sends hostile requests to uvicorn with both of its parsers, and says what went wrong."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtests.fuzz.judge import Findings
from loadtests.fuzz.requests import make_attack
from loadtests.fuzz.site import FULL, OPEN
from ropeline.server import EmbeddedServer

__all__ = ["fuzz"]

_PATIENCE = 1.0
_CONNECTIONS = 16


async def fuzz(
    requests: int, *, first: int = 0, parsers: tuple[str, ...] = ("httptools", "h11")
) -> dict[str, Findings]:
    """Send `requests` to uvicorn with each parser, from number `first` on; what each one answered."""
    found = {}
    with EmbeddedServer() as store:
        for parser in parsers:
            findings = found[parser] = Findings()
            with _served(parser, store.url, findings) as port:
                tickets = [await _first_ticket(port, host) for host in (FULL, FULL, OPEN, OPEN)]
                seeds = iter(range(first, first + requests))
                await asyncio.gather(*(_attack(port, seeds, tickets, findings) for _ in range(_CONNECTIONS)))
    return found


@contextmanager
def _served(parser: str, store_url: str, findings: Findings) -> Iterator[int]:
    """The site, served by a process of its own; gives its port, and judges its log in the end."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        log = Path(folder) / "log"
        handed_over = ["--socket", str(listening.fileno()), "--http", parser, "--redis-url", store_url]
        with log.open("wb") as output:
            server = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "loadtests.fuzz.site", *handed_over],
                stderr=output,
                stdin=subprocess.DEVNULL,
                pass_fds=[listening.fileno()],
            )
        try:
            yield int(listening.getsockname()[1])
        finally:
            server.terminate()
            server.wait(timeout=30)
            findings.read_log(log.read_text(errors="replace"))


async def _attack(port: int, seeds: Iterator[int], tickets: list[bytes], findings: Findings) -> None:
    for seed in seeds:
        attack = make_attack(seed, tickets)
        answer = await _ask(port, attack.raw)
        if attack.is_smuggling and not answer:
            # This one is whole, so it has an answer; the machine is only slow.
            answer = await _ask(port, attack.raw, patience=60)
        findings.read(attack, answer)


async def _ask(port: int, raw: bytes, patience: float = _PATIENCE) -> bytes:
    """What comes back for one request on a connection of its own, which is then closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        if b"upgrade: websocket" not in raw:
            raw = raw.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
        writer.write(raw)
        async with asyncio.timeout(patience):
            while chunk := await reader.read(65_536):
                answer += chunk
                # What stays open has said what it had to say.
                if answer.startswith(b"HTTP/1.1 101") or b"text/event-stream" in answer:
                    break
    except (TimeoutError, OSError):
        # A server that waits for the rest of a request has said nothing, and one that closed has said all.
        return answer
    else:
        return answer
    finally:
        writer.close()


async def _first_ticket(port: int, host: str) -> bytes:
    """A cookie that the gate gives; the server may still be on its way up, and then the first question waits for it."""
    answer = await _ask(port, b"GET /events HTTP/1.1\r\nhost: " + host.encode() + b"\r\n\r\n", patience=60)
    pair = answer.lower().partition(b"set-cookie: ")
    if not pair[2]:
        raise RuntimeError(f"the site gives no ticket: {answer[:300]!r}")
    return answer[len(pair[0]) + len(pair[1]) :].partition(b";")[0]


def main() -> int:
    """Fuzz and report; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=5_000, help="how many, to each parser")
    parser.add_argument("--first", type=int, default=0, help="number of the first one, to see one again")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    started = time.monotonic()
    found = asyncio.run(fuzz(options.requests, first=options.first))
    seconds = round(time.monotonic() - started, 1)
    faults = [f"{name}: {fault}" for name, findings in found.items() for fault in findings.faults]
    if options.json:
        figures: dict[str, object] = {"requests": options.requests, "first": options.first, "seconds": seconds}
        for name, findings in found.items():
            figures[name] = {
                "statuses": dict(sorted(findings.statuses.items())),
                "passed": dict(sorted(findings.passed.items())),
                "servers_own_log_lines": findings.servers_own,
            }
        print(json.dumps({**figures, "faults": faults}))
    else:
        for name, findings in found.items():
            told = ", ".join(f"{status} {count}" for status, count in sorted(findings.statuses.items()))
            print(f"{name}: {told}; passed: {dict(findings.passed)}")
        print("\n".join(faults[:50]) or f"nothing was found in {seconds} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
