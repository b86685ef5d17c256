"""Single sessions are listed, shown, moved and revoked on a real store."""

import asyncio
import json
from pathlib import Path
from uuid import UUID, uuid4

from ropeline.gate.tickets import Ticket, TicketSigner, TicketState
from tests.cli.running import Command, run
from tests.cli.test_tenant import ACME, wait_in_line
from tests.servers import Server

KEY = "the only key of these tests"


def prepared(command: Command, environ: dict[str, str], quota: int, visitors: int) -> tuple[Command, list[str]]:
    """A tenant with visitors, the first ones called; and commands that know the gate's key."""
    environ["ROPELINE_SECRET_KEYS"] = KEY
    known = command.on(environ)
    known("tenant", "set", "acme", "host=acme.test", f"total_active_users={quota}")
    ids = asyncio.run(wait_in_line(environ, "acme", visitors, confirm=True))
    return known, [str(UUID(bytes=id_)) for id_ in ids]


def test_sessions_are_listed_page_by_page(command: Command, on_store: dict[str, str]) -> None:
    known, ids = prepared(command, on_store, 1, 6)
    seen: list[str] = []
    cursor: list[str] = []
    page = {"after": "not asked yet"}
    for _ in range(3):
        page = json.loads(known("sessions", "list", "acme", "--limit", "2", "--json", *cursor).out)
        seen += [session["id"] for session in page["sessions"]]
        cursor = ["--cursor", page["after"]]
    assert (seen, page["after"]) == (ids, "")
    lines = known("sessions", "list", "acme", "--state", "waiting", "--limit", "2").out.splitlines()
    assert lines[0].split() == ["SESSION", "STATE", "POSITION", "SINCE", "ENDS", "IN"]
    assert [line.split()[:3] for line in lines[1:3]] == [[ids[1], "waiting", "1"], [ids[2], "waiting", "2"]]
    assert lines[3].startswith("after: --cursor ")


def test_a_session_is_shown_by_its_id_or_its_ticket(command: Command, on_store: dict[str, str]) -> None:
    known, ids = prepared(command, on_store, 1, 2)
    ticket = Ticket("acme", UUID(ids[1]).bytes, TicketState.WAITING, 1, 0, 1, 1, 1, 0, 0)
    for word in (ids[1], TicketSigner([KEY]).sign(ticket)):
        shown = json.loads(known("sessions", "show", "acme", word, "--json").out)
        assert (shown["id"], shown["state"], shown["position"]) == (ids[1], "waiting", 1)
    assert known("sessions", "show", "acme", ids[0]).out.splitlines()[1].split() == ["state", "admitted"]
    assert known("sessions", "show", "acme", "what").refusal.startswith("SESSION_ID: got 'what', expected a UUID")


def test_a_session_is_moved_to_the_front_with_a_reason(command: Command, on_store: dict[str, str]) -> None:
    known, ids = prepared(command, on_store, 1, 4)
    assert known("sessions", "front", "acme", ids[3]).status == 2
    moved = known("sessions", "front", "acme", ids[3], "--reason", "waited in the wrong line")
    assert moved.out == f"acme: {ids[3]} moved to the front, position 1\n"
    page = json.loads(known("sessions", "list", "acme", "--state", "waiting", "--json").out)
    assert [session["id"] for session in page["sessions"]] == [ids[3], ids[1], ids[2]]
    again = known("sessions", "front", "acme", ids[3], "--reason", "again")
    assert again.status == 1
    assert again.refusal.endswith("expected one that waits: this one is at the front already")


def test_sessions_are_revoked_by_their_ids(on_store_command: Command, on_store: dict[str, str]) -> None:
    on_store_command(*ACME)
    live = [str(UUID(bytes=id_)) for id_ in asyncio.run(wait_in_line(on_store, "acme", 2))]
    unknown = [str(uuid4()) for _ in range(120)]
    assert on_store_command("sessions", "revoke", "acme", *live, *unknown).out == "acme: 122 revoked, 2 of them live\n"
    assert on_store_command("tenant", "flush", "acme", "--yes").out.startswith("acme: 0 waiting and 0 on the site")


def test_without_the_keys_of_the_gate_a_list_says_what_is_missing(tmp_path: Path, valkey: Server) -> None:
    ended = run(tmp_path, "sessions", "list", "acme", environ={"REDIS_URL": valkey.url})
    assert ended.status == 2
    assert ended.refusal.startswith("ROPELINE_SECRET_KEYS: got [], expected at least one key")
