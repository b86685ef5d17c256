r"""Packs what a worker needs to run a job into the job's body, and reads it back.

A plain job costs its task type and ten bytes around the payload:

```
1  version, 0x01
1  codec of the payload, see `ropeline.jobs.payloads.codec`
6  wall ms at which it was enqueued, by the producer's clock
1  length of the task type, then the type in UTF-8
1  number of fields, then each: 1 tag, 1 to 3 length, value
   the payload
```

A number in a field is as many bytes as it needs, most significant first. A length is seven bits a byte, least significant
first, as in protocol buffers. A tag of 128 and above may be skipped by a reader that does not know it; a lower one may not,
so that an old worker never runs a job whose terms it cannot keep.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from ropeline.jobs.errors import Undecodable

__all__ = ["LARGEST_METADATA", "NO_TRACE", "Envelope", "pack", "pack_plain", "task_of", "unpack", "with_trace"]

LARGEST_METADATA: Final = 1024
"""Most bytes of a job's metadata, names and values together."""
NO_TRACE: Final[Mapping[str, str]] = MappingProxyType({})
"""The trace of a job that has none."""

_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BBHIB")
_HEAD_LENGTH: Final = _HEAD.size
_OPTIONAL: Final = 128
_NUMBERS: Final = {1: "max_attempts", 2: "timeout", 3: "grace", 4: "deadline", 5: "result_ttl"}
_TAGS: Final = {name: tag for tag, name in _NUMBERS.items()}
_LONGEST_NUMBER: Final = 8
_BYTES: Final = {6: "then", 7: "fills", 8: "previous"}
_METADATA: Final = 128
_TRACE: Final = 129
_NONE: Final = NO_TRACE


class Envelope(NamedTuple):
    """What a body says.

    `codec`: the number of the payload's codec. `enqueued`: wall ms of the producer. `max_attempts`, `timeout` and `grace`
    (ms), `result_ttl` (ms): this job's own, None: the task's. `deadline`: wall ms after which it is of no use to anybody,
    None never. `metadata`: the caller's own words about it. `trace`: the carrier of a trace context, such as `traceparent`.
    `then`: the job that is enqueued when this one has completed, see `ropeline.jobs.shapes.chains`. `fills`: the parameter that takes
    the result of the job before, and `previous` that result, as `Arguments.dump_result` writes one.
    """

    type: str
    payload: bytes
    codec: int
    enqueued: int
    max_attempts: int | None = None
    timeout: int | None = None
    grace: int | None = None
    deadline: int | None = None
    result_ttl: int | None = None
    metadata: Mapping[str, str] = _NONE
    trace: Mapping[str, str] = NO_TRACE
    then: bytes = b""
    fills: bytes = b""
    previous: bytes = b""


