"""`ropeline jobs` enqueues, lists, shows, cancels and retries jobs, on a real store, or says in one line why not."""

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ropeline.cli.job_rows import printable
from ropeline.cli.times import age, iso_utc, until_or_since
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.errors import OutcomeUnknown
from ropeline.jobs.ids import created_ms
from ropeline.jobs.options import LARGEST_PAYLOAD, Unique
from ropeline.jobs.payloads.arguments import Arguments
from ropeline.jobs.payloads.codec import codec_named
from ropeline.jobs.payloads.envelope import unpack
from ropeline.jobs.records import FinishKind, JobState, JobView
from ropeline.server import free_port
from tests.cli.running import Command, run
from tests.cli.work import Work
from tests.servers import Server
from tests.support import wait_until_sync

UNKNOWN = "0" * 32


def enqueued(command: Command, *arguments: str) -> str:
    ended = command("jobs", "enqueue", "--type", "mail", "--json", *arguments)
    assert ended.status == 0, ended
    return str(json.loads(ended.out)["id"])


def look(work: Work, id: str, queue: str = "default") -> JobView:
    view = work.ask(lambda broker: broker.find(queue, bytes.fromhex(id)))
    assert view is not None
    return view


def test_a_job_is_enqueued_and_a_worker_gets_it(tmp_path: Path, work: Work) -> None:
    """As a process of its own, the way an operator does it."""
    words = ["--payload", '{"order": 17, "vip": true}', "--queue", "critical", "--max-attempts", "3"]
    ended = run(tmp_path, "jobs", "enqueue", "--type", "order:confirm", *words, environ=work.environ)
    assert (ended.status, ended.err) == (0, "")
    [job] = work.claim(queue="critical")
    assert ended.out == f"{job.id.hex()}: pending in critical\n"
    envelope = unpack(job.body)
    assert (envelope.type, envelope.max_attempts) == ("order:confirm", 3)
    task = Arguments("order:confirm", lambda order, vip: None, codec_named("codec", "json"))
    assert task.load(envelope.payload, envelope.codec) == {"order": 17, "vip": True}


@pytest.mark.parametrize("option", ["--payload", "--payload-file"])
def test_arguments_come_from_standard_input(on_work: Command, work: Work, option: str) -> None:
    on_work.patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO('{"name": "Zoë"}'.encode())))
    enqueued(on_work, option, "-")
    assert unpack(work.claim()[0].body).payload == '{"name":"Zoë"}'.encode()


