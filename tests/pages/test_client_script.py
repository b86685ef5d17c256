"""What client.js does on the pages of a site: keeps a session, warns before its end, and frees it when the tab closes."""

from collections.abc import Mapping

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.pages.stub_gate import PREFIX, Reply, StubGate, hold_time, let_the_page_act
from tests.support import wait_until_sync

pytestmark = pytest.mark.requires_system("chromium")

# Stricter than any site's: nothing inline, nothing from elsewhere, but forms that lead to a payment page.
POLICY = "default-src 'none'; script-src 'self'; style-src 'none'; connect-src 'self'"


def shop(body: str = "<p>A seat</p>", attributes: str = "") -> Reply:
    script = f'<script src="{PREFIX}client.js" defer {attributes}></script>'
    return Reply(
        f'<!doctype html><html lang="en"><title>Shop</title>{script}<main><h1>Shop</h1>{body}</main></html>'.encode(),
        policy=POLICY,
    )


def session(ends_in: int = 300, interval: float = 60) -> Mapping[str, object]:
    return {
        "state": "admitted",
        "inWaitingRoom": False,
        "sessionEndsInSeconds": ends_in,
        "keepaliveIntervalSeconds": interval,
    }


WAITING = {"state": "waiting", "inWaitingRoom": True}


def visit(gate: StubGate, tab: Page, reply: Reply | None = None, path: str = "/") -> None:
    """Opens a page of the shop with a clock that the test moves, and waits for the first keep-alive."""
    gate.pages[path] = lambda _call: reply or shop()
    gate.statuses = gate.statuses or [session()]
    if gate.keepalive == 404:
        gate.keepalive = session()
    hold_time(tab)
    tab.goto(gate.url(path))
    pings(gate, tab, 1000)


def pings(gate: StubGate, tab: Page, milliseconds: int) -> None:
    """Lets time pass in which one keep-alive is due, and waits until its answer has been read."""
    before = gate.keepalives
    with tab.expect_event("requestfinished", lambda request: "keepalive" in request.url):
        tab.clock.run_for(milliseconds)
    let_the_page_act(tab)
    assert gate.keepalives == before + 1


def banner(tab: Page) -> Locator:
    return tab.get_by_role("region", name="Your session")


def close(tab: Page) -> None:
    with tab.expect_event("close"):
        tab.close(run_before_unload=True)


def assert_no_beacon(gate: StubGate, context: BrowserContext) -> None:
    """What a page sent when it went away has arrived by the time that the next page has loaded."""
    gate.pages["/next"] = lambda _call: Reply(b"")
    context.new_page().goto(gate.url("/next"))
    assert gate.beacons == 0


def test_a_page_keeps_the_session_while_its_visitor_is_active(gate: StubGate, tab: Page) -> None:
    visit(gate, tab)
    tab.clock.run_for(61_000)
    assert gate.keepalives == 1
    tab.mouse.move(10, 10)
    pings(gate, tab, 10)
    tab.mouse.move(20, 20)
    tab.keyboard.press("a")
    tab.clock.run_for(58_000)
    assert gate.keepalives == 2
    pings(gate, tab, 3000)
    tab.clock.run_for(100_000)
    assert gate.keepalives == 3


def test_the_gate_says_how_often_the_session_is_renewed(gate: StubGate, tab: Page) -> None:
    gate.keepalive = session(interval=5)
    visit(gate, tab)
    tab.mouse.move(10, 10)
    pings(gate, tab, 5100)


def test_the_visitor_is_warned_before_the_end_and_may_stay(gate: StubGate, tab: Page) -> None:
    visit(gate, tab)
    tab.clock.run_for(239_000)
    expect(banner(tab)).to_have_count(0)
    gate.keepalive = session(250)
    tab.clock.run_for(11_100)
    expect(banner(tab).locator("p")).to_have_text("Your session ends in 50 seconds.")
    alert = tab.get_by_role("alert")
    spoken = alert.text_content()
    tab.clock.run_for(10_000)
    expect(banner(tab).locator("p")).to_have_text("Your session ends in 40 seconds.")
    assert alert.text_content() == spoken
    tab.get_by_role("button", name="Stay").focus()
    with tab.expect_response("**/keepalive"):
        tab.keyboard.press("Enter")
    expect(banner(tab)).to_have_count(0)


def test_a_warning_can_be_put_away(gate: StubGate, tab: Page) -> None:
    gate.keepalive = session(30)
    visit(gate, tab, shop(attributes='data-warn-seconds="20"'))
    tab.clock.run_for(16_000)
    expect(banner(tab)).to_be_visible()
    tab.get_by_role("button", name="Close").dispatch_event("click")
    tab.clock.run_for(3000)
    expect(banner(tab)).to_have_count(0)


