"""Binds the arguments of a task to its signature, checks them against its annotations, and makes them a payload and back.

A payload names its arguments: `{"order":17}`. A worker whose version of the task has its parameters in another order, or
one more with a default, reads it all the same. What was left to its default is not sent. A list of arguments in order, as an
operator may write it, is read too.
"""

from __future__ import annotations

import enum
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

from ropeline.jobs.context import JobContext
from ropeline.jobs.errors import Undecodable
from ropeline.jobs.payloads.codec import Codec, codec_named, codec_numbered
from ropeline.jobs.payloads.forms import Forms
from ropeline.jobs.payloads.values import Form, Unfit
from ropeline.jobs.shapes.split import Split
from ropeline.lua.errors import ConfigurationError

__all__ = ["PREVIOUS", "Arguments"]


class _Previous(enum.Enum):
    RESULT = "the result of the job before"


PREVIOUS: Final[Any] = _Previous.RESULT
"""As an argument of a job in a chain: what the job before it returned. Of a job after a group: the list of the results."""

_LONGEST_SHOWN: Final = 200
_BY_POSITION: Final = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_VARIADIC: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_ONE_MESSAGE: Final = "exactly one parameter, annotated with a message class of protocol buffers"
_DEFINED: Final = "a type that the function's module can see when the task is first used"
_CONTEXT_TEXT: Final = re.compile(r"(\w+\.)*JobContext(\s*\|\s*None)?|(\w+\.)?Optional\[(\w+\.)*JobContext\]", re.ASCII)


class _NotYet(ConfigurationError):
    """An annotation names something that is not defined: perhaps not yet, so a definition overlooks it, and a use does not."""


