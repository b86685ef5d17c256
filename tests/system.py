"""Programs of the operating system that some tests need: where they are, and the line that installs them.

`@pytest.mark.requires_system("chromium")` guards a test, `find_program("chromium")` a fixture. Without the program the
test is skipped and the skip names the line; with ROPELINE_NO_SKIPS=1, as in CI, every skip is a failure.
"""

import os
import shutil
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Program:
    """A program by the names it goes under, and the Debian package that brings it."""

    commands: tuple[str, ...]
    package: str


PROGRAMS = {
    "chromium": Program(("chromium", "chromium-browser", "google-chrome"), "chromium"),
    "faketime": Program(("faketime",), "faketime"),
    "luacheck": Program(("luacheck",), "lua-check"),
    "nginx": Program(("nginx",), "nginx-light"),
    "openssl": Program(("openssl",), "openssl"),
    "prometheus": Program(("prometheus",), "prometheus"),
    "redis-sentinel": Program(("redis-sentinel",), "redis-sentinel"),
    "redis-server": Program(("redis-server",), "redis-server"),
}


def locate(name: str) -> str | None:
    """The path of a program in PROGRAMS, or None; daemons live in sbin folders that a user's PATH may lack."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return next((found for command in PROGRAMS[name].commands if (found := shutil.which(command, path=path))), None)


def missing_reason(name: str) -> str:
    """Why a test that needs the program is skipped, with the line that changes it."""
    return f"needs {name}: apt-get install {PROGRAMS[name].package}"


def find_program(name: str) -> str:
    """The path of a program in PROGRAMS; skips the test that asks when it is not installed."""
    found = locate(name)
    if found is None:
        pytest.skip(missing_reason(name))
    return found
