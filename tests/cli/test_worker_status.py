"""The line that a terminal shows while a worker works."""

import asyncio
import io
import logging

from ropeline.cli.worker_status import StatusLine
from ropeline.jobs.brokers.memory import MemoryBroker
from ropeline.jobs.worker import WorkerSettings
from ropeline.jobs.worker.run import Run
from tests.jobs.working import NamedHandlers, enqueue, working
from tests.support import wait_until


async def test_the_line_says_what_was_done_what_runs_and_what_waits() -> None:
    broker = MemoryBroker()
    going_on = asyncio.Event()
    stream = io.StringIO()

    async def quick(run: Run) -> None:
        return

    async def fails(run: Run) -> None:
        raise ValueError

    async def slow(run: Run) -> None:
        await going_on.wait()

    handlers = NamedHandlers(quick=quick, fails=fails, slow=slow)
    for name, many in (("quick", 5), ("fails", 1), ("slow", 4)):
        await enqueue(broker, "default", name, many)
    async with working(broker, handlers, WorkerSettings(queues={"default": 1}, concurrency=2)) as worker:
        await wait_until(lambda: worker.metrics.used == 2 and worker.metrics.totals()["completed"] == 5)
        line = StatusLine(worker, stream)
        async with line.shown():
            await wait_until(lambda: "pending" in stream.getvalue())
            logging.getLogger("ropeline.test").warning("a word")
        assert "5 done" in stream.getvalue()
        assert "2 running · 1 failed · 2 pending" in stream.getvalue()
        assert stream.getvalue().endswith("\r\x1b[K")
        worker.quiet()
        assert line.text(None).startswith("quiet · 5 done · 0/s")
        assert line.text(None).endswith("the store does not answer")
        going_on.set()
