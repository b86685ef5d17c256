"""The calls that docs/admin-api.md shows, made as they stand there, do what the page says, on a running `ropeline up`."""

import argparse
import re
import shlex
import signal
from contextlib import ExitStack
from pathlib import Path
from string import Template
from typing import Any

import httpx

from tests.cli.running import Up
from tests.contracts.checkout import ROOT
from tests.contracts.test_docs import FENCE
from tests.support import wait_until_sync

PAGE = ROOT / "docs" / "admin-api.md"


def steps() -> list[list[str]]:
    """The lines of each block that calls something."""
    blocks = [
        block.splitlines() for language, block in FENCE.findall(PAGE.read_text(encoding="utf-8")) if language == "sh"
    ]
    return [lines for lines in blocks if any(line.startswith("curl ") for line in lines)]


def curl(line: str, variables: dict[str, str]) -> httpx.Response:
    """Make the call of a line that begins with curl."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("-X", default="GET", dest="method")
    parser.add_argument("-H", action="append", default=[], dest="headers")
    parser.add_argument("--json")
    parser.add_argument("url")
    said = parser.parse_args([Template(word).substitute(variables) for word in shlex.split(line)[1:]])
    headers = dict(header.split(": ", 1) for header in said.headers)
    if said.json is not None:
        headers["Content-Type"] = "application/json"
    return httpx.request(said.method, said.url, headers=headers, content=said.json, timeout=30)


class Browser:
    """A visitor of acme's subdomain, who keeps cookies."""

    def __init__(self, url: str, ending: ExitStack) -> None:
        port = url.rpartition(":")[2]
        headers = {"Host": f"acme.localhost:{port}", "Accept": "text/html"}
        self._client = ending.enter_context(httpx.Client(base_url=url, headers=headers, timeout=30))
        self._kept: dict[str, str] = {}

    def open(self, path: str) -> httpx.Response:
        # A client that is told another Host than it connects to has to look after its cookies itself.
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._kept.items())} if self._kept else {}
        reply = self._client.get(path, headers=sent)
        for header in reply.headers.get_list("set-cookie"):
            name, _, value = header.partition(";")[0].partition("=")
            self._kept[name] = value
        return reply

    def decision(self) -> str:
        return str(self.open("/").headers.get("waiting-room", "none"))

    def state(self) -> str:
        document: dict[str, Any] = self.open("/.well-known/waiting-room/status").json()
        return str(document["waitingRoom"]["state"])


def test_the_calls_of_the_page_do_what_it_says(short_folder: Path) -> None:
    make, raise_quota, look = steps()
    with Up.running(short_folder, "--no-status") as up, ExitStack() as ending:
        variables = {"ADMIN": up.admin_url, "KEY": up.admin_key}
        assert curl(make[0], variables).status_code == 201
        browsers = [Browser(up.url, ending)]
        wait_until_sync(lambda: browsers[0].decision() == "admitted;tenant=acme", timeout=20)
        browsers += [Browser(up.url, ending) for _ in range(4)]
        assert [browser.decision() for browser in browsers] == ["admitted;tenant=acme"] * 3 + ["queued;tenant=acme"] * 2
        wait_until_sync(lambda: [browser.state() for browser in browsers[3:]] == ["waiting"] * 2, timeout=20)
        changed, status = [curl(line, variables) for line in raise_quota]
        assert (changed.json()["version"], changed.json()["settings"]["total_active_users"]) == (2, 5)
        assert (status.json()["quota"], status.json()["stale"]) == (5, False)
        for browser in browsers[3:]:
            wait_until_sync(lambda browser=browser: browser.state() == "admitted", timeout=20)  # type: ignore[misc]
        assert [browser.decision() for browser in browsers] == ["admitted;tenant=acme"] * 5
        why, trail, gone = [curl(line, variables) for line in look]
        assert (why.json()["tenant"], why.json()["action"]) == ("acme", "queue")
        entries = trail.json()["entries"]
        assert [(entry["action"], entry["reason"]) for entry in entries] == [
            ("change", "the launch"),
            ("create", "a new customer"),
        ]
        assert entries[0]["changes"] == {"total_active_users": {"before": 3, "after": 5}}
        assert gone.status_code == 204
        wait_until_sync(lambda: browsers[0].open("/").status_code == 421, timeout=20)
        assert up.end(signal.SIGINT) == 0


def test_every_call_that_the_page_lists_is_there() -> None:
    from ropeline.admin_api import AdminSettings, create_app

    paths = create_app(AdminSettings(secret_keys=("k" * 16,))).openapi()["paths"]
    there = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    shown = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`?]*)", PAGE.read_text(encoding="utf-8"))
    named = {(method, path.replace("/NAME", "/{tenant}").replace("/ID", "/{key_id}")) for method, path in shown}
    assert named - {("GET", "/openapi.json")} <= there
    missing = there - named - {("POST", "/v1/tenants/{tenant}/resume")}
    assert missing == set()
