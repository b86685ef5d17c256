"""`ropeline locks`: lists the locks that somebody holds, and takes one away."""

from __future__ import annotations

import getpass
import json
import sys
from typing import TYPE_CHECKING

from ropeline.cli.answers import agrees, require_somebody
from ropeline.cli.errors import CommandFailed
from ropeline.cli.job_rows import printable
from ropeline.cli.job_store import JobStore, with_jobs
from ropeline.cli.tables import aligned
from ropeline.jobs.names import check_lock
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace
    from datetime import datetime

    from ropeline.jobs.locks.locks import LockView

__all__ = ["list_all", "release"]


def list_all(options: Namespace) -> int:
    """List the locks that are held, those that end first first."""

    async def work(store: JobStore) -> int:
        page = await store.broker.locks().held(cursor=options.cursor, limit=options.limit)
        if options.json:
            locks = [_document(view) for view in page.locks]
            print(json.dumps({"stage": store.stage, "locks": locks, "cursor": page.cursor or None}))
            return 0
        if page.locks:
            head = ["NAME", "OWNER", "PURPOSE", "SINCE", "UNTIL", "FENCE"]
            print("\n".join(aligned([head, *map(_row, page.locks)])))
        else:
            print("no locks are held" if not page.cursor else "no locks on this page")
        if page.cursor:
            print(f"more with --cursor {page.cursor}")
        return 0

    return with_jobs(options, work)


def release(options: Namespace) -> int:
    """Take a lock away from whoever holds it; that one is told who did so and why."""
    name = check_lock("NAME", options.name)
    by = options.by if options.by is not None else _login()
    require_somebody("locks release", yes=options.yes)

    async def work(store: JobStore) -> int:
        locks = store.broker.locks()
        view = await locks.view(name)
        if view is None:
            raise CommandFailed(f"nobody holds lock {name} of stage {store.stage}")
        if not options.yes:
            print("\n".join(aligned([["lock that is to be taken away:", *_row(view)]])), file=sys.stderr)
            if not agrees():
                print("Nothing was changed.", file=sys.stderr)
                return 1
        # Only from the holder that was shown: whoever came meanwhile is somebody else's affair.
        taken = await locks.force_release(name, by=by, reason=options.reason, token=view.token)
        if taken is None:
            raise CommandFailed(
                f"the holder of lock {name} gave it up meanwhile, or another one has it; nothing was changed"
            )
        if options.json:
            print(json.dumps({"released": _document(taken)}))
        else:
            print(f"lock {name} was taken from {printable(taken.owner) or 'its holder'}")
        return 0

    return with_jobs(options, work)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A process in a container may have a number only.
        raise ConfigurationError("--by", "nothing", "who takes the lock away; this user has no name") from None


def _row(view: LockView) -> list[str]:
    texts = [printable(text) or "-" for text in (view.name, view.owner, view.purpose)]
    return [*texts, _iso(view.since), _iso(view.until), str(view.fence)]


def _document(view: LockView) -> dict[str, object]:
    """Under the names that `--json` promises; the token is the holder's own."""
    return {
        "name": view.name,
        "owner": view.owner,
        "purpose": view.purpose,
        "holder": view.holder,
        "since": _iso(view.since),
        "until": _iso(view.until),
        "fence": view.fence,
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
