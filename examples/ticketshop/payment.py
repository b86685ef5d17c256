"""A pretended payment provider, `app`: the page on another origin that the shop sends its buyers to, and back from."""

from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ropeline.examples.ticketshop.forms import read_form

_HERE = Path(__file__).parent
_TEMPLATES = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True, auto_reload=False)


async def pay(request: Request) -> Response:
    """Ask for the payment of `order`, `total`; the button leads to `back`."""
    form = await read_form(request)
    back = form.get("back", "")
    if urlsplit(back).scheme not in {"http", "https"}:
        raise HTTPException(400, "back: expected the address to return to")
    html = _TEMPLATES.get_template("payment.html").render(total=form.get("total", ""), back=back)
    return HTMLResponse(html, headers={"cache-control": "no-store", "referrer-policy": "no-referrer"})


async def healthz(_: Request) -> Response:
    """Say that the process answers."""
    return JSONResponse({"status": "ok"})


app = Starlette(
    routes=[
        Route("/pay", pay, methods=["POST"]),
        Route("/healthz", healthz),
        Mount("/static", StaticFiles(directory=_HERE / "static")),
    ]
)
