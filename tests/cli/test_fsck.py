"""`ropeline fsck` says what is wrong with the jobs of a store, mends it when told to, and finds nothing afterwards."""

from __future__ import annotations

import json

from tests.cli.running import Command
from tests.servers import Server

JOB = ("--type", "a:task", "--payload", "{}")


def test_a_store_without_jobs_is_well(on_store_command: Command) -> None:
    ended = on_store_command("fsck", "--stage", "fsck-empty")
    assert (ended.status, ended.out) == (0, "0 queues: every job is in exactly one state\n")


def test_a_job_in_no_state_is_found_and_mended(on_store_command: Command, valkey: Server) -> None:
    stage = ("--stage", "fsck")
    assert on_store_command("jobs", "enqueue", *JOB, "--queue", "default", *stage).status == 0
    pending = valkey.call("ZRANGE", "jobs:{fsck:default}:pending", 0, -1)
    assert isinstance(pending, list)
    job: bytes = pending[0]
    valkey.call("ZREM", "jobs:{fsck:default}:pending", job)
    found = on_store_command("fsck", *stage)
    assert found.status == 1
    assert found.out.splitlines() == [
        f"default  {job.hex()}  in no state: it would never run",
        "1 queue: 1 no state; --repair mends it",
    ]
    mended = on_store_command("fsck", "--repair", "--json", *stage)
    assert mended.status == 0
    assert json.loads(mended.out) == {
        "queues": ["default"],
        "repaired": True,
        "findings": [{"queue": "default", "what": "no state", "id": job.hex()}],
    }
    again = on_store_command("fsck", "--queue", "default", *stage)
    assert (again.status, again.out) == (0, "1 queue: every job is in exactly one state\n")


def test_a_queue_that_is_not_there_is_refused(on_store_command: Command) -> None:
    ended = on_store_command("fsck", "--queue", "nowhere", "--stage", "fsck-empty")
    assert ended.status == 2
    assert ended.refusal.startswith("queue: got 'nowhere', expected one that stage fsck-empty has")
