"""What the contract tests know about the checkout: its files, its make targets and the commands of `ropeline`."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The real folders, each linked into ropeline/ under the name it is imported by.
FOLDERS = ("admin_api", "examples", "gate", "jobs", "lua", "pages")


@cache
def tracked_files() -> tuple[Path, ...]:
    """Every file under version control, links left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


@cache
def make_targets() -> frozenset[str]:
    """The targets that `make help` lists."""
    return frozenset(
        re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )


@cache
def command_help(*command: str) -> str:
    """What `ropeline COMMAND --help` prints."""
    arguments = [str(Path(sys.executable).with_name("ropeline")), *command, "--help"]
    return subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout


@cache
def command_names() -> frozenset[str]:
    """The subcommands of `ropeline`."""
    choices = re.search(r"\{([a-z,-]+)\}", command_help())
    assert choices is not None, "`ropeline --help` lists no commands"
    return frozenset(choices[1].split(","))
