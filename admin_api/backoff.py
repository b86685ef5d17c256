"""Makes who tries one bad key after the other wait longer and longer. A good key is never held up by it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

__all__ = ["Backoff"]

_FREE: Final = 5
_LONGEST: Final = 60
_FORGOTTEN_AFTER: Final = 900.0
_ADDRESSES: Final = 10_000


class Backoff:
    """Counts bad keys for each client address, the newest ten thousand. `monotonic`: seconds, replaced by tests."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failures: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def failed(self, address: bytes) -> int:
        """Note a bad key; seconds that the caller is told to wait, 0 for the first five in a quarter of an hour."""
        now = self._monotonic()
        count, last = self._failures.pop(address, (0, now))
        count = 1 if now - last > _FORGOTTEN_AFTER else count + 1
        self._failures[address] = (count, now)
        if len(self._failures) > _ADDRESSES:
            self._failures.popitem(last=False)
        return 0 if count <= _FREE else int(min(2 ** min(count - _FREE, 10), _LONGEST))
