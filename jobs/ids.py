"""Makes the ids of jobs: 16 bytes that are a UUID, so that any tool can read them (RFC 9562).

An id of chance is of version 7: its first six bytes are the ms of its making, and each id of a process is greater than
the one before. An id that follows from what it is made of is of version 8.
"""

from __future__ import annotations

import os
import threading
import time
from array import array
from hashlib import blake2b
from typing import Final
from uuid import UUID

from ropeline.lua.errors import ConfigurationError

__all__ = ["created_ms", "derived_id", "job_id", "new_id"]

_BLOCK: Final = 4096
_TAIL_BYTES: Final = 10
_TAIL_BITS: Final = 74
_LOW_BITS: Final = 62
_LOW: Final = (1 << _LOW_BITS) - 1
_VERSION: Final = 7 << 76
_VARIANT: Final = 2 << _LOW_BITS
_EXPECTED: Final = (
    "16 bytes, a UUID, or its text with or without dashes; derived_id(...) makes an id of a key of your own"
)


class _Maker:
    """The state behind `new_id`: the last ms, the 74 bits after it, and random bytes drawn from the system in blocks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ms = 0
        self._tail = 0
        self._steps = array("I")

    def next(self) -> bytes:
        with self._lock:
            ms = time.time_ns() // 1_000_000
            if ms > self._ms:
                self._ms = ms
                self._tail = _fresh_tail()
            else:
                # Within one ms, and while the clock is behind itself, ids go up by steps that nobody can guess.
                if not self._steps:
                    self._steps = array("I", os.urandom(_BLOCK))
                self._tail += 1 + self._steps.pop()
                if self._tail >> _TAIL_BITS:
                    self._ms += 1
                    self._tail = _fresh_tail()
            tail = self._tail
            return (self._ms << 80 | _VERSION | (tail >> _LOW_BITS) << 64 | _VARIANT | tail & _LOW).to_bytes(16)


def _fresh_tail() -> int:
    # The highest bit stays 0, so that there is always room to go up.
    return int.from_bytes(os.urandom(_TAIL_BYTES)) >> (_TAIL_BYTES * 8 - _TAIL_BITS + 1)


_maker = _Maker()


def _start_anew() -> None:
    """A forked process would make its parent's ids, and its lock may be held by a thread that it does not have."""
    global _maker  # noqa: PLW0603 - one for each process
    _maker = _Maker()


os.register_at_fork(after_in_child=_start_anew)


def new_id() -> bytes:
    """An id that no job has, greater than every other that this process has made. Safe from any thread."""
    return _maker.next()


def derived_id(*parts: str | bytes) -> bytes:
    """The id that follows from these parts, always the same: enqueueing it twice makes one job.

    `derived_id("receipt", order)` is the id of one receipt. The parts are told apart: ("ab", "c") is not ("a", "bc").
    """
    digest = blake2b(digest_size=16, person=b"ropeline job id")
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8))
        digest.update(data)
    made = bytearray(digest.digest())
    made[6] = made[6] & 0x0F | 0x80
    made[8] = made[8] & 0x3F | 0x80
    return bytes(made)


def job_id(field: str, id: object) -> bytes:
    """The 16 bytes of an id given as bytes, UUID or hexadecimal text; raises ConfigurationError for `field` otherwise."""
    if isinstance(id, UUID):
        return id.bytes
    if isinstance(id, bytes) and len(id) == 16:
        return id
    if isinstance(id, str) and len(id) in {32, 36}:
        try:
            made = UUID(id)
        except ValueError:
            pass
        else:
            if id.lower() in {made.hex, str(made)}:
                return made.bytes
    raise ConfigurationError(field, id, _EXPECTED)


def created_ms(id: bytes) -> int | None:
    """The wall ms at which an id was made, by the clock of whoever made it; None for one that does not say."""
    return int.from_bytes(id[:6]) if len(id) == 16 and id[6] >> 4 == 7 else None
