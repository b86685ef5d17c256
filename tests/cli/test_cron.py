"""`ropeline cron` shows when each cron job ran and runs, ends one, and defines those of an application."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ropeline.jobs.brokers.redis_cron import RedisCronStore
from ropeline.jobs.cron.cron_jobs import CronJob
from ropeline.jobs.payloads.envelope import Envelope, pack
from ropeline.jobs.records import NewJob
from tests.cli.running import Command
from tests.cli.work import Work

APPLICATION = """
import os
from ropeline.jobs import Jobs

app = Jobs(os.environ["REDIS_URL"], stage=os.environ["ROPELINE_STAGE"])

@app.cron({line!r}, timezone="Europe/Berlin")
@app.task(name="report", queue="low")
async def report(kind: str = "daily") -> None: ...

app.schedule("weekly", "@weekly", report.build(kind="weekly"))
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An application, as `cron_shop:app` in the folder of the command."""
    path = tmp_path / "cron_shop.py"
    path.write_text(APPLICATION.format(line="0 3 * * *"))
    monkeypatch.setattr("sys.path", list(sys.path))
    yield path
    sys.modules.pop("cron_shop", None)


def define(work: Work, name: str = "report", **fields: Any) -> int:
    """Define a cron job behind the commands' back; its version."""
    job = NewJob(b"", pack(Envelope("report:daily", b"[]", 0, 0)))
    cron = CronJob(**{"name": name, "queue": "default", "line": "@daily", "job": job, **fields})
    return work.ask(lambda broker: broker.cron_store().define(cron))


def listed(command: Command, *arguments: str) -> list[dict[str, Any]]:
    cron: list[dict[str, Any]] = json.loads(command("cron", "list", "--json", *arguments).out)["cron"]
    return cron


def test_cron_jobs_of_every_queue_are_listed_with_their_ticks(on_work: Command, work: Work) -> None:
    assert on_work("cron", "list").out == "no cron jobs\n"
    define(work)
    define(work, "sweep", queue="low", line="*/5 * * * *", zone="Europe/Berlin")
    head, first, second = on_work("cron", "list").out.splitlines()
    assert head.split() == ["QUEUE", "NAME", "TASK", "LINE", "ZONE", "LAST", "TICK", "NEXT", "TICK"]
    assert first.split()[:6] == ["default", "report", "report:daily", "@daily", "UTC", "-"]
    assert first.split()[6].endswith("T00:00:00.000Z")
    assert " in " in first
    assert second.split()[:3] == ["low", "sweep", "report:daily"]
    assert [row["name"] for row in listed(on_work, "--queue", "low")] == ["sweep"]


def test_a_tick_that_ran_is_the_last_one(on_work: Command, work: Work) -> None:
    version = define(work, line="@every 1s")
    [before] = listed(on_work)
    assert before["last_tick"] is None

    async def fire(store: RedisCronStore) -> None:
        state = await store.read("default")
        assert state.stored is not None
        cron = CronJob.unpack("default", "report", state.stored[0].definition)
        tick = state.ticks["report"] // 1000 * 1000 + 1000
        while (await store.fire(cron, version, tick)).last != tick:
            pass

    work.ask(lambda broker: fire(broker.cron_store()))
    [after] = listed(on_work)
    assert after["last_tick"] == before["next_tick"]
    assert after["next_tick"] > after["last_tick"]
    assert after == {**before, "last_tick": after["last_tick"], "next_tick": after["next_tick"]}


def test_a_definition_that_cannot_be_read_is_listed_with_why(on_work: Command, work: Work) -> None:
    define(work)

    async def spoil(store: RedisCronStore) -> None:
        await store._of("default").define(name="strange", expected=-1, schedule="?", definition=b'{"version":99}\n')

    work.ask(lambda broker: spoil(broker.cron_store()))
    assert "cannot be read here: cron job strange: got version 99" in on_work("cron", "list").out
    assert [row["problem"] is None for row in listed(on_work)] == [True, False]
    assert on_work("cron", "remove", "strange").status == 0


def test_a_cron_job_is_removed_by_its_name_and_its_jobs_stay(on_work: Command, work: Work) -> None:
    define(work)
    [job] = work.enqueue()
    assert on_work("cron", "remove", "report").out.startswith("report of default is removed")
    assert listed(on_work) == []
    assert work.state(job) == "pending"
    assert on_work("cron", "remove", "report").refusal == f"stage {work.stage} has no cron job report"
    define(work)
    assert json.loads(on_work("cron", "remove", "report", "--json").out) == {"removed": "report", "queue": "default"}


def test_a_name_in_two_queues_needs_the_queue(on_work: Command, work: Work) -> None:
    define(work)
    define(work, queue="low")
    refused = on_work("cron", "remove", "report")
    assert refused.status == 2
    assert "report is in default, low, expected --queue with one of them" in refused.refusal
    assert on_work("cron", "remove", "report", "--queue", "low").status == 0
    assert [row["queue"] for row in listed(on_work)] == ["default"]
    assert on_work("cron", "remove", "report", "--queue", "low").refusal == "queue low has no cron job report"


def test_an_applications_cron_jobs_are_defined_and_count_whatever_is_there(
    on_work: Command, work: Work, shop: Path
) -> None:
    define(work, "old")
    first = on_work("cron", "apply", "cron_shop:app")
    assert [line.split() for line in first.out.splitlines()] == [
        ["new", "low", "report", "0", "3", "*", "*", "*", "Europe/Berlin"],
        ["new", "low", "weekly", "@weekly", "UTC"],
    ]
    assert first.err == "not of this application: old of default, which goes on\n"
    for line, became in (("0 4 * * *", "changed"), ("0 4 * * *", "unchanged"), ("0 3 * * *", "changed")):
        shop.write_text(APPLICATION.format(line=line))
        sys.modules.pop("cron_shop", None)
        # Files that are written within a second are taken for the same by the import system.
        for cached in shop.parent.glob("__pycache__/*"):
            cached.unlink()
        document = json.loads(on_work("cron", "apply", "cron_shop:app", "--json").out)
        assert document["cron"][0] == {
            "queue": "low",
            "name": "report",
            "line": line,
            "zone": "Europe/Berlin",
            "became": became,
        }
        assert document["others"] == [{"queue": "default", "name": "old"}]
    assert [row["line"] for row in listed(on_work)] == ["@daily", "0 3 * * *", "@weekly"]


def test_an_application_without_cron_jobs_says_so(on_work: Command, tmp_path: Path, shop: Path) -> None:
    (tmp_path / "cron_shop.py").write_text("from ropeline.jobs import Jobs\napp = Jobs('memory://')\n")
    assert on_work("cron", "apply", "cron_shop:app").out == "the application has no cron jobs\n"
    assert on_work("cron", "apply", "cron_shop").status == 2
