"""Finds the store that a command is about, and says in one line why it cannot be used."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ropeline.cli.errors import CommandFailed, UsageError
from ropeline.gate.fields import SLUG
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.address import redacted_address
from ropeline.lua.client import RedisSettings, connect
from ropeline.lua.errors import StoreDenied, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.lua.client import Client

__all__ = ["URL_FILE", "Place", "find_place", "given_url", "with_store"]

URL_FILE: Final = "store.url"
"""The file in the data folder in which a running `ropeline up` says where its store is."""

# An operator waits longer than a visitor's request may.
_PATIENCE: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the store is, and who said so."""

    url: str
    origin: str

    @property
    def shown(self) -> str:
        """The address without its secrets."""
        return redacted_address(self.url)

    def __str__(self) -> str:
        return f"{self.shown} (from {self.origin})"

    def settings(self) -> RedisSettings:
        """For a client of an operator; raises ConfigurationError when the URL is none."""
        return RedisSettings(
            self.url, max_connections=4, pool_wait=_PATIENCE, connect_timeout=_PATIENCE, call_timeout=_PATIENCE
        )

    def explain(self, error: StoreError) -> CommandFailed:
        """What a failure of this store means to who runs the command."""
        if isinstance(error, StoreDenied):
            what = "refuses the user"
        else:
            what = "does not answer" if isinstance(error, StoreUnavailable) else "cannot do this now"
        hint = "; is `ropeline up` still running?" if self.origin.endswith(URL_FILE) else ""
        return CommandFailed(f"the store at {self} {what}: {error}{hint}")


def given_url(options: Namespace, environ: Mapping[str, str] = os.environ) -> Place | None:
    """The store that the command line or the environment names, the command line first; None when neither does."""
    if options.redis_url is not None:
        return Place(options.redis_url, "--redis-url")
    for name in ("ROPELINE_REDIS_URL", "REDIS_URL"):
        if environ.get(name):
            return Place(environ[name], name)
    return None


def find_place(options: Namespace) -> Place:
    """The store that is named, else that of the `ropeline up` which runs in the data folder."""
    given = given_url(options)
    if given is not None:
        return given
    path: Path = options.data / URL_FILE
    try:
        return Place(path.read_text(encoding="utf-8").strip(), str(path))
    except FileNotFoundError:
        raise UsageError(
            f"no store: give --redis-url, set ROPELINE_REDIS_URL or REDIS_URL, or start `ropeline up` ({path} is not"
            " there)"
        ) from None


def with_store(options: Namespace, work: Callable[[TenantStore, Client, Place], Awaitable[int]]) -> int:
    """Run `work` on the store that the command is about, and return what it returns."""
    place = find_place(options)
    namespace = SLUG.check("ROPELINE_NAMESPACE", os.environ.get("ROPELINE_NAMESPACE") or "gate")
    settings = place.settings()

    async def run() -> int:
        client = connect(settings)
        try:
            return await work(TenantStore(client, str(namespace)), client, place)
        except StoreError as error:
            raise place.explain(error) from error
        finally:
            await client.aclose()

    return asyncio.run(run())
