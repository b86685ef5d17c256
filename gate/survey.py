"""Looks at how the lines of all tenants stand, once a second at most, whoever asks and however many ask.

Each line is read by a short script of its own, a few of them at a time: a thousand tenants hold up neither the server nor this
process's other work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from ropeline.gate.deadline import within
from ropeline.gate.settings import TenantSettings
from ropeline.gate.snapshot import Snapshot
from ropeline.gate.tenant_store import StoredTenant, TenantStore
from ropeline.lua.errors import ConfigurationError, StoreError

__all__ = ["Served", "Survey"]

_FRESH_SECONDS: Final = 1.0
_AT_A_TIME: Final = 4


class Served(Protocol):
    """A tenant whose settings are known already."""

    @property
    def settings(self) -> TenantSettings: ...

    @property
    def version(self) -> int: ...


class Survey:
    """The lines of one namespace. `deadline`: seconds for one call of the store.

    `served`: the settings of the tenants to look at; without it those that the store has, which are read once and again when
    their version has changed. `known`: where those are kept, to outlive this survey.
    """

    def __init__(
        self,
        store: TenantStore,
        *,
        deadline: float,
        served: Callable[[], Iterable[Served]] | None = None,
        known: dict[str, StoredTenant] | None = None,
    ) -> None:
        self.snapshots: Sequence[Snapshot] = ()
        """As of the last time at which the store answered, sorted by name."""
        self.taken_at = 0.0
        """When that was, seconds since 1970; 0 never."""
        self.problem = ""
        """Why the store did not answer the last time, empty: it did."""
        self._store = store
        self._deadline = deadline
        self._served = served
        self._known = {} if known is None else known
        self._looked_at = -_FRESH_SECONDS
        self._looking = asyncio.Lock()

    @property
    def tenants(self) -> list[TenantSettings]:
        """The settings of the tenants, as far as they are known without the store."""
        if self._served is not None:
            return sorted((served.settings for served in self._served()), key=lambda settings: settings.name)
        return [self._known[name].settings for name in sorted(self._known)]

    async def look(self) -> Sequence[Snapshot]:
        """How the lines stand, as of a second ago at most; empty when the store does not answer, which `problem` explains."""
        async with self._looking:
            if time.monotonic() - self._looked_at > _FRESH_SECONDS:
                try:
                    self.snapshots, self.problem, self.taken_at = await self._look(), "", time.time()
                except StoreError as error:
                    self.problem = str(error)
                self._looked_at = time.monotonic()
        return () if self.problem else self.snapshots

    async def _look(self) -> list[Snapshot]:
        known = await self._tenants()
        names = iter(sorted(known))
        taken: dict[str, Snapshot] = {}
        failures: list[StoreError] = []

        async def take() -> None:
            for name in names:
                if failures:
                    return
                try:
                    snapshot = await self._take(known[name])
                except StoreError as error:
                    failures.append(error)
                    return
                if snapshot is not None:
                    taken[name] = snapshot

        await asyncio.gather(*(take() for _ in range(_AT_A_TIME)))
        if failures:
            raise failures[0]
        return [taken[name] for name in sorted(taken)]

    async def _take(self, tenant: Served) -> Snapshot | None:
        status = await within(self._deadline, self._store.scripts(tenant.settings.name).status())
        if status is None:
            return None
        if self._served is None and status.head.version != tenant.version:
            tenant = await self._find(tenant.settings.name) or tenant
        return Snapshot(tenant.settings, status.head.version, status)

    async def _tenants(self) -> Mapping[str, Served]:
        if self._served is not None:
            return {served.settings.name: served for served in self._served()}
        names = await within(self._deadline, self._store.names())
        for gone in self._known.keys() - set(names):
            del self._known[gone]
        for name in names:
            if name not in self._known:
                await self._find(name)
        return self._known

    async def _find(self, name: str) -> StoredTenant | None:
        try:
            found = await within(self._deadline, self._store.find(name))
        except ConfigurationError:
            # Written by a newer version, or by hand: whoever serves it says so in the log.
            return None
        if found is not None:
            self._known[name] = found
        return found
