"""The shop in a browser: a purchase with and without JavaScript, in light and dark, on a phone; and the tickets being made."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect
from playwright.async_api import Error as PlaywrightError

from ropeline.examples.ticketshop import payment
from ropeline.examples.ticketshop.app import create_shop
from ropeline.examples.ticketshop.jobs import TicketJobs
from tests.examples import buying
from tests.servers import Server
from tests.sites import serving
from tests.system import find_program

pytestmark = pytest.mark.requires_system("chromium")

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=find_program("chromium"), args=FLAGS)
        yield launched
        await launched.close()


@pytest.fixture
async def shop() -> AsyncIterator[str]:
    """The shop on one site and its payment page on another."""
    async with serving(payment.app, host="localhost") as elsewhere, serving(create_shop(f"{elsewhere}/pay")) as address:
        yield address


async def buy(page: Page, shop: str) -> None:
    await page.goto(shop)
    await page.get_by_role("link", name="Paper Lions Unplugged").click()
    await page.get_by_label("Seats", exact=True).select_option("3")
    await page.get_by_role("button", name="Add to cart").click()
    await page.get_by_role("link", name="Go to checkout").click()
    await page.get_by_label("Name").fill("Anna Berg")
    await page.get_by_label("E-mail").fill("anna@example.com")
    await page.get_by_role("button", name="Place the order").click()
    await page.get_by_role("button", name="Continue to payment").click()
    await expect(page.get_by_text("This page stands on another site")).to_be_visible()
    assert not page.url.startswith(shop)
    await page.get_by_role("link", name="Pay and return").click()
    await expect(page.get_by_role("heading", name="See you there, Anna Berg")).to_be_visible()
    assert page.url.startswith(shop)


@pytest.mark.parametrize("scripted", [True, False])
async def test_tickets_are_bought_with_and_without_javascript(browser: Browser, shop: str, scripted: bool) -> None:
    context = await browser.new_context(java_script_enabled=scripted)
    await buy(await context.new_page(), shop)


async def test_the_seats_left_are_kept_up_to_date(browser: Browser, shop: str) -> None:
    watching = await browser.new_page()
    await watching.goto(f"{shop}/events/paper-lions")
    await expect(watching.locator("[data-seats]")).to_have_text("1,200")
    await buy(await (await browser.new_context()).new_page(), shop)
    await expect(watching.locator("[data-seats]")).to_have_text("1,197")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_has_an_accessibility_violation(browser: Browser, shop: str, scheme: str) -> None:
    context = await browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
    page = await context.new_page()

    async def check() -> None:
        try:
            results = await Axe().run(page)
        except PlaywrightError:
            # A click was still on its way to the next page, which took the document away under the check.
            await page.wait_for_load_state()
            results = await Axe().run(page)
        assert results.violations_count == 0, f"{page.url}: {results.generate_report()}"

    for path in ("/", "/cart", "/events/aurora-vale", "/no-such-page"):
        await page.goto(shop + path)
        await check()
    await page.get_by_role("link", name="See the events").click()
    await page.get_by_role("link", name="The Long Summer").click()
    await page.get_by_role("button", name="Add to cart").click()
    await check()
    await page.get_by_role("link", name="Go to checkout").click()
    await page.locator("form").evaluate("form => { form.noValidate = true; }")
    await page.get_by_role("button", name="Place the order").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await check()
    await page.get_by_label("Name").fill("Anna Berg")
    await page.get_by_label("E-mail").fill("anna@example.com")
    await page.get_by_role("button", name="Place the order").click()
    await check()
    await page.get_by_role("button", name="Continue to payment").click()
    await check()
    await page.get_by_role("link", name="Pay and return").click()
    await check()


async def test_no_page_scrolls_sideways_on_the_narrowest_phone(browser: Browser, shop: str) -> None:
    context = await browser.new_context(viewport={"width": 320, "height": 640})
    page = await context.new_page()
    await page.goto(f"{shop}/events/midnight-symphony")
    await page.get_by_role("button", name="Add to cart").click()
    for path in ("/", "/events/midnight-symphony", "/cart", "/checkout", "/no-such-page"):
        await page.goto(shop + path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 320, path


@pytest.fixture
async def jobs(valkey: Server, tmp_path: Path) -> AsyncIterator[TicketJobs]:
    async with buying.shop_jobs(valkey.url, tmp_path) as jobs:
        yield jobs


@pytest.fixture
async def order(jobs: TicketJobs) -> AsyncIterator[str]:
    """The page of a paid order of three tickets, which nobody makes yet."""
    async with serving(create_shop(jobs=jobs)) as shop, httpx.AsyncClient(base_url=shop) as buyer:
        yield shop + await buying.buy(buyer, paper_lions=2, aurora_vale=1)


@pytest.mark.parametrize("scripted", [True, False])
async def test_an_order_shows_its_tickets_as_they_are_made_with_and_without_javascript(
    browser: Browser, jobs: TicketJobs, order: str, scripted: bool
) -> None:
    context = await browser.new_context(java_script_enabled=scripted)
    page = await context.new_page()
    await page.goto(order)
    await expect(page.get_by_role("status")).to_have_text("0 of 3 ready.")
    await expect(page.get_by_role("link", name="Paper Lions Unplugged, ticket 1")).to_have_count(0)
    if scripted:
        await page.evaluate("document.title = 'never reloaded'")
    async with buying.worker_of(jobs):
        await expect(page.get_by_role("status")).to_have_text("All 3 tickets are ready.", timeout=10_000)
        await expect(page.get_by_text("The receipt is in the demo's outbox.")).to_be_visible(timeout=10_000)
    if scripted:
        assert await page.title() == "never reloaded"
    await page.get_by_role("link", name="Paper Lions Unplugged, ticket 2").click()
    await expect(page.get_by_text("Anna Berg")).to_be_visible()
    assert page.url.endswith("/tickets/paper-lions-2.svg")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_an_order_is_accessible_and_fits_a_phone_while_its_tickets_are_made_and_afterwards(
    browser: Browser, jobs: TicketJobs, order: str, scheme: str
) -> None:
    context = await browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": 320, "height": 640}
    )
    page = await context.new_page()

    async def check() -> None:
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 320

    await page.goto(order)
    await check()
    async with buying.worker_of(jobs):
        await expect(page.get_by_text("The receipt is in the demo's outbox.")).to_be_visible(timeout=10_000)
    await check()
    await page.reload()
    await check()
