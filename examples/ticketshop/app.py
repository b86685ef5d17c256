"""The shop as an ASGI application, `app`. Nothing in it knows that a gate may stand in front.

PAYMENT_URL names the page of a payment provider, on another origin, that the browser is sent to with the order; without
it an order is paid on the spot. `ropeline.examples.ticketshop.payment` is such a page.

TICKETSHOP_STORE names the store of the jobs that make the tickets of a paid order, see `ropeline.examples.ticketshop.jobs`;
without it the shop takes orders and makes no tickets.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from ropeline.examples.ticketshop.catalogue import EVENTS, MOST_SEATS_AN_ORDER, Event, Seats
from ropeline.examples.ticketshop.forms import read_count, read_form
from ropeline.examples.ticketshop.jobs import Progress, TicketJobs, ticket_jobs
from ropeline.examples.ticketshop.orders import Cart, Order, Orders
from ropeline.examples.ticketshop.receipt import address_of
from ropeline.lua.errors import StoreError

_log = logging.getLogger("ropeline.ticketshop")

_HERE = Path(__file__).parent
_CART = "cart"
_LONGEST_FIELD = 100
_STORE_SECONDS = 1
# What a buyer has typed is in the picture: nothing in it may run or be loaded.
_TICKET_HEADERS = {
    "cache-control": "private, no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "x-content-type-options": "nosniff",
}


class Shop:
    """The pages of the shop. `payment_url`: where an order is paid; empty: at once. `jobs`: make its tickets; None: nobody."""

    def __init__(self, payment_url: str = "", jobs: TicketJobs | None = None) -> None:
        self._payment_url = payment_url
        self._jobs = jobs
        self._seats = Seats()
        self._orders = Orders()
        self._templates = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True, auto_reload=False)

    def routes(self) -> list[Route | Mount | WebSocketRoute]:
        return [
            Route("/", self.catalogue),
            Route("/events/{slug}", self.event),
            Route("/events/{slug}/seats", self.seats_stream),
            Route("/cart", self.cart),
            Route("/cart", self.change_cart, methods=["POST"]),
            Route("/checkout", self.checkout),
            Route("/checkout", self.place_order, methods=["POST"]),
            Route("/orders/{number}", self.order),
            Route("/orders/{number}/paid", self.paid),
            Route("/orders/{number}/progress", self.progress),
            Route("/orders/{number}/tickets/{name}.svg", self.ticket),
            Route("/healthz", self.healthz),
            WebSocketRoute("/ws/seats/{slug}", self.seats_socket),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]

    async def catalogue(self, request: Request) -> Response:
        seats = {slug: self._seats.left(slug) for slug in EVENTS}
        return self._page(request, "catalogue.html", events=EVENTS.values(), seats=seats)

    async def event(self, request: Request) -> Response:
        event = _event_of(request.path_params)
        chosen = _cart_of(request).seats.get(event.slug, 2)
        left = self._seats.left(event.slug)
        return self._page(request, "event.html", event=event, left=left, chosen=chosen, most=MOST_SEATS_AN_ORDER)

    async def seats_stream(self, request: Request) -> Response:
        """Server-sent events: the number of seats left, now and after each change."""
        event = _event_of(request.path_params)

        async def lines() -> AsyncIterator[str]:
            async for left in self._seats.watch(event.slug):
                yield f"data: {left}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def seats_socket(self, socket: WebSocket) -> None:
        """The same over a WebSocket; each message of the client is answered with the number as well."""
        slug = socket.path_params["slug"]
        if slug not in EVENTS:
            await socket.close(4404)
            return
        await socket.accept()

        async def tell_changes() -> None:
            async for left in self._seats.watch(slug):
                await socket.send_json({"event": slug, "left": left})

        telling = asyncio.create_task(tell_changes())
        try:
            while True:
                await socket.receive_text()
                await socket.send_json({"event": slug, "left": self._seats.left(slug)})
        except (WebSocketDisconnect, KeyError):  # KeyError: a message that is no text
            pass
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await telling

    async def cart(self, request: Request) -> Response:
        cart = _cart_of(request)
        lines = [(EVENTS[slug], count) for slug, count in cart.seats.items()]
        return self._page(request, "cart.html", lines=lines, most=MOST_SEATS_AN_ORDER)

    async def change_cart(self, request: Request) -> Response:
        form = await read_form(request)
        event = _event_of(form)
        cart = _cart_of(request)
        cart.put(event.slug, read_count(form.get("seats", "")))
        return _with_cart(RedirectResponse("/cart", 303), cart)

    async def checkout(self, request: Request) -> Response:
        cart = _cart_of(request)
        if not cart.seats:
            return RedirectResponse("/cart", 303)
        return self._page(request, "checkout.html", name="", email="", problem="")

    async def place_order(self, request: Request) -> Response:
        form = await read_form(request)
        cart = _cart_of(request)
        if not cart.seats:
            return RedirectResponse("/cart", 303)
        name, email = (form.get(field, "").strip()[:_LONGEST_FIELD] for field in ("name", "email"))
        problem = ""
        if address_of(name, email) is None:
            problem = "Please tell us your name, and an e-mail address to send the tickets to."
        elif not self._seats.take(cart.seats):
            problem = "Somebody was quicker: there are not enough seats left. Please choose fewer."
        if problem:
            return self._page(request, "checkout.html", status=422, name=name, email=email, problem=problem)
        order = Order(dict(cart.seats), cart.total_cents, name, email)
        self._orders.add(order)
        if not self._payment_url:
            order.pay()
            await self._enqueue_jobs(order)
        return _with_cart(RedirectResponse(f"/orders/{order.number}", 303), Cart())

    async def order(self, request: Request) -> Response:
        order = self._order_of(request)
        lines = [(EVENTS[slug], count) for slug, count in order.seats.items()]
        back = str(request.url_for("paid", number=order.number))
        return self._page(
            request,
            "order.html",
            order=order,
            lines=lines,
            payment_url=self._payment_url,
            back=back,
            progress=await self._progress_of(order),
        )

    async def paid(self, request: Request) -> Response:
        """Where the payment page sends the browser back to. A real shop would ask the provider; a demo believes it."""
        order = self._order_of(request)
        order.pay()
        await self._enqueue_jobs(order)
        return RedirectResponse(f"/orders/{order.number}", 303)

    async def progress(self, request: Request) -> Response:
        """How far the tickets of an order are, for the script of its page."""
        order = self._order_of(request)
        progress = await self._progress_of(order)
        if progress is None:
            raise HTTPException(404)
        document = {
            "done": progress.done,
            "of": len(progress.tickets),
            "tickets": [ticket.name for ticket, is_made in progress.tickets.items() if is_made],
            "receipt": progress.is_receipt_sent,
        }
        return JSONResponse(document, headers={"cache-control": "no-store"})

    async def ticket(self, request: Request) -> Response:
        """A ticket that was made, to whoever knows the number of its order."""
        order = self._order_of(request)
        if self._jobs is None or not order.is_paid:
            raise HTTPException(404)
        paid = order.paid()
        for ticket in paid.tickets():
            path = self._jobs.files.ticket(paid, ticket)
            if ticket.name == request.path_params["name"] and path.exists():
                return FileResponse(path, media_type="image/svg+xml", headers=_TICKET_HEADERS)
        raise HTTPException(404)

    async def healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def not_found(self, request: Request, _: Exception) -> Response:
        return self._page(request, "not_found.html", status=404)

    async def _enqueue_jobs(self, order: Order) -> None:
        """Enqueue what follows the payment, once. When the store fails, the next look at the order tries again."""
        if self._jobs is None or order.has_jobs:
            return
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                await self._jobs.begin(order.paid())
        except (StoreError, TimeoutError) as error:
            why = str(error) or f"no answer within {_STORE_SECONDS} s"
            _log.warning("order %s: its jobs could not be enqueued: %s", order.number[:8], why)
        else:
            order.has_jobs = True

    async def _progress_of(self, order: Order) -> Progress | None:
        """None: the order is not paid, or nobody makes tickets."""
        if self._jobs is None or not order.is_paid:
            return None
        await self._enqueue_jobs(order)
        return self._jobs.progress(order.paid())

    def _order_of(self, request: Request) -> Order:
        order = self._orders.find(request.path_params["number"])
        if order is None:
            raise HTTPException(404)
        return order

    def _page(self, request: Request, template: str, *, status: int = 200, **context: object) -> Response:
        html = self._templates.get_template(template).render(basket=_cart_of(request), **context)
        return HTMLResponse(html, status, headers={"cache-control": "no-store"})


def create_shop(payment_url: str = "", jobs: TicketJobs | None = None) -> Starlette:
    """A shop with all its seats unsold; see `Shop` for the arguments. What the jobs connect to is the caller's to close.

    Raises:
        ValueError: `payment_url` is no address of the web.
    """
    if payment_url and not payment_url.startswith(("http://", "https://")):
        raise ValueError(f"PAYMENT_URL: got {payment_url!r}, expected an address that begins with http:// or https://")
    shop = Shop(payment_url, jobs)
    return Starlette(routes=shop.routes(), exception_handlers={404: shop.not_found})


def _event_of(fields: dict[str, str]) -> Event:
    event = EVENTS.get(fields.get("slug", ""))
    if event is None:
        raise HTTPException(404)
    return event


def _cart_of(request: Request) -> Cart:
    return Cart(request.cookies.get(_CART, ""))


def _with_cart(response: Response, cart: Cart) -> Response:
    response.set_cookie(_CART, cart.text, max_age=86_400, httponly=True, samesite="lax")
    return response


app = create_shop(os.environ.get("PAYMENT_URL", ""), ticket_jobs() if os.environ.get("TICKETSHOP_STORE") else None)