def pack(envelope: Envelope) -> bytes:
    """The body of a job. Everything was checked by whoever made the envelope."""
    type_ = envelope.type.encode()
    fields: list[bytes] = []
    # Most jobs have none of these, and each job goes through here.
    if envelope[4:9] != (None, None, None, None, None):
        for name, tag in _TAGS.items():
            number: int | None = getattr(envelope, name)
            if number is not None:
                fields.append(_field(tag, number.to_bytes((number.bit_length() + 7) // 8)))
    if envelope.then or envelope.fills or envelope.previous:
        values = ((tag, getattr(envelope, name)) for tag, name in _BYTES.items())
        fields += [_field(tag, value) for tag, value in values if value]
    if envelope.metadata:
        fields.append(_field(_METADATA, _pack_pairs(envelope.metadata)))
    if envelope.trace:
        fields.append(_field(_TRACE, _pack_pairs(envelope.trace)))
    head = _head(type_, envelope.codec, envelope.enqueued)
    return b"".join((head, type_, bytes((len(fields),)), *fields, envelope.payload))


def pack_plain(type: bytes, payload: bytes, codec: int, enqueued: int) -> bytes:
    """The body that `pack` makes of an envelope with nothing else in it, in a third of the time. `type`: in UTF-8."""
    return b"".join((_head(type, codec, enqueued), type, b"\0", payload))


def with_trace(body: bytes, trace: Mapping[str, str]) -> bytes:
    """The body of the same job with this trace instead of its own; none given, the body as it is."""
    if not trace:
        return body
    at = _HEAD_LENGTH + body[_HEAD_LENGTH - 1]
    if body[at]:
        return pack(unpack(body)._replace(trace=trace))
    # Most jobs have no fields, and need not be read.
    return b"".join((body[:at], b"\1", _field(_TRACE, _pack_pairs(trace)), body[at + 1 :]))


def unpack(body: bytes) -> Envelope:
    """What a body says; raises Undecodable when no job of ours can have it, or a newer Ropeline wrote it."""
    if not body or body[0] != _VERSION:
        version = f"version {body[0]}" if body else "nothing"
        raise Undecodable(f"body: got {version}, expected version {_VERSION}")
    try:
        return _unpack(body)
    except (IndexError, struct.error):
        raise Undecodable(f"body: {len(body)} bytes end too early") from None
    except UnicodeDecodeError:
        raise Undecodable("body: a text in it is not UTF-8") from None


def task_of(body: bytes) -> bytes:
    """The task type in UTF-8, empty when this is no body of ours; `includes/queue/tasks.lua` reads it the same way."""
    if len(body) <= _HEAD_LENGTH or body[0] != _VERSION:
        return b""
    return body[_HEAD_LENGTH : _HEAD_LENGTH + body[_HEAD_LENGTH - 1]]


def _unpack(body: bytes) -> Envelope:
    _, codec, high, low, length = _HEAD.unpack_from(body)
    at = _HEAD_LENGTH + length
    # There is no byte after a type that is cut off.
    fields = body[at]
    type_ = body[_HEAD_LENGTH:at].decode()
    if not type_:
        raise Undecodable("body: the task type is empty")
    at += 1
    if not fields:
        return Envelope(type_, body[at:], codec, high << 32 | low)
    texts: dict[int, Mapping[str, str]] = {}
    values: dict[str, Any] = {}
    for _ in range(fields):
        tag = body[at]
        length, at = _read_length(body, at + 1)
        value = _slice(body, at, at + length)
        at += length
        if tag in _NUMBERS:
            if length > _LONGEST_NUMBER:
                raise Undecodable(f"body: {_NUMBERS[tag]} takes {length} bytes, at most {_LONGEST_NUMBER} are allowed")
            values[_NUMBERS[tag]] = int.from_bytes(value)
        elif tag in _BYTES:
            values[_BYTES[tag]] = value
        elif tag in {_METADATA, _TRACE}:
            texts[tag] = _unpack_pairs(value)
        elif tag < _OPTIONAL:
            raise Undecodable(f"body: field {tag} is unknown, and may not be skipped")
    return Envelope(
        type_,
        body[at:],
        codec,
        high << 32 | low,
        metadata=texts.get(_METADATA, _NONE),
        trace=texts.get(_TRACE, NO_TRACE),
        **values,
    )


def _head(type: bytes, codec: int, enqueued: int) -> bytes:
    return _HEAD.pack(_VERSION, codec, enqueued >> 32, enqueued & 0xFFFFFFFF, len(type))


def _field(tag: int, value: bytes) -> bytes:
    return bytes((tag,)) + _length(len(value)) + value


def _length(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    """The length that begins there, and where it ends."""
    length = 0
    for shift in (0, 7, 14):
        byte = data[at]
        at += 1
        length |= (byte & 127) << shift
        if byte < 128:
            return length, at
    raise Undecodable("body: a length takes more than three bytes")


def _slice(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise IndexError
    return data[start:end]


def _pack_pairs(pairs: Mapping[str, str]) -> bytes:
    texts = [text.encode() for pair in pairs.items() for text in pair]
    return b"".join(part for text in texts for part in (_length(len(text)), text))


def _unpack_pairs(data: bytes) -> Mapping[str, str]:
    texts: list[str] = []
    at = 0
    while at < len(data):
        length, at = _read_length(data, at)
        texts.append(_slice(data, at, at + length).decode())
        at += length
    if len(texts) % 2:
        raise Undecodable("body: a name has no value")
    return MappingProxyType(dict(zip(texts[::2], texts[1::2], strict=True)))