def test_arguments_come_from_a_file_or_there_are_none(on_work: Command, work: Work, tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_text("[1,\n 2.5]")
    enqueued(on_work, "--payload-file", "payload.json")
    enqueued(on_work)
    assert [unpack(job.body).payload for job in work.claim(2)] == [b"[1,2.5]", b"{}"]


def test_a_job_waits_for_its_time(on_work: Command, work: Work) -> None:
    delayed = enqueued(on_work, "--delay", "90.5")
    planned = enqueued(on_work, "--run-at", "2030-01-31T08:00:00+01:00")
    past = enqueued(on_work, "--run-at", "2020-01-31T08:00:00Z")
    assert [look(work, id_).state for id_ in (delayed, planned, past)] == ["scheduled", "scheduled", "pending"]
    made = created_ms(bytes.fromhex(delayed))
    assert made is not None
    assert 90_500 <= look(work, delayed).at - made < 100_000
    assert look(work, planned).at == datetime(2030, 1, 31, 7, tzinfo=UTC).timestamp() * 1000
    told = on_work("jobs", "enqueue", "--type", "mail", "--run-at", "2030-01-31T08:00:00+01:00").out
    assert re.fullmatch(r"[0-9a-f]{32}: scheduled for 2030-01-31T07:00:00.000Z \(in \d+ d\) in default\n", told)


def test_the_highest_priority_is_claimed_first(on_work: Command, work: Work) -> None:
    low, high = enqueued(on_work, "--priority", "1"), enqueued(on_work, "--priority", "9")
    assert [job.id.hex() for job in work.claim(2)] == [high, low]


def test_a_unique_job_is_refused_with_the_job_that_holds_the_key(on_work: Command, work: Work) -> None:
    first = enqueued(on_work, "--unique-key", "order 17")
    again = on_work("jobs", "enqueue", "--type", "mail", "--unique-key", "order 17", "--json")
    assert again.status == 1
    assert again.refusal == f"mail: job {first} holds the unique key; nothing was enqueued"
    assert json.loads(again.out) == {"id": None, "queue": "default", "enqueued": False, "holder": first}
    enqueued(on_work, "--unique-key", "order 18")
    work.finish(work.claim(1), FinishKind.COMPLETED)
    enqueued(on_work, "--unique-key", "order 17")


def test_a_job_is_unique_by_its_arguments_for_a_time(on_work: Command, work: Work) -> None:
    first = enqueued(on_work, "--unique-for", "60", "--payload", '{"a": 1, "b": 2}')
    again = on_work("jobs", "enqueue", "--type", "mail", "--unique-for", "60", "--payload", '{"b": 2, "a": 1}')
    assert f"job {first} holds the unique key" in again.refusal
    enqueued(on_work, "--unique-for", "60", "--payload", '{"b": 2, "a": 3}')
    words = ("--unique-for", "0.05", "--unique-key", "soon over")
    enqueued(on_work, *words)
    wait_until_sync(lambda: on_work("jobs", "enqueue", "--type", "mail", *words).status == 0)
    assert len(work.claim(4)) == 4


@pytest.mark.parametrize("key", [None, "k"])
def test_the_unique_key_is_the_one_that_a_program_has(on_work: Command, work: Work, key: str | None) -> None:
    def mail(to: str, copies: int) -> None: ...

    unique = Unique() if key is None else Unique(key=lambda **_: "k")
    values: dict[str, Any] = {"to": "a@b.test", "copies": 2}
    arguments = Arguments("mail", mail, codec_named("codec", "json"))
    [held] = work.enqueue(unique=unique.key_of("mail", arguments, values, (), values))
    words = ["--unique-for", "9"] if key is None else ["--unique-key", key]
    ended = on_work("jobs", "enqueue", "--type", "mail", "--payload", json.dumps(values), *words)
    assert held in ended.refusal


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--type", "a b"), "--type: got 'a b', expected 1 to 200 bytes of printable text without spaces"),
        (("--queue", "a:b"), "--queue: got 'a:b', expected 1 to 63 of the characters a-z"),
        (("--queue", ""), "--queue: got ''"),
        (("--stage", "{prod}"), "--stage: got '{prod}', expected 1 to 63 of the characters a-z"),
        (("--delay", "-5"), "--delay: got '-5', expected seconds, from 0 to 315,532,800"),
        (("--delay", "nan"), "--delay: got 'nan', expected seconds"),
        (("--delay", "1e300"), "--delay: got '1e300', expected seconds"),
        (("--delay", "soon"), "--delay: got 'soon', expected seconds"),
        (("--delay", "1", "--run-at", "2030-01-31T08:00:00Z"), "--run-at: not allowed with argument --delay"),
        (
            ("--run-at", "2030-01-31T08:00:00"),
            "--run-at: got '2030-01-31T08:00:00', expected a time in ISO 8601 with a",
        ),
        (("--run-at", "2030-01-31"), "--run-at: got '2030-01-31', expected a time in ISO 8601 with a zone"),
        (("--run-at", "soon"), "--run-at: got 'soon', expected a time in ISO 8601 with a zone"),
        (
            ("--run-at", "2300-01-31T08:00:00Z"),
            "--run-at: got '2300-01-31T08:00:00Z', expected a moment before the year",
        ),
        (("--payload", "{a"), "--payload: got '{a', expected JSON: an object of arguments by name, or a list"),
        (("--payload", "17"), "--payload: got '17', expected JSON: an object"),
        (("--payload", "[NaN]"), "(NaN is no number of JSON)"),
        (("--payload", "[1e999]"), "--payload: got [inf], expected data that JSON can hold"),
        (("--payload", r'["\ud800"]'), "expected text without lone surrogates"),
        (("--payload", '{"a":1,"a":2}'), "('a' stands twice in one object)"),
        (("--payload", '{"not a name":1}'), "--payload: got 'not a name', expected names of arguments"),
        (("--payload", "[" * 100_000), "at most a few hundred levels deep"),
        (("--payload", f"[{'9' * 5000}]"), "(a number has 5,000 digits, at most 4,000 can be read)"),
        (
            ("--payload-file", "nowhere"),
            "--payload-file: got 'nowhere', expected a file that can be read (No such file",
        ),
        (("--payload-file", "."), "--payload-file: got '.', expected a file that can be read (Is a directory)"),
        (("--payload-file", "large"), "--payload-file: got 'more than 983,040 bytes', expected at most 983,040 bytes"),
        (("--payload-file", "binary"), "expected text in UTF-8 (invalid start byte at byte 1)"),
        (("--unique-for", "0"), "--unique-for: got '0', expected seconds, from 0.001"),
        (
            ("--unique-for", "9", "--payload", "[1]"),
            "--unique-for: got 'a list of arguments', expected arguments by name",
        ),
        (("--unique-key", ""), "--unique-key: got '', expected 1 to 1,024 bytes of text"),
        (("--unique-key", "x" * 1025), "expected 1 to 1,024 bytes of text"),
        (("--priority", "10"), "--priority: got '10', expected a whole number from 0 to 9"),
        (("--max-attempts", "0"), "--max-attempts: got '0', expected a whole number from 1 to 10000"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_a_wrong_job_is_refused_and_nothing_is_written(
    on_work: Command, work: Work, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    (tmp_path / "large").write_text(json.dumps(["x" * LARGEST_PAYLOAD]))
    (tmp_path / "binary").write_bytes(b"[\xff]")
    ended = on_work("jobs", "enqueue", "--type", "mail", *words)
    assert ended.status == 2
    assert told in ended.refusal
    assert work.queues() == []


def test_a_payload_that_grows_too_large_is_refused(on_work: Command, work: Work) -> None:
    # Two bytes a character as JSON escapes, three in UTF-8.
    payload = json.dumps(["1" * (LARGEST_PAYLOAD - 3)])
    ended = on_work("jobs", "enqueue", "--type", "mail", "--payload", payload)
    assert ended.refusal == "--payload: got '983,041 bytes', expected at most 983,040 bytes"
    assert work.queues() == []


def test_a_queue_that_is_new_beside_others_is_told(on_work: Command, work: Work) -> None:
    assert on_work("jobs", "enqueue", "--type", "mail", "--queue", "critical").err == ""
    told = on_work("jobs", "enqueue", "--type", "mail", "--queue", "urgnt")
    assert (told.status, told.err) == (0, f"queue urgnt is new in stage {work.stage}, beside critical\n")
    assert on_work("jobs", "enqueue", "--type", "mail", "--queue", "critical").err == ""


def test_a_job_of_which_nothing_is_known_is_told_with_its_id(on_work: Command) -> None:
    async def lose(_: RedisBroker, queue: str, jobs: list[Any]) -> None:
        raise OutcomeUnknown(queue, [job.id for job in jobs])

    on_work.patch.setattr(RedisBroker, "enqueue", lose)
    ended = on_work("jobs", "enqueue", "--type", "mail")
    assert ended.status == 1
    assert re.search(
        r"whether job ([0-9a-f]{32}) was taken in is not known; `ropeline jobs get \1` tells", ended.refusal
    )


def test_the_stage_of_the_command_line_goes_before_the_environment(on_work: Command, work: Work) -> None:
    other = Work(work.url, f"{work.stage}-other")
    id_ = enqueued(on_work, "--stage", other.stage)
    assert other.state(id_) is JobState.PENDING
    assert work.queues() == []
    assert on_work("jobs", "get", id_).status == 2
    assert on_work("jobs", "get", id_, "--stage", other.stage).status == 0
    assert on_work.on({"ROPELINE_STAGE": "a:b"})("jobs", "stats").refusal.startswith("ROPELINE_STAGE: got 'a:b'")


@pytest.mark.parametrize("words", [("jobs", "stats"), ("jobs", "enqueue", "--type", "mail"), ("dlq", "list")])
def test_a_store_that_is_not_there_is_told(command: Command, words: tuple[str, ...]) -> None:
    ended = command.on({"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})(*words)
    assert ended.status == 1
    assert "(from REDIS_URL) " in ended.refusal or "gave no reply" in ended.refusal


def test_stats_count_each_state_of_each_queue(on_work: Command, work: Work) -> None:
    assert on_work("jobs", "stats").out.startswith(
        f"no jobs yet in stage {work.stage}; make one: ropeline jobs enqueue"
    )
    work.bury(2)
    work.enqueue(2)
    work.finish(work.claim(2), FinishKind.RETRY, delay=60_000)
    work.enqueue(3, delay=60_000)
    work.enqueue()
    work.claim()
    work.enqueue(2)
    work.enqueue(queue="low")
    lines = on_work("jobs", "stats").out.splitlines()
    head, default, low = (re.split(r"  +", line) for line in lines[:3])
    shown = dict(zip(head, default, strict=True))
    assert {name: number for name, number in shown.items() if number != "0"} == {
        "QUEUE": "default",
        "PENDING": "2",
        "ACTIVE": "1",
        "SCHEDULED": "3",
        "RETRY": "2",
        "DEAD": "2",
        "OLDEST PENDING": shown["OLDEST PENDING"],
        "STATE": "open",
    }
    assert re.fullmatch(r"\d+ s", shown["OLDEST PENDING"])
    assert low[:2] == ["low", "1"]
    counters = dict(zip(lines[4].split()[2:], lines[5].split()[1:], strict=True))
    assert (counters["ENQUEUED"], counters["CLAIMED"], counters["DEAD"], counters["RETRIED"]) == ("10", "5", "2", "2")


def test_stats_are_json_for_programs_and_rows_for_one_queue(on_work: Command, work: Work) -> None:
    work.enqueue(2)
    work.enqueue(queue="low", delay=60_000)
    document = json.loads(on_work("jobs", "stats", "--json").out)
    assert document["stage"] == work.stage
    default, low = document["queues"]
    assert (default["queue"], default["pending"], default["paused"], low["scheduled"]) == ("default", 2, False, 1)
    assert 0 <= default["oldest_pending_seconds"] < 60
    assert low["oldest_pending_seconds"] is None
    assert low["next_due"].endswith("Z")
    assert default["counters"]["enqueued"] == 2
    rows = dict(
        re.split(r"  +", line, maxsplit=1) for line in on_work("jobs", "stats", "--queue", "low").out.splitlines()
    )
    assert (rows["queue"], rows["scheduled"], rows["total enqueued"]) == ("low", "1", "1")
    refused = on_work("jobs", "stats", "--queue", "lwo")
    assert refused.status == 2
    assert refused.refusal == f"queue: got 'lwo', expected one that stage {work.stage} has: default, low"


def test_a_list_goes_on_with_its_cursor(on_work: Command, work: Work) -> None:
    ids = work.enqueue(7)
    words = ("jobs", "list", "--queue", "default", "--state", "pending", "--limit", "3", "--json")
    seen: list[str] = []
    sizes: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = json.loads(on_work(*words, "--cursor", cursor).out)
        cursor = page["cursor"]
        sizes.append(len(page["jobs"]))
        seen += [job["id"] for job in page["jobs"]]
    assert (seen, sizes) == (ids, [3, 3, 1])
    shown = on_work(*words[:-1]).out.splitlines()
    assert [line.split()[0] for line in shown[1:4]] == ids[:3]
    assert shown[4] == f"more with --cursor {json.loads(on_work(*words).out)['cursor']}"


def test_a_list_of_hundreds_is_read_in_bounded_calls(on_work: Command, work: Work) -> None:
    ids = work.enqueue(230)
    asked: list[int] = []
    read = RedisBroker.jobs_in

    async def count(broker: RedisBroker, queue: str, state: JobState, *, cursor: str = "", limit: int = 100) -> Any:
        asked.append(limit)
        return await read(broker, queue, state, cursor=cursor, limit=limit)

    on_work.patch.setattr(RedisBroker, "jobs_in", count)
    page = json.loads(
        on_work("jobs", "list", "--queue", "default", "--state", "pending", "--limit", "220", "--json").out
    )
    assert [job["id"] for job in page["jobs"]] == ids[:220]
    assert asked == [100, 100, 20]


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_can_be_listed(on_work: Command, work: Work, state: JobState) -> None:
    work.enqueue(delay=60_000)
    ended = on_work("jobs", "list", "--queue", "default", "--state", state)
    assert ended.status == 0
    many = len(ended.out.splitlines()) - 1
    assert many == 1 if state is JobState.SCHEDULED else ended.out == f"no {state} jobs in default\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--queue", "lost", "--state", "dead"), "queue: got 'lost', expected one that stage "),
        (("--queue", "default", "--state", "lost"), "--state: got 'lost', expected one of: pending, active,"),
        (
            ("--queue", "default", "--state", "dead", "--limit", "0"),
            "--limit: got '0', expected a whole number from 1 to 1000",
        ),
        (
            ("--queue", "default", "--state", "dead", "--cursor", "x"),
            "--cursor: got 'x', expected the cursor that this",
        ),
        (
            ("--queue", "default", "--state", "dead", "--cursor", "default:pending:0-1-00"),
            "--cursor: got 'default:pending",
        ),
        (("--queue", "default", "--state", "dead", "--cursor", "default:dead:7-1-zz"), "--cursor: got '7-1-zz'"),
    ],
)
def test_a_wrong_list_is_refused(on_work: Command, work: Work, words: tuple[str, ...], told: str) -> None:
    work.enqueue()
    ended = on_work("jobs", "list", *words)
    assert ended.status == 2
    assert told in ended.refusal


def test_a_job_is_found_in_whatever_queue_it_is(on_work: Command, work: Work) -> None:
    work.enqueue(queue="a")
    id_ = enqueued(on_work, "--queue", "b", "--payload", '{"to": "Zoë"}', "--max-attempts", "2")
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in on_work("jobs", "get", id_).out.splitlines())
    assert (rows["id"], rows["queue"], rows["state"], rows["type"]) == (id_, "b", "pending", "mail")
    assert (rows["payload, json"], rows["max_attempts"], rows["attempts"]) == ('{"to": "Zoë"}', "2", "0")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z  \d+ s ago", rows["pending since"])
    document = json.loads(on_work("jobs", "get", id_, "--json").out)
    assert (document["payload"], document["options"], document["state"]) == (
        {"to": "Zoë"},
        {"max_attempts": 2},
        "pending",
    )
    with_dashes = f"{id_[:8]}-{id_[8:12]}-{id_[12:16]}-{id_[16:20]}-{id_[20:]}"
    assert json.loads(on_work("jobs", "get", with_dashes, "--json").out)["id"] == id_
    assert on_work("jobs", "get", id_, "--queue", "a").refusal.startswith(
        f"ID: got '{id_}', expected the id of a job that queue a"
    )


