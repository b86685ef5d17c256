"""What a settings field may hold: each kind checks a value and says in words what would be right.

The same description serves three readers: the check when settings are built, the reference in docs/settings.md and the
operators' interface.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar, Protocol, TypeVar

from ropeline.lua.errors import ConfigurationError

_MOST_NESTED_ITEMS = 1_000


class Kind(Protocol):
    """The values that a field may have."""

    @property
    def expected(self) -> str:
        """What is right, in words that finish the sentence "expected ..."."""
        ...

    def check(self, field: str, value: object) -> object:
        """Return the value as it is to be stored; raises ConfigurationError naming the field."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What there is to know about one field beside its name, type and default."""

    kind: Kind
    text: str
    unit: str = ""
    example: object = None


def described(kind: Kind, text: str, unit: str = "", example: object = None) -> dict[str, Setting]:
    """The `metadata` of a dataclass field: `quota: int = field(metadata=described(Integer(0, 10), "..."))`.

    `example`: a value as JSON has it, where the default is none that tells anything.
    """
    return {"setting": Setting(kind, text, unit, example)}


def setting_of(field: "Field[Any]") -> Setting:
    """The description that `described` attached to a dataclass field."""
    setting: Setting = field.metadata["setting"]
    return setting


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false; 0, 1 and "yes" are not."""

    expected: ClassVar[str] = "true or false"

    def check(self, field: str, value: object) -> object:
        if not isinstance(value, bool):
            raise ConfigurationError(field, value, self.expected)
        return value


@dataclass(frozen=True, slots=True)
class Number:
    """A number between two bounds, both allowed. `absent` says what None stands for; without it None is refused."""

    low: float
    high: float
    absent: str = ""
    whole: ClassVar[bool] = False

    @property
    def expected(self) -> str:
        words = f"a {'whole ' if self.whole else ''}number from {_plain(self.low)} to {_plain(self.high)}"
        return f"{words}, or none: {self.absent}" if self.absent else words

    def check(self, field: str, value: object) -> object:
        if value is None and self.absent:
            return None
        allowed = int if self.whole else int | float
        # A bool is an int to Python, and NaN is neither below nor above anything.
        if isinstance(value, bool) or not isinstance(value, allowed) or not self.low <= value <= self.high:
            raise ConfigurationError(field, value, self.expected)
        return value


@dataclass(frozen=True, slots=True)
class Integer(Number):
    """A whole number between two bounds, both allowed."""

    whole: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values. `instead` answers values that users of other waiting rooms will try."""

    options: tuple[str | int, ...]
    instead: str = ""

    @property
    def expected(self) -> str:
        words = f"one of {', '.join(str(option) for option in self.options)}"
        return f"{words} ({self.instead})" if self.instead else words

    def check(self, field: str, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, str | int) or value not in self.options:
            raise ConfigurationError(field, value, self.expected)
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """A text that `normalised` accepts; it returns the text to store, or None for one that cannot be used.

    `pattern`: a regular expression of JSON Schema that says the same, where there is one.
    """

    expected: str
    normalised: Callable[[str], str | None]
    absent: str = ""
    pattern: str = ""

    def check(self, field: str, value: object) -> object:
        if value is None and self.absent:
            return None
        text = self.normalised(value) if isinstance(value, str) else None
        if text is None:
            raise ConfigurationError(
                field, value, f"{self.expected}, or none: {self.absent}" if self.absent else self.expected
            )
        return text


@dataclass(frozen=True, slots=True)
class ListOf:
    """Up to `most` values of one kind; stored as a tuple."""

    kind: Kind
    most: int

    @property
    def expected(self) -> str:
        return f"a list of at most {self.most}, each {self.kind.expected}"

    def check(self, field: str, value: object) -> object:
        if not isinstance(value, list | tuple) or len(value) > self.most:
            shown = f"{len(value)} values" if isinstance(value, list | tuple) else value
            raise ConfigurationError(field, shown, self.expected)
        return tuple(self.kind.check(f"{field}[{index}]", item) for index, item in enumerate(value))


@dataclass(frozen=True, slots=True)
class Table:
    """A group of fields: a mapping, or the dataclass that it becomes."""

    type: "type[Any]"

    @property
    def expected(self) -> str:
        return f"a table with {', '.join(each.name for each in fields(self.type))}"

    def check(self, field: str, value: object) -> object:
        if isinstance(value, self.type):
            return value
        if not isinstance(value, Mapping):
            raise ConfigurationError(field, value, self.expected)
        return build(self.type, value, prefix=f"{field}.")


def check_fields(instance: object) -> None:
    """Check each field of a dataclass built with `described`, from its `__post_init__`."""
    for field in fields(instance):  # type: ignore[arg-type]  # any dataclass
        before = getattr(instance, field.name)
        after = setting_of(field).kind.check(field.name, before)
        if after is not before:
            object.__setattr__(instance, field.name, after)


T = TypeVar("T")


def build(cls: type[T], mapping: Mapping[str, object], *, prefix: str) -> T:
    """The settings in a mapping that came from TOML or JSON; every error carries `prefix` before the field's name."""
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]  # any dataclass
    for name, value in mapping.items():
        if name not in known:
            raise ConfigurationError(f"{prefix}{_printable(name)}", value, _no_such_field(name, list(known)))
    for name, field in known.items():
        required = field.default is MISSING and field.default_factory is MISSING
        if required and name not in mapping:
            raise ConfigurationError(f"{prefix}{name}", None, f"{setting_of(field).kind.expected} (required)")
    try:
        return cls(**mapping)
    except ConfigurationError as error:
        raise ConfigurationError(f"{prefix}{error.field}", error.value, error.expected) from None


def to_plain(instance: object) -> dict[str, object]:
    """The inverse of `build`: what TOML and JSON can hold. A field that is None stays out, since TOML has no null."""
    plain: dict[str, object] = {}
    for field in fields(instance):  # type: ignore[arg-type]  # any dataclass
        value = getattr(instance, field.name)
        if value is not None:
            plain[field.name] = _plain_value(value)
    return plain


def _plain_value(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain_value(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    return value if isinstance(value, str | int | float) else to_plain(value)


def _no_such_field(name: object, known: list[str]) -> str:
    nearest = get_close_matches(str(name)[:100], known, n=1)
    return f"the name of a field; did you mean {nearest[0]}?" if nearest else f"one of {', '.join(known)}"


def _printable(name: object) -> str:
    text = str(name)
    return text if text.isidentifier() and len(text) <= 100 else repr(text[:100])


def _plain(number: float) -> str:
    return str(int(number)) if number == math.floor(number) else str(number)


def line_of_text(most: int) -> Callable[[str], str | None]:
    """Accept a text of 1 to `most` printable characters."""
    return lambda text: text if 0 < len(text) <= most and text.isprintable() else None


_SLUG_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def slug(text: str) -> str | None:
    """Accept a name that is safe in a key, a cookie's name, a path and a host label."""
    return text if 0 < len(text) <= 63 and _SLUG_CHARACTERS.issuperset(text) else None


SLUG = Text("1 to 63 of the characters a-z, 0-9 and -", slug, pattern="^[a-z0-9-]{1,63}$")
