"""Finds out from an annotation how its values travel: containers, unions, enums, dataclasses, typed dicts, pydantic's models."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from ropeline.jobs.payloads.values import PLAIN_TYPES, SCALARS, Form, Unfit, any_form, bytes_form, plain_value
from ropeline.lua.errors import ConfigurationError

__all__ = ["Forms"]

_EXPECTED: Final = (
    "a type that can travel: plain data, bytes, datetime, date, time, timedelta, UUID, Decimal, an enum, list, tuple, set,"
    " dict, a union, a dataclass, NamedTuple, TypedDict or pydantic model"
)
_LISTS: Final = {list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection}
_SETS: Final = {set, frozenset, collections.abc.Set}
_DICTS: Final = {dict, collections.abc.Mapping, collections.abc.MutableMapping}
_LIST: Final = frozenset({list})
_DICT: Final = frozenset({dict})
_TRANSPARENT: Final = {typing.Annotated, typing.Required, typing.NotRequired, typing.Final}


class Forms:
    """The forms of annotations, each made once. `keeps_bytes`: the codec has bytes of its own."""

    def __init__(self, *, keeps_bytes: bool) -> None:
        self._any = any_form(keeps_bytes=keeps_bytes)
        self._keeps_bytes = keeps_bytes
        self._known: dict[object, Form] = {
            **SCALARS,
            bytes: bytes_form(keeps_bytes=keeps_bytes),
            Any: self._any,
            object: self._any,
        }

    def of(self, field: str, annotation: object) -> Form:
        """How values of this annotation travel; raises ConfigurationError for `field` when they cannot.

        Raises NameError while a class refers to a name that is not defined yet.
        """
        try:
            known = self._known.get(annotation)
        except TypeError:  # not hashable, as Literal[[]]
            known = None
        return self._make(field, annotation) if known is None else known

    def _make(self, field: str, annotation: Any) -> Form:
        origin = typing.get_origin(annotation)
        arguments = typing.get_args(annotation)
        if isinstance(annotation, typing.TypeVar):
            return self._any
        if isinstance(annotation, typing.NewType):
            return self.of(field, annotation.__supertype__)
        if origin in _TRANSPARENT:
            return self.of(field, arguments[0])
        if hasattr(annotation, "__value__"):  # type X = ...
            return self.of(field, annotation.__value__)
        if origin is typing.Union or origin is types.UnionType:
            return self._union(field, annotation, arguments)
        if origin is typing.Literal:
            return _literal(annotation, arguments)
        kind = annotation if origin is None else origin
        name = _name(annotation)
        if kind in _LISTS:
            return self._items(field, name, arguments[:1], list, (list,) if kind is list else (list, tuple))
        if kind in _SETS:
            made = frozenset if kind is frozenset else set
            return self._items(field, name, arguments[:1], made, (set, frozenset))
        if kind is tuple:
            if not arguments or arguments[-1] is ...:
                return self._items(field, name, arguments[:1], tuple, (tuple,))
            return self._tuple(field, name, arguments)
        if kind in _DICTS:
            return self._dict(field, name, *(arguments or (Any, Any)))
        if isinstance(kind, type):
            return self._class(field, annotation, kind)
        raise ConfigurationError(field, annotation, _EXPECTED)

    def _class(self, field: str, annotation: object, kind: Any) -> Form:
        if issubclass(kind, enum.Enum):
            return _enum(field, kind)
        if hasattr(kind, "__get_pydantic_core_schema__") or hasattr(kind, "__pydantic_core_schema__"):
            return self._pydantic(annotation, kind)
        if dataclasses.is_dataclass(kind):
            fields = [each for each in dataclasses.fields(kind) if each.init]
            required = {
                each.name
                for each in fields
                if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
            }
            return self._record(field, annotation, kind, {each.name for each in fields}, required)
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return self._record(
                field, annotation, kind, set(kind._fields), set(kind._fields) - set(kind._field_defaults)
            )
        if issubclass(kind, dict) and hasattr(kind, "__required_keys__"):
            return self._record(field, annotation, kind, None, set(kind.__required_keys__))
        raise ConfigurationError(field, annotation, _EXPECTED)

    def _items(
        self,
        field: str,
        name: str,
        arguments: tuple[object, ...],
        make: Callable[[Iterable[object]], object],
        accepted: tuple[type[Collection[object]], ...],
    ) -> Form:
        item = self.of(field, arguments[0]) if arguments else self._any
        is_set = set in accepted

        def dump(value: Any) -> object:
            if not isinstance(value, accepted):
                raise Unfit(value, name)
            items = [_step(item.dump, each, place) for place, each in enumerate(value)]
            # The same set is the same data, in every process.
            return sorted(items, key=repr) if is_set else items

        def load(value: Any) -> object:
            if type(value) is not list:
                raise Unfit(value, f"{name} as a list")
            return make([_step(item.load, each, place) for place, each in enumerate(value)])

        return Form(name, _LIST, dump, load)

    def _tuple(self, field: str, name: str, arguments: tuple[object, ...]) -> Form:
        forms = [self.of(field, each) for each in arguments]

        def dump(value: Any) -> object:
            if not isinstance(value, tuple) or len(value) != len(forms):
                raise Unfit(value, name)
            return [_step(form.dump, each, place) for place, (form, each) in enumerate(zip(forms, value, strict=True))]

        def load(value: Any) -> object:
            if type(value) is not list or len(value) != len(forms):
                raise Unfit(value, f"{name} as a list")
            return tuple(
                _step(form.load, each, place) for place, (form, each) in enumerate(zip(forms, value, strict=True))
            )

        return Form(name, _LIST, dump, load)

    def _dict(self, field: str, name: str, key_type: object, value_type: object) -> Form:
        key_form, value_form = self.of(field, str if key_type is Any else key_type), self.of(field, value_type)
        are_numbers = key_form.kinds <= {int, bool}
        if not are_numbers and key_form.kinds != {str}:
            raise ConfigurationError(field, name, "a dict whose keys are text or whole numbers, or travel as such")

        def dump(value: Any) -> object:
            if not isinstance(value, dict):
                raise Unfit(value, name)
            plain = {}
            for key, item in value.items():
                written: Any = _step(key_form.dump, key, key)
                plain[str(int(written)) if are_numbers else written] = _step(value_form.dump, item, key)
            return plain

        def load_key(key: str) -> object:
            try:
                return key_form.load(int(key) if are_numbers else key)
            except ValueError:
                raise Unfit(key, key_form.name) from None

        def load(value: Any) -> object:
            if type(value) is not dict:
                raise Unfit(value, name)
            return {_step(load_key, key, key): _step(value_form.load, item, key) for key, item in value.items()}

        return Form(name, _DICT, dump, load)

    def _union(self, field: str, annotation: object, members: tuple[object, ...]) -> Form:
        forms = [self.of(field, member) for member in members]
        name = " | ".join(form.name for form in forms)
        kinds: frozenset[type] = frozenset().union(*(form.kinds for form in forms))
        are_native = all(form.is_native for form in forms)

        def dump_plain(value: object) -> object:
            return _first(forms, "dump", value, name)[1]

        def load_plain(value: object) -> object:
            fitting = [form for form in forms if type(value) in form.kinds]
            # Of one that could be it, the reason is worth more than the whole list.
            return fitting[0].load(value) if len(fitting) == 1 else _first(fitting, "load", value, name)[1]

        if are_native or sum(len(form.kinds) for form in forms) == len(kinds):
            return Form(name, kinds, dump_plain, load_plain, is_native=are_native)
        # The data alone would not tell which member it was: its name goes with it.
        by_name = {form.name: form for form in forms}
        if len(by_name) < len(forms):
            raise ConfigurationError(field, annotation, "a union of types with different names")

        def dump(value: object) -> object:
            form, plain = _first(forms, "dump", value, name)
            return [form.name, plain]

        def load(value: Any) -> object:
            if type(value) is not list or len(value) != 2 or type(value[0]) is not str or value[0] not in by_name:
                raise Unfit(value, f"[type, data] with one of {name}")
            return by_name[value[0]].load(value[1])

        return Form(name, _LIST, dump, load)

    def _record(self, field: str, annotation: object, kind: Any, names: set[str] | None, required: set[str]) -> Form:
        """A dataclass, NamedTuple or, without `names`, TypedDict: a dict of its fields."""
        is_dict = names is None
        form = Form(kind.__name__, _DICT, _unmade, _unmade)
        # Known before its fields are looked at, which may be of this very type.
        self._known[annotation] = form
        try:
            hints = _hints(field, kind)
            if is_dict:
                # With postponed annotations the class itself does not know what is NotRequired.
                required = {name for name in hints if _is_required(hints[name], default=name in required)}
            fields = {
                name: self.of(f"{field}.{name}", hints.get(name, Any)) for name in (hints if names is None else names)
            }
        except BaseException:
            del self._known[annotation]
            raise

        def dump(value: Any) -> object:
            if is_dict:
                if type(value) is not dict:
                    raise Unfit(value, form.name)
                _check_names(form.name, value, fields, required)
                return {name: _member(fields[name].dump, item, name) for name, item in value.items()}
            # What a subclass has more would be lost on the way.
            if type(value) is not kind:
                raise Unfit(value, form.name)
            return {name: _member(each.dump, getattr(value, name), name) for name, each in fields.items()}

        def load(value: Any) -> object:
            if type(value) is not dict:
                raise Unfit(value, form.name)
            _check_names(form.name, value, fields, required)
            loaded = {name: _member(fields[name].load, item, name) for name, item in value.items()}
            if is_dict:
                return loaded
            try:
                return kind(**loaded)
            except Exception as error:
                raise Unfit(value, f"a valid {form.name}: {_one_line(error)}") from error

        form.dump, form.load = dump, load
        return form

    def _pydantic(self, annotation: object, kind: Any) -> Form:
        # Whoever has such a class has imported pydantic.
        adapter = sys.modules["pydantic"].TypeAdapter(annotation)
        is_model = hasattr(kind, "model_dump") or dataclasses.is_dataclass(kind)
        name = kind.__name__

        def dump(value: object) -> object:
            if is_model and type(value) is not kind:
                raise Unfit(value, name)
            try:
                plain = adapter.dump_python(value, mode="json", warnings="error")
                # A model may have been changed since it was validated.
                adapter.validate_python(plain)
            except Exception as error:
                raise Unfit(value, f"a valid {name}: {_one_line(error)}") from error
            return plain_value(plain)

        def load(value: object) -> object:
            try:
                return adapter.validate_python(value)
            except Exception as error:
                raise Unfit(value, f"a valid {name}: {_one_line(error)}") from error

        return Form(name, _DICT if is_model else PLAIN_TYPES, dump, load)


def _literal(annotation: object, values: tuple[object, ...]) -> Form:
    name = _name(annotation)
    forms = {type(value): _enum_or_plain(value) for value in values}

    def dump(value: object) -> object:
        if not any(value == each and type(value) is type(each) for each in values):
            raise Unfit(value, name)
        return forms[type(value)][0](value)

    def load(value: object) -> object:
        for each in values:
            plain = forms[type(each)][0](each)
            if plain == value and type(plain) is type(value):
                return each
        raise Unfit(value, name)

    kinds = frozenset(type(forms[type(value)][0](value)) for value in values)
    return Form(name, kinds, dump, load, is_native=all(native for _, native in forms.values()))


def _enum_or_plain(value: object) -> tuple[Callable[[Any], object], bool]:
    if isinstance(value, enum.Enum):
        return (lambda member: member.name), False
    if isinstance(value, bytes):
        return (lambda data: data.hex()), False
    return (lambda plain: plain), True


def _enum(field: str, kind: type[enum.Enum]) -> Form:
    """An enum travels as its value, which must be text or a whole number: plain, and the same in every version of the program."""
    for member in kind:
        if not isinstance(member.value, str | int):
            raise ConfigurationError(field, kind, "an enum whose values are text or whole numbers")
    name = kind.__name__
    kinds: frozenset[type] = frozenset(str if isinstance(member.value, str) else int for member in kind)

    def dump(value: object) -> object:
        if not isinstance(value, kind):
            raise Unfit(value, name)
        return value.value

    def load(value: object) -> object:
        try:
            return kind(value)
        except ValueError:
            raise Unfit(value, f"a value of {name}") from None

    return Form(name, kinds, dump, load)


def _first(forms: Iterable[Form], way: typing.Literal["dump", "load"], value: object, name: str) -> tuple[Form, object]:
    """The first form that takes the value, and what it makes of it."""
    deepest: Unfit | None = None
    for form in forms:
        try:
            return form, getattr(form, way)(value)
        except Unfit as error:
            # An error inside of a value, or about its content, is nearer to what was meant than one about its type.
            if (error.path or not error.is_type) and deepest is None:
                deepest = error
    raise deepest or Unfit(value, name)


def _step(convert: Callable[[Any], object], value: object, place: object) -> object:
    try:
        return convert(value)
    except Unfit as error:
        raise error.at(f"[{place!r}]") from None


def _member(convert: Callable[[Any], object], value: object, name: str) -> object:
    try:
        return convert(value)
    except Unfit as error:
        raise error.at(f".{name}") from None


def _hints(field: str, kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
        raise ConfigurationError(field, kind, "a dataclass without InitVar, which it does not keep and so cannot send")
    return hints


def _check_names(name: str, value: Mapping[str, object], fields: Mapping[str, Form], required: set[str]) -> None:
    for each in value:
        if each not in fields:
            raise Unfit(value, f"{name} without {each!r}")
    for each in required:
        if each not in value:
            raise Unfit(value, f"{name} with {each!r}")


def _unmade(value: object) -> object:
    raise Unfit(value, "a type that is known")


def _is_required(hint: object, *, default: bool) -> bool:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _is_required(typing.get_args(hint)[0], default=default)
    return default if origin not in {typing.Required, typing.NotRequired} else origin is typing.Required


def _name(annotation: object) -> str:
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
