"""Writes the mail with the receipt and the tickets of an order."""

from collections.abc import Iterable
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from ropeline.examples.ticketshop.catalogue import EVENTS
from ropeline.examples.ticketshop.tickets import PaidOrder

_FROM = Address("Acme Tickets", "tickets", "acme.example.com")


def address_of(name: str, email: str) -> Address | None:
    """The buyer as a mail's header has it; None when no mail could be addressed so."""
    # Browsers write a domain of other letters in ASCII themselves.
    if not name or not email.isascii() or not f"{name}{email}".isprintable():
        return None
    try:
        address = Address(name, addr_spec=email)
        EmailMessage(policy=SMTP)["To"] = address
    # What the standard library's parser of addresses raises depends on what is wrong with them.
    except Exception:  # noqa: BLE001
        return None
    return address if address.username and address.domain else None


def write_mail(order: PaidOrder, tickets: Iterable[tuple[str, bytes]]) -> bytes:
    """The mail as a file that mail programs open. `tickets`: name and content of each attachment.

    The same order makes the same receipt, by number and by date, however often it is written. Raises ValueError for a buyer
    whom no mail can reach.
    """
    buyer = address_of(order.name, order.email)
    if buyer is None:
        raise ValueError(f"email: got {order.name!r} {order.email!r}, expected the address of somebody with a name")
    mail = EmailMessage(policy=SMTP)
    mail["From"] = _FROM
    mail["To"] = buyer
    mail["Subject"] = f"Your tickets, order {order.number[:8]}"
    mail["Date"] = format_datetime(order.paid_at)
    mail["Message-ID"] = f"<{order.number[:16]}@{_FROM.domain}>"
    lines = [f"{count} x {EVENTS[slug].title}, {EVENTS[slug].when}" for slug, count in order.seats.items()]
    mail.set_content(
        f"Hello {order.name},\n\nthank you for your order {order.number[:8]}:\n\n"
        + "".join(f"  {line}\n" for line in lines)
        + f"\nPaid: {order.total}\n\nYour tickets are attached. See you there!\n\nAcme Tickets (a demo)\n"
    )
    for name, content in tickets:
        mail.add_attachment(content, maintype="image", subtype="svg+xml", filename=name)
    return mail.as_bytes()
