"""What tests of brokers share: a stage kept by each broker in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.jobs.brokers.stage import BROKERS, Stage, open_stage
from tests.servers import Server


@pytest.fixture(params=BROKERS)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """The test runs on every broker; a server is started only for one that needs it."""
    server = request.getfixturevalue("valkey") if request.param == "redis" else None
    url = server.url if isinstance(server, Server) else ""
    async with open_stage(request.param, url) as stage:
        yield stage