def test_a_session_that_cannot_be_made_longer_says_so(gate: StubGate, tab: Page) -> None:
    gate.keepalive = session(100)
    visit(gate, tab)
    tab.clock.run_for(52_000)
    gate.keepalive = session(40)
    tab.get_by_role("button", name="Stay").dispatch_event("click")
    expect(banner(tab)).to_contain_text("cannot be made longer")
    expect(tab.get_by_role("button", name="Stay")).to_be_hidden()


def test_a_session_that_has_ended_says_so_and_leads_back_to_the_line(gate: StubGate, tab: Page) -> None:
    gate.keepalive = session(60)
    gate.statuses = [WAITING]
    visit(gate, tab, path="/seat")
    tab.clock.run_for(61_500)
    assert gate.polls == 0  # asking before the end would renew the session of somebody who is not there
    tab.clock.run_for(1500)
    expect(banner(tab)).to_contain_text("Your session has ended.")
    tab.get_by_role("link", name="Join the line again").click()
    wait_until_sync(lambda: gate.count("GET", "/seat") == 2)


def test_an_end_that_another_page_has_put_off_is_no_end(gate: StubGate, tab: Page) -> None:
    gate.keepalive = session(60)
    gate.statuses = [session(200)]
    visit(gate, tab)
    with tab.expect_response("**/status"):
        tab.clock.run_for(64_000)
    expect(banner(tab)).to_have_count(0)


def test_a_visitor_who_has_no_session_hears_nothing_of_one(gate: StubGate, tab: Page, context: BrowserContext) -> None:
    gate.keepalive = {"state": "ended", "inWaitingRoom": True}
    visit(gate, tab)
    tab.mouse.move(10, 10)
    tab.clock.run_for(300_000)
    expect(banner(tab)).to_have_count(0)
    assert gate.keepalives == 1
    close(tab)
    assert_no_beacon(gate, context)


@pytest.mark.parametrize("state", ["recovering", "store_down"])
def test_a_store_that_is_away_ends_nobodys_session(gate: StubGate, tab: Page, state: str) -> None:
    visit(gate, tab)
    gate.keepalive = {"state": state, "inWaitingRoom": True}
    tab.mouse.move(10, 10)
    pings(gate, tab, 61_000)
    expect(banner(tab)).to_have_count(0)


def test_a_keepalive_that_fails_is_tried_again(gate: StubGate, tab: Page) -> None:
    visit(gate, tab)
    gate.keepalive = 502
    tab.mouse.move(10, 10)
    pings(gate, tab, 61_000)
    pings(gate, tab, 61_000)


def test_closing_the_tab_shortens_the_session(gate: StubGate, tab: Page) -> None:
    visit(gate, tab)
    close(tab)
    wait_until_sync(lambda: gate.beacons == 1)


@pytest.mark.parametrize(
    "way",
    [
        '<form action="{pay}" method="post"><button>Go</button></form>',
        '<a href="{pay}"><b>Go</b></a>',
    ],
)
def test_a_form_or_a_link_to_a_payment_page_elsewhere_leaves_the_session_alone(
    gate: StubGate, tab: Page, context: BrowserContext, way: str
) -> None:
    with StubGate() as elsewhere:
        elsewhere.show("/pay", b"<title>Pay</title>")
        visit(gate, tab, shop(way.format(pay=elsewhere.url("/pay", host="localhost"))))
        tab.get_by_text("Go").click()
        expect(tab).to_have_title("Pay")
        close(tab)
        assert_no_beacon(gate, context)


@pytest.mark.parametrize("start", ["location.assign(url)", "document.forms[0].submit()"])
def test_a_script_that_sets_off_for_a_payment_page_leaves_the_session_alone(
    gate: StubGate, tab: Page, context: BrowserContext, start: str
) -> None:
    with StubGate() as elsewhere:
        elsewhere.show("/pay", b"<title>Pay</title>")
        url = elsewhere.url("/pay", host="localhost")
        visit(gate, tab, shop(f'<form method="post" action="{url}"></form>'))
        tab.evaluate(f"url => {{ {start} }}", url)
        expect(tab).to_have_title("Pay")
        assert_no_beacon(gate, context)


@pytest.mark.parametrize("has_navigation_api", [True, False])
def test_a_link_that_does_not_leave_the_page_does_not_hide_its_closing(
    gate: StubGate, tab: Page, has_navigation_api: bool
) -> None:
    if not has_navigation_api:
        tab.add_init_script("Object.defineProperty(window, 'navigation', { value: undefined })")
    links = ('href="#seats"', 'href="/file" download', 'href="mailto:shop@example.com"', 'href="/file" target="_blank"')
    visit(gate, tab, shop("".join(f"<p><a {link}>Go</a>" for link in links)))
    for link in tab.get_by_text("Go").all():
        link.click()
    close(tab)
    wait_until_sync(lambda: gate.beacons == 1)


