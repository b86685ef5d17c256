"""The requirements table: every row has one status, and what is marked done names a proof that exists."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contracts.checkout import ROOT, command_names, make_targets

TABLE = ROOT / "docs" / "requirements.md"
ROW = re.compile(r"^\| (?P<id>S\d-\d\d) \| (?P<text>.+?) \| (?P<status>[^|]*?) \| ?(?P<proof>[^|]*?) ?\|$")
SOURCES = {"S0": 57, "S1": 91, "S2": 41, "S3": 30, "S4": 17}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row of the table."""

    id: str
    text: str
    status: str
    proofs: tuple[str, ...]


def read_table(path: Path) -> list[Requirement]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("| S"):
            match = ROW.match(line)
            assert match is not None, f"not a row of four columns: {line}"
            rows.append(
                Requirement(match["id"], match["text"], match["status"], tuple(re.findall("`([^`]+)`", match["proof"])))
            )
    return rows


def names_of(path: Path) -> set[str]:
    """Tests of a file as pytest names them, without parameters: `test_x`, `TestY` and `TestY::test_x`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
            names.update(
                f"{node.name}::{item.name}"
                for item in node.body
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
            )
        elif isinstance(node, ast.Assign):
            # `TestGate = GateMachine.TestCase` is how Hypothesis's state machines become tests.
            names.update(
                target.id for target in node.targets if isinstance(target, ast.Name) and target.id.startswith("Test")
            )
    return names


def is_known(proof: str) -> bool:
    words = proof.split()
    if words[0] == "make":
        return len(words) > 1 and words[1] in make_targets()
    if words[0] == "ropeline":
        return len(words) > 1 and words[1] in command_names()
    file, _, name = proof.partition("::")
    path = ROOT / file
    if not file.startswith("tests/") or not path.is_file():
        return False
    return name.partition("[")[0] in names_of(path) if name else path.name.startswith("test_")


def problems(rows: list[Requirement]) -> list[str]:
    found = []
    for row in rows:
        if row.status not in {"planned", "done"}:
            found.append(f"{row.id}: status is {row.status!r}, expected planned or done")
        if row.status == "done" and not row.proofs:
            found.append(f"{row.id}: done without a proof")
        found.extend(f"{row.id}: {proof!r} does not exist" for proof in row.proofs if not is_known(proof))
    return found


def test_every_requirement_that_is_done_names_a_proof_that_exists() -> None:
    assert problems(read_table(TABLE)) == []


def test_requirements_are_numbered_without_gaps() -> None:
    ids = [row.id for row in read_table(TABLE)]
    assert ids == [f"{source}-{number:02}" for source, count in SOURCES.items() for number in range(1, count + 1)]


def test_no_requirement_is_written_twice() -> None:
    texts = [row.text for row in read_table(TABLE)]
    assert sorted(texts) == sorted(set(texts))


@pytest.mark.parametrize(
    ("status", "proof"),
    [
        ("done", ""),
        ("done", "by looking at it"),
        ("done", "`tests/contracts/test_missing.py::test_nothing`"),
        ("done", "`tests/contracts/test_requirements.py::test_that_nobody_wrote`"),
        ("done", "`make miracles`"),
        ("done", "`ropeline miracle`"),
        ("done", "`pyproject.toml`"),
        ("nearly", ""),
    ],
)
def test_a_row_without_a_real_proof_is_refused(tmp_path: Path, status: str, proof: str) -> None:
    table = tmp_path / "requirements.md"
    table.write_text(f"| S9-01 | Something | {status} | {proof} |\n", encoding="utf-8")
    assert len(problems(read_table(table))) == 1


def test_a_row_with_a_real_proof_is_accepted(tmp_path: Path) -> None:
    table = tmp_path / "requirements.md"
    here = "tests/contracts/test_requirements.py::test_no_requirement_is_written_twice"
    table.write_text(f"| S9-01 | Something | done | `{here}`, `make test` |\n", encoding="utf-8")
    assert problems(read_table(table)) == []
