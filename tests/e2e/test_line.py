"""Waiting in a browser: the true position, the way in without a reload, and what happens in between."""

import pytest
from playwright.async_api import Page, expect

from ropeline.gate.settings import Poll
from tests.e2e.conftest import Visitors
from tests.e2e.sights import DEEP_LINK, OpenRoom, leave_shop, sees_event, sees_position, sees_shop
from tests.e2e.site import PREFIX
from tests.support import wait_until

pytestmark = [pytest.mark.requires_system("chromium"), pytest.mark.asyncio(loop_scope="module")]


async def test_with_two_inside_the_third_waits_at_its_true_position_and_is_let_in_at_the_page_it_asked_for(
    open_room: OpenRoom, visitors: Visitors
) -> None:
    room = await open_room(total_active_users=2)
    first, second = await visitors(room), await visitors(room)
    await sees_shop(first)
    await sees_shop(second)
    third = await visitors(room, DEEP_LINK)
    await sees_position(third, 1)
    fourth = await visitors(room)
    await sees_position(fourth, 2)
    await expect(fourth.get_by_text("1 person is ahead of you")).to_be_visible()
    await expect(fourth).to_have_title("No. 2 in line · Acme Tickets")
    await expect(fourth.get_by_text("If you close this page, come back within 11 minutes")).to_be_visible()
    await room.stands_at(active=2, waiting=2)

    await leave_shop(first)
    await sees_event(third, room)
    await sees_position(fourth, 1)
    await expect(fourth.get_by_text("You are next")).to_be_visible()
    await room.stands_at(active=2, waiting=1)
    await leave_shop(second)
    await sees_shop(fourth)


async def test_a_paused_line_keeps_its_places_and_goes_on_by_itself(open_room: OpenRoom, visitors: Visitors) -> None:
    room = await open_room()
    inside, waiting = await visitors(room), await visitors(room, DEEP_LINK)
    await sees_position(waiting, 1)
    await room.change(paused=True)
    await expect(waiting.get_by_role("heading", name="The line is paused")).to_be_visible()
    late = await visitors(room)
    await expect(late.get_by_role("heading", name="The line is paused")).to_be_visible()
    await leave_shop(inside)
    await room.stands_at(active=0, waiting=2)
    await expect(waiting.locator("[data-field=position]")).to_have_text("1")
    await room.change(paused=False)
    await sees_event(waiting, room)
    await sees_position(late, 1)


async def test_a_hidden_page_asks_as_seldom_as_the_gate_allows(open_room: OpenRoom, visitors: Visitors) -> None:
    heartbeat = 4
    room = await open_room(waiting_ttl=20, claim_within=10, poll=Poll(floor=0.3, ceiling=heartbeat))
    await visitors(room)
    page = await visitors(room)
    await sees_position(page, 1)
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url) if f"{PREFIX}status" in request.url else None)
    await set_hidden(page, hidden=True)
    await room.time_passes(2 * heartbeat)
    # A page that is looked at asks about once a second; one question may have been on its way.
    assert 1 <= len(polls) <= 3
    await set_hidden(page, hidden=False)
    enough = len(polls) + 4
    await wait_until(lambda: len(polls) >= enough, timeout=3 * heartbeat)


async def set_hidden(page: Page, *, hidden: bool) -> None:
    """Hide the page as far as its script can tell; a headless browser shows all of its tabs."""
    await page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


async def test_a_place_is_given_up_by_keyboard_and_the_next_one_moves_up(
    open_room: OpenRoom, visitors: Visitors
) -> None:
    room = await open_room()
    await visitors(room)
    tired, patient = await visitors(room, "/cart"), await visitors(room)
    await sees_position(tired, 1)
    await sees_position(patient, 2)
    for name in ("Check now", "Leave the line"):
        await tired.keyboard.press("Tab")
        assert await tired.evaluate("document.activeElement.textContent.trim()") == name
    await tired.keyboard.press("Enter")
    await tired.keyboard.press("Tab")
    await tired.keyboard.press("Enter")
    await expect(tired.get_by_role("heading", name="You have left")).to_be_visible()
    await sees_position(patient, 1)
    await room.stands_at(active=1, waiting=1)
    await tired.get_by_role("link", name="Join the line again").click()
    await sees_position(tired, 2)
    assert tired.url == f"{room.url}/cart"


async def test_a_visitor_who_checks_asks_at_once(open_room: OpenRoom, visitors: Visitors) -> None:
    room = await open_room(poll=Poll(floor=3, ceiling=3))
    inside, waiting = await visitors(room), await visitors(room)
    await sees_position(waiting, 1)
    await leave_shop(inside)
    await room.stands_at(active=1, waiting=0)
    await waiting.get_by_role("link", name="Check now").click()
    await sees_shop(waiting)
