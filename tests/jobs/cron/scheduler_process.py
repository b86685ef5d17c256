"""A scheduler as a process of its own, to be killed: `python -m tests.jobs.cron.scheduler_process URL STAGE`.

It writes its process id and its wall time, and ends by itself when its standard input does, as with the test that started it.
"""

import asyncio
import os
import sys
import time

from ropeline.jobs.brokers.redis_cron import RedisCronStore
from ropeline.jobs.cron.scheduler import Scheduler
from ropeline.lua.client import connect
from tests.servers import patient


async def main(url: str, stage: str) -> None:
    client = connect(patient(url))
    scheduler = Scheduler(RedisCronStore(client, stage=stage), refresh=0.5)
    sys.stdout.write(f"{os.getpid()} {time.time()}\n")
    sys.stdout.flush()
    asyncio.get_running_loop().add_reader(sys.stdin, lambda: os._exit(0))
    await scheduler.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
