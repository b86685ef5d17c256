"""Sends scripts to the server: what every typed wrapper of a folder of scripts stands on.

Each call is one round trip. A server that does not have a script cached (first use, restart, failover, SCRIPT FLUSH)
answers NOSCRIPT; the call is then sent once more with the whole text, which is safe since nothing had run. Nothing else
is ever sent twice: after a lost reply the caller does not know whether the call was carried out.
"""

from __future__ import annotations

from typing import Any, Protocol

from redis.exceptions import NoScriptError

from ropeline.lua.errors import REDIS_ERRORS, store_error
from ropeline.lua.loader import ScriptSource

__all__ = ["CommandClient", "Scripts", "TestClock"]


class CommandClient(Protocol):
    """The one method of redis-py's asyncio clients, single server and cluster, that scripts are called through."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply, with bytes left as bytes."""


class TestClock(Protocol):
    """What a test may put in the place of the server's clock (us) and run id."""

    now: int
    run: str


class Scripts:
    """Sends scripts to the server and falls back to their text when it does not know them."""

    def __init__(self, client: CommandClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def _run(
        self, script: ScriptSource, keys: tuple[str | bytes, ...], *arguments: str | bytes | float
    ) -> list[Any]:
        return list(await self._reply(script, keys, *arguments))

    async def _reply(self, script: ScriptSource, keys: tuple[str | bytes, ...], *arguments: str | bytes | float) -> Any:
        try:
            try:
                return await self._client.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await self._client.execute_command("EVAL", script.text, len(keys), *keys, *arguments)
        except REDIS_ERRORS as error:
            raise store_error(error) from error
