"""A type checker knows what a task takes and returns: a wrong argument to `enqueue` is an error before anything runs."""

import re
from pathlib import Path

import pytest
from mypy import api

from tests.contracts.checkout import ROOT

# An error or a type that must be revealed stands behind each line that has one.
SNIPPET = """
from datetime import timedelta
from typing import reveal_type

from ropeline.jobs.app import Jobs
from ropeline.jobs.context import JobContext

app = Jobs("memory://")


@app.task
async def confirm(order: int, note: str = "") -> str:
    return note


@app.task(queue="mail", timeout=timedelta(minutes=1))
def resize(job: JobContext, path: str, *, width: int = 100) -> tuple[int, int]:
    return width, width


@app.task(max_attempts=3)
async def last(order: int, job: JobContext | None = None) -> None: ...


@app.task
def log(anything: object) -> None: ...


@app.task()
async def nothing() -> list[int]:
    return []


@app.cron("*/5 * * * *", timezone="Europe/Berlin")
@app.task
async def sweep(job: JobContext, most: int = 100) -> int:
    return most


app.schedule("nightly", "@daily", confirm.build(17))
app.schedule("nightly", "@daily", confirm.build("17"))  # E: Argument 1 to "build" of "Task" has incompatible type "str"
app.cron("@daily")(confirm)  # E: Value of type variable "T" of function cannot be "AsyncTask[[int, str], str]"
app.cron("@daily")(len)  # E: Value of type variable "T" of function cannot be
app.task(named="x")  # E: Unexpected keyword argument "named" for overloaded function "task"


async def use() -> None:
    reveal_type(await confirm(17))  # T: str
    reveal_type(resize("a.png"))  # T: tuple[int, int]
    reveal_type(await nothing())  # T: list[int]
    reveal_type(await sweep())  # T: int
    reveal_type(await (await sweep.enqueue(5)).result())  # T: int
    reveal_type(await (await confirm.enqueue(17, note="x")).result())  # T: str
    reveal_type(await (await resize.enqueue("a.png", width=5)).result())  # T: tuple[int, int]
    reveal_type(confirm.enqueue_sync(17))  # T: JobHandle[str]
    reveal_type((await app.enqueue_many(confirm.build(n) for n in range(3)))[0].handle)  # T: JobHandle[str] | None
    reveal_type(await (await confirm.using(priority=9).enqueue(17)).result())  # T: str
    await log.enqueue("anything")
    await last.enqueue(17)
    confirm(17, 5)  # E: Argument 2 to "__call__" of "AsyncTask" has incompatible type "int"; expected "str"
    await confirm.enqueue("17")  # E: Argument 1 to "enqueue" of "Task" has incompatible type "str"; expected "int"
    await confirm.enqueue()  # E: Missing positional argument "order" in call to "enqueue"
    await confirm.enqueue(17, "x", 3)  # E: Too many arguments for "enqueue"
    await confirm.enqueue(17, nte="x")  # E: Unexpected keyword argument "nte" for "enqueue"
    await resize.enqueue(5)  # E: Argument 1 to "enqueue" of "Task" has incompatible type "int"; expected "str"
    confirm.enqueue_sync("17")  # E: Argument 1 to "enqueue_sync" of "Task" has incompatible type "str"
    confirm.build("17")  # E: Argument 1 to "build" of "Task" has incompatible type "str"
    await log.enqueue()  # E: Too few arguments for "enqueue"
    await nothing.using(queue="mail").enqueue()  # E: Unexpected keyword argument "queue" for "using"
    await confirm.using(run_after="x").enqueue(1)  # E: Argument "run_after" to "using" of "Task" has incompatible type
"""


def test_a_type_checker_sees_what_a_task_takes_and_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "snippet.py"
    path.write_text(SNIPPET, encoding="utf-8")
    cache = ROOT / ".mypy_cache"
    arguments = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache), "--no-error-summary"]
    output, errors, _ = api.run([*arguments, "--disable-error-code=unused-coroutine", str(path)])
    assert errors == ""
    said: dict[int, list[str]] = {}
    for line in output.splitlines():
        if match := re.match(r".*snippet\.py:(\d+): (error|note): (.*)", line):
            said.setdefault(int(match[1]), []).append(f"{match[2]}: {match[3]}")
    for number, line in enumerate(SNIPPET.splitlines(), 1):
        found = " ".join(said.get(number, []))
        _, error, expected_error = line.partition("# E: ")
        _, type_, expected_type = line.partition("# T: ")
        if error:
            assert f"error: {expected_error}" in found, line
        elif type_:
            revealed = re.sub(r"(\w+\.)+", "", found)
            assert f'note: Revealed type is "{expected_type}"' in revealed, line
        else:
            assert "error" not in found, line
