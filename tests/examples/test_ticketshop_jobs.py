"""What follows a payment in the demo shop: every ticket is made once, has a seat of its own, and the receipt goes out once."""

import asyncio
import email
import email.policy
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from ropeline.examples.ticketshop.app import create_shop
from ropeline.examples.ticketshop.catalogue import EVENTS
from ropeline.examples.ticketshop.drawing import draw
from ropeline.examples.ticketshop.files import ShopFiles, write_whole
from ropeline.examples.ticketshop.jobs import TicketJobs, ticket_jobs
from ropeline.examples.ticketshop.orders import Order
from ropeline.examples.ticketshop.receipt import address_of, write_mail
from ropeline.jobs.locks.locks import Locks
from ropeline.jobs.records import JobState
from tests.examples.buying import buy, paid_order, shop_jobs, worker_of
from tests.servers import Server
from tests.support import wait_until

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
async def jobs(valkey: Server, tmp_path: Path) -> AsyncIterator[TicketJobs]:
    async with shop_jobs(valkey.url, tmp_path) as jobs:
        yield jobs


def visit(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.example.com")


async def count_of(jobs: TicketJobs, queue: str, counter: str) -> int:
    return (await jobs.app.broker().depths(queue)).counters.get(counter, 0)


def seat_on(ticket: Path) -> str:
    """Row and seat, as the title of the picture says them."""
    title = ET.parse(ticket).getroot().findtext(f"{SVG}title")
    assert title is not None
    return title.rpartition("row")[2]


async def test_a_paid_order_becomes_tickets_that_open_and_one_mail_with_all_of_them(
    jobs: TicketJobs, tmp_path: Path
) -> None:
    async with worker_of(jobs), visit(create_shop(jobs=jobs)) as buyer:
        order = await buy(buyer, paper_lions=2, aurora_vale=1)

        async def is_complete() -> bool:
            progress = (await buyer.get(f"{order}/progress")).json()
            assert progress["done"] == len(progress["tickets"])
            return bool(progress["receipt"])

        await wait_until(is_complete)
        page = (await buyer.get(order)).text
        assert "All 3 tickets are ready." in page
        assert "http-equiv" not in page, "a page that is complete does not reload itself"
        links = re.findall(rf'href="({order}/tickets/[^"]+)"', page)
        assert len(links) == 3
        for link in links:
            answer = await buyer.get(link)
            assert answer.headers["content-type"] == "image/svg+xml"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert ET.fromstring(answer.content).tag == f"{SVG}svg"
    (mail_file,) = (tmp_path / "outbox").iterdir()
    mail = email.message_from_bytes(mail_file.read_bytes(), policy=email.policy.default)
    assert mail["To"] == "Anna Berg <anna@example.com>"
    names = [part.get_filename() for part in mail.iter_attachments()]
    assert names == ["paper-lions-1.svg", "paper-lions-2.svg", "aurora-vale-1.svg"]
    for part in mail.iter_attachments():
        (written,) = (tmp_path / "tickets").glob(f"*/{part.get_filename()}")
        assert part.get_content() == written.read_bytes()


async def test_a_second_delivery_of_an_order_adds_nothing(jobs: TicketJobs) -> None:
    order = paid_order()
    async with worker_of(jobs):
        await jobs.begin(order)
        await wait_until(lambda: jobs.progress(order).is_complete)
        await wait_until(lambda: has_completed(jobs, "orders", 2))
        files = [jobs.files.receipt(order), *(jobs.files.ticket(order, ticket) for ticket in order.tickets())]
        before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files]
        await jobs.begin(order)
        assert await count_of(jobs, "orders", "enqueued") == 2, "the order's id keeps it out"
        # As after a crash of the worker between its work and its word.
        again = await jobs.confirm.using(result_ttl=60).enqueue(order)
        assert await again.wait(5) is JobState.COMPLETED
        assert await count_of(jobs, "tickets", "enqueued") == 3
        for ticket in order.tickets():
            again = await jobs.render.using(result_ttl=60).enqueue(order, ticket.event.slug, ticket.number)
            assert await again.wait(5) is JobState.COMPLETED
        again = await jobs.mail.using(result_ttl=60).enqueue(order)
        assert await again.wait(5) is JobState.COMPLETED
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files] == before


async def has_completed(jobs: TicketJobs, queue: str, many: int) -> bool:
    return await count_of(jobs, queue, "completed") == many