@pytest.mark.parametrize("verb", ["get", "cancel", "retry"])
def test_an_id_that_is_wrong_or_unknown_is_refused(on_work: Command, work: Work, verb: str) -> None:
    work.enqueue()
    wrong, unknown = on_work("jobs", verb, "17"), on_work("jobs", verb, UNKNOWN)
    assert (wrong.status, unknown.status) == (2, 2)
    assert wrong.refusal.startswith("ID: got '17', expected the 32 hexadecimal digits of a job")
    assert unknown.refusal.startswith(f"ID: got '{UNKNOWN}', expected the id of a job that stage {work.stage} has")


def test_a_job_that_ended_shows_its_result_or_its_error(on_work: Command, work: Work) -> None:
    [done] = work.enqueue()
    work.finish(work.claim(), FinishKind.COMPLETED, result=b"\x01[1,2]", keep=60_000)
    [dead] = work.bury(error="ValueError: \x1b[2J\nno such order", reason="discarded")
    assert json.loads(on_work("jobs", "get", done, "--json").out)["result"] == [1, 2]
    assert "result, json" in on_work("jobs", "get", done).out
    shown = on_work("jobs", "get", dead).out
    assert r"ValueError: \x1b[2J\nno such order" in shown
    assert "\x1b" not in shown
    document = json.loads(on_work("jobs", "get", dead, "--json").out)
    assert (document["reason"], document["attempts"]) == ("discarded", 1)
    assert document["error"] == "ValueError: \x1b[2J\nno such order"


