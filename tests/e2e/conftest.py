"""A browser and a site for each file of tests, and visitors who come with browsers' sessions of their own."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Playwright, async_playwright, expect

from ropeline.examples.ticketshop import payment
from tests.e2e.site import Room, Site, running_site
from tests.servers import Server
from tests.sites import serving
from tests.system import find_program

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 10_000

expect.set_options(timeout=PATIENCE_MS)

_names = (f"room-{number}" for number in itertools.count(1))


class Visitors(Protocol):
    """Opens a page for a new visitor; options go to the browser's session."""

    def __call__(self, room: Room, path: str = "/", **options: object) -> Awaitable[Page]: ...


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser(playwright: Playwright) -> AsyncIterator[Browser]:
    launched = await playwright.chromium.launch(executable_path=find_program("chromium"), args=FLAGS)
    yield launched
    await launched.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def payment_url() -> AsyncIterator[str]:
    """A payment page on another site."""
    async with serving(payment.app) as address:
        yield f"{address}/pay"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(valkey: Server, payment_url: str) -> AsyncIterator[Site]:
    async with running_site(valkey.url, payment_url) as running:
        yield running


@pytest.fixture
def open_room(site: Site) -> Callable[..., Awaitable[Room]]:
    """Sets up a tenant of the test's own."""

    async def open_one(**settings: object) -> Room:
        return await site.open_room(next(_names), **settings)

    return open_one


@pytest_asyncio.fixture(loop_scope="module")
async def visitors(browser: Browser) -> AsyncIterator[Visitors]:
    """New visitors, on whose pages no script may fail and nothing may run into the content security policy."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    async def come(room: Room, path: str = "/", **options: object) -> Page:
        context = await browser.new_context(locale="en-GB", timezone_id="UTC", **options)  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        context.on("page", lambda page: watch(page, problems))
        page = await context.new_page()
        await page.goto(room.url + path)
        return page

    yield come
    for context in contexts:
        await context.close()
    assert problems == []


def watch(page: Page, problems: list[str]) -> None:
    """Write down what goes wrong on a page."""
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console", lambda message: problems.append(message.text) if "Content Security Policy" in message.text else None
    )
