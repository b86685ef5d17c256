"""The demo shop is a real one: whole without JavaScript, honest about its seats, and quite unaware of a gate."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from ropeline.examples.ticketshop import app as shop_module
from ropeline.examples.ticketshop import payment
from ropeline.examples.ticketshop.app import create_shop
from ropeline.examples.ticketshop.catalogue import EVENTS, Seats
from ropeline.examples.ticketshop.orders import Cart, Order, Orders
from tests.sites import serving

BUYER = {"name": "Anna Berg", "email": "anna@example.com"}
PAYMENT_URL = "https://pay.example.com/pay"


def visit(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.example.com")


@pytest.fixture
async def visitor() -> AsyncIterator[httpx.AsyncClient]:
    async with visit(create_shop(PAYMENT_URL)) as client:
        yield client


async def choose(visitor: httpx.AsyncClient, slug: str, seats: int | str) -> None:
    answer = await visitor.post("/cart", data={"slug": slug, "seats": str(seats)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/cart")


async def seats_left(visitor: httpx.AsyncClient, slug: str) -> int:
    page = (await visitor.get(f"/events/{slug}")).text
    shown = re.search(r"data-seats=[^>]*>([\d,]+)<", page)
    assert shown is not None
    return int(shown[1].replace(",", ""))


async def test_the_catalogue_leads_to_every_event(visitor: httpx.AsyncClient) -> None:
    page = (await visitor.get("/")).text
    for slug, event in EVENTS.items():
        assert f'href="/events/{slug}"' in page
        answer = await visitor.get(f"/events/{slug}")
        assert answer.status_code == 200
        assert event.title in answer.text
        assert event.venue in answer.text


@pytest.mark.parametrize("path", ["/", "/events/paper-lions", "/cart", "/no-such-page"])
async def test_every_page_carries_the_script_of_the_waiting_room_and_is_not_cached(
    visitor: httpx.AsyncClient, path: str
) -> None:
    answer = await visitor.get(path)
    assert '<script src="/.well-known/waiting-room/client.js" defer></script>' in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_the_shop_knows_no_gate() -> None:
    for source in Path(shop_module.__file__).parent.glob("*.py"):
        assert "ropeline.gate" not in source.read_text()
        assert "Waiting-Room" not in source.read_text()


async def test_a_buyer_pays_elsewhere_and_returns_to_a_confirmed_order(visitor: httpx.AsyncClient) -> None:
    before = await seats_left(visitor, "paper-lions")
    await choose(visitor, "paper-lions", 2)
    await choose(visitor, "second-thoughts", 1)
    cart = (await visitor.get("/cart")).text
    assert "€\N{NO-BREAK SPACE}108.00" in cart
    placed = await visitor.post("/checkout", data=BUYER)
    assert placed.status_code == 303
    order = placed.headers["location"]
    waiting = (await visitor.get(order)).text
    assert f'<form method="post" action="{PAYMENT_URL}">' in waiting
    assert f'name="back" value="http://shop.example.com{order}/paid"' in waiting
    assert "Confirmed" not in waiting
    returned = await visitor.get(f"{order}/paid")
    assert (returned.status_code, returned.headers["location"]) == (303, order)
    confirmed = (await visitor.get(order)).text
    assert "Confirmed" in confirmed
    assert "anna@example.com" in confirmed
    assert await seats_left(visitor, "paper-lions") == before - 2
    assert "nothing in it" in (await visitor.get("/cart")).text


async def test_the_payment_page_leads_back_and_only_to_the_web() -> None:
    async with visit(payment.app) as browser:
        form = {"order": "1", "total": "€ 10", "back": "http://shop.example.com/orders/1/paid"}
        page = await browser.post("/pay", data=form)
        assert 'href="http://shop.example.com/orders/1/paid"' in page.text
        assert (await browser.post("/pay", data={**form, "back": "javascript:alert(1)"})).status_code == 400
        assert (await browser.get("/healthz")).json() == {"status": "ok"}


async def test_without_a_payment_page_an_order_is_confirmed_at_once() -> None:
    async with visit(create_shop()) as visitor:
        await choose(visitor, "paper-lions", 1)
        placed = await visitor.post("/checkout", data=BUYER)
        assert "Confirmed" in (await visitor.get(placed.headers["location"])).text


def test_a_payment_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="PAYMENT_URL: got 'javascript:x', expected"):
        create_shop("javascript:x")


@pytest.mark.parametrize(("asked", "kept"), [("0", 0), ("7", 6), ("-1", 0), ("two", 0), ("", 0), ("²", 0), ("9999", 0)])
async def test_a_cart_holds_what_an_order_may_have(visitor: httpx.AsyncClient, asked: str, kept: int) -> None:
    await choose(visitor, "paper-lions", 3)
    await choose(visitor, "paper-lions", asked)
    assert Cart(visitor.cookies.get("cart") or "").count == kept


@given(st.text(max_size=80))
def test_a_cart_cookie_of_any_text_is_a_cart(text: str) -> None:
    cart = Cart(text)
    assert 0 <= cart.count <= 6 * len(EVENTS)
    assert Cart(cart.text).seats == cart.seats


@pytest.mark.parametrize("wrong", [{}, {"name": " ", "email": "a@b"}, {"name": "Anna", "email": "nowhere"}])
async def test_a_buyer_who_tells_too_little_is_asked_again(visitor: httpx.AsyncClient, wrong: dict[str, str]) -> None:
    await choose(visitor, "paper-lions", 1)
    answer = await visitor.post("/checkout", data=wrong)
    assert answer.status_code == 422
    assert "Please tell us your name" in answer.text


async def test_what_a_buyer_types_is_shown_as_text(visitor: httpx.AsyncClient) -> None:
    await choose(visitor, "paper-lions", 1)
    answer = await visitor.post("/checkout", data={"name": '"><script>x</script>', "email": "nowhere"})
    assert "<script>x" not in answer.text


async def test_no_seat_is_sold_twice() -> None:
    app = create_shop()
    async with visit(app) as first:
        buyers = [visit(app) for _ in range(40)]
        for buyer in buyers:
            await choose(buyer, "second-thoughts", 6)
        answers = await asyncio.gather(*(buyer.post("/checkout", data=BUYER) for buyer in buyers))
        for buyer in buyers:
            await buyer.aclose()
        sold = [answer.status_code for answer in answers]
        assert (sold.count(303), sold.count(422)) == (30, 10)
        assert "Somebody was quicker" in next(answer.text for answer in answers if answer.status_code == 422)
        assert "Sold out" in (await first.get("/")).text


async def test_an_empty_cart_has_no_checkout(visitor: httpx.AsyncClient) -> None:
    for answer in (await visitor.get("/checkout"), await visitor.post("/checkout", data=BUYER)):
        assert (answer.status_code, answer.headers["location"]) == (303, "/cart")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/events/no-such-event", b"", 404),
        ("GET", "/events/no-such-event/seats", b"", 404),
        ("GET", "/orders/no-such-order", b"", 404),
        ("POST", "/cart", b"slug=no-such-event&seats=1", 404),
        ("POST", "/cart", b"slug=%ff", 400),
        ("POST", "/cart", b"\xff", 400),
        ("POST", "/cart", b"&".join(b"a=1" for _ in range(21)), 400),
        ("POST", "/cart", b"a" * 20_000, 413),
        ("DELETE", "/cart", b"", 405),
    ],
)
async def test_a_wrong_call_is_refused(
    visitor: httpx.AsyncClient, method: str, path: str, body: bytes, status: int
) -> None:
    assert (await visitor.request(method, path, content=body)).status_code == status


async def test_it_says_that_it_is_well(visitor: httpx.AsyncClient) -> None:
    assert (await visitor.get("/healthz")).json() == {"status": "ok"}


def test_orders_of_long_ago_are_forgotten() -> None:
    orders = Orders()
    first = Order({}, 0, "Anna", "a@b")
    orders.add(first)
    for _ in range(10_000):
        orders.add(Order({}, 0, "Anna", "a@b"))
    assert orders.find(first.number) is None


async def test_whoever_watches_hears_of_each_change() -> None:
    seats = Seats()
    watching = seats.watch("second-thoughts")
    assert await anext(watching) == 180
    assert seats.take({"paper-lions": 1})
    assert seats.take({"second-thoughts": 5})
    assert await anext(watching) == 175
    assert not seats.take({"second-thoughts": 176, "paper-lions": 1})
    assert seats.left("paper-lions") == 1199
    await watching.aclose()  # type: ignore[attr-defined]


async def buy_two(address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as buyer:
        await choose(buyer, "paper-lions", 2)
        assert (await buyer.post("/checkout", data=BUYER)).status_code == 303


async def test_a_stream_and_a_socket_tell_the_seats_as_they_change() -> None:
    async with serving(create_shop()) as address, httpx.AsyncClient(base_url=address, timeout=5) as watcher:
        socket_address = f"{address.replace('http', 'ws')}/ws/seats/paper-lions"
        async with (
            watcher.stream("GET", "/events/paper-lions/seats") as stream,
            websockets.connect(socket_address) as ws,
        ):
            assert stream.headers["content-type"].startswith("text/event-stream")
            told = stream.aiter_lines()
            assert await anext(told) == "data: 1200"
            assert json.loads(await ws.recv()) == {"event": "paper-lions", "left": 1200}
            await buy_two(address)
            assert await anext(told) == ""
            assert await anext(told) == "data: 1198"
            assert json.loads(await ws.recv()) == {"event": "paper-lions", "left": 1198}
            await ws.send("how many?")
            assert json.loads(await ws.recv()) == {"event": "paper-lions", "left": 1198}
            await ws.send(b"\x00")
            with pytest.raises(websockets.ConnectionClosed):
                await ws.recv()


async def test_a_socket_for_no_event_is_refused() -> None:
    async with serving(create_shop()) as address:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with websockets.connect(f"{address.replace('http', 'ws')}/ws/seats/nothing"):
                pass
        assert refused.value.response.status_code == 403
