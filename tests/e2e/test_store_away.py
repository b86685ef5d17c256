"""A browser in line while the store of places is away, and comes back with nothing in it."""

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Visitors
from tests.e2e.sights import DEEP_LINK, leave_shop, sees_event, sees_position, sees_shop
from tests.e2e.site import running_site
from tests.servers import Server

pytestmark = [pytest.mark.requires_system("chromium"), pytest.mark.asyncio(loop_scope="module")]


async def test_everybody_is_told_and_nobody_loses_a_place(
    fresh_server: Server, visitors: Visitors, payment_url: str
) -> None:
    async with running_site(fresh_server.url, payment_url) as site:
        room = await site.open_room("store-away", on_store_error="closed", recovery_hold=2)
        inside = await visitors(room)
        waiting = await visitors(room, DEEP_LINK)
        await sees_position(waiting, 1)
        behind = await visitors(room)
        await sees_position(behind, 2)

        fresh_server.kill()
        note = waiting.locator("[data-note=store_down]")
        await expect(note).to_be_visible()
        await expect(waiting.locator("[data-field=position]")).to_have_text("1")
        late = await visitors(room, "/cart")
        await expect(late.get_by_role("heading", name="One moment, please")).to_be_visible()
        reloaded = await visitors(room, "/cart", java_script_enabled=False)
        await expect(reloaded.get_by_role("heading", name="One moment, please")).to_be_visible()
        await inside.goto(f"{room.url}/cart")
        await sees_shop(inside)

        fresh_server.start()
        await expect(waiting.locator("[data-note=recovering]")).to_be_visible()
        await expect(waiting.locator("[data-field=position]")).to_have_text("1")
        await expect(late.get_by_role("heading", name="You are in line")).to_be_visible()
        await expect(note).to_be_hidden()
        await sees_position(waiting, 1)
        await sees_position(behind, 2)
        await inside.goto(room.url)
        await sees_shop(inside)

        await leave_shop(inside)
        await sees_event(waiting, room)
        await sees_position(behind, 1)
