"""The commands on single sessions of a tenant, with their options."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import TYPE_CHECKING, Final

from ropeline.cli.options import add_json, add_place, whole_number

if TYPE_CHECKING:
    from ropeline.cli.parser import Commands

__all__ = ["add_sessions_commands"]

_LARGEST_PAGE: Final = 100


def add_sessions_commands(group: Commands) -> None:
    """`ropeline sessions list|show|front|revoke`."""

    def add(name: str, text: str, *, handler: str = "") -> ArgumentParser:
        command = group.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        command.add_argument("name", metavar="NAME", help="name of the tenant")
        add_place(command)
        command.set_defaults(handler=f"ropeline.cli.sessions:{handler or name}")
        return command

    listing = add("list", "list sessions: called ones, admitted ones, then the line", handler="list_page")
    listing.add_argument(
        "--state", default="", choices=("waiting", "called", "admitted"), help="those in this state alone"
    )
    listing.add_argument("--cursor", default="", metavar="CURSOR", help="go on from a page that was shown")
    listing.add_argument(
        "--limit", default=50, type=whole_number(1, _LARGEST_PAGE), metavar="N", help="sessions on a page, at most 100"
    )
    add_json(listing)
    show = add("show", "show one session")
    show.add_argument("session", metavar="SESSION", help="its id, a UUID, or its ticket, the value of the cookie")
    add_json(show)
    front = add("front", "move a session that waits before all others that wait")
    front.add_argument("session", metavar="SESSION", help="its id, a UUID, or its ticket, the value of the cookie")
    front.add_argument("--reason", required=True, type=_reason, metavar="TEXT", help="why, for the audit trail")
    revoke = add("revoke", "end sessions for good")
    revoke.add_argument("ids", nargs="+", metavar="SESSION_ID", help="id of a session, a UUID")


def _reason(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 200:
        raise ArgumentTypeError(f"got {text[:100]!r}, expected 1 to 200 printable characters")
    return text
