"""What visitors see and do, in the words of the tests."""

from collections.abc import Awaitable, Callable

from playwright.async_api import Page, expect

from tests.e2e.site import Room

OpenRoom = Callable[..., Awaitable[Room]]

# An event of the shop with everything that a link can have.
DEEP_LINK = "/events/paper-lions?seats=2&from=poster#main"


async def sees_shop(page: Page) -> None:
    await expect(page.get_by_role("link", name="Acme Tickets")).to_be_visible()


async def sees_event(page: Page, room: Room, link: str = DEEP_LINK) -> None:
    """The visitor has landed on the event that the link leads to."""
    await expect(page.get_by_role("heading", name="Paper Lions Unplugged")).to_be_visible()
    assert page.url == room.url + link


async def sees_position(page: Page, position: int) -> None:
    await expect(page.get_by_role("heading", name="You are in line")).to_be_visible()
    await expect(page.locator("[data-field=position]")).to_have_text(str(position))


async def leave_shop(page: Page) -> None:
    """End the visit at once, as a site's own way out does."""
    assert await page.evaluate("waitingRoom.leave().then(answer => answer.ok)")


async def close(page: Page) -> None:
    """Close the tab as a person does: the page is told."""
    async with page.expect_event("close"):
        await page.close(run_before_unload=True)
