"""What tests of brokers share: a stage kept by each broker in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.jobs.brokers.stage import BROKERS, Stage, on_stores, open_stage


@pytest.fixture(params=on_stores(*BROKERS))
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """The test runs on every broker and every kind of store; a server is started only for one that needs it."""
    broker, _, store = request.param.partition(" on ")
    url: str = request.getfixturevalue(store).url if store else ""
    async with open_stage(broker, url) as stage:
        yield stage
