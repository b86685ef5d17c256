"""The documentation against the code: links lead somewhere, commands and targets exist, examples run."""

import re
import sys
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

from ropeline import GateMiddleware
from ropeline.jobs import Jobs
from tests.contracts.checkout import ROOT, command_help, make_targets, tracked_files

PAGES = sorted(path for path in tracked_files() if path.suffix == ".md")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """What the headings of a page are linked by: lower case, spaces to hyphens, other signs dropped."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def commands(text: str) -> set[tuple[str, ...]]:
    """Every `ropeline ...` of a page, in code spans and blocks: its words up to the first option or placeholder."""
    blocks = (block for language, block in FENCE.findall(text) if language != "python")
    code = " \n".join([*blocks, *re.findall(r"`([^`\n]+)`", FENCE.sub("", text))])
    found = re.findall(r"(?:^|[\s/])ropeline((?: [a-z][a-z-]*)+)", code)
    return {tuple(words.split()) for words in found}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = unquote(target).partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists() or (anchor and linked.suffix == ".md" and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"(?:`|^|\$ )make ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= make_targets()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_python_example_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = ModuleType("myshop")
    monkeypatch.setattr(shop, "app", object(), raising=False)
    monkeypatch.setitem(sys.modules, "myshop", shop)
    monkeypatch.setenv("ROPELINE_SECRET_KEYS", "a key that nobody else has")
    # What the page about jobs has its other files import is its first example.
    first = ModuleType("shop_jobs")
    monkeypatch.setitem(sys.modules, "shop_jobs", first)
    names = vars(first)
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(block, page_id(page), "exec"), names)
            assert isinstance(names.get("app"), GateMiddleware | Jobs)
            names = {}


def is_command(words: tuple[str, ...]) -> bool:
    """Whether the words name a command, read from its parent's help; what follows a command is its arguments."""
    parent: tuple[str, ...] = ()
    for word in words:
        choices = re.search(r"\{([a-z,-]+)\} \.\.\.", command_help(*parent))
        if choices is None:
            return True
        if word not in choices[1].split(","):
            return False
        parent = (*parent, word)
    return True


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "requirements.md"], ids=page_id)
def test_every_command_that_is_named_exists(page: Path) -> None:
    named = commands(page.read_text(encoding="utf-8"))
    assert {words for words in named if not is_command(words)} == set()


def test_every_test_that_the_page_of_known_faults_names_exists() -> None:
    page = (ROOT / "docs" / "known-faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`(?:(tests/[\w/]+\.py)::)?(test_\w+)`", page)
    assert len(named) > 35
    for file, test in named:
        source = ROOT / (file or "tests/jobs/test_known_faults.py")
        assert re.search(rf"def {test}\(", source.read_text(encoding="utf-8")), test
    assert {f"T{number}" for number in range(1, 41)} <= set(re.findall(r"T\d+", page))


@pytest.mark.parametrize(
    ("page", "heading"),
    [
        ("jobs.md", "## What at least once means for you"),
        ("jobs.md", "### When a worker is killed"),
        ("operations.md", "## What a queue may do"),
        ("operations.md", "## What to watch"),
    ],
)
def test_the_questions_that_users_ask_have_a_section(page: str, heading: str) -> None:
    assert heading in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
