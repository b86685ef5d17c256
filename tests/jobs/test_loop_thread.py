"""Callers without an event loop share one, which starts when it is needed and ends with its owner, its process or a fork."""

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from ropeline.jobs.loop_thread import LoopThread
from tests.support import wait_until, wait_until_sync

FORK = """
import asyncio, os, threading
from ropeline.jobs.loop_thread import LoopThread
async def name():
    return threading.current_thread().name, os.getpid()
thread = LoopThread()
parent = thread.run(name)
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, b"yes" if thread.run(name) == (parent[0], os.getpid()) else b"no")
    os._exit(0)
os.wait()
print(os.read(reader, 10).decode(), thread.run(name) == parent)
"""
AT_EXIT = """
import asyncio
from ropeline.jobs.loop_thread import LoopThread
async def nothing(): return 5
thread = LoopThread()
print(thread.run(nothing))
"""


async def nothing() -> None: ...


async def where() -> tuple[str, int]:
    return threading.current_thread().name, id(asyncio.get_running_loop())


def test_all_threads_share_one_loop() -> None:
    thread = LoopThread()
    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(lambda _: thread.run(where), range(100)))
    assert [name for name, _ in seen] == ["ropeline-jobs-sync"]
    thread.stop(nothing)


def test_an_error_reaches_the_caller() -> None:
    async def fail() -> None:
        raise LookupError("nobody")

    thread = LoopThread()
    with pytest.raises(LookupError, match="nobody"):
        thread.run(fail)
    thread.stop(nothing)


def test_stopping_runs_a_last_coroutine_and_the_next_call_starts_anew() -> None:
    thread = LoopThread()
    said: list[str] = []

    async def last() -> None:
        said.append((await where())[0])

    thread.stop(last)
    assert said == [], "there was nothing to stop"
    first = thread.run(where)
    thread.stop(last)
    assert said == ["ropeline-jobs-sync"]
    wait_until_sync(lambda: "ropeline-jobs-sync" not in {each.name for each in threading.enumerate()})
    assert thread.run(where)[0] == first[0]
    thread.stop(nothing)


def test_stopping_lets_calls_of_other_threads_come_to_their_end() -> None:
    thread = LoopThread()
    begun, may_end = threading.Event(), threading.Event()
    said: list[str] = []

    async def slow() -> str:
        begun.set()
        await wait_until(may_end.is_set)
        said.append("call")
        return (await where())[0]

    async def last() -> None:
        said.append("last")

    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(thread.run, slow)
        begun.wait(5)
        stop = pool.submit(thread.stop, last)
        wait_until_sync(lambda: thread._running is None)
        another = thread.run(where)
        may_end.set()
        assert call.result(5) == another[0]
        stop.result(5)
    assert said == ["call", "last"]
    thread.stop(nothing)


def test_what_still_runs_is_cancelled_when_the_thread_ends() -> None:
    ended: list[str] = []

    async def linger() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def start() -> "asyncio.Task[None]":
        task = asyncio.create_task(linger())
        await asyncio.sleep(0)
        return task

    thread = LoopThread()
    kept = thread.run(start)
    thread.stop(nothing)
    wait_until_sync(lambda: ended == ["cancelled"])
    assert kept.cancelled()


def test_the_thread_ends_with_its_owner() -> None:
    thread = LoopThread()
    thread.run(nothing)
    gone = weakref.ref(thread)
    del thread
    gc.collect()
    assert gone() is None
    wait_until_sync(lambda: "ropeline-jobs-sync" not in {each.name for each in threading.enumerate()})


def test_a_forked_process_starts_a_thread_of_its_own() -> None:
    run = subprocess.run([sys.executable, "-c", FORK], check=True, capture_output=True, text=True, timeout=20)
    assert run.stdout == "yes True\n"


def test_a_process_ends_without_being_told_to_stop_the_thread() -> None:
    run = subprocess.run([sys.executable, "-Wd", "-c", AT_EXIT], check=True, capture_output=True, text=True, timeout=20)
    assert (run.stdout, run.stderr) == ("5\n", "")
