"""A launch as a visitor lives it: the page counts down, turns into the line at the start, and opens the shop."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from ropeline.gate.events import Event
from tests.e2e.conftest import Visitors
from tests.e2e.sights import DEEP_LINK, OpenRoom, sees_event, sees_position

pytestmark = [pytest.mark.requires_system("chromium"), pytest.mark.asyncio(loop_scope="module")]


def launch(opens: int, starts: int) -> Event:
    """An event, in seconds from now. The server of these tests has the clock of this machine."""
    now = int(time.time())
    opens_at, starts_at, ends_at = (
        datetime.fromtimestamp(now + seconds, UTC).isoformat() for seconds in (opens, starts, starts + 900)
    )
    return Event(name="sale", prequeue_start_time=opens_at, event_start_time=starts_at, event_end_time=ends_at)


async def test_the_pre_queue_counts_down_and_the_deep_link_is_kept_until_the_start(
    open_room: OpenRoom, visitors: Visitors
) -> None:
    room = await open_room(events=(launch(-10, 600),))
    page = await visitors(room, DEEP_LINK)
    await expect(page.get_by_role("heading", level=1)).to_have_text("We open soon")
    countdown = page.locator("[data-field=countdown]")
    await expect(countdown).to_have_text(re.compile(r"^\d+:\d\d$"))
    await expect(countdown).not_to_have_text(await countdown.inner_text())
    await expect(page.get_by_text("Your position")).to_have_count(0)
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        results = await Axe().run(page)
        assert results.violations_count == 0, f"{scheme}: {results.generate_report()}"
    await page.set_viewport_size({"width": 320, "height": 640})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320
    await room.change(events=(launch(-10, -1),))
    await sees_event(page, room)


async def test_who_waited_in_the_pre_queue_is_in_line_by_arrival_at_the_start(
    open_room: OpenRoom, visitors: Visitors
) -> None:
    room = await open_room(total_active_users=0, events=(launch(-10, 600),))
    first, second = await visitors(room), await visitors(room)
    for page in (first, second):
        await expect(page.get_by_role("heading", level=1)).to_have_text("We open soon")
    await room.change(events=(launch(-10, -1),))
    await sees_position(first, 1)
    await sees_position(second, 2)
