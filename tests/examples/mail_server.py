"""A mail server for tests, as small as can be: it keeps what it is given, and answers as it is told to."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage


@dataclass
class MailServer:
    """`address`: host:port. `mails`: what was sent, also what was never acknowledged.

    `answers`: to the next mails, before it acknowledges those that follow; an empty one leaves the sender waiting.
    """

    address: str = ""
    mails: list[EmailMessage] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session."""
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            word = line[:4].upper()
            answer = "250 ok"
            if word == b"RCPT" and any(address in line.decode() for address in self.refused):
                answer = "550 nobody of this name"
            elif word == b"DATA":
                writer.write(b"354 go on\r\n")
                data = await reader.readuntil(b"\r\n.\r\n")
                mail = email.message_from_bytes(data[:-3], policy=email.policy.default)
                assert isinstance(mail, EmailMessage)
                self.mails.append(mail)
                answer = self.answers.pop(0) if self.answers else answer
            elif word == b"QUIT":
                break
            writer.write(f"{answer}\r\n".encode() if answer else b"")
        writer.close()


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """Serve on a loopback port while the context lasts."""
    served = MailServer()
    server = await asyncio.start_server(served.talk, "127.0.0.1", 0)
    served.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.close()
