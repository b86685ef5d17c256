"""Changes one tenant in the store: reads it, edits it, writes it, and begins again when somebody else was faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ropeline.gate.tenant_store import ChangedMeanwhile, StoredTenant, TenantStore

if TYPE_CHECKING:
    from ropeline.gate.settings import TenantSettings
    from ropeline.lua.audit import Author

__all__ = ["change"]

_ATTEMPTS: Final = 5


async def change(
    store: TenantStore,
    name: str,
    edit: Callable[[TenantSettings | None], TenantSettings],
    author: Author,
    *,
    may_be_new: bool,
) -> tuple[StoredTenant | None, StoredTenant]:
    """The tenant before and after; before is None when it was made, and both are the same when there was nothing to change.

    Raises UnknownTenant unless it `may_be_new`, ChangedMeanwhile when it is changed all the time, and what `edit` raises.
    """
    attempt = 0
    while True:
        attempt += 1
        before = await (store.find(name) if may_be_new else store.read(name))
        settings = edit(None if before is None else before.settings)
        if before is not None and before.settings == settings:
            return before, before
        expected, digest = (0, "") if before is None else (before.version, before.file_digest)
        try:
            return before, await store.save(settings, expected=expected, file_digest=digest, author=author)
        except ChangedMeanwhile:
            if attempt == _ATTEMPTS:
                raise
