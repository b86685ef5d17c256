"""`ropeline worker` defines its application's cron jobs and enqueues their ticks, unless it is told to leave that to others."""

import re
import urllib.request
from pathlib import Path

import pytest

from ropeline.jobs.app import Jobs
from tests.jobs.worker_process import APPLICATION, Yard
from tests.servers import Server
from tests.support import wait_until_sync

CRON = """
from ropeline.jobs import Missed

app.schedule("every-second", "@every 1s", work.build(7), missed=Missed.ALL)
"""


@pytest.fixture
def yard(tmp_path: Path, valkey: Server) -> Yard:
    yard = Yard.made(tmp_path, valkey)
    (tmp_path / "shop.py").write_text(APPLICATION + CRON)
    return yard


def defined(yard: Yard) -> list[str]:
    async def read(app: Jobs) -> list[str]:
        return [row.name for row in (await app.cron_store().read("default")).stored or ()]

    return yard.ask(read)


def test_worker_processes_enqueue_ticks_and_tell_of_it(yard: Yard) -> None:
    with yard.worker("--health", "127.0.0.1:0") as first, yard.worker() as second:
        wait_until_sync(lambda: yard.notes("done")[7] >= 2, timeout=20)
        port = re.search(r"metrics on port (\d+)", first.said)
        assert port is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics", timeout=5) as reply:
            assert b'ropeline_schedule_ticks_total{outcome="enqueued"}' in reply.read()
        assert first.end() == second.end() == 0
    assert defined(yard) == ["every-second"]


def test_workers_that_are_told_so_leave_cron_jobs_to_others(yard: Yard) -> None:
    with yard.worker("--processes", "2", "--no-scheduler", "-c", "2") as worker:
        wait_until_sync(lambda: worker.said.count(" slots, queues ") == 2, timeout=20)
        yard.enqueue("work", [(1,)])
        wait_until_sync(lambda: yard.notes("done")[1] == 1)
        assert worker.end() == 0
    assert defined(yard) == []
    assert yard.depths().counters["enqueued"] == 1
