"""Reads the packaged Lua scripts and expands their includes.

A script is a file ``folder/name.lua``; a line ``--- @include "name"`` stands for ``includes/name.lua``, which is emitted
once, after the includes that it needs itself; a name may have a folder, as in ``queue/meta``. Where the script's own folder
has an include of that name, it stands for this one: in ``streams/step`` ``queue/places`` is ``includes/streams/places.lua``.
An include may stand in a function, whose own it is then.
A line ``--- @body "folder/name"`` stands for another script without its header.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from ropeline.lua.errors import RopelineError

__all__ = ["ScriptError", "ScriptSource", "load_script", "script_names"]

_INCLUDE = re.compile(r'^ *--- @include "([a-z_/]+)"\n', re.MULTILINE)
_BODY = re.compile(r'^--- @body "([a-z_/]+)"\n', re.MULTILINE)
_HEADER = re.compile(r"\A#!lua.*?\n\]\]\n", re.DOTALL)
_FOLDERS = ("line", "tenant", "session", "directory", "access", "queue", "streams", "lock", "locks", "cron")


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
    text = with_body(_read(f"{name}.lua", (name,)), name)
    return ScriptSource(name, expand(text, (name,), set()))


def script_names() -> list[str]:
    """Every packaged script, as ``folder/name``."""
    root = resources.files("ropeline.lua")
    return sorted(
        f"{folder}/{entry.name.removesuffix('.lua')}"
        for folder in _FOLDERS
        for entry in root.joinpath(folder).iterdir()
        if entry.name.endswith(".lua")
    )


def with_body(text: str, name: str) -> str:
    """The text of the script `name` with the statements of another script in place, if it is to have those."""
    return _BODY.sub(lambda match: _HEADER.sub("", _read(f"{match[1]}.lua", (name, match[1]))), text)


def expand(text: str, stack: tuple[str, ...], emitted: set[str]) -> str:
    """`text` with each include in place; `stack` names the files that led here, `emitted` is filled on the way."""

    def insert(match: re.Match[str]) -> str:
        name = f"includes/{_meant(match[1], stack[0])}"
        if name in stack:
            raise ScriptError(f"{' -> '.join((*stack, name))}: an include that includes itself")
        if name in emitted:
            return ""
        body = expand(_read(f"{name}.lua", (*stack, name)), (*stack, name), emitted)
        emitted.add(name)
        return body

    return _INCLUDE.sub(insert, text)


def _meant(include: str, script: str) -> str:
    """The include that a script means by this name: that of its own folder, if it has one."""
    own = f"{script.partition('/')[0]}/{include.rpartition('/')[2]}"
    return own if resources.files("ropeline.lua").joinpath(f"includes/{own}.lua").is_file() else include


def _read(path: str, stack: tuple[str, ...]) -> str:
    try:
        return resources.files("ropeline.lua").joinpath(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScriptError(f"{' -> '.join(stack)}: no such script file") from None
