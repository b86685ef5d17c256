"""Bounds how long a call of the store may take, over waiting for a connection, connecting and the call itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from ropeline.lua.errors import StoreTimeout

__all__ = ["within"]

_Reply = TypeVar("_Reply")


async def within(seconds: float, call: Awaitable[_Reply]) -> _Reply:
    """The reply of `call`; raises StoreTimeout after `seconds`. The store may have carried the call out all the same."""
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError:
        raise StoreTimeout(f"no answer within {round(seconds * 1000)} ms") from None