def test_a_form_that_the_site_handles_itself_does_not_hide_the_closing_of_the_tab(gate: StubGate, tab: Page) -> None:
    visit(gate, tab, shop("<form><button>Go</button></form>"))
    tab.evaluate("document.forms[0].addEventListener('submit', event => event.preventDefault())")
    tab.get_by_text("Go").click()
    tab.clock.run_for(10)
    close(tab)
    wait_until_sync(lambda: gate.beacons == 1)


def test_a_reload_from_the_keyboard_is_no_closing(gate: StubGate, tab: Page) -> None:
    visit(gate, tab)
    tab.evaluate("dispatchEvent(new KeyboardEvent('keydown', { key: 'F5' }))")
    tab.reload()
    pings(gate, tab, 1100)
    assert gate.beacons == 0


def test_the_page_after_a_beacon_takes_it_back_by_a_later_keepalive(gate: StubGate, tab: Page) -> None:
    visit(gate, tab)
    tab.reload()
    tab.clock.run_for(900)
    wait_until_sync(lambda: gate.beacons == 1)
    pings(gate, tab, 200)
    order = [call.target.removeprefix(PREFIX) for call in gate.calls if call.method == "POST"]
    assert order == ["keepalive", "leave?beacon=1", "keepalive"]


def test_another_tab_that_is_still_open_takes_the_beacon_back(
    gate: StubGate, tab: Page, context: BrowserContext
) -> None:
    visit(gate, tab)
    other = context.new_page()
    visit(gate, other)
    close(other)
    wait_until_sync(lambda: gate.beacons == 1)
    pings(gate, tab, 1500)


def test_a_renewal_in_one_tab_is_known_in_the_others(gate: StubGate, tab: Page, context: BrowserContext) -> None:
    visit(gate, tab)
    other = context.new_page()
    gate.keepalive = session(3000)
    visit(gate, other)
    tab.clock.run_for(290_000)
    expect(banner(tab)).to_have_count(0)


def test_a_frame_inside_a_page_is_no_tab(gate: StubGate, tab: Page, context: BrowserContext) -> None:
    gate.pages["/frame"] = lambda _call: shop()
    gate.pages["/outer"] = lambda _call: Reply(b'<iframe src="/frame"></iframe>', policy="frame-src 'self'")
    tab.goto(gate.url("/outer"))
    tab.frame_locator("iframe").get_by_text("A seat").wait_for()
    tab.evaluate("document.querySelector('iframe').remove()")
    assert_no_beacon(gate, context)


def test_the_site_can_end_the_session_itself(gate: StubGate, tab: Page, context: BrowserContext) -> None:
    gate.pages[f"{PREFIX}leave"] = lambda _call: Reply(b"")
    visit(gate, tab)
    assert tab.evaluate("waitingRoom.leave().then(answer => answer.ok)") is True
    tab.mouse.move(10, 10)
    tab.clock.run_for(400_000)
    expect(banner(tab)).to_have_count(0)
    close(tab)
    assert_no_beacon(gate, context)
    assert (gate.count("POST", f"{PREFIX}leave"), gate.keepalives) == (1, 1)


def test_a_tenant_and_words_can_be_given_in_the_page(gate: StubGate, tab: Page) -> None:
    gate.keepalive = session(30)
    attributes = f'data-tenant="a&b" data-prefix="{PREFIX}" data-text-ends="Only {{time}} left"'
    visit(gate, tab, shop(attributes=attributes.replace("&", "&amp;")))
    assert gate.count("POST", f"{PREFIX}keepalive?tenant=a%26b") == 1
    tab.clock.run_for(15_500)
    expect(tab.get_by_role("alert")).to_have_text("Only 15 seconds left")
    close(tab)
    wait_until_sync(lambda: gate.count("POST", f"{PREFIX}leave?tenant=a%26b&beacon=1") == 1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_banner_is_accessible_and_fits_a_phone(gate: StubGate, browser: Browser, scheme: str) -> None:
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": 320, "height": 640}
    )
    tab = context.new_page()
    gate.keepalive = session(30)
    visit(gate, tab)
    tab.clock.run_for(15_500)
    expect(banner(tab)).to_be_visible()
    tab.evaluate("document.querySelector('main').remove()")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320
    box = banner(tab).bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 320
    tab.clock.resume()  # axe waits for timers
    violations = {found["id"] for found in Axe().run(tab, context="waiting-room-session").response["violations"]}
    assert violations <= {"page-has-heading-one", "landmark-one-main"}  # of the page whose content was taken away
    context.close()
