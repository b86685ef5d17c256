"""What holds for every test: system programs, skips in CI, how long Hypothesis may search, and a folder."""

import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.system import PROGRAMS, locate, missing_reason

pytest_plugins = ["tests.servers"]

NO_SKIPS = os.environ.get("ROPELINE_NO_SKIPS") == "1"

# What tests obey; every other setting of the caller's shell would reach the gates and commands under test.
OBEYED = {"ROPELINE_LARGE", "ROPELINE_NO_SKIPS", "ROPELINE_SERVER_BINARY"}
for variable in list(os.environ):
    if variable == "REDIS_URL" or (variable.startswith("ROPELINE_") and variable not in OBEYED):
        del os.environ[variable]

# Jobs in the background and under nohup ignore these signals, and so would every command that a test starts. A handler
# is not inherited: the test run goes on ignoring them, its children do not.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

# A shared, slow machine must not turn a search into a failure; what is found is kept small enough to read.
settings.register_profile("ropeline", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("ropeline")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a Unix socket's."""
    with tempfile.TemporaryDirectory(prefix="rl") as name:
        yield Path(name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("requires_system"):
        for name in marker.args:
            if name not in PROGRAMS:
                raise pytest.UsageError(f"requires_system: got {name!r}, expected one of {', '.join(sorted(PROGRAMS))}")
            if locate(name) is None:
                pytest.skip(missing_reason(name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if NO_SKIPS and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if NO_SKIPS and report.outcome == "skipped":
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{reason} (nothing may be skipped with ROPELINE_NO_SKIPS=1)"
