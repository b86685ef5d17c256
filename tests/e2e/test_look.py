"""Every page that the gate can answer with, as it is served: accessible in light and dark, whole on a phone, calm."""

from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from ropeline.gate.rules import Condition, Rule
from tests.e2e.conftest import Visitors
from tests.e2e.sights import OpenRoom, sees_position
from tests.e2e.site import running_site
from tests.servers import Server
from tests.support import wait_until

pytestmark = [pytest.mark.requires_system("chromium"), pytest.mark.asyncio(loop_scope="module")]

MOVING = "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).transitionDuration !== '0s').length"


async def judge(page: Page, heading: str) -> None:
    """The page under this heading has nothing that would keep somebody out."""
    await expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        results = await Axe().run(page)
        assert results.violations_count == 0, f"{heading}, {scheme}: {results.generate_report()}"
        assert await page.evaluate(MOVING) == 0
    await page.set_viewport_size({"width": 320, "height": 640})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320, heading


async def test_the_pages_of_the_line(open_room: OpenRoom, visitors: Visitors) -> None:
    room = await open_room()
    await visitors(room)
    page = await visitors(room)
    await sees_position(page, 1)
    await page.get_by_text("Leave the line").click()
    await judge(page, "You are in line")
    await room.change(paused=True)
    await expect(page.get_by_role("heading", name="The line is paused")).to_be_visible()
    await page.get_by_text("Leave the line").click()
    await judge(page, "The line is paused")
    await page.get_by_role("button", name="Leave now").click()
    await judge(page, "You have left")


async def test_the_pages_that_end_the_way(open_room: OpenRoom, visitors: Visitors) -> None:
    private = Rule(action="block", conditions=(Condition(subject="path", operator="prefix", value="/orders"),))
    small = await open_room(join_limit_per_ip=1, rules=(private,))
    page = await visitors(small)

    async def is_limited() -> bool:
        # The limit is that of a sliding minute: one more may just have come into it.
        await page.context.clear_cookies()
        answer = await page.goto(small.url)
        return answer is not None and answer.status == 429

    await wait_until(is_limited)
    await judge(page, "Too many visitors from your network")
    await judge(await visitors(small, "/orders/7"), "Access refused")
    full = await open_room(queueing_method="reject")
    await visitors(full)
    await judge(await visitors(full), "Not open at the moment")


async def test_the_page_without_a_store(fresh_server: Server, visitors: Visitors, payment_url: str) -> None:
    async with running_site(fresh_server.url, payment_url) as site:
        room = await site.open_room("no-store", on_store_error="closed")
        fresh_server.kill()
        page = await visitors(room)
        await judge(page, "One moment, please")
