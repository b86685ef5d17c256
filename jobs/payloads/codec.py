"""Writes plain data as bytes, and reads it back: JSON, msgpack; and protocol buffers, which bring messages of their own.

A job carries its codec's number, so a worker reads jobs of every codec, and changing an application's codec loses none.
Nothing is ever pickled: whoever can write to the store could run code in the workers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Final, NoReturn, Protocol

from ropeline.jobs.errors import Undecodable
from ropeline.jobs.payloads.values import Unfit
from ropeline.lua.errors import ConfigurationError

__all__ = ["Codec", "codec_named", "codec_numbered"]

_DEEP: Final = "data that does not contain itself and is at most a few hundred levels deep"


class Codec(Protocol):
    """One way to write plain data.

    `number`: what stands for it in a job, for ever. `keeps_bytes`: bytes are plain data to it. `takes_messages`: it writes
    one message of protocol buffers instead of plain data.
    """

    @property
    def number(self) -> int: ...

    @property
    def name(self) -> str: ...

    @property
    def keeps_bytes(self) -> bool: ...

    @property
    def takes_messages(self) -> bool: ...

    def encode(self, value: Any) -> bytes:
        """The bytes of plain data; raises Unfit for what this codec cannot write, whole."""

    def decode(self, data: bytes) -> object:
        """The plain data in bytes; raises Undecodable."""


class _Json:
    """Strict JSON in UTF-8: whole numbers of any size exactly, no NaN, no Infinity."""

    number: Final = 1
    name: Final = "json"
    keeps_bytes: Final = False
    takes_messages: Final = False

    def __init__(self) -> None:
        encoder = json.JSONEncoder(check_circular=False, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        decoder = json.JSONDecoder(parse_constant=_refuse_constant)
        self._write = _prepared(encoder)
        self._read, self._read_first = decoder.decode, decoder.raw_decode

    def encode(self, value: Any) -> bytes:
        try:
            return self._write(value).encode()
        except UnicodeEncodeError:
            raise Unfit(value, "text without lone surrogates", is_type=False) from None
        except ValueError as error:
            raise Unfit(value, f"data that JSON can hold ({error})", is_type=False) from None
        except RecursionError:
            raise Unfit(value, _DEEP, is_type=False) from None

    def decode(self, data: bytes) -> object:
        try:
            text = data.decode()
            # What `encode` wrote has no space around it; `decode` looks for some with two regular expressions.
            if text[:1] == "{":
                value, end = self._read_first(text)
                if end == len(text):
                    return value
            value = self._read(text)
        except (ValueError, RecursionError) as error:
            raise Undecodable(f"not JSON: {error}") from None
        return value


def _prepared(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """What `encoder.encode` does, with the C part of it made once instead of for each value; itself where Python has none."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    write = make(
        None, encoder.default, json.encoder.encode_basestring, None, encoder.key_separator, encoder.item_separator,
        encoder.sort_keys, encoder.skipkeys, encoder.allow_nan,
    )  # fmt: skip
    return lambda value: "".join(write(value, 0))


class _Msgpack:
    """MessagePack: shorter and faster to read for numbers and bytes; whole numbers of at most 64 bits."""

    number: Final = 2
    name: Final = "msgpack"
    keeps_bytes: Final = True
    takes_messages: Final = False

    def __init__(self) -> None:
        self._module = _imported("msgpack", "msgpack")

    def encode(self, value: Any) -> bytes:
        try:
            packed: bytes = self._module.packb(value, strict_types=True)
        except OverflowError:
            expected = "whole numbers of at most 64 bits (the codec json takes any)"
            raise Unfit(value, expected, is_type=False) from None
        except UnicodeEncodeError:
            raise Unfit(value, "text without lone surrogates", is_type=False) from None
        # Too deep is a ValueError or a RecursionError, by where it is noticed.
        except (ValueError, RecursionError):
            raise Unfit(value, _DEEP, is_type=False) from None
        return packed

    def decode(self, data: bytes) -> object:
        try:
            value: object = self._module.unpackb(data, ext_hook=_refuse_extension)
        # Its own errors are ValueErrors; a stack overflow in its parser is one too.
        except (ValueError, RecursionError) as error:
            raise Undecodable(f"not MessagePack: {str(error) or type(error).__name__}") from None
        return value


class _Protobuf:
    """Protocol buffers: the payload is the task's one message; its class reads it, not the codec."""

    number: Final = 3
    name: Final = "protobuf"
    keeps_bytes: Final = True
    takes_messages: Final = True

    def __init__(self) -> None:
        _imported("google.protobuf.message", "protobuf")

    def encode(self, value: Any) -> bytes:
        try:
            data: bytes = value.SerializeToString(deterministic=True)
        except Exception as error:  # EncodeError: a required field is not set
            raise Unfit(value, f"a message that can be written ({error})", is_type=False) from error
        return data

    def decode(self, data: bytes) -> object:
        return data


_CODECS: Final = {each.name: each for each in (_Json, _Msgpack, _Protobuf)}
_NAMES: Final = {each.number: each.name for each in _CODECS.values()}
_made: dict[str, Codec] = {}


def codec_named(field: str, name: object) -> Codec:
    """The codec `json`, `msgpack` or `protobuf`; raises ConfigurationError for `field`, also when a package is missing."""
    if not isinstance(name, str) or name not in _CODECS:
        raise ConfigurationError(field, name, f"one of: {', '.join(_CODECS)}")
    if name not in _made:
        _made[name] = _CODECS[name]()
    return _made[name]


@cache
def codec_numbered(number: int) -> Codec:
    """The codec that a job names.

    Raises:
        Undecodable: there is none of this number.
        ConfigurationError: its package is not installed here; the job itself is in order.
    """
    if number not in _NAMES:
        raise Undecodable(f"codec: got number {number}, expected one of: {', '.join(map(str, _NAMES))}")
    return codec_named("codec", _NAMES[number])


def _imported(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ConfigurationError("codec", extra, f"its package: pip install 'ropeline[{extra}]'") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _refuse_extension(code: int, _: bytes) -> NoReturn:
    raise ValueError(f"extension type {code}")
