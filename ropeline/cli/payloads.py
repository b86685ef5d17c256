"""Reads the arguments of a job as an operator writes them: JSON from the command line, a file or standard input."""

from __future__ import annotations

import json
import keyword
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ropeline.jobs.options import LARGEST_PAYLOAD
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace

__all__ = ["read_payload"]

_STANDARD_INPUT: Final = "-"
# What Python reads without being asked to take its time.
_MOST_DIGITS: Final = 4000
_EXPECTED: Final = "JSON: an object of arguments by name, or a list of arguments in order"


def read_payload(options: Namespace) -> dict[str, Any] | list[Any]:
    """The arguments that the command line gives, none when it gives none; raises ConfigurationError."""
    if options.payload_file is not None:
        field = "--payload-file"
        text = _standard_input(field) if str(options.payload_file) == _STANDARD_INPUT else _file(options.payload_file)
    elif options.payload is not None:
        field = "--payload"
        text = _standard_input(field) if options.payload == _STANDARD_INPUT else options.payload
    else:
        return {}
    try:
        value: object = json.loads(
            text, parse_int=_whole_number, parse_constant=_refuse_constant, object_pairs_hook=_once
        )
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            field, text, f"{_EXPECTED} ({error.msg}: line {error.lineno} column {error.colno})"
        ) from None
    except ValueError as error:
        raise ConfigurationError(field, text, f"{_EXPECTED} ({error})") from None
    except RecursionError:
        raise ConfigurationError(field, text, f"{_EXPECTED}, at most a few hundred levels deep") from None
    if isinstance(value, dict):
        for name in value:
            if not name.isidentifier() or keyword.iskeyword(name):
                raise ConfigurationError(field, name, "names of arguments, as the task's function has them")
        return value
    if not isinstance(value, list):
        raise ConfigurationError(field, text, _EXPECTED)
    return value


def _file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _text("--payload-file", file.read(LARGEST_PAYLOAD + 1))
    except OSError as error:
        raise ConfigurationError("--payload-file", str(path), f"a file that can be read ({error.strerror})") from None


def _standard_input(field: str) -> str:
    return _text(field, sys.stdin.buffer.read(LARGEST_PAYLOAD + 1))


def _text(field: str, data: bytes) -> str:
    if len(data) > LARGEST_PAYLOAD:
        raise ConfigurationError(
            field,
            f"more than {LARGEST_PAYLOAD:,} bytes",
            f"at most {LARGEST_PAYLOAD:,} bytes; store large data elsewhere and pass its name",
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(field, data[:40], f"text in UTF-8 ({error.reason} at byte {error.start})") from None


def _whole_number(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number has {len(text):,} digits, at most {_MOST_DIGITS:,} can be read")
    return int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return made
