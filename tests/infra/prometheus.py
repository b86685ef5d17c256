"""A real Prometheus with the files that we ship, and what it answers; and promtool."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from ropeline.server import free_port
from ropeline.server_process import start_watchdog
from tests.contracts.checkout import ROOT
from tests.system import find_program

FOLDER = ROOT / "infra" / "prometheus"
DASHBOARDS = ROOT / "infra" / "grafana"
GATES, WORKERS = "127.0.0.1:8000", "127.0.0.1:9464"
"""The addresses in the configuration that we ship."""


def drawn(dashboard: str, variable: str) -> dict[str, str]:
    """The expressions of a dashboard, with its variable set to everything, by panel."""
    panels = json.loads((DASHBOARDS / dashboard).read_text(encoding="utf-8"))["panels"]
    return {
        f"{panel['title']}: {target['legendFormat']}": target["expr"]
        .replace(f"${variable}", ".*")
        .replace("$__rate_interval", "1m")
        for panel in panels
        for target in panel["targets"]
    }


class Prometheus:
    """One that runs, and what it answers."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    async def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._ask(f"query?{urlencode({'query': expression})}"))["result"]
        return found

    async def has(self, expression: str) -> bool:
        """Whether the expression gives a number by now; also False while the server is not up."""
        try:
            found = await self.query(expression)
        except OSError:
            return False
        return any(not math.isnan(float(series["value"][1])) for series in found)

    async def alerts(self) -> dict[str, str]:
        """The expression of each alert, as the server has read it."""
        groups = (await self._ask("rules"))["groups"]
        return {
            rule["name"]: rule["query"] for group in groups for rule in group["rules"] if rule["type"] == "alerting"
        }

    async def _ask(self, path: str) -> Any:
        def ask() -> Any:
            with urlopen(self._url + path, timeout=10) as answer:
                return json.load(answer)

        answer = await asyncio.to_thread(ask)
        assert answer["status"] == "success", path
        return answer["data"]


@asynccontextmanager
async def prometheus(
    folder: Path, targets: Mapping[str, int], rules: Sequence[str], *, token: str = ""
) -> AsyncIterator[Prometheus]:
    """A Prometheus with the configuration that we ship, which scrapes and evaluates five times a second.

    `targets`: the port of this machine that stands in for an address of the configuration. `rules`: the files of rules that
    are loaded. `token`: for the metrics of gates.
    """
    config = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    changes = [("15s", "200ms"), *((address, f"127.0.0.1:{port}") for address, port in targets.items())]
    changes += [
        (f"- {path.name}", f"- {path}" if path.name in rules else "- none.yml") for path in FOLDER.glob("*.rules.yml")
    ]
    for shipped, ours in changes:
        assert shipped in config, shipped
        config = config.replace(shipped, ours)
    (folder / "metrics.token").write_text(token, encoding="utf-8")
    path, port = folder / "prometheus.yml", free_port()
    path.write_text(config, encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - it is started once, and at once
            [find_program("prometheus"), f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    watchdog = start_watchdog(process.pid)
    try:
        yield Prometheus(port)
    finally:
        watchdog.kill()
        watchdog.communicate()
        process.kill()
        process.wait()


def promtool(*arguments: str | Path, folder: Path = FOLDER) -> str:
    """Run promtool in a folder; what it said, and the same as a failure when it did not succeed."""
    tool = Path(find_program("prometheus")).with_name("promtool")
    done = subprocess.run([tool, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
