"""Welcomes new customers by e-mail: each of them once, also when a job runs twice."""

import asyncio
import os
import smtplib
from datetime import timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from ropeline import Discard, Jobs
from ropeline.jobs import derived_id

app = Jobs(os.environ.get("EMAIL_STORE") or "redis://127.0.0.1:6379/0", stage="dev", queue="mail")

_OUTBOX = Path("outbox")
_SMTP_SECONDS = 20


@app.task(name="mail:welcome", max_attempts=8, timeout=60, give_up_on=smtplib.SMTPRecipientsRefused)
async def welcome(customer: int, name: str, address: str) -> None:
    """Mail one customer. A run that finds the customer marked as mailed does nothing."""
    # Longer than the job can come again: eight attempts take minutes, a dead letter waits for somebody who requeues it.
    async with app.once("mail:welcome", str(customer), keep=timedelta(days=30)) as is_first:
        if is_first:
            mail = write(customer, name, address)
            # The only effect outside, and the last thing: whatever could fail has not.
            await asyncio.to_thread(deliver, mail)


def write(customer: int, name: str, address: str) -> EmailMessage:
    """The mail. Its id follows from the customer: should it go out twice after all, mail programs see that it is one."""
    mail = EmailMessage(policy=SMTP)
    try:
        mail["To"] = Address(name, addr_spec=address.encode("ascii").decode())
    # Another run would fail as well.
    except Exception as error:
        raise Discard(f"address: got {name!r} {address!r}, which no mail can have") from error
    mail["From"] = Address("Acme", "hello", "acme.example.com")
    mail["Subject"] = f"Welcome, {name}"
    mail["Message-ID"] = f"<{derived_id('mail:welcome', str(customer)).hex()}@acme.example.com>"
    mail.set_content(f"Hello {name},\n\ngood to have you with us.\n\nAcme\n")
    return mail


def deliver(mail: EmailMessage) -> None:
    """Hand the mail to the server EMAIL_SMTP (host:port); without one, put it into the folder `outbox`."""
    host, _, port = os.environ.get("EMAIL_SMTP", "").rpartition(":")
    if host:
        with smtplib.SMTP(host, int(port), timeout=_SMTP_SECONDS) as server:
            server.send_message(mail)
        return
    _OUTBOX.mkdir(exist_ok=True)
    path = _OUTBOX / f"{mail['Message-ID'].strip('<>')}.eml"
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(mail.as_bytes())
    unfinished.replace(path)
