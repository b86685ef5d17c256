"""The dependencies: declared once, pinned by hash, each with a documented reason."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contracts.checkout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>\S+)")


def read_pins(file: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / file).read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(match["name"]): match["version"] for line in lines if (match := PIN.match(line))}


@pytest.mark.parametrize(
    ("file", "requirements"),
    [("core.txt", CORE), ("dev.txt", CORE + [requirement for extra in EXTRAS.values() for requirement in extra])],
)
def test_every_declared_dependency_is_pinned_inside_its_range(file: str, requirements: list[Requirement]) -> None:
    pins = read_pins(file)
    for requirement in requirements:
        if requirement.name != PROJECT["name"]:
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), str(requirement)


@pytest.mark.parametrize("file", ["core.txt", "dev.txt", "uv.txt"])
def test_every_pin_has_its_hashes(file: str) -> None:
    entries = (ROOT / "requirements" / file).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    pinned = [entry for entry in entries if PIN.match(entry)]
    assert pinned
    assert [entry for entry in pinned if "--hash=sha256:" not in entry] == []


def test_core_and_development_pin_the_same_versions() -> None:
    development = read_pins("dev.txt")
    for name, version in {**read_pins("core.txt"), **read_pins("uv.txt")}.items():
        assert development[name] == version


def test_the_core_stays_small() -> None:
    assert {canonicalize_name(requirement.name) for requirement in CORE} == {"redis", "itsdangerous", "jinja2"}


def test_every_dependency_has_a_documented_reason() -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \| (\w+) \| (.+) \|$",
        (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    documented = sorted((name, group) for name, group, _ in rows)
    declared = {(str(requirement.name), "core") for requirement in CORE}
    declared |= {(requirement.name, extra) for extra, lines in EXTRAS.items() for requirement in lines}
    declared.discard((PROJECT["name"], "dev"))
    assert documented == sorted(declared)
