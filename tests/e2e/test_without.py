"""Browsers that lack something: scripts, cookies, or both."""

import json
from pathlib import Path

import pytest
from playwright.async_api import Playwright, expect

from tests.e2e.conftest import FLAGS, PATIENCE_MS, Visitors
from tests.e2e.sights import DEEP_LINK, OpenRoom, leave_shop, sees_event, sees_position
from tests.system import find_program

pytestmark = [pytest.mark.requires_system("chromium"), pytest.mark.asyncio(loop_scope="module")]


async def test_without_javascript_a_visitor_waits_and_gets_in_at_the_page_it_asked_for(
    open_room: OpenRoom, visitors: Visitors
) -> None:
    room = await open_room()
    inside = await visitors(room)
    link = DEEP_LINK.partition("#")[0]  # a page that refreshes itself cannot know of a fragment
    waiting = await visitors(room, link, java_script_enabled=False)
    await sees_position(waiting, 1)
    await room.stands_at(active=1, waiting=1)
    assert waiting.url == room.url + link
    await leave_shop(inside)
    await sees_event(waiting, room, link)


@pytest.mark.parametrize("scripted", [True, False])
async def test_a_browser_that_refuses_cookies_is_told_so(
    open_room: OpenRoom, visitors: Visitors, playwright: Playwright, tmp_path: Path, scripted: bool
) -> None:
    room = await open_room()
    await visitors(room)
    (tmp_path / "Default").mkdir()
    no_cookies = {"profile": {"default_content_setting_values": {"cookies": 2}}}
    (tmp_path / "Default" / "Preferences").write_text(json.dumps(no_cookies), encoding="utf-8")
    context = await playwright.chromium.launch_persistent_context(
        tmp_path, executable_path=find_program("chromium"), args=FLAGS, java_script_enabled=scripted
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.pages[0]
    await page.goto(room.url + DEEP_LINK)
    if scripted:
        await expect(page.locator("[data-note=cookies]")).to_be_visible()
        await expect(page.get_by_role("heading", name="You are in line")).to_be_visible()
    else:
        await expect(page.get_by_role("heading", name="Please allow cookies")).to_be_visible()
        await page.get_by_role("link", name="Try again").click()
        await expect(page.get_by_role("heading", name="Please allow cookies")).to_be_visible()
    await room.stands_at(active=1, waiting=0)
    await context.close()
