"""The `ropeline` command: what it can do stands in `docs/cli.md`."""

from ropeline.cli.command import main

__all__ = ["main"]
