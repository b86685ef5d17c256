"""What a command ends with when it could not do what it was asked.

RopelineError
├── UsageError        the command line is wrong: exit status 2, as for a ConfigurationError
├── MissingExtra      a part of Ropeline is not installed
└── CommandFailed     the command was right and could not be carried out
"""

from __future__ import annotations

from ropeline.lua.errors import RopelineError

__all__ = ["CommandFailed", "MissingExtra", "UsageError"]


class UsageError(RopelineError):
    """The command line names no command, or has a word too many, too few or of the wrong kind."""


class MissingExtra(RopelineError):
    """A package that only some commands need is not installed."""

    def __init__(self, command: str, package: str, extra: str) -> None:
        super().__init__(f"`{command}` needs {package}: run pip install 'ropeline[{extra}]'")


class CommandFailed(RopelineError):
    """Something else than the command line stood in the way; the message says what, and what helps."""
