"""The operators' keys in the store: made, listed, revoked, and looked up when somebody shows one."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from ropeline.admin_api.operators import KeyDraft, KeyRecord, KeyRing, Role
from ropeline.gate.tenant_store import CallMisused
from ropeline.lua.access_scripts import AccessScripts
from ropeline.lua.audit import AuditEntry, Author, Outcome
from ropeline.lua.calls import CommandClient
from ropeline.lua.errors import RopelineError, StoreError

__all__ = ["KeyStore", "MadeBefore", "TooManyKeys", "UnknownKey"]

_REMEMBERED: Final = 1_000
_STALE_SECONDS: Final = 3_600


class UnknownKey(RopelineError):
    """There is no key of this id: it was never made, or it was revoked."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"key: got {key_id!r}, expected the id of a key that is in force")
        self.key_id = key_id


class TooManyKeys(RopelineError):
    """There are a thousand keys already."""

    def __init__(self) -> None:
        super().__init__("there are 1,000 keys already: revoke those that nobody needs")


class MadeBefore(RopelineError):
    """The same call has made a key before, which was shown then and cannot be shown again."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"this call has made the key {key_id} before; if nobody has seen it, revoke it and make another"
        )
        self.key_id = key_id


class KeyStore:
    """The keys of one namespace. Every method raises StoreError when the store does not answer or refuses."""

    def __init__(self, client: CommandClient, namespace: str, secret_keys: Sequence[str | bytes]) -> None:
        self.ring = KeyRing(secret_keys)
        self._scripts = AccessScripts(client, namespace)
        self._known: OrderedDict[str, tuple[KeyRecord, float]] = OrderedDict()

    async def create(self, draft: KeyDraft, author: Author) -> tuple[str, KeyRecord]:
        """Make a key; its text is known to nobody but the caller. Raises TooManyKeys, MadeBefore or CallMisused."""
        text, record = self.ring.make(draft, made_by=author.actor)
        outcome, entry = await self._scripts.create_key(key_id=record.id, record=record.encode(), author=author)
        if outcome is Outcome.REFUSED:
            raise TooManyKeys
        if outcome is not Outcome.DONE:
            raise MadeBefore((await self._repeated(entry, author)).facts["key"])
        return text, record

    async def revoke(self, key_id: str, author: Author) -> None:
        """End a key at once. Raises UnknownKey or CallMisused."""
        outcome, entry = await self._scripts.revoke_key(key_id=key_id, author=author)
        self._known.pop(key_id, None)
        if outcome is Outcome.REFUSED:
            raise UnknownKey(key_id)
        if outcome is not Outcome.DONE:
            await self._repeated(entry, author)

    async def all(self) -> list[KeyRecord]:
        """Every key in force, expired ones too, the oldest first."""
        records = [KeyRecord.decode(*item) for item in (await self._scripts.read_keys()).items()]
        return sorted((record for record in records if record), key=lambda record: (record.made_at, record.id))

    async def find(self, key_id: str) -> KeyRecord | None:
        """The key's record, None when there is none.

        While the store cannot be asked, what it said within the last hour holds: an operator can still look.
        """
        try:
            text = await self._scripts.read_key(key_id)
        except StoreError:
            record, known_at = self._known.get(key_id, (None, 0.0))
            if record is None or time.monotonic() - known_at > _STALE_SECONDS:
                raise
            return record
        record = None if text is None else KeyRecord.decode(key_id, text)
        self._known.pop(key_id, None)
        if record is not None:
            self._known[key_id] = (record, time.monotonic())
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return record

    async def recognise(self, text: str) -> KeyRecord | None:
        """Whose key this is; None when it is none, was revoked, has expired, or its record was tampered with."""
        shown = self.ring.read(text)
        if shown is None:
            return None
        record = await self.find(shown.id)
        return record if record and not record.is_expired and self.ring.opens(shown, record) else None

    async def has_superuser(self) -> bool:
        """Whether somebody has a key that may do everything."""
        return any(record.role is Role.SUPERUSER and not record.is_expired for record in await self.all())

    async def trail(self, *, count: int, before: str = "") -> list[AuditEntry]:
        """Up to `count` changes of the keys, the newest first; `before`: older than this entry."""
        return await self._scripts.trail(count=count, before=before)

    async def _repeated(self, entry: str, author: Author) -> AuditEntry:
        entries = await self._scripts.trail(count=1, only=entry) if entry else []
        if not entries:
            raise CallMisused(author.call)
        return entries[0]
