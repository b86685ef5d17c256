"""The pytest plugin as a user meets it: the example of the documentation, with and without other plugins, and no trace of it elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.checkout import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
ASYNC = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
PAGE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")

SYNC_ONLY = """
from ropeline.jobs.testing import run_jobs_sync
from shop_jobs import app, confirm

def test_a_shop(ropeline_jobs, ropeline_clock):
    ropeline_jobs(app)
    confirm.enqueue_sync(-1, "ada@example.com")
    assert [run.outcome for run in run_jobs_sync(app)] == ["retried"]
    ropeline_clock.advance(30_000)
    assert [run.attempt for run in run_jobs_sync(app)] == [2]

def test_another_one_begins_with_nothing(ropeline_jobs):
    ropeline_jobs(app)
    assert run_jobs_sync(app) == []
"""

FAILS = """
import pytest
from ropeline.jobs import Jobs
from ropeline.jobs.testing import run_jobs_sync

app = Jobs()

@app.task
def work() -> None:
    raise ZeroDivisionError

@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
def test_work(ropeline_jobs):
    ropeline_jobs(app)
    work.enqueue_sync()
    run_jobs_sync(app)
"""

TELLS = """
import sys

def test_nothing_is_loaded():
    loaded = {name for name in sys.modules if name.split(".")[0] in {"redis", "ropeline", "opentelemetry"}}
    assert loaded == {"ropeline", "ropeline.pytest_plugin"}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with the application of the page's first example, and the tests of its section about tests."""
    (tmp_path / "shop_jobs.py").write_text(BLOCK.findall(PAGE)[0])
    (testing,) = BLOCK.findall(PAGE.partition("\n## Testing\n")[2].partition("\n## ")[0])
    (tmp_path / "test_shop_jobs.py").write_text(testing)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return tmp_path


def run_pytest(folder: Path, *arguments: str) -> str:
    """The summary of a run that has only the plugins that it names, besides those of pytest itself and ours."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "ropeline.pytest_plugin", *arguments],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_the_example_of_the_documentation_passes(shop: Path) -> None:
    assert "2 passed" in run_pytest(shop, *ASYNC)


def test_it_passes_in_several_processes_at_once(shop: Path) -> None:
    assert "2 passed" in run_pytest(shop, *ASYNC, "-p", "xdist.plugin", "-n", "2")


def test_tests_that_are_no_coroutines_need_no_other_plugin(shop: Path) -> None:
    (shop / "test_shop_jobs.py").write_text(SYNC_ONLY)
    assert "2 passed" in run_pytest(shop)


def test_a_job_that_fails_fails_the_test_that_runs_it(shop: Path) -> None:
    (shop / "test_shop_jobs.py").write_text(FAILS)
    assert "1 xfailed" in run_pytest(shop)


def test_a_test_that_asks_for_nothing_gets_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(TELLS)
    assert "1 passed" in run_pytest(tmp_path, "-W", "error")
