"""Options that several commands have, and the kinds of values that the command line knows."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["DEFAULT_FOLDER", "add_json", "add_place", "add_reason", "user_name", "whole_number"]

DEFAULT_FOLDER: Final = ".ropeline"


def add_place(
    parser: ArgumentParser,
    *,
    folder: str = "folder of a running `ropeline up`, where its store is looked up",
    url: str = "the store (else ROPELINE_REDIS_URL, REDIS_URL, a running `ropeline up`)",
) -> None:
    """Add where the store is."""
    parser.add_argument("--data", default=Path(DEFAULT_FOLDER), type=Path, metavar="DIR", help=folder)
    parser.add_argument("--redis-url", metavar="URL", help=url)


def add_json(parser: ArgumentParser) -> None:
    """Add that programs read the output."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_reason(parser: ArgumentParser) -> None:
    """Add why something is changed."""
    parser.add_argument("--reason", default="", type=_reason, metavar="TEXT", help="why, for the audit trail")


def user_name() -> str:
    """Who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def _reason(text: str) -> str:
    if not text.isprintable() or len(text) > 200:
        raise ArgumentTypeError(f"got {text[:100]!r}, expected at most 200 printable characters")
    return text


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A type of argument: a whole number between two bounds, both allowed."""

    def read(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1
        if not low <= number <= high:
            raise ArgumentTypeError(f"got {text!r}, expected a whole number from {low} to {high}")
        return number

    return read
