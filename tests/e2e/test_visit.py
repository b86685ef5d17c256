"""Being on the site in a browser: what holds the slot, and what gives it back."""

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import Visitors
from tests.e2e.sights import OpenRoom, close, leave_shop, sees_position, sees_shop
from tests.support import wait_until

pytestmark = [pytest.mark.requires_system("chromium"), pytest.mark.asyncio(loop_scope="module")]


async def keepalive_answered(page: Page) -> None:
    """The page's first keep-alive has been answered: it knows of its session, and whatever came before is taken back."""
    await page.wait_for_function(
        "performance.getEntriesByType('resource').some(({ name }) => name.includes('keepalive'))"
    )


async def test_a_visitor_who_is_active_on_one_page_outlasts_the_hold_and_one_who_stops_does_not(
    open_room: OpenRoom, visitors: Visitors
) -> None:
    hold = 6
    room = await open_room(session_duration=hold / 60)
    inside, waiting = await visitors(room, "/cart"), await visitors(room)
    await sees_position(waiting, 1)
    end = (await room.head()).clock + 1500 * hold

    async def reads_to_the_end() -> bool:
        await inside.mouse.move(10, 10)
        await inside.mouse.move(20, 20)
        await inside.wait_for_timeout(200)
        return (await room.head()).clock >= end

    await wait_until(reads_to_the_end, timeout=10 * hold)
    await sees_position(waiting, 1)
    await room.stands_at(active=1, waiting=1)
    await sees_shop(waiting)
    await expect(inside.get_by_role("region", name="Your session")).to_contain_text("Your session has ended.")
    await inside.get_by_role("link", name="Join the line again").click()
    await sees_position(inside, 1)


async def test_closing_the_tab_gives_the_slot_to_the_next_one(open_room: OpenRoom, visitors: Visitors) -> None:
    room = await open_room()
    # A page with an open stream: its end must not count as a sign of life.
    inside, waiting = await visitors(room, "/events/paper-lions"), await visitors(room)
    await keepalive_answered(inside)
    await sees_position(waiting, 1)
    await close(inside)
    await sees_shop(waiting)


async def test_a_form_that_leads_to_another_sites_payment_page_and_back_keeps_the_slot(
    open_room: OpenRoom, visitors: Visitors
) -> None:
    room = await open_room(leave_hold=0.5)
    inside, waiting = await visitors(room, "/events/paper-lions"), await visitors(room)
    await sees_position(waiting, 1)
    await inside.get_by_role("button", name="Add to cart").click()
    await inside.get_by_role("link", name="Go to checkout").click()
    await inside.get_by_label("Name").fill("Anna Berg")
    await inside.get_by_label("E-mail").fill("anna@example.com")
    await inside.get_by_role("button", name="Place the order").click()
    await keepalive_answered(inside)
    await inside.get_by_role("button", name="Continue to payment").click()
    await expect(inside.get_by_text("This page stands on another site")).to_be_visible()
    assert not inside.url.startswith(room.url)
    await room.time_passes(3)
    await sees_position(waiting, 1)
    await room.stands_at(active=1, waiting=1)
    await inside.get_by_role("link", name="Pay and return").click()
    await expect(inside.get_by_role("heading", name="See you there, Anna Berg")).to_be_visible()
    await sees_position(waiting, 1)


async def test_another_tab_takes_back_what_closing_one_has_begun(open_room: OpenRoom, visitors: Visitors) -> None:
    hold = 3
    room = await open_room(leave_hold=hold)
    first, waiting = await visitors(room), await visitors(room)
    await sees_position(waiting, 1)
    # One that was open all the time ...
    second = await first.context.new_page()
    await second.goto(f"{room.url}/cart")
    await keepalive_answered(second)
    async with second.expect_response("**/keepalive"):
        await close(first)
    await room.time_passes(1.5 * hold)
    await sees_position(waiting, 1)
    # ... and one that is opened a moment later.
    await close(second)
    third = await waiting.context.browser.contexts[0].new_page()  # type: ignore[union-attr]  # a context that was launched
    await third.goto(room.url)
    await room.time_passes(1.5 * hold)
    await sees_position(waiting, 1)
    await room.stands_at(active=1, waiting=1)
    await leave_shop(third)
    await sees_shop(waiting)


async def test_a_visitor_who_moves_about_in_the_shop_is_never_sent_back_into_line(
    open_room: OpenRoom, visitors: Visitors
) -> None:
    hold = 5
    room = await open_room(leave_hold=hold, recheck=0)
    inside, waiting = await visitors(room), await visitors(room)
    await sees_position(waiting, 1)
    end = (await room.head()).clock + 1500 * hold

    async def wander() -> bool:
        await inside.get_by_role("link", name="Paper Lions Unplugged").click()
        await expect(inside.get_by_role("heading", name="Paper Lions Unplugged")).to_be_visible()
        await inside.go_back()
        await sees_shop(inside)
        await inside.reload()
        await sees_shop(inside)
        return (await room.head()).clock >= end

    await wait_until(wander, timeout=10 * hold)
    await sees_position(waiting, 1)
