"""The shop's files: tickets, who sits where, and the outbox. Each is there whole or not at all, whenever a worker dies."""

import json
import os
import secrets
from pathlib import Path

from ropeline.examples.ticketshop.tickets import PaidOrder, Ticket


class ShopFiles:
    """The files under `folder`, which are made when the first one is written: `tickets/`, `seats/` and `outbox/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ticket(self, order: PaidOrder, ticket: Ticket) -> Path:
        """Where a ticket is, or will be."""
        return self._folder / "tickets" / order.number / f"{ticket.name}.svg"

    def receipt(self, order: PaidOrder) -> Path:
        """Where the mail with the receipt is, or will be."""
        return self._folder / "outbox" / f"{order.number}.eml"

    def take_seat(self, order: PaidOrder, ticket: Ticket, *, fence: int) -> int:
        """The seat of a ticket, counted from 0: the next free one, or the one that it was given before.

        Only for who holds the event's lock, with the lock's fence. Raises PermissionError when a later holder was here already.
        """
        path = self._folder / "seats" / f"{ticket.event.slug}.json"
        last_fence, taken = json.loads(path.read_text(encoding="utf-8")) if path.exists() else (0, [])
        if fence < last_fence:
            raise PermissionError(f"the lock on {ticket.event.slug} has a later holder than fence {fence}")
        whose = f"{order.number}/{ticket.name}"
        if whose not in taken:
            taken.append(whose)
            write_whole(path, json.dumps([fence, taken]).encode())
        seat: int = taken.index(whose)
        return seat


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name first: whoever opens it under its own finds all of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
