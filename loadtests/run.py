"""Runs every scenario against a demo of its own: `python -m loadtests.run small`, or `make load SIZE=large`.

Ends with 0 when every promise was kept. During the steady scenario the quota is cut to half and given back.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ropeline.server_process import start_watchdog

_ROOT: Final = Path(__file__).resolve().parents[1]
_BIN: Final = Path(sys.executable).parent
_ENDS_WITHIN: Final = 30.0
_SHOP: Final = "  shop "


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario at one size. `stay`, `seconds`: of a visit on average, of the run at most. `spawn`: visitors a second."""

    name: str
    visitors: int
    spawn: int
    quota: int
    stay: float
    seconds: int
    is_cut: bool = False


_SIZES: Final = {
    "small": (
        Scenario("stampede", visitors=40, spawn=40, quota=10, stay=0.5, seconds=30),
        Scenario("steady", visitors=24, spawn=24, quota=6, stay=0.5, seconds=6, is_cut=True),
    ),
    "large": (
        Scenario("stampede", visitors=2000, spawn=2000, quota=200, stay=4, seconds=240),
        Scenario("steady", visitors=1000, spawn=50, quota=100, stay=4, seconds=120, is_cut=True),
    ),
}
# The demo's own times are for people who watch; a small run has to see many admissions in a few seconds.
QUICK: Final = ("poll.floor=0.5", "poll.ceiling=2", "leave_hold=1")

# A machine that is busy with the visitors as well must not be taken for a store that is gone.
_PATIENT: Final = {"ROPELINE_DEADLINE_MS": "2000"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios of a size; 0 when every one of them passed."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.run", description=__doc__)
    parser.add_argument("size", choices=sorted(_SIZES), help="small: some seconds; large: some minutes")
    size = parser.parse_args(arguments).size
    _allow_connections()
    with tempfile.TemporaryDirectory(prefix="ropeline-load-") as folder, running_demo(Path(folder)) as url:
        outcomes = [_run(scenario, url, Path(folder), is_quick=size == "small") for scenario in _SIZES[size]]
    return int(any(outcomes))


@contextmanager
def running_demo(folder: Path, *options: str) -> Iterator[str]:
    """Run `ropeline up` on a free port, with its data in `folder` and further options, and give its address."""
    process = subprocess.Popen(  # noqa: S603 - our own command
        [_BIN / "ropeline", "up", "--port", "0", "--data", folder, "--no-status", *options],
        cwd=_ROOT,
        env={**os.environ, **_PATIENT},
        stdout=subprocess.PIPE,
        text=True,
    )
    watchdog = start_watchdog(process.pid)
    try:
        yield _address(process)
    finally:
        # Before the process is reaped, or the watchdog might meet its id on somebody else.
        watchdog.kill()
        watchdog.communicate()
        process.terminate()
        process.communicate()


def _address(demo: subprocess.Popen[str]) -> str:
    """Where the demo says that its shop is."""
    for line in demo.stdout or ():
        if line.startswith(_SHOP):
            return line.removeprefix(_SHOP).strip().rstrip("/")
    raise SystemExit("error: the demo did not start; what it said stands above")


def _run(scenario: Scenario, url: str, folder: Path, *, is_quick: bool) -> int:
    """Run one scenario and return what Locust ended with."""
    print(f"\n{scenario.name}: {scenario.visitors} visitors, quota {scenario.quota}", flush=True)
    set_demo(folder, f"total_active_users={scenario.quota}", *(QUICK if is_quick else ()))
    command: list[str | Path] = [_BIN / "locust", "-f", _ROOT / "loadtests" / f"{scenario.name}.py", "--headless"]
    command += ["-u", str(scenario.visitors), "-r", str(scenario.spawn), "-t", f"{scenario.seconds}s", "--host", url]
    command += ["--data", folder, "--stay", str(scenario.stay), "--only-summary", "--loglevel", "WARNING"]
    with subprocess.Popen(command, cwd=_ROOT) as locust:  # noqa: S603 - our own command
        watchdog = start_watchdog(locust.pid)
        try:
            if scenario.is_cut:
                for quota in (scenario.quota // 2, scenario.quota):
                    with suppress(subprocess.TimeoutExpired):
                        locust.wait(scenario.seconds / 3)
                    set_demo(folder, f"total_active_users={quota}")
            with suppress(subprocess.TimeoutExpired):
                locust.wait(scenario.seconds + _ENDS_WITHIN)
        finally:
            watchdog.kill()
            watchdog.communicate()
            if locust.poll() is None:
                locust.kill()
    return locust.returncode


def set_demo(folder: Path, *assignments: str) -> None:
    """Change the demo's settings as an operator does."""
    command: list[str | Path] = [_BIN / "ropeline", "tenant", "set", "demo", "--data", folder, *assignments]
    subprocess.run(command, check=True, cwd=_ROOT, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command


def _allow_connections() -> None:
    """Each visitor has a connection of its own, in Locust and in the demo: as many as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
