"""What every page looks like to everybody: accessible in light and dark, and whole on a phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from ropeline.pages import CONTENT_SECURITY_POLICY, STORE_DOWN_CONTENT_SECURITY_POLICY, Renderer
from tests.pages.samples import SAMPLES
from tests.pages.stub_gate import StubGate

pytestmark = pytest.mark.requires_system("chromium")

RENDERER = Renderer()


def serve(gate: StubGate) -> None:
    gate.statuses = [{"state": "unconfirmed", "inWaitingRoom": True, "position": None, "refreshIntervalSeconds": 60}]
    for name, page in SAMPLES.items():
        policy = STORE_DOWN_CONTENT_SECURITY_POLICY if name == "store_down" else CONTENT_SECURITY_POLICY
        gate.show(f"/{name}", RENDERER.render(page), policy)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_an_accessibility_violation(gate: StubGate, browser: Browser, scheme: str) -> None:
    serve(gate)
    context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
    tab = context.new_page()
    # Those left out are built like the last of these, of other words.
    for name in ("waiting", "unconfirmed", "paused", "prequeue", "store_down", "limited"):
        tab.goto(gate.url(f"/{name}"))
        if name in {"waiting", "paused", "prequeue"}:
            tab.get_by_text("Leave the line").click()
        # Notes are what a visitor sees when something goes wrong: they are judged like the rest.
        tab.evaluate("document.querySelectorAll('[data-note]').forEach(note => (note.hidden = false))")
        results = Axe().run(tab)
        assert results.violations_count == 0, f"{name}: {results.generate_report()}"
    context.close()


def test_no_page_scrolls_sideways_on_the_narrowest_phone(gate: StubGate, browser: Browser) -> None:
    serve(gate)
    context = browser.new_context(viewport={"width": 320, "height": 640})
    tab = context.new_page()
    for name in SAMPLES:
        tab.goto(gate.url(f"/{name}"))
        assert tab.evaluate("document.documentElement.scrollWidth") <= 320, name
    context.close()


def test_the_page_reads_well_when_its_files_cannot_be_loaded(gate: StubGate, tab: Page) -> None:
    serve(gate)
    tab.route("**/page.*", lambda route: route.abort())
    tab.goto(gate.url("/waiting"))
    expect(tab.get_by_text("You are in line")).to_be_visible()
    expect(tab.locator("[data-note]:visible")).to_have_count(0)
    expect(tab.get_by_role("button", name="Leave now")).to_be_hidden()
    assert tab.evaluate("document.querySelector('svg').getBoundingClientRect().width") == 112
    tab.get_by_role("link", name="Check now").click()
    expect(tab.get_by_text("You are in line")).to_be_visible()
    assert gate.count("GET", "/waiting") == 2


def test_whoever_asks_for_less_motion_gets_none(gate: StubGate, browser: Browser) -> None:
    serve(gate)
    context = browser.new_context(reduced_motion="reduce")
    tab = context.new_page()
    tab.goto(gate.url("/waiting"))
    moving = "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).transitionDuration !== '0s').length"
    assert tab.evaluate(moving) == 0
    context.close()


def test_keyboards_reach_everything_and_see_where_they_are(gate: StubGate, tab: Page) -> None:
    serve(gate)
    tab.goto(gate.url("/waiting"))
    reached = []
    for _ in range(2):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.textContent.trim()"))
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == ["Check now", "Leave the line"]
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent.trim()") == "Leave now"