def test_a_body_that_cannot_be_read_is_shown_as_such(on_work: Command, work: Work) -> None:
    [id_] = work.enqueue(body=b"\x7frubbish")
    assert "(cannot be read): body: got version 127, expected version 1" in on_work("jobs", "get", id_).out
    document = json.loads(on_work("jobs", "get", id_, "--json").out)
    assert (document["type"], document["undecodable"]) == (None, "body: got version 127, expected version 1")
    assert "(cannot be read)" in on_work("jobs", "list", "--queue", "default", "--state", "pending").out


def test_a_waiting_job_is_cancelled_and_a_running_one_is_told(on_work: Command, work: Work) -> None:
    [waiting] = work.enqueue(delay=60_000)
    assert on_work("jobs", "cancel", waiting).out == f"{waiting}: cancelled\n"
    assert work.state(waiting) is JobState.CANCELLED
    [running] = work.enqueue()
    jobs = work.claim()
    assert on_work("jobs", "cancel", running).out == f"{running}: it runs, and its worker is told to stop it\n"
    assert "active, its worker is being told to stop" in on_work("jobs", "get", running).out
    work.finish(jobs, FinishKind.COMPLETED, keep=60_000)
    late = on_work("jobs", "cancel", running, "--json")
    assert (late.status, late.refusal) == (1, f"job {running} is completed: it is too late to cancel it")
    assert json.loads(late.out)["state"] == "completed"


