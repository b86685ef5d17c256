"""The pytest plugin: fixtures for tests of applications that have jobs. See `ropeline.jobs.testing`.

pytest loads this wherever Ropeline is installed, so it imports nothing of it before a test asks for a fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ropeline.jobs.testing import FakeClock, InMemory

__all__ = ["ropeline_clock", "ropeline_jobs"]


@pytest.fixture
def ropeline_clock(ropeline_jobs: InMemory) -> FakeClock:
    """The clock of the jobs that `ropeline_jobs` keeps: it stands at the present time until `advance`."""
    return ropeline_jobs.clock


@pytest.fixture
def ropeline_jobs() -> Iterator[InMemory]:
    """Keeps the jobs of an application in memory for one test: `ropeline_jobs(app)`; then `await run_jobs(app)`."""
    from ropeline.jobs.testing import InMemory

    with InMemory() as in_memory:
        yield in_memory
