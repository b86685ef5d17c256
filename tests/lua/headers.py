"""Reads the header of a script: what it says of KEYS, ARGV, RETURNS and COST."""

import re
from dataclasses import dataclass

_ENTRY = re.compile(r"^ *(\d+) (\w+)\s+(\w+)\s*(.*)$")


@dataclass(frozen=True, slots=True)
class Header:
    """`keys` and `arguments` by their names, in order; `flags` from the first line, `name` from the first sentence.

    `may_repeat`: the last argument may be given several times.
    """

    name: str
    flags: str
    keys: tuple[str, ...]
    arguments: tuple[str, ...]
    may_repeat: bool
    returns: str
    cost: str


def read_header(text: str) -> Header:
    """The header of a script's text; raises ValueError for one that a stranger could not use."""
    first, _, rest = text.partition("\n")
    found = re.match(r"--\[\[\n(\w+): (.+?)\n(KEYS .*)\n\]\]\n", rest, re.DOTALL)
    if not first.startswith("#!lua") or found is None:
        raise ValueError("a script begins with #!lua and a header")
    sections: dict[str, list[str]] = {}
    for line in found[3].splitlines():
        if line[:1] != " ":
            word, _, tail = line.partition(" ")
            sections[word] = [tail]
        else:
            sections[list(sections)[-1]].append(line)
    return Header(
        name=found[1],
        flags=first.removeprefix("#!lua").strip(),
        keys=_names(sections["KEYS"]),
        arguments=_names(sections["ARGV"]),
        may_repeat=re.search(r"1 to [\d,]+ times", "\n".join(sections["ARGV"])) is not None,
        returns=" ".join(sections["RETURNS"]).strip(),
        cost=" ".join(sections["COST"]).strip(),
    )


def _names(lines: list[str]) -> tuple[str, ...]:
    entries = [match for match in map(_ENTRY.match, lines) if match]
    numbers = [int(match[1]) for match in entries]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ValueError(f"numbered from 1 without a gap, not {numbers}")
    return tuple(match[2] for match in entries)
