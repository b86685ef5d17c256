"""The example of an e-mail handler, run as its README says: every customer is mailed, and none twice without need."""

import asyncio
import email
import email.policy
from pathlib import Path

import pytest

from ropeline.examples.email import mails
from ropeline.jobs import Discard
from tests.contracts.checkout import ROOT
from tests.examples.mail_server import mail_server
from tests.examples.processes import produce, working
from tests.servers import Server
from tests.support import wait_until, wait_until_sync

PRODUCER, APP = "ropeline.examples.email.send", "ropeline.examples.email.mails:app"
CUSTOMERS = (ROOT / "examples" / "email" / "customers.csv").read_text(encoding="utf-8")
ADA = CUSTOMERS.splitlines()[0]


def counter(server: Server, name: str) -> int:
    conf = server.call("HGETALL", "jobs:{dev:mail}:conf")
    assert isinstance(conf, dict)
    return int(conf.get(name.encode(), 0))


def test_every_customer_is_mailed_once_however_often_they_are_enqueued(fresh_server: Server, tmp_path: Path) -> None:
    environ = {"EMAIL_STORE": fresh_server.url}
    outbox = tmp_path / "outbox"
    said = produce(PRODUCER, folder=tmp_path, environ=environ, given=CUSTOMERS)
    assert said.count(": enqueued\n") == 2
    assert produce(PRODUCER, folder=tmp_path, environ=environ, given=CUSTOMERS).count("is there already") == 2
    with working(APP, "-c", "8", folder=tmp_path, environ=environ):
        wait_until_sync(lambda: outbox.exists() and len(list(outbox.glob("*.eml"))) == 2)
        mail = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in outbox.iterdir()]
        assert {each["To"] for each in mail} == {"Ada Lovelace <ada@example.com>", "Grace Hopper <grace@example.com>"}
        for path in outbox.iterdir():
            path.unlink()
        wait_until_sync(lambda: completed(fresh_server) == 2)
        assert produce(PRODUCER, folder=tmp_path, environ=environ, given=CUSTOMERS).count(": enqueued\n") == 2
        wait_until_sync(lambda: completed(fresh_server) == 4)
        assert list(outbox.iterdir()) == [], "they were marked as mailed"


def completed(server: Server) -> int:
    return counter(server, "completed")


async def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    fresh_server: Server, tmp_path: Path
) -> None:
    async with mail_server() as server:
        server.answers = ["451 busy"]
        server.refused = {"grace@example.com"}
        environ = {"EMAIL_STORE": fresh_server.url, "EMAIL_SMTP": server.address}
        await asyncio.to_thread(produce, PRODUCER, folder=tmp_path, environ=environ, given=CUSTOMERS)
        with working(APP, folder=tmp_path, environ=environ):
            await wait_until(lambda: completed(fresh_server) == 1, timeout=15)
            await wait_until(lambda: counter(fresh_server, "dead") == 1)
        assert [mail["To"] for mail in server.mails] == ["Ada Lovelace <ada@example.com>"] * 2


async def test_a_worker_that_dies_before_the_servers_answer_mails_again_what_mail_programs_know_to_be_one(
    fresh_server: Server, tmp_path: Path
) -> None:
    async with mail_server() as server:
        server.answers = [""]
        environ = {"EMAIL_STORE": fresh_server.url, "EMAIL_SMTP": server.address}
        await asyncio.to_thread(produce, PRODUCER, folder=tmp_path, environ=environ, given=ADA)
        with working(APP, "--lease", "1", folder=tmp_path, environ=environ) as worker:
            await wait_until(lambda: len(server.mails) == 1)
            worker.kill()
        with working(APP, "--lease", "1", folder=tmp_path, environ=environ):
            await wait_until(lambda: completed(fresh_server) == 1, timeout=15)
        first, second = server.mails
        assert first["Message-ID"] == second["Message-ID"]


@pytest.mark.parametrize("address", ["ada@example.com\nBcc: grace@example.com", "ada@ü.example", "ada", ""])
def test_an_address_that_no_mail_can_have_is_discarded(address: str) -> None:
    with pytest.raises(Discard, match="which no mail can have"):
        mails.write(17, "Ada", address)


def test_a_name_of_any_letters_is_written_so_that_every_mail_program_reads_it() -> None:
    mail = mails.write(17, "Zoë Ångström", "zoe@example.com")
    assert mail.as_bytes().partition(b"\r\n\r\n")[0].isascii()
    assert mail["To"].addresses[0].display_name == "Zoë Ångström"