def test_a_dead_job_is_pending_again_after_a_retry(on_work: Command, work: Work) -> None:
    [dead] = work.bury()
    assert on_work("jobs", "retry", dead).out == f"{dead}: pending in default; it was dead\n"
    assert work.state(dead) is JobState.PENDING
    again = on_work("jobs", "retry", dead)
    assert (again.status, again.refusal) == (
        1,
        f"job {dead} is pending, expected one that is dead, parked, cancelled, scheduled or in retry",
    )


def test_a_retry_does_not_take_a_unique_key_from_another_job(on_work: Command, work: Work) -> None:
    [dead] = work.bury(unique=b"k" * 16)
    [holder] = work.enqueue(unique=b"k" * 16)
    ended = on_work("jobs", "retry", dead, "--json")
    assert (ended.status, ended.refusal) == (1, f"job {dead}: job {holder} holds its unique key; nothing was changed")
    assert json.loads(ended.out) == {"id": dead, "queue": "default", "requeued": False, "holder": holder}
    assert work.state(dead) is JobState.DEAD


def test_the_store_of_a_running_demo_is_found(command: Command, tmp_path: Path, work: Work, valkey: Server) -> None:
    (tmp_path / ".ropeline").mkdir()
    (tmp_path / ".ropeline" / "store.url").write_text(f"{valkey.url}\n")
    assert command.on({"ROPELINE_STAGE": work.stage})("jobs", "enqueue", "--type", "mail").status == 0
    assert work.queues() == ["default"]


