"""Keeps visitors from waiting for a store that does not answer.

The first failure opens the breaker: from then on every visit fails at once and a probe in the background, never a
visitor, finds out when the store is back. One failure is enough because the calls are batched: a call that took the whole
deadline was hundreds of visitors waiting for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from ropeline.gate.tasks import end
from ropeline.lua.errors import StoreError

__all__ = ["Breaker"]

_log = logging.getLogger("ropeline.gate.breaker")

_FIRST_PROBE_AFTER = 0.1
_PROBE_EVERY = 1.0


class Breaker:
    """Whether one tenant's store is believed to answer.

    `probe` is a call that succeeds when the store does its work again; it is tried 0.1 s after the breaker opened and
    then once a second, with up to 30 % of jitter, until it succeeds.
    """

    def __init__(self, tenant: str, probe: Callable[[], Awaitable[object]]) -> None:
        self.tenant = tenant
        self.failure: StoreError | None = None
        self._probe = probe
        self._prober: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls are to fail at once; `failure` says why."""
        return self.failure is not None

    def fail(self, error: StoreError) -> None:
        """A call failed: open the breaker and start to probe."""
        if self.failure is None:
            _log.warning("tenant %s: the store fails (%s), the failure policy decides", self.tenant, error)
        self.failure = error
        if self._prober is None or self._prober.done():
            self._prober = asyncio.create_task(self._probe_until_well())

    async def close(self) -> None:
        """Stop probing; the process ends."""
        if self._prober is not None:
            await end([self._prober])

    async def _probe_until_well(self) -> None:
        delay = _FIRST_PROBE_AFTER
        while self.failure is not None:
            await asyncio.sleep(delay * (1 + 0.3 * random.random()))  # noqa: S311 - jitter, not a secret
            delay = _PROBE_EVERY
            try:
                await self._probe()
            except StoreError as error:
                self.failure = error
            except Exception as error:  # noqa: BLE001 - a probe that died would leave the breaker open for ever
                _log.exception("tenant %s: the probe went wrong", self.tenant)
                self.failure = StoreError(f"{type(error).__name__}: {error}")
            else:
                self.failure = None
                _log.warning("tenant %s: the store answers again", self.tenant)
