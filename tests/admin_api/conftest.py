"""What tests of the operators' API share: an API on a namespace of their own, and calls to it in this process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import pytest
from fastapi import FastAPI

from ropeline.admin_api import AdminSettings, create_app
from ropeline.admin_api.key_store import KeyStore
from ropeline.admin_api.operators import KeyDraft
from ropeline.lua.audit import Author
from tests.servers import Server

SECRET_KEYS = ("a key of at least sixteen bytes",)


@pytest.fixture
def admin_settings(valkey: Server, tenant_name: str) -> AdminSettings:
    # A busy machine is no store that fails.
    return AdminSettings(redis_url=valkey.url, secret_keys=SECRET_KEYS, namespace=tenant_name, admin_deadline_ms=10_000)


@pytest.fixture
async def app(admin_settings: AdminSettings) -> AsyncIterator[FastAPI]:
    app = create_app(admin_settings)
    yield app
    await app.state.context.client.aclose()


@pytest.fixture
async def caller(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without a key."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        yield client


@dataclass
class Caller:
    """Somebody who calls the API with a key."""

    client: httpx.AsyncClient
    key: str = ""

    async def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**({"Authorization": f"Bearer {self.key}"} if self.key else {}), **options.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **options)


class MakeCaller(Protocol):
    """Makes somebody with a key of a role."""

    async def __call__(self, role: str = "superuser", *tenants: str, days: int | None = 1) -> Caller: ...


async def key_of(app: FastAPI, role: str = "superuser", *tenants: str, days: int | None = 1) -> str:
    """A new key of this role."""
    keys: KeyStore = app.state.context.keys
    draft = KeyDraft(name=f"a {role}", role=role, tenants=tenants, expires_in_days=days)
    text, _ = await keys.create(draft, Author("test", "create_key"))
    return text


@pytest.fixture
def caller_of(app: FastAPI, caller: httpx.AsyncClient) -> MakeCaller:
    async def make(role: str = "superuser", *tenants: str, days: int | None = 1) -> Caller:
        return Caller(caller, await key_of(app, role, *tenants, days=days))

    return make


@pytest.fixture
async def superuser(caller_of: MakeCaller) -> Caller:
    return await caller_of()
