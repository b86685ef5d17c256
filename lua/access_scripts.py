"""One typed method per script on the operators' keys; each writes the audit trail in the same step."""

from __future__ import annotations

from ropeline.lua.audit import AuditEntry, Author, Outcome, read_trail
from ropeline.lua.calls import Scripts
from ropeline.lua.errors import REDIS_ERRORS, store_error
from ropeline.lua.keys import AccessKeys
from ropeline.lua.loader import load_script

__all__ = ["AccessScripts"]


class AccessScripts(Scripts):
    """The keys of a namespace. Every method raises StoreError when the server does not answer or refuses."""

    async def create_key(self, *, key_id: str, record: str, author: Author) -> tuple[Outcome, str]:
        """Keep the record of a new key; the outcome (refused: there are 1,000) and the entry of the audit trail."""
        keys = AccessKeys(self._namespace).change(author.call)
        reply = await self._run(load_script("access/create_key"), keys, key_id, record, author.encode())
        return Outcome(reply[0]), reply[1].decode()

    async def revoke_key(self, *, key_id: str, author: Author) -> tuple[Outcome, str]:
        """End a key; the outcome (refused: there is none of this id) and the entry of the audit trail."""
        keys = AccessKeys(self._namespace).change(author.call)
        reply = await self._run(load_script("access/revoke_key"), keys, key_id, author.encode())
        return Outcome(reply[0]), reply[1].decode()

    async def read_key(self, key_id: str) -> str | None:
        """The record of a key, None when there is none."""
        try:
            record = await self._client.execute_command("HGET", AccessKeys(self._namespace).keys, key_id)
        except REDIS_ERRORS as error:
            raise store_error(error) from error
        return None if record is None else record.decode()

    async def read_keys(self) -> dict[str, str]:
        """The records of all keys, at most 1,000, by id."""
        try:
            records = await self._client.execute_command("HGETALL", AccessKeys(self._namespace).keys)
        except REDIS_ERRORS as error:
            raise store_error(error) from error
        return {key_id.decode(): record.decode() for key_id, record in records.items()}

    async def trail(self, *, count: int, before: str = "", only: str = "") -> list[AuditEntry]:
        """Up to `count` changes of the keys, the newest first; see `read_trail`."""
        return await read_trail(self._client, AccessKeys(self._namespace).audit, count=count, before=before, only=only)