async def test_two_workers_give_every_ticket_a_seat_of_its_own(jobs: TicketJobs, tmp_path: Path) -> None:
    orders = [paid_order(seats={"second-thoughts": 3, "paper-lions": 1}) for _ in range(8)]
    async with worker_of(jobs), worker_of(jobs):
        await asyncio.gather(*map(jobs.begin, orders))
        await wait_until(lambda: all(jobs.progress(order).is_complete for order in orders), timeout=30)
    for event, sold in (("second-thoughts", 24), ("paper-lions", 8)):
        seats = {seat_on(path) for path in (tmp_path / "tickets").glob(f"*/{event}-*.svg")}
        assert len(seats) == sold
    assert " 1, seat 20" in {seat_on(path) for path in (tmp_path / "tickets").glob("*/second-*.svg")}
    assert " 2, seat 4" in {seat_on(path) for path in (tmp_path / "tickets").glob("*/second-*.svg")}


async def test_who_holds_an_events_lock_holds_up_its_tickets_and_no_others(jobs: TicketJobs, valkey: Server) -> None:
    order = paid_order()
    async with valkey.connect() as client:
        locks = Locks(client, stage=jobs.app.stage)
        held = await locks.acquire("event-paper-lions", owner="an operator", purpose="moves rows")
        async with worker_of(jobs):
            await jobs.begin(order)
            await wait_until(lambda: count_is(jobs, "snoozed", 2), timeout=10)
            made = {ticket.name for ticket, is_made in jobs.progress(order).tickets.items() if is_made}
            assert made == {"aurora-vale-1"}
            assert await count_of(jobs, "orders", "enqueued") == 1, "no receipt before all tickets are there"
            await locks.release(held.name, held.token)
            await wait_until(lambda: jobs.progress(order).is_complete, timeout=10)
            assert await count_of(jobs, "tickets", "retried") == 0, "waiting for a lock is no failure"


async def count_is(jobs: TicketJobs, counter: str, least: int) -> bool:
    return await count_of(jobs, "tickets", counter) >= least


async def test_a_store_that_is_away_costs_no_order(fresh_server: Server, tmp_path: Path) -> None:
    async with shop_jobs(fresh_server.url, tmp_path) as jobs, visit(create_shop(jobs=jobs)) as buyer:
        fresh_server.kill()
        order = await buy(buyer, paper_lions=1)
        page = await buyer.get(order)
        assert (page.status_code, "0 of 1 ready." in page.text) == (200, True)
        fresh_server.start()
        async with worker_of(jobs):
            assert (await buyer.get(f"{order}/progress")).json()["of"] == 1

            async def is_complete() -> bool:
                return bool((await buyer.get(f"{order}/progress")).json()["receipt"])

            await wait_until(is_complete, timeout=10)


async def test_a_store_that_hangs_holds_no_buyer_up_for_long(fresh_server: Server, tmp_path: Path) -> None:
    async with shop_jobs(fresh_server.url, tmp_path) as jobs, visit(create_shop(jobs=jobs)) as buyer:
        fresh_server.pause()
        try:
            async with asyncio.timeout(4):
                order = await buy(buyer, paper_lions=1)
                assert "0 of 1 ready." in (await buyer.get(order)).text
        finally:
            fresh_server.resume()
        async with worker_of(jobs):

            async def is_complete() -> bool:
                return bool((await buyer.get(f"{order}/progress")).json()["receipt"])

            await wait_until(is_complete, timeout=10)


async def test_only_who_knows_the_number_of_a_paid_order_gets_its_tickets(jobs: TicketJobs) -> None:
    async with visit(create_shop("https://pay.example.com/pay", jobs)) as buyer:
        order = await buy(buyer, paper_lions=1)
        for path in (f"{order}/progress", f"{order}/tickets/paper-lions-1.svg"):
            assert (await buyer.get(path)).status_code == 404, "not paid"
        async with worker_of(jobs):
            await buyer.get(f"{order}/paid")
            await wait_until(lambda: is_served(buyer, f"{order}/tickets/paper-lions-1.svg"))
        other = order.replace(order[-1], "0" if order[-1] != "0" else "1")
        for path in (
            f"{other}/tickets/paper-lions-1.svg",
            f"{other}/progress",
            f"{order}/tickets/paper-lions-2.svg",
            f"{order}/tickets/..%2f..%2foutbox.svg",
            f"{order}/tickets/",
        ):
            assert (await buyer.get(path)).status_code == 404, path


async def is_served(buyer: httpx.AsyncClient, path: str) -> bool:
    return (await buyer.get(path)).status_code == 200


