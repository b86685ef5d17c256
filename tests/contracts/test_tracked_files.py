"""What stands in the repository: no place of one machine, no package registry, nothing generated."""

import re

import pytest

from tests.contracts.checkout import ROOT, tracked_files

# Spelled in parts, so that this file does not find itself.
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.])/(?:wo" r"rk|ro" r"ot|ho" r"me/\w+|Us" r"ers/\w+)/"),
    "a package registry": re.compile(
        r"pypi\.o"
        r"rg|pythonhosted\.o"
        r"rg|registry\.npmjs|registry\.yarn|--(?:extra-)?index-u"
        r"rl\b(?<!no-emit-index-url)"
    ),
}
GENERATED = re.compile(
    r"(^|/)(uv\.lock|pylock\.toml|poetry\.lock|__pycache__|node_modules|dist|build)(/|$)|\.(pyc|so|whl|egg-info)$"
)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    found: list[str] = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found.extend(
            f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), 1)
            if FORBIDDEN[what].search(line)
        )
    assert found == []


def test_no_file_is_generated() -> None:
    names = [str(path.relative_to(ROOT)) for path in tracked_files()]
    assert [name for name in names if GENERATED.search(name)] == []


def test_a_path_and_a_registry_would_be_found() -> None:
    assert FORBIDDEN["a path of one machine"].search("see " + "/ro" + "ot/project/x.py")
    assert FORBIDDEN["a package registry"].search("--index" + "-url https://example.com/simple")
    assert not FORBIDDEN["a package registry"].search("uv pip compile --no-emit-index" + "-url")
