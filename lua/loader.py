"""Reads the packaged Lua scripts and expands their includes.

A script is a file ``folder/name.lua``; a line ``--- @include "name"`` stands for ``includes/name.lua``, which is emitted
once, after the includes that it needs itself; a name may have a folder, as in ``queue/meta``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from ropeline.lua.errors import RopelineError

__all__ = ["ScriptError", "ScriptSource", "load_script", "script_names"]

_INCLUDE = re.compile(r'^--- @include "([a-z_/]+)"\n', re.MULTILINE)
_FOLDERS = ("line", "directory", "queue", "lock", "locks", "cron")


class ScriptError(RopelineError):
    """A packaged script includes a file that is not there, or includes itself."""


@dataclass(frozen=True, slots=True)
class ScriptSource:
    """One script, ready for the server: `name` (``folder/name``) and `text` with includes expanded.

    `sha` is the name under which the server caches it: SHA-1 of the text, hexadecimal (Redis documentation, EVALSHA).
    """

    name: str
    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        # Once, and not for each of the thousands of calls a second that name the script by it.
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


@cache
def load_script(name: str) -> ScriptSource:
    """The script ``folder/name`` with its includes; raises ScriptError when a file is missing or includes itself."""
    return ScriptSource(name, expand(_read(f"{name}.lua", (name,)), (name,), set()))


def script_names() -> list[str]:
    """Every packaged script, as ``folder/name``."""
    root = resources.files("ropeline.lua")
    return sorted(
        f"{folder}/{entry.name.removesuffix('.lua')}"
        for folder in _FOLDERS
        for entry in root.joinpath(folder).iterdir()
        if entry.name.endswith(".lua")
    )


def expand(text: str, stack: tuple[str, ...], emitted: set[str]) -> str:
    """`text` with each include in place; `stack` names the files that led here, `emitted` is filled on the way."""

    def insert(match: re.Match[str]) -> str:
        name = f"includes/{match[1]}"
        if name in stack:
            raise ScriptError(f"{' -> '.join((*stack, name))}: an include that includes itself")
        if name in emitted:
            return ""
        body = expand(_read(f"{name}.lua", (*stack, name)), (*stack, name), emitted)
        emitted.add(name)
        return body

    return _INCLUDE.sub(insert, text)


def _read(path: str, stack: tuple[str, ...]) -> str:
    try:
        return resources.files("ropeline.lua").joinpath(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScriptError(f"{' -> '.join(stack)}: no such script file") from None
