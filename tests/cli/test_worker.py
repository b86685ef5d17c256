"""`ropeline worker`: finds the application, heeds signals, looks after its processes, and says what is wrong."""

import json
import os
import re
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from tests.cli.running import Command, is_alive
from tests.jobs.worker_process import Yard
from tests.servers import Server
from tests.support import wait_until_sync


@pytest.fixture
def yard(tmp_path: Path, valkey: Server) -> Yard:
    return Yard.made(tmp_path, valkey)


def test_a_worker_told_to_end_lets_what_runs_finish(yard: Yard) -> None:
    yard.enqueue("work", [(number, 0.3) for number in range(6)])
    with yard.worker("-c", "2") as worker:
        wait_until_sync(lambda: len(yard.notes("begun")) == 2)
        assert worker.end() == 0
        assert "2 completed" in worker.said
    assert sum(yard.notes("done").values()) == 2
    depths = yard.depths()
    assert (depths.pending, depths.active) == (4, 0)
    assert depths.counters["claimed"] == 2 + depths.counters["released"]


@pytest.mark.parametrize("task", ["work", "block"])
def test_what_still_runs_at_the_deadline_is_handed_back_without_spending_an_attempt(yard: Yard, task: str) -> None:
    """T36."""
    yard.enqueue(task, [(1, 60)])
    with yard.worker("-c", "2", "--drain-timeout", "0.1") as worker:
        wait_until_sync(lambda: yard.notes("begun")[1] == 1)
        assert worker.end() == 0
        assert "1 jobs still run and are handed back" in worker.said
    depths = yard.depths()
    assert (depths.pending, depths.active, depths.retry) == (1, 0, 0)
    assert (depths.counters["released"], depths.counters["failed"], depths.counters["lost"]) == (1, 0, 0)


def test_a_second_signal_ends_it_at_once(yard: Yard) -> None:
    yard.enqueue("work", [(1, 60)])
    yard.enqueue("block", [(2, 60)])
    with yard.worker("-c", "2", "--drain-timeout", "600") as worker:
        wait_until_sync(lambda: len(yard.notes("begun")) == 2)
        worker.send(signal.SIGINT)
        wait_until_sync(lambda: "ends when its 2 running jobs have ended" in worker.said)
        assert worker.end(signal.SIGINT, timeout=5) == 0
    assert yard.depths().counters["released"] == 2


def test_a_quiet_worker_claims_nothing_more(yard: Yard) -> None:
    with yard.worker("-c", "2", "--health", "127.0.0.1:0") as worker:
        worker.send(signal.SIGTSTP)
        port = re.search(r"metrics on port (\d+)", worker.said)
        assert port is not None
        url = f"http://127.0.0.1:{port[1]}/healthz"

        def state() -> object:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return json.load(reply)["state"]

        wait_until_sync(lambda: state() == "quiet")
        yard.enqueue("work", [(1,)])
        assert worker.end() == 0
    assert yard.depths().pending == 1
    assert yard.depths().counters["claimed"] == yard.depths().counters["released"]


def test_a_worker_that_is_asked_shows_where_each_handler_stands(yard: Yard) -> None:
    yard.enqueue("work", [(1, 60)])
    yard.enqueue("block", [(2, 60)])
    with yard.worker("-c", "2", "--drain-timeout", "0") as worker:
        wait_until_sync(lambda: len(yard.notes("begun")) == 2)

        def shows_both() -> bool:
            # A handler notes that it has begun a moment before it gets to where it stays.
            worker.send(signal.SIGUSR2)
            return "time.sleep(seconds)" in worker.said and "await asyncio.sleep(seconds)" in worker.said

        wait_until_sync(shows_both)
        assert "2 jobs run in tasks and threads" in worker.said
        assert re.search(r"job [0-9a-f]{32} work of default, for \d", worker.said)
        assert worker.end() == 0


