"""The settings page: its tables are what the code says, and its examples can be loaded."""

import dataclasses
import re
from pathlib import Path

import pytest

from ropeline.admin_api.settings import AdminSettings
from ropeline.gate.settings import GateSettings, load_tenants_file
from tests.contracts.checkout import ROOT, tracked_files
from tests.contracts.settings_tables import PAGE, TABLES, page, rows
from tests.contracts.test_docs import FENCE


def test_the_tables_are_those_of_the_code() -> None:
    """When this fails: python -m tests.contracts.settings_tables."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text


@pytest.mark.parametrize("heading", TABLES)
def test_every_setting_says_what_it_does(heading: str) -> None:
    for row in rows(TABLES[heading]):
        assert row.endswith(". |"), row


def test_every_environment_variable_is_on_the_page() -> None:
    sources = [path for path in tracked_files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] != "tests"]
    read = {name for path in sources for name in re.findall(r"\bROPELINE_[A-Z_]+", path.read_text(encoding="utf-8"))}
    between_processes = {"ROPELINE_BENCH_REDIS", "ROPELINE_WORKER_PARENT"}  # a process tells its own child
    fields = {
        f"ROPELINE_{field.name.upper()}" for each in (GateSettings, AdminSettings) for field in dataclasses.fields(each)
    }
    assert read - fields - between_processes - {"ROPELINE_"} <= set(
        re.findall(r"`(ROPELINE_[A-Z_]+)`", PAGE.read_text(encoding="utf-8"))
    )


@pytest.mark.parametrize("name", ["docs/settings.md", "docs/quickstart.md"])
def test_the_tenants_of_an_example_can_be_loaded(name: str, tmp_path: Path) -> None:
    examples = [
        block for language, block in FENCE.findall((ROOT / name).read_text(encoding="utf-8")) if language == "toml"
    ]
    assert examples
    for example in examples:
        (tmp_path / "tenants.toml").write_text(example, encoding="utf-8")
        assert load_tenants_file(tmp_path / "tenants.toml")
