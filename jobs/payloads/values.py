"""Turns values into plain data by their annotations, and back: None, bool, int, float, str, list and dict with text keys.

What cannot come back as it was is refused, on the way in and on the way out: NaN and Infinity, a key that is not text, a
tuple or a subclass that nobody annotated. A value is never made into something that is merely similar.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

__all__ = ["PLAIN_TYPES", "SCALARS", "Form", "Unfit", "any_form", "bytes_form", "plain_value"]

PLAIN_TYPES: Final = frozenset({type(None), bool, int, float, str, list, dict, bytes})
"""The types of plain data; bytes for codecs that keep them."""

_FINITE: Final = "a finite number"
_PLAIN: Final = "None, bool, int, float, str, list or dict; annotate the parameter with its type to send anything else"
_MICROSECOND: Final = timedelta(microseconds=1)


class Unfit(Exception):
    """A value that cannot travel. `path` leads to it, the innermost step first; `is_type`: a value of another type would be right."""

    def __init__(self, value: object, expected: str, *, is_type: bool = True) -> None:
        # The value may be too large, or too deep, to be shown.
        super().__init__(expected)
        self.value, self.expected, self.is_type = value, expected, is_type
        self.path: list[str] = []

    def at(self, step: str) -> Unfit:
        """This error, one step further out: `.price`, `[2]`."""
        self.path.append(step)
        return self


class Form:
    """How the values of one annotation travel. `dump` and `load` raise Unfit; `load` is shown what was decoded, be it what it may.

    `kinds`: the types that its plain data may have. `is_native`: the plain data is the value itself.
    """

    __slots__ = ("dump", "is_native", "kinds", "load", "name")

    def __init__(
        self,
        name: str,
        kinds: frozenset[type],
        dump: Callable[[Any], object],
        load: Callable[[Any], object],
        *,
        is_native: bool = False,
    ) -> None:
        self.name, self.kinds, self.dump, self.load, self.is_native = name, kinds, dump, load, is_native


def _native(kind: type, *others: type) -> Form:
    """A form of values that are plain data themselves; a subclass's own way of being one is left behind."""
    kinds = frozenset({kind, *others})

    def load(value: object) -> object:
        if type(value) not in kinds:
            raise Unfit(value, kind.__name__)
        return value

    def dump(value: Any) -> object:
        if type(value) in kinds:
            return value
        if not isinstance(value, kind):
            raise Unfit(value, kind.__name__)
        return kind.__new__(kind, kind.__str__(value) if kind is str else value)

    return Form(kind.__name__, kinds, dump, load, is_native=True)


def _check_none(value: object) -> None:
    if value is not None:
        raise Unfit(value, "None")


def _check_float(value: Any) -> object:
    kind = type(value)
    if kind is float:
        if not math.isfinite(value):
            raise Unfit(value, _FINITE, is_type=False)
        return value
    if kind is int or kind is bool:
        return value
    if isinstance(value, float):
        return _check_float(float(value))
    raise Unfit(value, "float")


def _text_form(kind: type, write: Callable[[Any], str], read: Callable[[str], object]) -> Form:
    name = kind.__name__

    def dump(value: object) -> str:
        # A datetime is a date to Python, and would come back as one.
        if type(value) is not kind and not (isinstance(value, kind) and kind is not date):
            raise Unfit(value, name)
        return write(value)

    def load(value: object) -> object:
        if type(value) is not str:
            raise Unfit(value, f"{name} as text")
        try:
            return read(value)
        except (ValueError, InvalidOperation):
            raise Unfit(value, f"{name} as text") from None

    return Form(name, frozenset({str}), dump, load)


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise Unfit(value, _FINITE, is_type=False)
    return str(value)


def _read_decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError(text)
    return value


def _dump_timedelta(value: object) -> int:
    if not isinstance(value, timedelta):
        raise Unfit(value, "timedelta")
    return value // _MICROSECOND


def _load_timedelta(value: object) -> timedelta:
    if type(value) is not int:
        raise Unfit(value, "microseconds")
    try:
        return timedelta(microseconds=value)
    except OverflowError:
        raise Unfit(value, "microseconds of a timedelta") from None


SCALARS: Final[dict[object, Form]] = {
    None: Form("None", frozenset({type(None)}), _check_none, _check_none, is_native=True),
    bool: _native(bool),
    int: _native(int, bool),
    float: Form("float", frozenset({float, int, bool}), _check_float, _check_float, is_native=True),
    str: _native(str),
    datetime: _text_form(datetime, datetime.isoformat, datetime.fromisoformat),
    date: _text_form(date, date.isoformat, date.fromisoformat),
    time: _text_form(time, time.isoformat, time.fromisoformat),
    timedelta: Form("timedelta", frozenset({int}), _dump_timedelta, _load_timedelta),
    UUID: _text_form(UUID, str, UUID),
    Decimal: _text_form(Decimal, _write_decimal, _read_decimal),
}
SCALARS[type(None)] = SCALARS[None]


def bytes_form(*, keeps_bytes: bool) -> Form:
    """Bytes as they are, or in base 64."""
    if keeps_bytes:
        return _native(bytes)

    def dump(value: object) -> str:
        if not isinstance(value, bytes):
            raise Unfit(value, "bytes")
        return base64.b64encode(value).decode()

    def load(value: object) -> bytes:
        if type(value) is not str:
            raise Unfit(value, "bytes in base 64")
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise Unfit(value, "bytes in base 64") from None

    return Form("bytes", frozenset({str}), dump, load)


def plain_value(value: object, *, keeps_bytes: bool = False) -> object:
    """Return `value` when it is plain data through and through; raises Unfit otherwise."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return _check_float(value)
    if isinstance(value, list) and kind is list:
        for place, item in enumerate(value):
            try:
                plain_value(item, keeps_bytes=keeps_bytes)
            except Unfit as error:
                raise error.at(f"[{place}]") from None
        return value
    if isinstance(value, dict) and kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise Unfit(key, "text as the key of a dict, or a parameter annotated with the dict's types")
            try:
                plain_value(item, keeps_bytes=keeps_bytes)
            except Unfit as error:
                raise error.at(f"[{key!r}]") from None
        return value
    if kind is bytes and keeps_bytes:
        return value
    raise Unfit(value, _PLAIN)


def any_form(*, keeps_bytes: bool) -> Form:
    """Whatever is plain data already, for what has no annotation."""

    def dump(value: object) -> object:
        return plain_value(value, keeps_bytes=keeps_bytes)

    # What a codec has decoded is plain data.
    return Form("Any", PLAIN_TYPES, dump, lambda value: value, is_native=True)