def test_queues_and_concurrency_come_from_the_environment_where_the_command_line_has_none(yard: Yard) -> None:
    environ = {"JQ_CONCURRENCY": "5", "JQ_QUEUES": "critical:6,default:3,low:1"}
    with yard.worker(environ=environ) as worker:
        assert "3 tasks, 5 slots, queues critical=6, default=3, low=1" in worker.said
        assert worker.end() == 0
    with yard.worker("-q", "low", "-c", "7", environ=environ) as worker:
        assert "3 tasks, 7 slots, queues low=1" in worker.said
        assert worker.end() == 0
    with yard.worker() as worker:
        assert "3 tasks, 32 slots, queues default=1" in worker.said
        assert worker.end() == 0


def test_a_process_that_dies_is_started_again_and_all_end_together(yard: Yard) -> None:
    with yard.worker("--processes", "2", "-c", "2") as worker:
        wait_until_sync(lambda: worker.said.count(" slots, queues ") == 2, timeout=20)
        children = worker.children()
        os.kill(children[0], signal.SIGKILL)
        wait_until_sync(lambda: "was ended by SIGKILL; it is started again" in worker.said)
        wait_until_sync(lambda: worker.said.count(" slots, queues ") == 3, timeout=20)
        yard.enqueue("work", [(number,) for number in range(20)])
        wait_until_sync(lambda: yard.depths().counters["completed"] == 20)
        children = worker.children()
        assert len(children) == 2
        assert worker.end() == 0
    assert not any(map(is_alive, children))


def test_no_process_outlives_the_one_that_looks_after_it(yard: Yard) -> None:
    with yard.worker("--processes", "2", "-c", "2") as worker:
        wait_until_sync(lambda: worker.said.count(" slots, queues ") == 2, timeout=20)
        children = worker.children()
        assert len(children) == 2
        worker.process.kill()
        wait_until_sync(lambda: not any(map(is_alive, children)), timeout=20)


def test_each_process_tells_of_itself_on_a_port_of_its_own(yard: Yard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
    with yard.worker("--processes", "2", "--health", f"127.0.0.1:{port}", "-c", "2") as worker:
        wait_until_sync(lambda: worker.said.count(" slots, queues ") == 2, timeout=20)
        ids = set()
        for number in (port, port + 1):
            with urllib.request.urlopen(f"http://127.0.0.1:{number}/healthz", timeout=5) as reply:
                ids.add(json.load(reply)["worker"])
        assert len(ids) == 2
        assert worker.end() == 0


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["nonsense"], "MODULE:NAME: got 'nonsense', expected one such as shop.jobs:app"),
        (["nowhere_at_all:app"], "MODULE:NAME: got 'nowhere_at_all:app', and there is no module nowhere_at_all here"),
        (["json:app"], "MODULE:NAME: got 'json:app', and json has no app"),
        (["json:dumps"], "which is a function, expected a ropeline.jobs Jobs object"),
        (["a:b", "-q", "critical=x"], "--queues: got 'critical=x', expected NAME=WEIGHT"),
        (["a:b", "-q", "a:b=3"], "queues: got 'a:b'"),
        (["a:b", "-c", "0"], "-c/--concurrency: got '0', expected a whole number from 1 to 10000"),
        (["a:b", "--drain-timeout", "nan"], "--drain-timeout: got 'nan', expected seconds from 0 to 86400"),
        (["a:b", "--health", "9000"], "--health: got '9000', expected HOST:PORT"),
        (["json:dumps", "--health", "h:70000"], "--health: got 'h:70000', expected HOST:PORT"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_said_in_one_line(
    command: Command, arguments: list[str], refusal: str
) -> None:
    ended = command("worker", *arguments)
    assert ended.status == 2
    assert refusal in ended.refusal


@pytest.mark.parametrize(
    ("variable", "value"),
    [("JQ_CONCURRENCY", "many"), ("JQ_CONCURRENCY", "0"), ("JQ_QUEUES", "critical=6"), ("JQ_QUEUES", "a:0")],
)
def test_a_variable_that_cannot_be_read_is_refused_by_its_name(command: Command, variable: str, value: str) -> None:
    ended = command.on({variable: value})("worker", "shop:app")
    assert ended.status == 2
    assert variable in ended.refusal or "queues: got" in ended.refusal
