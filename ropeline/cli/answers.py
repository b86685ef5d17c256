"""Asks an operator before something is done that cannot be undone, and tells how far a long operation is."""

from __future__ import annotations

import sys

from ropeline.cli.errors import UsageError

__all__ = ["agrees", "require_somebody", "tell_progress"]


def require_somebody(what: str, *, yes: bool) -> None:
    """Raise UsageError when nobody can be asked about `what`, and --yes (`yes`) was not given."""
    if not yes and not sys.stdin.isatty():
        raise UsageError(f"{what}: got nobody who could be asked, expected a terminal or --yes")


def agrees() -> bool:
    """Whether the operator says yes; asked on standard error, so that output for programs stays clean."""
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def tell_progress(text: str) -> None:
    """Show `text` instead of what was told before; an empty one takes it away. Nothing is shown but on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
