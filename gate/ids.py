"""Makes visitors' ids: the 16 bytes of a random UUID (RFC 9562, version 4), drawn from the system in blocks."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["new_id"]

_BLOCK: Final = 256
_VERSION: Final = bytes(byte & 0x0F | 0x40 for byte in range(256))
_VARIANT: Final = bytes(byte & 0x3F | 0x80 for byte in range(256))

_drawn: list[bytes] = []
# A forked process would hand the same ids to other visitors.
os.register_at_fork(after_in_child=_drawn.clear)


def new_id() -> bytes:
    """An id that nobody has."""
    if not _drawn:
        block = bytearray(os.urandom(16 * _BLOCK))
        block[6::16] = block[6::16].translate(_VERSION)
        block[8::16] = block[8::16].translate(_VARIANT)
        _drawn.extend(bytes(block[start : start + 16]) for start in range(0, len(block), 16))
    return _drawn.pop()
