"""Simulated visitors for `ropeline up --crowd`: they come, wait as the page tells them to, look around and go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from ropeline.cli.loopback_http import HttpPool, Reply

__all__ = ["Crowd"]

_LONGEST_ARRIVAL_SECONDS: Final = 20.0
_ARRIVALS_A_SECOND: Final = 20.0
_STAY_SECONDS: Final = (20.0, 60.0)
_LOOK_SECONDS: Final = (3.0, 8.0)
_TRY_AGAIN_SECONDS: Final = 3.0
_GOODBYE_SECONDS: Final = 3.0
_LINK: Final = re.compile(rb'href="(/[^"/#?.][^"#?.]*)"')
_TRANSIENT: Final = (OSError, asyncio.IncompleteReadError)


class _Where(StrEnum):
    """What a visitor is doing."""

    COMING = "arriving"
    WAITING = "in line"
    SHOPPING = "shopping"
    GONE = "gone"


@dataclass(slots=True)
class _Visitor:
    cookie: str = ""
    where: _Where = _Where.COMING


class Crowd:
    """`size` visitors of the shop at one address.

    They arrive over some seconds, poll when they are told to, stay for 20 to 60 seconds once they are let in, and then
    leave, close the tab or just vanish. `prefix`: of the gate's own endpoints. `random`: replaced by tests.
    """

    def __init__(self, size: int, pool: HttpPool, *, prefix: str, tenant: str, random: Random | None = None) -> None:
        self._visitors = [_Visitor() for _ in range(size)]
        self._pool = pool
        self._status = f"{prefix}status?tenant={tenant}"
        self._leave = f"{prefix}leave?tenant={tenant}"
        self._random = random or Random()  # noqa: S311 - behaviour, not secrets

    def summary(self) -> str:
        """How many are where, in words."""
        found = Counter(visitor.where for visitor in self._visitors)
        return ", ".join(f"{found[where]} {where}" for where in _Where)

    async def run(self) -> None:
        """Send them all; returns when the last one is gone."""
        arrival = min(_LONGEST_ARRIVAL_SECONDS, len(self._visitors) / _ARRIVALS_A_SECOND)
        async with asyncio.TaskGroup() as group:
            for visitor in self._visitors:
                group.create_task(self._come_and_go(visitor, self._random.uniform(0, arrival)))

    async def go_home(self) -> None:
        """Let all who are still there leave, so that the next line does not begin behind them; takes seconds at most."""
        there = [visitor for visitor in self._visitors if visitor.cookie and visitor.where is not _Where.GONE]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await asyncio.gather(*(self._say(visitor, self._leave) for visitor in there), return_exceptions=True)

    async def _come_and_go(self, visitor: _Visitor, seconds: float) -> None:
        await asyncio.sleep(seconds)
        reply = await self._get(visitor, "/")
        while not await self._is_let_in(visitor, reply):
            reply = await self._get(visitor, "/")
        stay = self._random.uniform(*_STAY_SECONDS)
        ends_at = asyncio.get_running_loop().time() + stay
        pages = ["/"]
        while asyncio.get_running_loop().time() < ends_at:
            visitor.where = _Where.SHOPPING
            pages = [link.decode("latin-1") for link in _LINK.findall(reply.body)] or pages
            await asyncio.sleep(min(stay, self._random.uniform(*_LOOK_SECONDS)))
            reply = await self._get(visitor, self._random.choice(pages))
            if _is_queued(reply) and not await self._is_let_in(visitor, reply):
                break
        visitor.where = _Where.GONE
        goodbye = self._random.choice([self._leave, f"{self._leave}&beacon=1", ""])
        if goodbye:
            with contextlib.suppress(*_TRANSIENT):
                await self._say(visitor, goodbye)

    async def _is_let_in(self, visitor: _Visitor, reply: Reply) -> bool:
        """Wait until the visitor's turn has come; True when `reply` already is the shop's."""
        if not _is_queued(reply):
            return True
        visitor.where = _Where.WAITING
        interval = float(reply.headers.get("retry-after", _TRY_AGAIN_SECONDS))
        while True:
            await asyncio.sleep(interval)
            status = _status_of(await self._get(visitor, self._status))
            if not status.get("inWaitingRoom", True):
                return False
            refresh = status.get("refreshIntervalSeconds")
            interval = float(refresh) if isinstance(refresh, int | float) and refresh > 0 else _TRY_AGAIN_SECONDS

    async def _get(self, visitor: _Visitor, target: str) -> Reply:
        """Ask until there is an answer that is no failure of the way to it."""
        while True:
            try:
                return await self._send("GET", visitor, target, "text/html")
            except _TRANSIENT:
                await asyncio.sleep(_TRY_AGAIN_SECONDS)

    async def _say(self, visitor: _Visitor, target: str) -> None:
        await self._send("POST", visitor, target, "application/json")

    async def _send(self, method: str, visitor: _Visitor, target: str, accept: str) -> Reply:
        headers = {"Accept": accept}
        if visitor.cookie:
            headers["Cookie"] = visitor.cookie
        reply = await self._pool.request(method, target, headers)
        given = reply.headers.get("set-cookie", "").partition(";")[0]
        if given.startswith(("wr_", "__Host-wr_", "__Secure-wr_")):
            visitor.cookie = given
        return reply


def _is_queued(reply: Reply) -> bool:
    """Whether the gate answered and not the shop."""
    return not reply.headers.get("waiting-room", "queued").startswith(("admitted", "bypass", "failing-open"))


def _status_of(reply: Reply) -> dict[str, object]:
    try:
        document = json.loads(reply.body)["waitingRoom"]
    except (ValueError, KeyError, TypeError):
        return {}
    return document if isinstance(document, dict) else {}
