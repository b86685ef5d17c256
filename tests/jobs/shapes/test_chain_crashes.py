"""A chain goes on whoever dies: its worker is killed before, between and after the calls that hand a job over."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import environment
from tests.servers import Server

WORKER = """
import asyncio, os, signal, sys
from ropeline.jobs import PREVIOUS, Jobs, chain
from ropeline.jobs.brokers import redis
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.lua.keys import QueueKeys

redis._AGAIN = 200
dies = sys.argv[1]

def outbox(queue):
    return QueueKeys("jobs", os.environ["STAGE"], queue).state("outbox")

class DyingBroker(redis.RedisBroker):
    '''Kills its process before a call of the name, or after it.'''

def deadly(name):
    call = getattr(redis.RedisBroker, name)
    async def die(self, *arguments, **options):
        if dies == "before " + name:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await call(self, *arguments, **options)
        if dies == "after " + name:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    return die

for name in ("hand_out", "take_over", "settle", "forget_settled"):
    setattr(DyingBroker, name, deadly(name))

app = Jobs(broker=lambda: DyingBroker(os.environ["STORE"], stage=os.environ["STAGE"]), queues=["mail"])

@app.task(name="note")
async def note(word: str) -> str:
    with open("notes", "a") as file:
        file.write(word + "\\n")
    return word + "+"

async def main():
    if dies == "enqueue":
        mail = note.using(queue_name="mail")
        drafts = [chain(note.build(f"{n}"), mail.build(PREVIOUS), note.build(PREVIOUS)) for n in range(5)]
        await app.enqueue_many(drafts)
        await app.close()
        return
    worker = Worker.of_app(app, WorkerSettings(queues={"default": 1, "mail": 1}, lease=1))
    work = asyncio.create_task(worker.run())
    while not work.done():
        lines = open("notes").read().split() if os.path.exists("notes") else []
        stored = [await app.broker()._command("EXISTS", outbox(queue)) for queue in ("default", "mail")]
        if sum(line.endswith("++") for line in lines) == 5 and not any(stored):
            worker.drain()
            await work
            counted = [(await app.broker().depths(queue)).counters["enqueued"] for queue in ("default", "mail")]
            assert counted == [10, 5], counted
        await asyncio.sleep(0.05)

asyncio.run(main())
"""

POINTS = ["before hand_out", "after hand_out", "before take_over", "after take_over"]
POINTS += ["before settle", "after settle", "before forget_settled"]


@pytest.mark.parametrize("point", POINTS)
def test_each_job_of_a_chain_is_enqueued_once_whenever_its_courier_is_killed(
    tmp_path: Path, valkey: Server, point: str
) -> None:
    (tmp_path / "work.py").write_text(WORKER)
    stage = f"chain-{os.getpid()}-{point.replace(' ', '-')}"

    def run(what: str) -> int:
        return subprocess.run(
            [sys.executable, "work.py", what],
            cwd=tmp_path,
            env=environment({"STORE": valkey.url, "STAGE": stage}),
            timeout=60,
            check=False,
        ).returncode

    assert run("enqueue") == 0
    assert run(point) == -signal.SIGKILL
    assert run("nothing") == 0
    # The worker that was killed may have run some and told nobody; none was enqueued twice, as the last one has counted.
    notes = set((tmp_path / "notes").read_text().split())
    assert notes == {f"{number}{plus}" for number in range(5) for plus in ("", "+", "++")}
