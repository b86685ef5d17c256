"""Several gate processes of one host behind a real server: what they count is added up, also when one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from ropeline.server import free_port
from ropeline.server_process import start_watchdog
from tests.contracts.checkout import ROOT
from tests.gate.scraping import parse
from tests.gate.visitors import KEYS, PREFIX
from tests.servers import Server
from tests.support import wait_until_sync

TOKEN = "a-token-for-the-metrics-of-this-test"
ADMITTED = 'waitingroom_requests_total{tenant="acme",decision="admitted"}'


@contextmanager
def two_processes(url: str, namespace: str, folder: Path) -> Iterator[int]:
    """Uvicorn with two processes that serve the site; gives their port."""
    port = free_port()
    environ = {
        **os.environ,
        "ROPELINE_REDIS_URL": url,
        "ROPELINE_SECRET_KEYS": ",".join(KEYS),
        "ROPELINE_NAMESPACE": namespace,
        "ROPELINE_DEADLINE_MS": "10000",
        "ROPELINE_METRICS_TOKEN": TOKEN,
        "ROPELINE_METRICS_FOLDER": str(folder),
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.http.counting_site:site", "--workers", "2"]
    server = subprocess.Popen([*command, "--port", str(port), "--log-level", "warning"], cwd=ROOT, env=environ)
    watchdog = start_watchdog(server.pid)
    try:
        yield port
    finally:
        server.terminate()
        server.wait(30)
        watchdog.kill()
        watchdog.communicate()


def metrics(port: int) -> dict[str, float]:
    """What whichever process answers tells; nothing before one does."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}{PREFIX}metrics", headers={"authorization": f"Bearer {TOKEN}"})
    except httpx.TransportError:
        return {}
    assert answer.status_code == 200
    return parse(answer.text)


def test_the_processes_of_a_host_tell_one_sum_whichever_is_asked_and_whoever_is_killed(
    valkey: Server, tenant_name: str, tmp_path: Path
) -> None:
    sent = 0

    def visit() -> int:
        """The process that a visit on a connection of its own reached."""
        nonlocal sent
        answer = httpx.get(f"http://127.0.0.1:{port}/")
        sent += 1
        return int(answer.text)

    def both_are_there() -> bool:
        return metrics(port).get("waitingroom_gate_processes") == 2

    def is_told() -> bool:
        # A process tells for a second what it has told before.
        return metrics(port).get(ADMITTED) == sent

    with two_processes(valkey.url, tenant_name, tmp_path) as port:
        wait_until_sync(both_are_there, timeout=30)
        reached = {visit() for _ in range(50)}
        wait_until_sync(is_told, timeout=20)
        os.kill(reached.pop(), signal.SIGKILL)
        wait_until_sync(both_are_there, timeout=30)
        for _ in range(50):
            visit()
        wait_until_sync(is_told, timeout=20)
        assert len(list(tmp_path.glob("*.counts"))) == 2
