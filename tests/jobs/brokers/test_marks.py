"""Marks of effects that are done: remembered for their time, in every broker."""

from __future__ import annotations

import pytest

from ropeline.lua.errors import ConfigurationError
from tests.jobs.brokers.stage import Stage, new_id


async def test_every_broker_remembers_marks(stage: Stage) -> None:
    key, other = new_id(), new_id()
    await stage.broker.mark(key, 60_000)
    assert await stage.broker.is_marked(key)
    assert not await stage.broker.is_marked(other)
    with pytest.raises(ConfigurationError, match="keep"):
        await stage.broker.mark(key, 0)
    with pytest.raises(ConfigurationError, match="key"):
        await stage.broker.is_marked(b"short")
