"""The commands of `ropeline admin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropeline.cli.options import add_place, whole_number

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
