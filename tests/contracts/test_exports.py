"""The public names: what `ropeline` promises can be had, and `__all__` says neither more nor less than what is there."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

import ropeline

PACKAGES = ["ropeline.gate", "ropeline.jobs", "ropeline.lua", "ropeline.pages", "ropeline.admin_api"]


@pytest.mark.parametrize("name", ropeline.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(ropeline, name) is not None
    assert name in dir(ropeline)


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Gatemiddleware'"):
        _ = ropeline.Gatemiddleware


def test_importing_the_package_loads_none_of_its_parts() -> None:
    """Also: what a name's home pulls in is paid by who asks for the name."""
    code = "import sys, ropeline; print([name for name in sys.modules if name.startswith(('ropeline.', 'redis', 'jinja2'))])"
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize("name", ["ropeline", *PACKAGES])
def test_all_names_only_what_is_there(name: str) -> None:
    module = importlib.import_module(name)
    assert [entry for entry in getattr(module, "__all__", ()) if not hasattr(module, entry)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_nothing_public_is_missing_from_all(name: str) -> None:
    module = importlib.import_module(name)
    visible = {
        entry
        for entry, value in vars(module).items()
        if not entry.startswith("_") and not isinstance(value, ModuleType)
    }
    assert visible <= set(getattr(module, "__all__", ()))


def test_the_version_follows_semantic_versioning() -> None:
    assert len([int(part) for part in ropeline.__version__.split(".")]) == 3
