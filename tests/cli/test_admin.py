"""`ropeline admin` serves the operators' API by itself, and ends when it is asked to."""

import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ropeline.server_process import start_watchdog
from tests.cli.running import COMMAND, Command, environment
from tests.support import wait_until_sync

KEYS = {"ROPELINE_SECRET_KEYS": "a key of at least sixteen bytes", "ROPELINE_ADMIN_DEADLINE_MS": "10000"}


@dataclass
class Admin:
    """A running `ropeline admin`."""

    process: "subprocess.Popen[bytes]"
    output: Path

    @property
    def url(self) -> str:
        found = re.search(r"(http://\S+)/\n", self.output.read_text())
        return found[1] if found else ""

    def is_open(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()
        return bool(self.url)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def serving(folder: Path, environ: Mapping[str, str]) -> Iterator[Admin]:
    output = folder / "admin-output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [COMMAND, "admin", "--port", "0"],
            cwd=folder,
            env=environment({**KEYS, **environ}),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    watchdog = start_watchdog(process.pid)
    admin = Admin(process, output)
    try:
        wait_until_sync(admin.is_open, timeout=20)
        yield admin
    finally:
        watchdog.kill()
        watchdog.communicate()
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_asks_for_the_end(
    tmp_path: Path, on_store: dict[str, str], number: signal.Signals
) -> None:
    with serving(tmp_path, on_store) as admin:
        assert httpx.get(f"{admin.url}/healthz").json() == {"status": "ok"}
        assert httpx.get(f"{admin.url}/readyz").status_code == 200
        assert admin.end(number) == 0


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (("--port", "70000"), KEYS, "port: got '70000', expected a whole number from 0 to 65535"),
        (("--host", "192.0.2.1"), KEYS, "--host: got '192.0.2.1', expected an address of this machine"),
        ((), {}, "ROPELINE_SECRET_KEYS: got "),
        ((), {**KEYS, "ROPELINE_ADMIN_LOGIN_MINUTES": "0"}, "ROPELINE_ADMIN_LOGIN_MINUTES: got 0, expected a whole"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    on_store_command: Command, arguments: tuple[str, ...], environ: Mapping[str, str], said: str
) -> None:
    refused = on_store_command.on(environ)("admin", *arguments)
    assert refused.status == 2
    assert said in refused.refusal
