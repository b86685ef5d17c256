"""The tables of docs/cli.md, made from the parser itself.

`python -m tests.cli.command_tables` writes them into the page; a test fails when the page says something else.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from ropeline.cli.parser import Parser, build_parser
from tests.contracts.checkout import ROOT

PAGE = ROOT / "docs" / "cli.md"
HEAD = ("| argument | default | what it does |", "|---|---|---|")


def commands(parser: Parser, name: str = "ropeline") -> Iterator[tuple[str, Parser]]:
    """Every command that can be run, with its parser; groups of commands are left out."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups or parser.get_default("handler") is not None:
        yield name, parser
    for group in groups:
        for word, below in group.choices.items():
            if below._actions[1:] and not is_empty_group(below):
                yield from commands(below, f"{name} {word}")


def is_empty_group(parser: Parser) -> bool:
    return any(isinstance(action, argparse._SubParsersAction) and not action.choices for action in parser._actions)


def rows(parser: Parser) -> list[str]:
    """One row for each argument but --help, in the order of the code."""
    made = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        assert action.help, f"{parser.prog}: {action.dest} has no help"
        words = " ".join([*action.option_strings, *metavar_of(action)])
        has_default = bool(action.option_strings) and action.default not in (None, False, [])
        made.append(
            f"| `{words}` | {f'`{action.default}`' if has_default else ''} | {action.help.replace('|', '&#124;')} |"
        )
    return made


def metavar_of(action: argparse.Action) -> list[str]:
    if action.nargs == 0:
        return []
    word = str(action.metavar or action.dest.upper())
    return [{"+": f"{word}...", "*": f"[{word}...]", "?": f"[{word}]"}.get(str(action.nargs), word)]


def page(text: str) -> str:
    """The page with each table made anew; the words around them stay."""
    for name, parser in commands(build_parser()):
        made = "\n".join([*HEAD, *rows(parser)])
        section = re.search(
            rf"^## {name}\n(?:(?!## ).*\n)*?(?P<table>\| argument (?:.*\n)(?:\|.*\n)+)", text, re.MULTILINE
        )
        assert section is not None, f"docs/cli.md has no heading {name!r} with a table of arguments"
        text = f"{text[: section.start('table')]}{made}\n{text[section.end('table') :]}"
    return text


def write(path: Path) -> None:
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write(PAGE)
