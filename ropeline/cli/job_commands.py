"""The commands of `ropeline jobs`, `dlq`, `cron` and `locks` with their options, and nothing of what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from ropeline.cli.options import add_json, add_place, whole_number

if TYPE_CHECKING:
    from ropeline.cli.parser import Commands, Parser

__all__ = [
    "LARGEST_PAGE",
    "add_cron_commands",
    "add_dlq_commands",
    "add_jobs_commands",
    "add_locks_commands",
    "add_stage",
]

LARGEST_PAGE: Final = 1000
"""Most jobs that one list shows."""
_PAGE: Final = 50
_HIGHEST_PRIORITY: Final = 9
_MOST_ATTEMPTS: Final = 10_000


def add_stage(parser: Parser) -> None:
    """Add which jobs of the store are meant."""
    parser.add_argument("--stage", metavar="STAGE", help="the stage, such as dev (else ROPELINE_STAGE, else prod)")


def add_jobs_commands(commands: Commands) -> None:
    """Add the commands about jobs to the group."""
    _add_enqueue(commands)
    stats = _add(commands, "stats", "jobs:stats", "show how many jobs each queue has in which state")
    stats.add_argument("--queue", metavar="QUEUE", help="one queue in detail")
    listing = _add(commands, "list", "jobs:list_jobs", "list the jobs of a queue that are in one state")
    listing.add_argument("--queue", required=True, metavar="QUEUE", help="the queue")
    listing.add_argument(
        "--state",
        required=True,
        metavar="STATE",
        help="scheduled, pending, active, retry, held, parked, blocked, completed, dead or cancelled",
    )
    _add_paging(listing)
    get = _add(commands, "get", "jobs:get", "show one job with all that is known of it")
    cancel = _add(commands, "cancel", "jobs:cancel", "end a job for good; a running one is told to stop")
    retry = _add(
        commands, "retry", "jobs:retry", "make a job pending that is dead, parked, cancelled, scheduled or retrying"
    )
    for command in (get, cancel, retry):
        command.add_argument("id", metavar="ID", help="id of a job, 32 hexadecimal digits")
        command.add_argument("--queue", metavar="QUEUE", help="the queue of the job (else every queue is searched)")
    pause = _add(commands, "pause", "queues:pause", "start no more jobs of a queue for now; those that run go on")
    resume = _add(commands, "resume", "queues:resume", "start jobs of a queue again")
    for command in (pause, resume):
        command.add_argument("queue", metavar="QUEUE", help="the queue")
        command.add_argument("--task", metavar="TYPE", help="the jobs of this task type alone")
    pause.add_argument("--reason", default="", metavar="TEXT", help="why, for whoever looks at the queue")
    pause.add_argument("--for", dest="for_", metavar="SECONDS", help="resume by itself after this long (else never)")
    settings = _add(commands, "settings", "queues:change_settings", "show the settings of a queue, or change some")
    settings.add_argument("queue", metavar="QUEUE", help="the queue")
    settings.add_argument(
        "assignments",
        nargs="*",
        metavar="KEY=VALUE",
        help="a setting and its new value, such as rate=100; times in seconds, sizes in bytes, 0 for no limit",
    )
    top = _add(commands, "top", "top:run", "show how the queues stand, each second, until Ctrl-C")
    top.add_argument("--queue", metavar="QUEUE", help="this queue alone")


def add_dlq_commands(commands: Commands) -> None:
    """Add the commands about dead letters to the group."""
    listing = _add(commands, "list", "dlq:list_dead", "list dead letters, the oldest first")
    requeue = _add(commands, "requeue", "dlq:requeue", "make dead letters pending again, as if they were new")
    purge = _add(commands, "purge", "dlq:purge", "remove dead letters for good")
    for command in (requeue, purge):
        command.add_argument("ids", nargs="*", metavar="ID", help="id of a dead letter, 32 hexadecimal digits")
    for command in (listing, requeue, purge):
        command.add_argument("--queue", metavar="QUEUE", help="those of this queue (else of every queue)")
        command.add_argument("--type", metavar="TYPE", help="those of this task type")
        command.add_argument(
            "--reason", metavar="REASON", help="those that died for this reason, such as attempts, discarded or poison"
        )
    for command in (requeue, purge):
        command.add_argument("--all", action="store_true", help="all that the other options leave, instead of ids")
    requeue.add_argument("--yes", action="store_true", help="do not ask about --all; required where nobody can answer")
    purge.add_argument("--yes", action="store_true", help="do not ask; required where nobody can answer")
    _add_paging(listing)


def add_cron_commands(commands: Commands) -> None:
    """Add the commands about cron jobs to the group."""
    listing = _add(commands, "list", "cron:list_all", "list cron jobs with their last and next ticks")
    listing.add_argument("--queue", metavar="QUEUE", help="those of this queue (else of every queue)")
    remove = _add(commands, "remove", "cron:remove", "end a cron job; jobs of it that wait or run stay")
    remove.add_argument("name", metavar="NAME", help="name of the cron job")
    remove.add_argument("--queue", metavar="QUEUE", help="the queue of the cron job (else every queue is searched)")
    text = "bring the cron jobs of an application into its store, as a worker does; also where the store has later ones"
    apply = commands.add_parser("apply", help=text, description=f"{text[0].upper()}{text[1:]}.")
    apply.add_argument("app", metavar="MODULE:NAME", help="the Jobs object, such as shop.jobs:app")
    add_json(apply)
    apply.set_defaults(handler="ropeline.cli.cron:apply")


def add_locks_commands(commands: Commands) -> None:
    """Add the commands about locks to the group."""
    listing = _add(commands, "list", "locks:list_all", "list the locks that are held, those that end first first")
    _add_paging(listing)
    release = _add(
        commands, "release", "locks:release", "take a lock away from its holder, who is told by whom and why"
    )
    release.add_argument("name", metavar="NAME", help="name of the lock")
    release.add_argument("--reason", required=True, metavar="TEXT", help="why; the holder is told")
    release.add_argument("--by", metavar="NAME", help="who does it (else the name of this user)")
    release.add_argument("--yes", action="store_true", help="do not ask; required where nobody can answer")
    for command in (listing, release):
        command.set_defaults(queue=None)


def _add_enqueue(commands: Commands) -> None:
    enqueue = _add(commands, "enqueue", "jobs:enqueue", "put a job into a queue")
    enqueue.add_argument("--type", required=True, metavar="TYPE", help="task type, such as order:confirm")
    enqueue.add_argument("--queue", default="default", metavar="QUEUE", help="the queue")
    payload = enqueue.add_mutually_exclusive_group()
    payload.add_argument(
        "--payload",
        metavar="JSON",
        help="the arguments: an object of them by name, or a list of them in order; - reads standard input (else none)",
    )
    payload.add_argument(
        "--payload-file", type=Path, metavar="FILE", help="the same from a file; - reads standard input"
    )
    time = enqueue.add_mutually_exclusive_group()
    time.add_argument("--delay", metavar="SECONDS", help="run it after this long (else at once)")
    time.add_argument(
        "--run-at", metavar="TIME", help="run it at this time, ISO 8601 with a zone, such as 2030-01-31T08:00:00+01:00"
    )
    enqueue.add_argument(
        "--unique-for",
        metavar="SECONDS",
        help="refuse it while a job of this type with the same arguments has not ended, for this long at most",
    )
    enqueue.add_argument(
        "--unique-key",
        metavar="KEY",
        help="the same for jobs with this key, whatever their arguments, until it has ended",
    )
    enqueue.add_argument(
        "--priority", default=5, type=whole_number(0, _HIGHEST_PRIORITY), metavar="N", help="0 to 9, the highest first"
    )
    enqueue.add_argument(
        "--max-attempts",
        type=whole_number(1, _MOST_ATTEMPTS),
        metavar="N",
        help="most runs that may fail (else what the task says)",
    )


def _add_paging(parser: Parser) -> None:
    parser.add_argument("--cursor", default="", metavar="CURSOR", help="go on where the list before ended, as it said")
    parser.add_argument("--limit", default=_PAGE, type=whole_number(1, LARGEST_PAGE), metavar="N", help="most to show")


def _add(commands: Commands, name: str, handler: str, text: str) -> Parser:
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    add_place(command)
    add_stage(command)
    add_json(command)
    command.set_defaults(handler=f"ropeline.cli.{handler}")
    return command