class Arguments:
    """The parameters of one task's function, and what it returns.

    `task`: its type, for messages. `codec`: writes new payloads; each is read by the codec that it names. An annotation
    that names what is defined further down is looked at when the task is first used.

    Raises:
        ConfigurationError: an annotation cannot travel, or there are two parameters for the context.

    """

    def __init__(self, task: str, function: Callable[..., object], codec: Codec) -> None:
        self._task = task
        self._codec = codec
        self._function = function
        self._whole = inspect.signature(function)
        self._hints = _read_hints(function)
        # By whether the codec keeps bytes.
        self._forms: dict[bool, dict[str, Form]] = {}
        self._result_forms: dict[bool, Form] = {}
        contexts = [name for name in self._whole.parameters if _is_context(self._hints.get(name))]
        if len(contexts) > 1:
            raise ConfigurationError(self._field(contexts[1]), "JobContext", "at most one parameter of this type")
        self.context_name = "".join(contexts)
        """The parameter that a worker fills with the JobContext, empty: there is none."""
        parameters = [each for each in self._whole.parameters.values() if each.name != self.context_name]
        self.signature = self._whole.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
        """The signature of `enqueue`."""
        self._names = frozenset(each.name for each in parameters)
        self._in_order = [each.name for each in parameters if each.kind in _BY_POSITION]
        self._required = frozenset(
            each.name for each in parameters if each.default is each.empty and each.kind not in _VARIADIC
        )
        # Everything can be passed by name: nothing needs the care, and the time, of inspect.
        kinds = {each.kind for each in self._whole.parameters.values()}
        self._is_simple = not kinds & (_VARIADIC | {inspect.Parameter.POSITIONAL_ONLY})
        self._all_in_order = len(self._names) if self._is_simple and len(self._in_order) == len(self._names) else -1
        with suppress(_NotYet):
            if codec.takes_messages:
                self._message_class()
            else:
                self._make_forms(keeps_bytes=codec.keeps_bytes)

    def check_names(self, field: str, names: tuple[str, ...]) -> None:
        """Raise ConfigurationError for `field` unless these are parameters of the task."""
        for name in names:
            if name not in self._names:
                known = ", ".join(sorted(self._names)) or "(it has none)"
                raise ConfigurationError(field, name, f"a parameter of {self._task}: {known}")

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, Any]:
        """The arguments that were given, by name; raises the TypeError of a call that does not fit the signature."""
        if not kwargs and len(args) == self._all_in_order:
            return dict(zip(self._in_order, args, strict=True))
        if self._is_simple and len(args) <= len(self._in_order):
            values = dict(zip(self._in_order, args, strict=False))
            values.update(kwargs)
            if len(values) == len(args) + len(kwargs) and self._required <= values.keys() <= self._names:
                return values
        try:
            return self.signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self._task}: {error}") from None

    def take_previous(self, values: dict[str, Any]) -> str:
        """Take PREVIOUS out of bound arguments: the parameter that it is for, empty: none. Raises ConfigurationError for two."""
        names: list[str] = []
        for name, value in values.items():
            if value is PREVIOUS:
                names.append(name)
        if not names:
            return ""
        if len(names) > 1 or self._codec.takes_messages:
            expected = "PREVIOUS for one argument, and none of a task that takes a message"
            raise ConfigurationError(f"{self._task}: {names[-1]}", "PREVIOUS", expected)
        del values[names[0]]
        return names[0]

    def dump(self, values: Mapping[str, object]) -> bytes:
        """The payload of bound arguments.

        Raises:
            TypeError: one is of another type than its annotation says.
            ConfigurationError: one has a value that cannot travel, such as NaN, or its annotation has none.

        """
        if self._codec.takes_messages:
            return self._dump_message(values)
        forms = self._forms_for(keeps_bytes=self._codec.keeps_bytes)
        try:
            plain = {name: forms[name].dump(value) for name, value in values.items()}
        except (Unfit, RecursionError):
            # Once more, to say which of them it is.
            plain = {name: self._dumped(forms[name], name, value) for name, value in values.items()}
        try:
            return self._codec.encode(plain)
        except Unfit as error:
            raise self._culprit(plain, error) from None

    def load(self, payload: bytes, codec: int, fills: bytes = b"", previous: bytes = b"") -> dict[str, Any]:
        """The arguments in a payload, by name, of the types of their annotations.

        `fills`: one that is not among them, and takes `previous`, a result as `dump_result` writes it.

        Raises:
            Undecodable: they do not fit this version of the task.
            ConfigurationError: the package of their codec is not installed here.

        """
        reader = codec_numbered(codec)
        if reader.takes_messages is not self._codec.takes_messages:
            raise Undecodable(f"{self._task}: got arguments in {reader.name}, expected {self._codec.name}")
        if reader.takes_messages:
            return self._load_message(payload)
        try:
            plain = reader.decode(payload)
        except Undecodable as error:
            raise Undecodable(f"{self._task}: {error}") from None
        if isinstance(plain, list):
            plain = self._in_names(plain)
        if not isinstance(plain, dict):
            raise Undecodable(
                f"{self._task}: got {_shown(plain)}, expected arguments by name, or a list of them in order"
            )
        filled = fills.decode()
        given = plain.keys() | {filled} if fills else plain.keys()
        if given != self._names and not self._required <= given <= self._names:
            missing, unknown = sorted(self._required - given), sorted(given - self._names)
            what = f"without {', '.join(missing)}" if missing else f"with {', '.join(unknown)}"
            raise Undecodable(f"{self._task}: got arguments {what}, expected {self.signature}")
        forms = self._forms_for(keeps_bytes=reader.keeps_bytes)
        values = {}
        for name, value in plain.items():
            try:
                values[name] = forms[name].load(value)
            except Unfit as error:
                raise Undecodable(self._message(name, error)) from None
        if fills:
            values[filled] = self._load_previous(filled, previous)
        return values

    def _load_previous(self, name: str, previous: bytes) -> object:
        if not previous:
            raise Undecodable(f"{self._task}: {name}: no job comes before this one whose result it could take")
        codec = codec_numbered(previous[0])
        if codec.takes_messages:
            raise Undecodable(f"{self._task}: {name}: a result in {codec.name} cannot be an argument")
        try:
            return self._forms_for(keeps_bytes=codec.keeps_bytes)[name].load(codec.decode(previous[1:]))
        except Unfit as error:
            raise Undecodable(self._message(name, error)) from None

    def _in_names(self, plain: list[object]) -> dict[str, object]:
        """Arguments in order as those by name; the rest of them are a list if the function takes any number."""
        try:
            bound = self.signature.bind_partial(*plain).arguments
        except TypeError:
            raise Undecodable(f"{self._task}: got {_shown(plain)}, expected {self.signature}") from None
        return {name: list(value) if isinstance(value, tuple) else value for name, value in bound.items()}

    def call(self, values: dict[str, Any], job: JobContext) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What to call the function with: these arguments, and the context where it wants one."""
        if self.context_name:
            values = {**values, self.context_name: job}
        if self._is_simple:
            return (), values
        bound = inspect.BoundArguments(self._whole, values)
        return bound.args, bound.kwargs

    def fingerprint(self, values: Mapping[str, object], names: tuple[str, ...]) -> bytes:
        """16 bytes that two jobs share when these arguments (all, when none is named) are the same, defaults included.

        The codec makes no difference, unless it takes messages. Raises as `dump`.
        """
        if self._codec.takes_messages:
            return blake2b(self._dump_message(values), digest_size=16).digest()
        forms = self._forms_for(keeps_bytes=False)
        chosen: dict[str, object] = {}
        for name in names or self._names:
            parameter = self.signature.parameters[name]
            if name in values:
                chosen[name] = self._dumped(forms[name], name, values[name])
            elif parameter.default is not parameter.empty:
                try:
                    chosen[name] = forms[name].dump(parameter.default)
                # A default is the program's own and may be of another type than its annotation says, as None for an int.
                except Unfit:
                    chosen[name] = repr(parameter.default)
        try:
            text = json.dumps(chosen, sort_keys=True, separators=(",", ":"))
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{self._task}: unique", "(its arguments)", f"plain data ({error})") from None
        return blake2b(text.encode(), digest_size=16).digest()

    def dump_result(self, result: object) -> bytes:
        """What a run returned, as the bytes to keep: the codec's number, then the data. Raises as `dump`."""
        hint = _without_split(self._hint("return"))
        codec = self._codec
        if codec.takes_messages and not _is_message_class(hint):
            codec = codec_named("codec", "json")
        try:
            if codec.takes_messages:
                _check_message(result, hint)
                plain: object = result
            else:
                plain = self._result_form(hint, keeps_bytes=codec.keeps_bytes).dump(result)
            return bytes((codec.number,)) + codec.encode(plain)
        except Unfit as error:
            raise self._refused("return", error) from None

    def load_result(self, data: bytes) -> Any:
        """What a run returned; raises Undecodable, and ConfigurationError when the package of its codec is not installed."""
        codec = codec_numbered(data[0]) if data else None
        if codec is None:
            raise Undecodable(f"{self._task}: a result of no bytes")
        hint = _without_split(self._hint("return"))
        try:
            if codec.takes_messages:
                return _read_message(hint, data[1:])
            return self._result_form(hint, keeps_bytes=codec.keeps_bytes).load(codec.decode(data[1:]))
        except Unfit as error:
            raise Undecodable(self._message("return", error)) from None

    def _dumped(self, form: Form, name: str, value: object) -> object:
        try:
            return form.dump(value)
        except Unfit as error:
            raise self._refused(name, error) from None
        except RecursionError:
            raise self._refused(name, Unfit(value, "data that does not contain itself", is_type=False)) from None

    def _culprit(self, plain: Mapping[str, object], whole: Unfit) -> Exception:
        """The error about the one argument that a codec cannot write."""
        for name, value in plain.items():
            try:
                self._codec.encode(value)
            except Unfit as error:
                return self._refused(name, error)
        return self._refused("arguments", whole)

    def _dump_message(self, values: Mapping[str, object]) -> bytes:
        name, kind = self._message_class()
        try:
            _check_message(values[name], kind)
            return self._codec.encode(values[name])
        except Unfit as error:
            raise self._refused(name, error) from None

    def _load_message(self, payload: bytes) -> dict[str, Any]:
        name, kind = self._message_class()
        try:
            return {name: _read_message(kind, payload)}
        except Unfit as error:
            raise Undecodable(self._message(name, error)) from None

    def _message_class(self) -> tuple[str, Any]:
        names = sorted(self._names)
        hint = self._hint(names[0]) if names else None
        if len(names) != 1 or names != self._in_order or not _is_message_class(hint):
            raise ConfigurationError(f"task {self._task}", str(self.signature), _ONE_MESSAGE)
        return names[0], hint

    def _forms_for(self, *, keeps_bytes: bool) -> dict[str, Form]:
        forms = self._forms.get(keeps_bytes)
        return self._make_forms(keeps_bytes=keeps_bytes) if forms is None else forms

    def _make_forms(self, *, keeps_bytes: bool) -> dict[str, Form]:
        makers = Forms(keeps_bytes=keeps_bytes)
        made = {}
        for name, parameter in self.signature.parameters.items():
            hint = self._hint(name)
            if parameter.kind is parameter.VAR_POSITIONAL:
                hint = types.GenericAlias(tuple, (hint, ...))
            elif parameter.kind is parameter.VAR_KEYWORD:
                hint = types.GenericAlias(dict, (str, hint))
            made[name] = self._form(makers, name, hint)
        self._forms[keeps_bytes] = made
        return made

    def _result_form(self, hint: object, *, keeps_bytes: bool) -> Form:
        if keeps_bytes not in self._result_forms:
            self._result_forms[keeps_bytes] = self._form(Forms(keeps_bytes=keeps_bytes), "return", hint)
        return self._result_forms[keeps_bytes]

    def _form(self, makers: Forms, name: str, hint: object) -> Form:
        try:
            return makers.of(self._field(name), hint)
        except NameError as error:
            raise _NotYet(self._field(name), error.name, _DEFINED) from None

    def _hint(self, name: str) -> Any:
        if isinstance(self._hints.get(name), str):
            self._hints = _read_hints(self._function)
        hint = self._hints.get(name, Any)
        if isinstance(hint, str):
            raise _NotYet(self._field(name), hint, _DEFINED)
        return hint

    def _field(self, name: str) -> str:
        return f"task {self._task}: {name}"

    def _message(self, name: str, error: Unfit) -> str:
        place = name + "".join(reversed(error.path))
        return f"{self._task}: {place}: got {_shown(error.value)}, expected {error.expected}"

    def _refused(self, name: str, error: Unfit) -> Exception:
        if error.is_type:
            return TypeError(self._message(name, error))
        place = name + "".join(reversed(error.path))
        return ConfigurationError(f"{self._task}: {place}", _showable(error.value), error.expected)


