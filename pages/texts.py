"""The words of the pages: one catalogue a language, and the phrases that are put together from numbers.

A catalogue is `locales/<language>.json` with three groups: `page` (templates alone), `script` (templates, and `page.js`,
which finds the group inside the page) and `client` (shipped inside `client.js`). An entry is a text with `{placeholders}`,
or a set of plural forms under their CLDR categories. A new language is a new file and a line in `_PLURAL_CATEGORY`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import ceil
from typing import TypeAlias

Entry: TypeAlias = "str | Mapping[str, str]"

_DEFAULT_LANGUAGE = "en"

_PLURAL_CATEGORY: Mapping[str, Callable[[int], str]] = {"en": lambda count: "one" if count == 1 else "other"}


@dataclass(frozen=True)
class Texts:
    """One language's catalogue. A name that it does not have is a KeyError."""

    language: str
    thousands_separator: str
    page: Mapping[str, Entry]
    script: Mapping[str, Entry]
    client: Mapping[str, Entry]

    def text(self, name: str, **values: str) -> str:
        """The text of that name with its placeholders filled."""
        entry = self.page[name] if name in self.page else self.script[name]
        if not isinstance(entry, str):
            raise KeyError(name)
        return entry.format_map(values) if values else entry

    def plural(self, name: str, count: int) -> str:
        """The plural form of that name which fits `count`, with the number written in."""
        forms = self.script[name]
        if isinstance(forms, str):
            raise KeyError(name)
        return forms[_PLURAL_CATEGORY[self.language](count)].format_map({"count": self.number(count)})

    def number(self, value: int) -> str:
        """A whole number with its thousands set apart."""
        return f"{value:,}".replace(",", self.thousands_separator) if value >= 1000 else str(value)

    def duration(self, seconds: float) -> str:
        """A length of time, never shorter than the truth: minutes, and from an hour on steps of five of them."""
        minutes = max(1, ceil(seconds / 60))
        if minutes < 60:
            return self.plural("minutes", minutes)
        hours, minutes = divmod(ceil(minutes / 5) * 5, 60)
        if not minutes:
            return self.plural("hours", hours)
        return self.text("hours_minutes", hours=self.plural("hours", hours), minutes=self.plural("minutes", minutes))

    def interval(self, seconds: float) -> str:
        """How often something happens: exact in seconds below a minute, where `duration` would round up."""
        return self.plural("seconds", max(1, ceil(seconds))) if seconds < 60 else self.duration(seconds)

    def wait(self, low_seconds: float | None, high_seconds: float | None) -> str:
        """An estimated wait as a range in words; None at either end means that it is not known."""
        if low_seconds is None or high_seconds is None:
            return self.text("wait_unknown")
        if high_seconds < 60:
            return self.text("wait_short")
        low, high = self.duration(low_seconds), self.duration(high_seconds)
        if low == high:
            return self.text("wait_about", duration=high)
        if low_seconds < 60:
            return self.text("wait_up_to", duration=high)
        if high_seconds <= 59 * 60:
            minutes = (self.number(ceil(seconds / 60)) for seconds in (low_seconds, high_seconds))
            return self.text("wait_minutes", low=next(minutes), high=next(minutes))
        return self.text("wait_range", low=low, high=high)


def countdown(seconds: int) -> str:
    """A time that is left as a clock shows it: 4:05, 1:00:00, and hours without end."""
    minutes, rest = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def languages() -> tuple[str, ...]:
    """The languages that have a catalogue, sorted."""
    return tuple(sorted(_PLURAL_CATEGORY))


def texts(language: str) -> Texts:
    """The catalogue that fits a BCP 47 tag best: the tag itself, then its first part, then English."""
    tag = language.lower()
    for candidate in (tag, tag.partition("-")[0]):
        if candidate in _PLURAL_CATEGORY:
            return _load(candidate)
    return _load(_DEFAULT_LANGUAGE)


@cache
def _load(language: str) -> Texts:
    source = files(__package__).joinpath("locales", f"{language}.json").read_text(encoding="utf-8")
    return Texts(**json.loads(source))
