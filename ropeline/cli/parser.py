"""The command line: every command with its options, and nothing of what they do.

A command names its handler as "module:function" in the default `handler`; the module is imported when the command
runs, so that no command pays for another one. The function takes the parsed options and returns the exit status.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

from ropeline import __version__
from ropeline.cli import admin_commands, bench, faults, job_commands, session_commands, worker_command
from ropeline.cli.errors import UsageError
from ropeline.cli.options import add_json, add_place, add_reason, whole_number

__all__ = ["LARGEST_CROWD", "Commands", "Parser", "build_parser"]

LARGEST_CROWD: Final = 2000
_LARGEST_QUOTA: Final = 10_000_000


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are an exception, so that one place prints them."""

    def __init__(self, **options: object) -> None:
        # An abbreviation that works today is ambiguous tomorrow.
        super().__init__(allow_abbrev=False, **options)  # type: ignore[arg-type]  # handed on as they came

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message.removeprefix('argument ')} (see {self.prog} --help)")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - argparse has no other name for it
"""What `add_parser` is called on to add a command to a group."""


def build_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(prog="ropeline", description="A waiting room for a web site, kept in Redis or Valkey.")
    parser.add_argument("--version", action="version", version=f"ropeline {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, title="commands")
    _add_up(commands)
    _add_tenant(commands)
    _add_event(commands)
    _add_lottery(commands)
    _add_group(commands, "sessions", "list, show, move and end single sessions", session_commands.add_sessions_commands)
    _add_status(commands)
    _add_doctor(commands)
    admin_commands.add_admin_command(commands)
    worker_command.add_worker_command(commands)
    _add_group(commands, "jobs", "put jobs into queues, look at them, and pause queues", job_commands.add_jobs_commands)
    _add_group(commands, "dlq", "list, requeue and remove dead letters", job_commands.add_dlq_commands)
    _add_group(
        commands,
        "cron",
        "list and remove cron jobs, and define those of an application",
        job_commands.add_cron_commands,
    )
    _add_group(commands, "locks", "list locks, and take one away", job_commands.add_locks_commands)
    _add_fsck(commands)
    _add_group(commands, "bench", "measure the gate on this machine", bench.add_commands)
    _add_group(commands, "faults", "show what becomes of visitors when the store fails", faults.add_commands)
    return parser


def _add_up(commands: Commands) -> None:
    up = commands.add_parser(
        "up",
        help="serve the demo shop behind the gate",
        description="Serve a small ticket shop behind the gate, with a Valkey server of its own, until Ctrl-C.",
    )
    up.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address that the shop listens on")
    up.add_argument(
        "--port", default=8000, type=whole_number(0, 65535), help="port that the shop listens on; 0 takes a free one"
    )
    up.add_argument(
        "--admin-port",
        type=whole_number(0, 65535),
        metavar="PORT",
        help="port of the operators' API, on 127.0.0.1 (else the one after the shop's, or a free one); 0 takes a free one",
    )
    add_place(
        up,
        folder="folder for the store's data and the secret key; made when missing",
        url="use this Redis or Valkey instead of an own one (else ROPELINE_REDIS_URL, REDIS_URL)",
    )
    up.add_argument(
        "--quota",
        type=whole_number(0, _LARGEST_QUOTA),
        metavar="N",
        help="most visitors in the shop at once (else 1, or a tenth of the crowd, or what was set meanwhile)",
    )
    up.add_argument(
        "--tenant-host",
        action="append",
        default=[],
        metavar="HOST",
        help="a further host name under which the shop is asked for; may be given several times",
    )
    up.add_argument(
        "--crowd",
        default=0,
        type=whole_number(0, LARGEST_CROWD),
        metavar="N",
        help=f"send N simulated visitors, at most {LARGEST_CROWD}",
    )
    up.add_argument("--no-status", action="store_true", help="print addresses and log lines only, no status")
    up.set_defaults(handler="ropeline.cli.up:run")


def _add_fsck(commands: Commands) -> None:
    fsck = commands.add_parser(
        "fsck",
        help="look for jobs in no state or in several, and mend them",
        description="Look whether each job is in exactly one state, and each unique key with a job that lives. Workers may go on.",
    )
    add_place(fsck)
    job_commands.add_stage(fsck)
    fsck.add_argument("--queue", metavar="QUEUE", help="this queue alone")
    fsck.add_argument("--repair", action="store_true", help="mend what is found")
    add_json(fsck)
    fsck.set_defaults(handler="ropeline.cli.fsck:run")


def _add_tenant(commands: Commands) -> None:
    tenant = commands.add_parser("tenant", help="set up, pause and empty tenants", description="Work on tenants.")
    group = tenant.add_subparsers(dest="tenant_command", required=True, title="commands")

    def add(name: str, text: str, *, named: bool = True) -> Parser:
        command = group.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if named:
            command.add_argument("name", metavar="NAME", help="name of the tenant")
        add_place(command)
        command.set_defaults(handler=f"ropeline.cli.tenant:{name}_tenant" if named else "ropeline.cli.tenant:list_all")
        return command

    change = add("set", "make a tenant, or change settings of one")
    change.add_argument(
        "assignments",
        nargs="+",
        metavar="KEY=VALUE",
        help="a setting, such as total_active_users=500 or poll.floor=2; lists are JSON, `none` takes a value away",
    )
    get = add("get", "show the settings of a tenant")
    get.add_argument("--at", metavar="TIME", help="what is in force then, by the tenant's events; 2026-12-01T09:00:00Z")
    for command in (get, add("list", "list all tenants", named=False)):
        add_json(command)
    pause = add("pause", "admit nobody for now; the line keeps its order and visitors are told")
    resume = add("resume", "admit again after a pause")
    flush = add("flush", "empty the line and the site: every ticket given so far is worthless")
    flush.add_argument("--yes", action="store_true", help="do not ask; required where nobody can answer")
    export = group.add_parser(
        "export",
        help="write all tenants as a file",
        description="Write every tenant to standard output, as a tenants file.",
    )
    export.add_argument("--json", action="store_true", help="JSON instead of TOML")
    bring = group.add_parser(
        "import",
        help="make and change tenants as a file has them",
        description="Make and change tenants as a file has them; those that are not in it stay.",
    )
    bring.add_argument("file", metavar="FILE", help="the file; - reads standard input")
    bring.add_argument(
        "--from",
        dest="form",
        choices=("toml", "json", "cloudflare"),
        help="its form (else by its name); cloudflare: waiting rooms as JSON, as Cloudflare's API gives them",
    )
    bring.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    for command in (export, bring):
        add_place(command)
    export.set_defaults(handler="ropeline.cli.tenant_files:export_tenants")
    bring.set_defaults(handler="ropeline.cli.tenant_files:import_tenants")
    for command in (change, pause, resume, flush, bring):
        add_reason(command)


def _add_event(commands: Commands) -> None:
    event = commands.add_parser("event", help="plan launches of a tenant", description="Work on a tenant's events.")
    group = event.add_subparsers(dest="event_command", required=True, title="commands")

    def add(name: str, text: str, handler: str) -> Parser:
        command = group.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        command.add_argument("name", metavar="NAME", help="name of the tenant")
        add_place(command)
        command.set_defaults(handler=f"ropeline.cli.event:{handler}")
        return command

    change = add("set", "plan an event, or change one", "set_event")
    change.add_argument("event", metavar="EVENT", help="name of the event")
    change.add_argument(
        "assignments",
        nargs="+",
        metavar="KEY=VALUE",
        help="such as event_start_time=2026-12-01T09:00:00Z, or overrides.total_active_users=500 for while it lasts;"
        " `none` takes a value away",
    )
    add_json(add("list", "list the events of a tenant", "list_events"))
    remove = add("remove", "take an event out of the list", "remove_event")
    remove.add_argument("event", metavar="EVENT", help="name of the event")


def _add_lottery(commands: Commands) -> None:
    lottery = commands.add_parser(
        "lottery", help="show and verify draws by lot", description="Show and verify the draws by lot of events."
    )
    group = lottery.add_subparsers(dest="lottery_command", required=True, title="commands")
    for name, text in (
        ("show", "show what is public of a draw"),
        ("export", "print a draw with the places of all who are in line by it"),
    ):
        command = group.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        command.add_argument("name", metavar="NAME", help="name of the tenant")
        add_place(command)
        command.add_argument("event", metavar="EVENT", help="name of the event")
        if name == "show":
            add_json(command)
        command.set_defaults(handler=f"ropeline.cli.lottery:{name}_lottery")
    text = "recompute every place of an exported draw"
    verify = group.add_parser("verify", help=text, description=f"{text[0].upper()}{text[1:]}.")
    verify.add_argument("file", metavar="FILE", help="what `export` printed, or the `lottery` of a visitor's status")
    verify.set_defaults(handler="ropeline.cli.lottery:verify_lottery")


def _add_status(commands: Commands) -> None:
    status = commands.add_parser(
        "status", help="show how the lines stand", description="Show how the line of one tenant, or of all, stands."
    )
    status.add_argument("name", nargs="?", metavar="NAME", help="one tenant in detail")
    add_place(status)
    add_json(status)
    status.add_argument("--watch", action="store_true", help="go on, each second, until Ctrl-C")
    status.set_defaults(handler="ropeline.cli.status:run")


def _add_doctor(commands: Commands) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="check the store",
        description="Check the store: what it is, whether it keeps what it is given, and how fast it answers.",
    )
    add_place(doctor)
    add_json(doctor)
    doctor.set_defaults(handler="ropeline.cli.doctor:run")


def _add_group(commands: Commands, name: str, text: str, add_commands: Callable[[Commands], None]) -> None:
    group = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    add_commands(group.add_subparsers(dest=f"{name}_command", required=True, title="commands"))
