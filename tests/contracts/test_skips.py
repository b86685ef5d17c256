"""What is skipped and what is not: a missing program names its line, and with ROPELINE_NO_SKIPS=1 nothing is skipped."""

import subprocess
import sys
from pathlib import Path

from tests.contracts.checkout import ROOT

TESTS = """
import pytest
from tests.system import find_program

@pytest.mark.requires_system("luacheck")
def test_by_mark(): pass

def test_by_call(): find_program("nginx")

def test_otherwise(): pytest.skip("because")

@pytest.mark.xfail(strict=True)
def test_known(): assert False
"""


# Starts pytest in a world where none of the programs exists.
START = """
import sys
import pytest
from tests import system
for name, program in system.PROGRAMS.items():
    system.PROGRAMS[name] = system.Program(("no-such-program",), program.package)
sys.exit(pytest.main(["-ra", "-p", "tests.conftest", "-p", "no:cacheprovider", "-p", "no:valkey", "test_there.py"]))
"""


def outcome(tests: str, tmp_path: Path, **environment: str) -> str:
    """What pytest prints for these tests under our conftest."""
    (tmp_path / "test_there.py").write_text(tests, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = requires_system\n", encoding="utf-8")
    run = [sys.executable, "-c", START]
    variables = {"PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(run, cwd=tmp_path, env=variables, check=False, capture_output=True, text=True).stdout


def test_a_skip_for_a_missing_program_names_the_line_that_installs_it(tmp_path: Path) -> None:
    printed = outcome(TESTS, tmp_path)
    assert "needs luacheck: apt-get install lua-check" in printed
    assert "needs nginx: apt-get install nginx-light" in printed
    assert "3 skipped, 1 xfailed" in printed


def test_in_ci_every_skip_is_a_failure(tmp_path: Path) -> None:
    printed = outcome(TESTS, tmp_path, ROPELINE_NO_SKIPS="1")
    assert "needs luacheck: apt-get install lua-check (nothing may be skipped" in printed
    assert "2 failed, 1 xfailed, 1 error" in printed


def test_in_ci_a_skipped_module_is_a_failure(tmp_path: Path) -> None:
    skipped = "import pytest\npytest.skip('not here', allow_module_level=True)\n"
    assert "1 skipped" in outcome(skipped, tmp_path)
    assert "1 error" in outcome(skipped, tmp_path, ROPELINE_NO_SKIPS="1")


def test_a_program_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    tests = "import pytest\n@pytest.mark.requires_system('chrome')\ndef test_x(): pass\n"
    assert "requires_system: got 'chrome', expected one of chromium" in outcome(tests, tmp_path)
