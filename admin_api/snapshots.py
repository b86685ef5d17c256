"""How tenants stand, also while the store cannot be asked: then as it was last seen, and marked so."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ropeline.gate.snapshot import Snapshot, take_snapshot
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.errors import StoreError

__all__ = ["Sight", "Snapshots"]


@dataclass(frozen=True, slots=True)
class Sight:
    """How a tenant stood at `taken_at` (wall seconds of this process); `is_stale`: the store could not be asked since."""

    snapshot: Snapshot
    taken_at: float
    is_stale: bool = False


class Snapshots:
    """What this process has last seen of each tenant."""

    def __init__(self, store: TenantStore) -> None:
        self._store = store
        self._seen: dict[str, Sight] = {}

    async def look(self, name: str) -> Sight:
        """How a tenant stands. Raises UnknownTenant, or StoreError for one that this process has not seen yet."""
        try:
            snapshot = await take_snapshot(self._store, name)
        except StoreError:
            seen = self._seen.get(name)
            if seen is None:
                raise
            return Sight(seen.snapshot, seen.taken_at, is_stale=True)
        except BaseException:
            # It was deleted, or cannot be read: what it was is of no use to anybody.
            self._seen.pop(name, None)
            raise
        sight = self._seen[name] = Sight(snapshot, time.time())
        return sight

    async def names(self) -> list[str]:
        """Every tenant, sorted; while the store cannot be asked, those that were seen. Raises StoreError when none was."""
        try:
            return await self._store.names()
        except StoreError:
            if not self._seen:
                raise
            return sorted(self._seen)
