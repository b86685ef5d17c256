"""Runs `ropeline worker` as processes of their own, on an application that notes each run in a file."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from ropeline.jobs.app import Jobs
from ropeline.jobs.brokers.named import broker_named
from ropeline.jobs.records import Depths
from ropeline.server_process import start_watchdog
from tests.cli.running import COMMAND, environment, is_alive
from tests.servers import Server
from tests.support import wait_until_sync

T = TypeVar("T")

_stages = itertools.count(1)

APPLICATION = """
import asyncio, os, time
from ropeline.jobs.app import Jobs
from ropeline.jobs.backoff import Fixed
from ropeline.jobs.brokers.named import broker_named

store, stage = os.environ["STORE"], os.environ["STAGE"]
make = broker_named("BROKER", os.environ["BROKER"])
app = Jobs(broker=lambda: make(store, stage=stage), stage=stage)

def note(word, number):
    file = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{word} {number}\\n".encode())
    os.close(file)

@app.task(name="work", backoff=Fixed(0.1))
async def work(number: int, seconds: float = 0.0) -> None:
    note("begun", number)
    await asyncio.sleep(seconds)
    note("done", number)

@app.task(name="block", backoff=Fixed(0.1))
def block(number: int, seconds: float = 0.0) -> None:
    note("begun", number)
    time.sleep(seconds)
    note("done", number)

@app.task(name="crash", max_lost=3)
async def crash() -> None:
    note("begun", -1)
    os._exit(9)

other = 7
"""


@dataclass
class Yard:
    """A folder with the application, and a stage of a store that no other test uses. `broker`: by the name that commands have for it."""

    folder: Path
    server: Server
    stage: str
    broker: str = "redis"

    @classmethod
    def made(cls, folder: Path, server: Server, broker: str = "redis") -> Self:
        (folder / "shop.py").write_text(APPLICATION)
        return cls(folder, server, f"worker-{os.getpid()}-{next(_stages)}", broker)

    @property
    def environ(self) -> dict[str, str]:
        return {"STORE": self.server.url, "STAGE": self.stage, "BROKER": self.broker}

    def notes(self, word: str) -> Counter[int]:
        """How often each job has noted this word."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter(int(line.split()[1]) for line in lines if line.startswith(f"{word} "))

    def ask(self, what: Callable[[Jobs], Coroutine[Any, Any, T]]) -> T:
        """Do something with an application of the same stage, from this process."""

        async def run() -> T:
            make = broker_named("broker", self.broker)
            broker = make(self.server.url, stage=self.stage)
            app = Jobs(broker=lambda: broker, stage=self.stage, queues=["*"])
            for name in ("work", "block"):
                app.task(name=name)(_work)
            app.task(name="crash")(_crash)
            async with app:
                return await what(app)

        return asyncio.run(run())

    def enqueue(self, name: str, arguments: Sequence[Sequence[Any]], *, queue: str = "default") -> None:
        """Enqueue a job of a task for each list of arguments."""

        async def run(app: Jobs) -> None:
            task = app.tasks[name].using(queue_name=queue)
            await app.enqueue_many(task.build(*each) for each in arguments)

        self.ask(run)

    def depths(self, queue: str = "default") -> Depths:
        return self.ask(lambda app: app.broker().depths(queue))

    @contextmanager
    def worker(self, *arguments: str, environ: Mapping[str, str] | None = None) -> "Iterator[WorkerProcess]":
        """Start one, and return when it works; it is killed at the end of the block if it lives."""
        output = self.folder / f"output-{next(_stages)}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [COMMAND, "worker", "shop:app", *arguments],
                cwd=self.folder,
                env=environment({**self.environ, **(environ or {})}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        watchdog = start_watchdog(process.pid)
        worker = WorkerProcess(process, output)
        try:
            wait_until_sync(worker.has_begun, timeout=20)
            yield worker
        finally:
            watchdog.kill()
            watchdog.communicate()
            process.kill()
            process.wait()


@dataclass
class WorkerProcess:
    """A running `ropeline worker`."""

    process: "subprocess.Popen[bytes]"
    output: Path

    def has_begun(self) -> bool:
        assert self.process.poll() is None, self.said
        return " slots, queues " in self.said

    @property
    def said(self) -> str:
        return self.output.read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM, *, timeout: float = 20) -> int:
        """Send a signal and return the exit status."""
        self.send(number)
        return self.process.wait(timeout)

    def children(self) -> list[int]:
        """The processes that it looks after."""
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split() if is_alive(int(pid))]


async def _work(number: int, seconds: float = 0.0) -> None:
    raise AssertionError("runs in the worker alone")


async def _crash() -> None:
    sys.exit("runs in the worker alone")