def test_keys_of_another_namespace_are_other_jobs(on_work: Command, work: Work) -> None:
    work.enqueue()
    assert on_work.on({"ROPELINE_JOBS_NAMESPACE": "other"})("jobs", "stats").out.startswith("no jobs yet")
    told = on_work.on({"ROPELINE_JOBS_NAMESPACE": "o:"})("jobs", "stats").refusal
    assert told.startswith("ROPELINE_JOBS_NAMESPACE: got 'o:'")


def test_jobs_of_a_stage_in_streams_are_seen_moved_and_checked_as_others_are(on_work: Command) -> None:
    streams = on_work.on({"ROPELINE_JOBS_BROKER": "streams"})
    assert streams("jobs", "enqueue", "--type", "mail", "--json").status == 0
    [job] = json.loads(streams("jobs", "list", "--queue", "default", "--state", "pending", "--json").out)["jobs"]
    assert streams("jobs", "cancel", job["id"]).status == 0
    assert json.loads(streams("jobs", "get", job["id"], "--json").out)["state"] == "cancelled"
    assert streams("fsck").status == 0
    told = on_work.on({"ROPELINE_JOBS_BROKER": "lists"})("jobs", "stats").refusal
    assert told.startswith("ROPELINE_JOBS_BROKER: got 'lists', expected one of redis, streams")


def test_times_are_told_in_one_unit() -> None:
    told = [age(ms) for ms in (-1, 999, 99_999, 100_000, 5_999_999, 6_000_000, 172_799_999, 172_800_000)]
    assert told == ["0 s", "0 s", "99 s", "1 min", "99 min", "1 h", "47 h", "2 d"]
    assert [until_or_since(moment, 5000) for moment in (2000, 5000, 9000)] == ["3 s ago", "0 s ago", "in 4 s"]
    assert iso_utc(1_700_000_000_001) == "2023-11-14T22:13:20.001Z"


def test_what_does_not_print_is_shown_as_its_escape() -> None:
    assert printable("a\x1b[1m\u202eé\ud800") == r"a\x1b[1m\u202eé\ud800"
    assert printable("x" * 11, 10) == "xxxxxxx..."
    assert "\x00" not in printable("\x00" * 50, 10)
    assert len(printable("\x00" * 50, 10)) <= 10
