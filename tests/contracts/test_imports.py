"""Who imports whom: only by the names that users see, and never upward. `make check` holds the layers as well."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.checkout import FOLDERS, ROOT, tracked_files

# What each part may import of ours besides itself.
ALLOWED: dict[str, set[str]] = {
    "lua": set(),
    "pages": set(),
    "gate": {"exposition", "lua", "pages"},
    "jobs": {"exposition", "lua", "pages"},
    "admin_api": {"exposition", "gate", "jobs", "lua", "pages"},
}


def imported_modules(path: Path) -> Iterator[str]:
    """Absolute names of all modules that a file imports, inside functions too."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ["ropeline", *package][: len(package) + 2 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def python_files(*folders: str) -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_part_imports_nothing_above_it(folder: str) -> None:
    allowed = ALLOWED[folder] | {folder}
    upward = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in python_files(folder)
        for module in imported_modules(path)
        if module.startswith("ropeline.") and module.split(".")[1] not in allowed
    ]
    assert upward == []


def test_our_folders_are_imported_under_the_name_of_the_package_only() -> None:
    """In a checkout `import gate` works too, and would be a second copy of every class."""
    bare = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in python_files("ropeline", "tests", "loadtests", "scripts", *FOLDERS)
        for module in imported_modules(path)
        if module.split(".")[0] in FOLDERS
    ]
    assert bare == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_is_linked_by_a_relative_path(folder: str) -> None:
    link = ROOT / "ropeline" / folder
    assert link.readlink() == Path("..", folder)
    assert link.resolve() == ROOT / folder


def test_an_upward_import_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "lua").mkdir()
    module = tmp_path / "lua" / "keys.py"
    module.write_text(
        "def f():\n    from ropeline import gate\n    from ..gate import tickets\n    import gate.tickets\n"
    )
    assert set(imported_modules(module)) >= {"ropeline.gate", "ropeline.gate.tickets", "gate.tickets"}