async def test_without_a_store_an_order_is_paid_and_says_that_no_tickets_are_made() -> None:
    async with visit(create_shop()) as buyer:
        order = await buy(buyer, paper_lions=1)
        page = (await buyer.get(order)).text
        assert "no tickets are made" in page
        assert "data-order" not in page
        assert (await buyer.get(f"{order}/progress")).status_code == 404
        assert (await buyer.get(f"{order}/tickets/paper-lions-1.svg")).status_code == 404


def test_a_holder_that_was_overtaken_gives_out_no_seat(tmp_path: Path) -> None:
    files = ShopFiles(tmp_path)
    first, second = paid_order(), paid_order()
    ticket = first.ticket("paper-lions", 1)
    assert files.take_seat(first, ticket, fence=7) == 0
    assert files.take_seat(second, ticket, fence=9) == 1
    with pytest.raises(PermissionError, match="a later holder than fence 8"):
        files.take_seat(first, first.ticket("paper-lions", 2), fence=8)
    assert files.take_seat(first, ticket, fence=9) == 0, "the seat that it has"
    assert files.take_seat(first, first.ticket("paper-lions", 2), fence=9) == 2, "the next one, not one further"


def test_a_file_that_could_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "taken", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": "../../outside"},
        {"number": "0" * 31},
        {"seats": {"../outside": 1}},
        {"seats": {"paper-lions": 7}},
        {"seats": {"paper-lions": 0}},
    ],
)
def test_an_order_that_the_shop_cannot_have_sold_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        paid_order(**wrong)


async def test_a_job_for_an_order_that_cannot_be_is_a_dead_letter_and_writes_nothing(
    jobs: TicketJobs, tmp_path: Path
) -> None:
    forged = paid_order()
    object.__setattr__(forged, "number", "../outside")
    async with worker_of(jobs):
        handle = await jobs.mail.enqueue(forged)
        assert await handle.wait(5) is JobState.DEAD
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - an async function


def test_a_ticket_that_an_order_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="number 3 of 'paper-lions'"):
        paid_order().ticket("paper-lions", 3)


def test_an_order_that_is_not_paid_has_nothing_to_tell_its_jobs() -> None:
    with pytest.raises(ValueError, match="is not paid"):
        Order({}, 0, "Anna", "a@b").paid()


names = st.text(max_size=100).filter(lambda name: address_of(name, "a@b.example") is not None)


@given(names, st.sampled_from(sorted(EVENTS)), st.integers(0, 40_000))
def test_the_picture_of_any_holders_ticket_is_well_formed(name: str, event: str, seat: int) -> None:
    order = paid_order(name=name, seats={event: 1})
    drawn = ET.fromstring(draw(order, order.ticket(event, 1), seat=seat))
    assert name in [text.text for text in drawn.iter(f"{SVG}text")]


parts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.text(max_size=100) | names, st.emails() | st.builds("{}@{}".format, parts, parts))
def test_a_mail_can_be_written_to_whom_the_shop_takes_orders_from_and_to_nobody_else(name: str, address: str) -> None:
    order = paid_order(name=name, email=address)
    if address_of(name, address) is None:
        with pytest.raises(ValueError, match="expected the address"):
            write_mail(order, [])
        return
    mail = email.message_from_bytes(write_mail(order, []), policy=email.policy.default)
    assert [each.addr_spec for each in mail["To"].addresses] == [address]
    assert mail.keys()[:5] == ["From", "To", "Subject", "Date", "Message-ID"]
    assert {name.partition("-")[0] for name in mail.keys()[5:]} == {"Content", "MIME"}


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("Anna", "a@b\nBcc: c@d"),
        ("Anna\r\nBcc: c@d", "a@b"),
        ("Anna", "@"),
        ("Anna", "a b@c"),
        ("Anna", ""),
        ("", "a@b"),
    ],
)
def test_an_address_that_no_mail_can_have_is_none(name: str, address: str) -> None:
    assert address_of(name, address) is None
    with pytest.raises(ValueError, match="expected the address"):
        write_mail(paid_order(name=name, email=address), [])


def test_the_environment_says_where_the_store_and_the_files_are(tmp_path: Path) -> None:
    jobs = ticket_jobs({"TICKETSHOP_STORE": "redis://store.example.com:7000/2", "TICKETSHOP_FOLDER": str(tmp_path)})
    assert "store.example.com:7000" in repr(jobs.app)
    order = paid_order()
    assert jobs.files.receipt(order) == tmp_path / "outbox" / f"{order.number}.eml"
    assert ticket_jobs({}).files.receipt(order) == Path(".ropeline") / "outbox" / f"{order.number}.eml"
