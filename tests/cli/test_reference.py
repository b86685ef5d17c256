"""The reference of the command names every command with every argument, and nothing that is not there."""

import re

from ropeline.cli.parser import build_parser
from tests.cli.command_tables import PAGE, commands, page


def test_the_tables_are_those_of_the_parser() -> None:
    """When this fails: python -m tests.cli.command_tables."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text


def test_every_heading_is_a_command() -> None:
    known = {name for name, _ in commands(build_parser())}
    groups = {name.rpartition(" ")[0] for name in known} | {"ropeline bench", "ropeline faults"}
    headings = re.findall(r"^## (ropeline .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(headings) - known - groups == set()
    assert len(headings) == len(set(headings))


def test_every_command_has_a_handler_that_exists() -> None:
    from importlib import import_module

    for name, parser in commands(build_parser()):
        module, _, function = str(parser.get_default("handler")).partition(":")
        assert callable(getattr(import_module(module), function)), name
