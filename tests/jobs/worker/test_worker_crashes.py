"""What is acknowledged is run whatever dies: workers, their server, replies; and nobody's late word counts."""

import signal
from pathlib import Path

import pytest

from ropeline.jobs.brokers.named import STORE_BROKERS
from tests.jobs.worker_process import Yard
from tests.servers import Server, StartServer
from tests.support import wait_until_sync

QUICK = ("--lease", "1", "--drain-timeout", "10")


@pytest.fixture(params=list(STORE_BROKERS))
def yard(request: pytest.FixtureRequest, tmp_path: Path, valkey: Server) -> Yard:
    return Yard.made(tmp_path, valkey, request.param)


def test_a_hundred_jobs_are_all_done_although_their_worker_is_killed_among_them(yard: Yard) -> None:
    """T8, T35."""
    yard.enqueue("work", [(number, 0.02) for number in range(100)])
    with yard.worker("-c", "8", *QUICK) as first:
        wait_until_sync(lambda: len(yard.notes("done")) >= 30)
        first.process.kill()
        first.process.wait()
    claimed = yard.depths().counters["claimed"]
    done = sum(yard.notes("done").values())
    assert done <= claimed <= done + 16, "no more than the slots hold, each told or not"
    with yard.worker("-c", "8", *QUICK) as second:
        wait_until_sync(lambda: yard.depths().counters["completed"] == 100, timeout=30)
        assert second.end() == 0
    counters = yard.depths().counters
    assert set(yard.notes("done")) == set(range(100))
    assert (counters["completed"], counters["dead"], counters["failed"]) == (100, 0, 0)
    assert counters["claimed"] == 100 + counters["lost"]
    assert 0 < counters["lost"] <= 8
    # A job that ran twice is one whose lease was lost.
    assert sum(yard.notes("begun").values()) - 100 <= counters["lost"]


def test_one_job_that_kills_its_worker_buries_no_other_one(yard: Yard) -> None:
    """T15: it is a dead letter after three leases, and all others have run."""
    yard.enqueue("work", [(number,) for number in range(40)])
    yard.enqueue("crash", [()])
    yard.enqueue("work", [(number,) for number in range(40, 80)])
    with yard.worker("-c", "16", "--processes", "2", *QUICK) as worker:
        wait_until_sync(lambda: yard.depths().dead == 1, timeout=40)
        wait_until_sync(lambda: yard.depths().counters["completed"] == 80, timeout=40)
        assert "is started again" in worker.said
        assert worker.end() == 0
    depths = yard.depths()
    assert set(yard.notes("done")) == set(range(80))
    assert (depths.dead, depths.pending, depths.active) == (1, 0, 0)
    assert yard.notes("begun")[-1] == 3


def test_a_worker_that_is_stopped_past_its_lease_and_woken_changes_nothing(yard: Yard) -> None:
    """T9."""
    yard.enqueue("block", [(1, 1.5)])
    with yard.worker("-c", "2", *QUICK) as first:
        wait_until_sync(lambda: yard.notes("begun")[1] == 1)
        first.send(signal.SIGSTOP)
        with yard.worker("-c", "2", *QUICK):
            wait_until_sync(lambda: yard.depths().counters["completed"] == 1, timeout=20)
            before = yard.depths().counters
            first.send(signal.SIGCONT)
            wait_until_sync(lambda: yard.notes("done")[1] == 2, timeout=20)
            wait_until_sync(lambda: yard.depths().counters["stale"] == before["stale"] + 1)
        assert first.end() == 0
    counters = yard.depths().counters
    assert (counters["completed"], counters["lost"], counters["claimed"]) == (1, 1, 2)


@pytest.mark.parametrize("broker", list(STORE_BROKERS))
def test_a_worker_that_is_stopped_while_a_failover_takes_its_claim_back_changes_nothing(
    tmp_path: Path, start_server: StartServer, broker: str
) -> None:
    """T9: the store comes back as it was before the claim, another worker has the job, and the first one wakes."""
    server = start_server()
    yard = Yard.made(tmp_path, server, broker)
    yard.enqueue("block", [(1, 1.5)])
    server.call("SAVE")
    with yard.worker("-c", "2", *QUICK) as first:
        wait_until_sync(lambda: yard.notes("begun")[1] == 1)
        first.send(signal.SIGSTOP)
        server.restart()
        assert yard.depths().pending == 1, "the claim is forgotten"
        with yard.worker("-c", "2", *QUICK):
            wait_until_sync(lambda: yard.depths().counters["completed"] == 1, timeout=20)
            first.send(signal.SIGCONT)
            wait_until_sync(lambda: yard.notes("done")[1] == 2, timeout=20)
            wait_until_sync(lambda: yard.depths().counters["stale"] == 1, timeout=20)
        assert first.end() == 0
    counters = yard.depths().counters
    assert (counters["completed"], counters["claimed"], counters["lost"]) == (1, 1, 0)


@pytest.mark.parametrize("broker", list(STORE_BROKERS))
def test_a_server_that_is_killed_and_comes_back_is_worked_for_again_within_seconds(
    tmp_path: Path, start_server: StartServer, broker: str
) -> None:
    """T17, T19: what was done meanwhile is told once, and nothing runs twice within its lease."""
    server = start_server("--appendonly", "yes", "--appendfsync", "always")
    yard = Yard.made(tmp_path, server, broker)
    yard.enqueue("work", [(number, 0.3) for number in range(8)])
    with yard.worker("-c", "4", "--lease", "30") as worker:
        wait_until_sync(lambda: len(yard.notes("begun")) == 4)
        server.kill()
        wait_until_sync(lambda: "the store does not answer" in worker.said)
        wait_until_sync(lambda: len(yard.notes("done")) == 4)
        server.start()
        wait_until_sync(lambda: len(yard.notes("done")) == 8, timeout=10)
        wait_until_sync(lambda: yard.depths().counters["completed"] == 8)
        assert worker.end() == 0
    assert set(yard.notes("begun").values()) == {1}
    assert yard.depths().counters["lost"] == 0


def test_jobs_of_several_queues_survive_their_worker(yard: Yard) -> None:
    """T35."""
    queues = ("critical", "default", "low")
    for place, queue in enumerate(queues):
        yard.enqueue("work", [(100 * place + number, 0.01) for number in range(30)], queue=queue)
    order = ("-q", "critical=6,default=3,low=1")
    with yard.worker(*order, "-c", "6", *QUICK) as first:
        wait_until_sync(lambda: len(yard.notes("done")) >= 20)
        first.process.kill()
        first.process.wait()
    with yard.worker(*order, "-c", "6", *QUICK) as second:
        wait_until_sync(lambda: sum(yard.depths(queue).counters["completed"] for queue in queues) == 90, timeout=30)
        assert second.end() == 0
    assert len(yard.notes("done")) == 90
