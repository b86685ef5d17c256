"""What tests of the operators' API share: an API on a namespace of their own, and calls to it in this process."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from ropeline.admin_api import AdminSettings, create_app
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
