"""Runs the `ropeline` command as a user does: as a process of its own, with an environment that says nothing else."""

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
import redis

from ropeline.cli import main
from ropeline.server_process import start_watchdog
from tests.support import wait_until_sync

COMMAND = str(Path(sys.executable).with_name("ropeline"))


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would point the command at somebody else's store."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("ROPELINE_") and name != "REDIS_URL"
    }
    return {**kept, **(changes or {})}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line that says why it was not done."""
        assert self.status != 0, self
        assert self.err.startswith("ropeline: "), self
        assert self.err.count("\n") == 1, self
        return self.err.removeprefix("ropeline: ").rstrip("\n")


def run(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Ended:
    """Run one command in `folder` until it ends."""
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Command:
    """Runs a command within this process, which saves its start; for the many tests of what one says."""

    def __init__(self, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._capture = capture
        self.patch = patch
        for name in set(os.environ) - set(environment()):
            patch.delenv(name)
        patch.chdir(folder)
        patch.setattr("sys.stdin", io.StringIO())
        # Of the whole process, and so not for one test to decide.
        patch.setattr("ropeline.cli.command.configure_logging", lambda: None)

    def __call__(self, *arguments: str) -> Ended:
        status = main(arguments)
        said = self._capture.readouterr()
        return Ended(status, said.out, said.err)

    def on(self, environ: Mapping[str, str]) -> Self:
        """With these variables in the environment."""
        for name, value in environ.items():
            self.patch.setenv(name, value)
        return self


@dataclass
class Up:
    """A running `ropeline up`."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    output: Path

    @property
    def url(self) -> str:
        found = re.search(r"shop +(http://\S+)/", self.output.read_text())
        assert found is not None
        return found[1]

    @property
    def admin_url(self) -> str:
        found = re.search(r"admin +(http://\S+)/", self.output.read_text())
        assert found is not None
        return found[1]

    @property
    def admin_key(self) -> str:
        found = re.search(r"key +(rlk_\S+)", self.output.read_text())
        assert found is not None
        return found[1]

    @property
    def store_url(self) -> str:
        return (self.folder / ".ropeline" / "store.url").read_text().strip()

    def store_pid(self) -> int:
        with redis.Redis.from_url(self.store_url) as client:
            return int(client.info("server")["process_id"])

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def is_open(self) -> bool:
        text = self.output.read_text()
        assert self.process.poll() is None, text
        return "Ctrl-C ends it." in text

    @classmethod
    @contextmanager
    def running(cls, folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[Self]:
        """Start it in `folder` on a free port, and return when the shop is open."""
        output = folder / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [COMMAND, "up", "--port", "0", *arguments],
                cwd=folder,
                # A busy machine is no store that fails.
                env=environment({"ROPELINE_DEADLINE_MS": "10000", **(environ or {})}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        watchdog = start_watchdog(process.pid)
        up = cls(process, folder, output)
        try:
            wait_until_sync(up.is_open, timeout=60)
            yield up
        finally:
            watchdog.kill()
            watchdog.communicate()
            process.kill()
            process.wait()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