def _read_hints(function: Callable[..., object]) -> dict[str, Any]:
    """The annotations of a function; one that names what is not defined stays the text that it is."""
    annotations: dict[str, Any] = getattr(function, "__annotations__", {})
    namespace = getattr(inspect.unwrap(function), "__globals__", {})
    hints = {}
    for name, annotation in annotations.items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints.update(typing.get_type_hints(holder, globalns=namespace, include_extras=True))
        # Reading a text as an annotation can fail in as many ways as running it.
        except Exception:  # noqa: BLE001
            hints[name] = str(annotation)
    return hints


def _without_split(hint: Any) -> Any:
    """What a job returns in the end whose function may return a Split of it."""
    if hint is Split:
        return Any
    if typing.get_origin(hint) is Split:
        return typing.get_args(hint)[0]
    members = typing.get_args(hint)
    if typing.get_origin(hint) in {typing.Union, types.UnionType} and any(_is_split(each) for each in members):
        return typing.Union[tuple(_without_split(each) for each in members)]  # noqa: UP007 - of a tuple
    return hint


def _is_split(hint: object) -> bool:
    return hint is Split or typing.get_origin(hint) is Split


def _is_context(hint: object) -> bool:
    # The name may be imported for type checkers alone.
    if isinstance(hint, str):
        return _CONTEXT_TEXT.fullmatch(hint.strip()) is not None
    if typing.get_origin(hint) is typing.Annotated:
        return _is_context(typing.get_args(hint)[0])
    members = [each for each in typing.get_args(hint) or (hint,) if each is not type(None)]
    return members == [JobContext] and typing.get_origin(hint) in {None, typing.Union, types.UnionType}


def _is_message_class(hint: object) -> bool:
    return isinstance(hint, type) and hasattr(hint, "SerializeToString") and hasattr(hint, "FromString")


def _check_message(value: object, kind: Any) -> None:
    if type(value) is not kind:
        raise Unfit(value, kind.__name__)


def _read_message(kind: Any, data: bytes) -> object:
    if not _is_message_class(kind):
        raise Unfit(data, "no message of protocol buffers")
    try:
        message: object = kind.FromString(data)
    except Exception as error:
        raise Unfit(data, f"{kind.__name__} ({error})") from error
    return message


def _showable(value: object) -> object:
    try:
        repr(value)
    except (ValueError, RecursionError):  # more digits than Python writes, or too deep
        return f"({type(value).__name__} that cannot be shown)"
    return value


def _shown(value: object) -> str:
    text = repr(_showable(value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
