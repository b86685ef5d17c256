"""Draws a ticket, as a picture that any browser opens and prints."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from ropeline.examples.ticketshop.tickets import PaidOrder, Ticket

SEATS_A_ROW = 20

_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
_COLOURS = {
    "aurora": ("#071a33", "#3f7d8f"),
    "ember": ("#3a0f1a", "#b8433a"),
    "night": ("#0b1030", "#35509e"),
    "meadow": ("#1f5a46", "#3f8a63"),
    "rose": ("#7b2ff7", "#c02c62"),
    "steel": ("#33414f", "#5c7184"),
}


def draw(order: PaidOrder, ticket: Ticket, *, seat: int) -> bytes:
    """The ticket as an SVG document. `seat`: counted from 0, row by row."""
    row, place = divmod(seat, SEATS_A_ROW)
    dark, light = _COLOURS[ticket.event.poster]
    code = sha256(f"{order.number}/{ticket.name}".encode()).hexdigest()
    drawn = _TEMPLATES.get_template("ticket.svg").render(
        event=ticket.event,
        order=order.number[:8],
        holder=order.name,
        row=row + 1,
        place=place + 1,
        dark=dark,
        light=light,
        code=code[:12],
        bars=list(_bars(code)),
    )
    return drawn.encode()


def _bars(code: str) -> Iterator[tuple[int, int]]:
    """Left edge and width of each bar of something that looks like a bar code."""
    left = 0
    for digit in code[:24]:
        width, gap = 1 + int(digit, 16) % 4, 1 + int(digit, 16) // 4
        yield left, width
        left += width + gap
