"""Runs an example as its README says: its producer as a command that ends, its worker as a process beside it."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ropeline.server_process import start_watchdog
from tests.cli.running import COMMAND, environment
from tests.support import wait_until_sync


def produce(module: str, *arguments: str, folder: Path, environ: Mapping[str, str], given: str = "") -> str:
    """Run a producer, fed with `given`, until it ends well; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment(environ),
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def working(app: str, *arguments: str, folder: Path, environ: Mapping[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a worker in `folder` while the block lasts, and kill it then; it writes to `worker.log` there."""
    log = folder / "worker.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [COMMAND, "worker", app, *arguments],
            cwd=folder,
            env=environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    watchdog = start_watchdog(process.pid)
    try:
        wait_until_sync(lambda: " slots, queues " in log.read_text(), timeout=20)
        yield process
    finally:
        watchdog.kill()
        watchdog.communicate()
        process.kill()
        process.wait()
