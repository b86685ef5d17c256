"""The tables of docs/settings.md, made from the settings themselves.

`python -m tests.contracts.settings_tables` writes them into the page; a test fails when the page says something else.
"""

import re
from dataclasses import MISSING, fields, is_dataclass

from ropeline.admin_api.settings import AdminSettings
from ropeline.gate.closed_loop import ClosedLoop
from ropeline.gate.events import Event
from ropeline.gate.fields import Choice, Flag, ListOf, Table, setting_of
from ropeline.gate.hosts import Route
from ropeline.gate.rules import Condition, Rule
from ropeline.gate.settings import GateSettings
from ropeline.gate.tenant_settings import CookieAttributes, Poll, TenantSettings
from tests.contracts.checkout import ROOT

PAGE = ROOT / "docs" / "settings.md"

# The heading above each table, and what the table lists.
TABLES: dict[str, type] = {
    "The gate process": GateSettings,
    "The operators' API": AdminSettings,
    "A tenant": TenantSettings,
    "Routes": Route,
    "Rules": Rule,
    "Conditions": Condition,
    "Events": Event,
    "Polls": Poll,
    "The closed loop": ClosedLoop,
    "The cookie": CookieAttributes,
}
HEAD = ("| setting | default | allowed | unit | what it does |", "|---|---|---|---|---|")


def rows(settings: type) -> list[str]:
    """One row for each field, in the order of the code."""
    assert is_dataclass(settings)
    made = []
    for field in fields(settings):
        setting = setting_of(field)
        default: object = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        cells = (f"`{field.name}`", shown(default), allowed(setting.kind), setting.unit, setting.text)
        made.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return made


def shown(default: object) -> str:
    """A default as TOML writes it."""
    if default is MISSING:
        return "required"
    if default is None or default in ((), "", {}):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`{list(default)}`".replace("'", '"')
    return "see below" if is_dataclass(default) else f"`{default}`"


def allowed(kind: object) -> str:
    """What a kind of field accepts; groups of settings have a table of their own."""
    inner = kind.kind if isinstance(kind, ListOf) else kind
    if isinstance(inner, Table):
        heading = next(heading for heading, settings in TABLES.items() if settings is inner.type)
        link = f"[{heading.lower()}](#{heading.lower().replace(' ', '-')})"
        return f"at most {kind.most} {link}" if isinstance(kind, ListOf) else link
    if isinstance(kind, Flag):
        return "`true`, `false`"
    if isinstance(kind, Choice):
        return ", ".join(f"`{option}`" for option in kind.options)
    expected = getattr(kind, "expected", "")
    assert isinstance(expected, str)
    return expected


def page(text: str) -> str:
    """The page with each table made anew; the words around them stay."""
    for heading, settings in TABLES.items():
        made = "\n".join([*HEAD, *rows(settings)])
        table = re.search(rf"^## {heading}\n(?:(?!## )[^|\n].*\n|\n)*(?P<table>(?:\|.*\n)+)", text, re.MULTILINE)
        assert table is not None, f"no table under the heading {heading!r}"
        text = f"{text[: table.start('table')]}{made}\n{text[table.end('table') :]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
