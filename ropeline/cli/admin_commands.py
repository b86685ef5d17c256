"""The commands of `ropeline admin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropeline.cli.options import add_json, add_place, add_reason, whole_number

if TYPE_CHECKING:
    from ropeline.cli.parser import Commands

__all__ = ["add_admin_command"]


def add_admin_command(commands: Commands) -> None:
    """Add the command that serves the operators' API."""
    admin = commands.add_parser(
        "admin",
        help="serve the operators' API",
        description="Serve the operators' HTTP API on its own port, until Ctrl-C.",
    )
    admin.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address that the API listens on")
    admin.add_argument(
        "--port", default=8001, type=whole_number(0, 65535), help="port that the API listens on; 0 takes a free one"
    )
    add_place(admin)
    admin.set_defaults(handler="ropeline.cli.admin:serve")
    below = admin.add_subparsers(dest="admin_command", title="commands")
    key = below.add_parser("key", help="make, list and revoke keys", description="Work on the keys of operators.")
    _add_key_commands(key.add_subparsers(dest="key_command", required=True, title="commands"))


def _add_key_commands(group: Commands) -> None:
    create = group.add_parser("create", help="make a key", description="Make a key and show it, this once.")
    create.add_argument("name", metavar="NAME", help="whose key it is")
    create.add_argument(
        "--role",
        default="superuser",
        choices=("viewer", "tenant_admin", "superuser"),
        help="what it may do: look, change the tenants that are named, or everything",
    )
    create.add_argument(
        "--tenant",
        action="append",
        default=[],
        metavar="NAME",
        help="a tenant that it is for; may be given several times",
    )
    create.add_argument(
        "--days", default=90, type=whole_number(0, 3650), metavar="N", help="how long it is good for; 0 for ever"
    )
    listing = group.add_parser("list", help="list the keys in force", description="List the keys in force.")
    revoke = group.add_parser(
        "revoke", help="end a key", description="End a key, and every login made with it, at once."
    )
    revoke.add_argument("id", metavar="KEY_ID", help="id of the key, as it is listed")
    for command, name in ((create, "create"), (listing, "list"), (revoke, "revoke")):
        add_place(command)
        if command is not listing:
            add_reason(command)
        if command is not revoke:
            add_json(command)
        command.set_defaults(handler=f"ropeline.cli.admin_keys:{name}_{'keys' if name == 'list' else 'key'}")
