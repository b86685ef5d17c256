"""One typed method per script by which operators change a tenant; each writes the audit trail in the same step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from ropeline.lua.audit import AuditEntry, Author, Done, Outcome, read_trail
from ropeline.lua.calls import CommandClient, Scripts
from ropeline.lua.errors import REDIS_ERRORS, store_error
from ropeline.lua.keys import TenantKeys, changes_channel
from ropeline.lua.line_settings import LineSettings, Turn, seeds_text, turns_text
from ropeline.lua.loader import load_script

__all__ = ["TenantScripts"]

_NO_SEEDS: Final[Mapping[int, bytes]] = MappingProxyType({})


class TenantScripts(Scripts):
    """The changes of one tenant. Every method raises StoreError when the server does not answer or refuses."""

    def __init__(self, client: CommandClient, namespace: str, tenant: str) -> None:
        super().__init__(client, namespace)
        self.tenant = tenant
        self._channel = changes_channel(namespace)
        self._tenant_keys = TenantKeys(namespace, tenant)

    async def change(
        self,
        *,
        expected: int,
        settings: str,
        numbers: LineSettings,
        author: Author,
        turns: Sequence[Turn] = (),
        seeds: Mapping[int, bytes] = _NO_SEEDS,
        caller_clock: int = 0,
    ) -> Done:
        """Write settings (`settings`: all of them as JSON) when `expected` is the version in force, 0 for a new tenant.

        `turns`, `seeds`: as in `LineScripts.configure`.
        """
        message = f"{self.tenant} configure {expected + 1}"
        now = run = ""
        arguments = (expected, settings, numbers.numbers(), turns_text(turns), seeds_text(seeds), author.encode())
        return await self._do("tenant/change", author, now, run, caller_clock, self._channel, message, *arguments)

    async def flush(self, *, author: Author, caller_clock: int = 0) -> Done:
        """Empty the line and make every ticket given so far worthless."""
        now = run = ""
        message = f"{self.tenant} flush"
        return await self._do("tenant/flush", author, now, run, caller_clock, self._channel, message, author.encode())

    async def remove(self, *, expected: int, author: Author) -> Done:
        """End the tenant with its line when `expected` is the version in force, or -1."""
        keys, message = self._tenant_keys.removal(author.call), f"{self.tenant} delete"
        return await self._do("tenant/remove", author, self._channel, message, expected, author.encode(), keys=keys)

    async def kept_call(self, author: Author) -> str | None:
        """The entry that this call has made when it was sent before, empty when its id was another's; None when it is new."""
        if not author.call:
            return None
        try:
            kept = await self._client.execute_command("GET", self._tenant_keys.change(author.call)[-1])
        except REDIS_ERRORS as error:
            raise store_error(error) from error
        if kept is None:
            return None
        fingerprint, _, entry = kept.decode().partition(" ")
        return entry if fingerprint == author.fingerprint else ""

    async def trail(self, *, count: int, before: str = "", only: str = "") -> list[AuditEntry]:
        """Up to `count` changes of the tenant, the newest first; see `read_trail`."""
        return await read_trail(self._client, self._tenant_keys.audit, count=count, before=before, only=only)

    async def _do(
        self, script: str, author: Author, *arguments: str | int, keys: tuple[str, ...] | None = None
    ) -> Done:
        keys = keys or self._tenant_keys.change(author.call)
        reply: list[Any] = await self._run(load_script(script), keys, *arguments)
        return Done(Outcome(reply[0]), reply[1], reply[2], reply[3].decode())
