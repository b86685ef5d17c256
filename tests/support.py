"""What many tests share: waiting for something to become true, without sleeping for a guess."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

_PAUSE_SECONDS = 0.005


@overload
async def wait_until(
    condition: Callable[[], Awaitable[T]],
    *,
    timeout: float = ...,  # noqa: ASYNC109
    message: str = ...,
) -> T: ...


@overload
async def wait_until(
    condition: Callable[[], T],
    *,
    timeout: float = ...,  # noqa: ASYNC109
    message: str = ...,
) -> T: ...


async def wait_until(
    condition: Callable[[], object],
    *,
    timeout: float = 5.0,  # noqa: ASYNC109 - a condition is asked many times: no single await could be given the limit
    message: str = "",
) -> object:
    """Call `condition`, sync or async, until it returns something true, and return that; fail after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        result = condition()
        value: object = await result if inspect.isawaitable(result) else result
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(_failure(condition, timeout, message))
        await asyncio.sleep(_PAUSE_SECONDS)


def wait_until_sync(condition: Callable[[], T], *, timeout: float = 5.0, message: str = "") -> T:
    """Call `condition` until it returns something true, and return that; fail after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(_failure(condition, timeout, message))
        time.sleep(_PAUSE_SECONDS)
    return value


def _failure(condition: Callable[[], object], timeout: float, message: str) -> str:
    what = message or getattr(condition, "__name__", repr(condition))
    return f"not true within {timeout:g} s: {what}"
