"""The tenants that a gate process serves, kept as the store has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ropeline.gate.counts import Counts, Numbers
from ropeline.gate.deadline import within
from ropeline.gate.hosts import Router
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tasks import end
from ropeline.gate.tenant import Tenant
from ropeline.gate.tenant_store import StoredTenant, TenantStore
from ropeline.lua.errors import RopelineError, StoreError

__all__ = ["Directory"]

_log = logging.getLogger("ropeline.gate.directory")


class Directory:
    """Tenants by name, and the router over their hosts and paths.

    `deadline`: seconds for one visit. `numbers_of`: where a tenant is counted, in memory of its own unless given. What is read from the store replaces a tenant at once and whole; its line, with
    what this process remembers of it, goes on.
    """

    def __init__(
        self, store: TenantStore, *, deadline: float, numbers_of: Callable[[str], Numbers] | None = None
    ) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.router: Router[Tenant] = Router([])
        self._store = store
        self._deadline = deadline
        self._numbers_of = Counts(None).of if numbers_of is None else numbers_of
        self._file: tuple[TenantSettings, ...] = ()
        self._reloads: dict[str, asyncio.Task[None]] = {}

    @property
    def is_incomplete(self) -> bool:
        """Whether the tenants of the file have not been compared with the store yet."""
        return bool(self._file)

    def assume(self, tenants: Sequence[TenantSettings]) -> None:
        """Serve these, from a file, before the store has been asked: who starts without it still has a policy.

        Their version is 0: whatever the store has is newer. They are written to it by the next `refresh`.
        """
        self._file = tuple(tenants)
        self._apply([StoredTenant(settings, 0, 0) for settings in tenants])

    async def refresh(self) -> None:
        """Read the list of tenants and those that are not known yet, and give back what the store lost; raises StoreError."""
        if self._file:
            await self._store.apply_file(self._file)
            self._file = ()
        names = await within(self._deadline, self._store.names())
        for name, tenant in list(self.tenants.items()):
            if name not in names and tenant.version > 0:
                await self._give_back(tenant)
        unknown = [name for name in names if name not in self.tenants or self.tenants[name].version == 0]
        found = [await self._find(name) for name in unknown]
        self._apply([tenant for tenant in found if tenant is not None])

    async def reload(self, name: str) -> None:
        """Read one tenant again; a store that does not answer or has lost it changes nothing, an operator who ended it does."""
        try:
            found = await self._find(name)
            if found is None:
                await self._drop_deleted(name)
                return
        except StoreError as error:
            _log.debug("tenant %s could not be read: %s", name, error)
            return
        self._apply([found])

    def notice(self, name: str) -> None:
        """A reply has shown that the store has another version: read it soon, without holding anybody up."""
        if name not in self._reloads:
            task = asyncio.create_task(self.reload(name))
            self._reloads[name] = task
            task.add_done_callback(lambda _: self._reloads.pop(name, None))

    def turn(self, name: str) -> None:
        """A reply has shown that an event of the tenant opens, starts or ends."""
        known = self.tenants.get(name)
        if known is not None:
            tenant = self.tenants[name] = known.turned()
            event = tenant.phase.event
            _log.info(
                "tenant %s: %s",
                name,
                "no event"
                if event is None
                else f"event {event.name}{', pre-queue' if tenant.phase.is_prequeue else ''}",
            )
            self._route()

    def revoke(self, name: str, ids: Sequence[bytes]) -> None:
        """Sessions of the tenant were revoked: they pass no more, whatever else becomes of the store."""
        tenant = self.tenants.get(name)
        if tenant is not None:
            tenant.line.revoke(ids)
            self.recheck(name, ids)

    def recheck(self, name: str, ids: Iterable[bytes]) -> None:
        """The holds of these sessions have changed: the store is to be asked at their next visit."""
        tenant = self.tenants.get(name)
        if tenant is not None:
            for id_ in ids:
                tenant.recent.forget(id_)

    async def close(self) -> None:
        """End what is under way on every line."""
        await end(list(self._reloads.values()))
        await asyncio.gather(*(tenant.line.close() for tenant in self.tenants.values()))

    async def _give_back(self, tenant: Tenant) -> None:
        try:
            if await self._drop_deleted(tenant.name):
                return
            await within(self._deadline, self._store.claim(tenant.settings))
            await tenant.line.give_back()
        except StoreError:
            raise
        except RopelineError as error:
            _log.error("tenant %s cannot be given back to the store: %s", tenant.name, error)

    async def _drop_deleted(self, name: str) -> bool:
        """Serve a tenant no more that an operator has ended; whether it was."""
        if name not in self.tenants or not await within(self._deadline, self._store.is_deleted(name)):
            return False
        ended = self.tenants.pop(name)
        self._route()
        _log.info("tenant %s was deleted", name)
        await ended.line.close()
        return True

    async def _find(self, name: str) -> StoredTenant | None:
        try:
            return await within(self._deadline, self._store.find(name))
        except StoreError:
            raise
        except RopelineError as error:
            _log.error("tenant %s is left as it was: %s", name, error)
            return None

    def _apply(self, found: Iterable[StoredTenant]) -> None:
        changed = False
        for stored in found:
            name = stored.settings.name
            known = self.tenants.get(name)
            if known is None:
                tenant = Tenant.first(
                    stored, self._store.scripts(name), deadline=self._deadline, numbers=self._numbers_of(name)
                )
                tenant.line.on_stale = partial(self.notice, name)
                tenant.line.on_turn = partial(self.turn, name)
            elif stored.version > known.version:
                tenant = known.replaced(stored)
            elif stored.generation > known.line.settings.generation:
                tenant = known.flushed(stored.generation)
            else:
                continue
            self.tenants[name] = tenant
            changed = True
        if changed:
            self._route()

    def _route(self) -> None:
        self.router = Router([(tenant.settings.routes, tenant) for tenant in self.tenants.values()])
