"""What page.js does in a browser with each answer that a gate can give."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from ropeline.pages import STORE_DOWN_CONTENT_SECURITY_POLICY, Renderer
from tests.pages.samples import PAUSED, STORE_DOWN, UNCONFIRMED, WAITING
from tests.pages.stub_gate import PREFIX, Reply, StubGate, hold_time, let_the_page_act
from tests.support import wait_until_sync

pytestmark = pytest.mark.requires_system("chromium")

RENDERER = Renderer()
SITE = b"<!doctype html><title>The shop</title><h1>Welcome</h1>"


def status(state: str = "waiting", position: int | None = 42, **values: object) -> Mapping[str, object]:
    return {
        "inWaitingRoom": state != "admitted",
        "state": state,
        "position": position,
        "usersAhead": None if position is None else position - 1,
        "estimatedWaitSeconds": None,
        "lastUpdated": "2031-05-04T18:30:25+00:00",
        "refreshIntervalSeconds": 20,
        "placeHeldSeconds": 780,
        **values,
    }


def open_line(gate: StubGate, tab: Page, path: str = "/event/7", page: object = WAITING) -> None:
    """Opens a page of the line with a clock that the test moves: poll by poll, not second by second."""
    assert isinstance(page, type(WAITING) | type(PAUSED))
    gate.show(path.partition("?")[0].partition("#")[0], RENDERER.render(page))
    hold_time(tab)
    tab.goto(gate.url(path))


def poll(
    tab: Page, milliseconds: int = 20_000, *, ends: Literal["requestfinished", "requestfailed"] = "requestfinished"
) -> None:
    """Lets the time pass after which the page asks again, and waits until it has read the answer."""
    with tab.expect_event(ends, lambda request: request.url.endswith("status")):
        tab.clock.run_for(milliseconds)
    let_the_page_act(tab)


def poll_and_follow(tab: Page, milliseconds: int = 20_000) -> None:
    """Lets the time pass after which the page asks again, and waits for the page that the answer leads to."""
    with tab.expect_navigation():
        tab.clock.run_for(milliseconds)


def field(name: str) -> str:
    return f"[data-field={name}]"


def set_hidden(tab: Page, *, hidden: bool) -> None:
    tab.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_position_that_falls_is_shown_in_the_page_its_title_and_its_progress(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status(position=21, estimatedWaitSeconds={"low": 60, "high": 150}, placeHeldSeconds=300)]
    open_line(gate, tab)
    expect(tab.locator("progress")).to_have_attribute("max", "42")
    assert gate.polls == 0
    poll(tab)
    expect(tab.locator(field("position"))).to_have_text("21")
    expect(tab.locator(field("ahead"))).to_have_text("20 people are ahead of you")
    expect(tab.locator(field("wait"))).to_have_text("1 to 3 minutes")
    expect(tab.locator(field("updated"))).to_have_text("18:30:25")
    expect(tab.locator(field("held"))).to_contain_text("within 5 minutes")
    expect(tab).to_have_title("No. 21 in line · Acme tickets")
    assert tab.evaluate("document.querySelector('progress').position") == 0.5


def test_progress_is_counted_from_the_first_position_also_after_a_reload(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status()]
    open_line(gate, tab)
    gate.show("/event/7", RENDERER.render(replace(WAITING, position=21, users_ahead=20)))
    tab.reload()
    assert tab.evaluate("document.querySelector('progress').position") == 0.5


def test_an_unconfirmed_place_is_confirmed_at_once(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status(position=7)]
    open_line(gate, tab, page=UNCONFIRMED)
    expect(tab.locator(field("position"))).to_have_text("7")
    expect(tab.locator("[data-note=unconfirmed]")).to_be_hidden()
    expect(tab.locator(field("held"))).to_contain_text("come back within 13 minutes")
    assert gate.polls == 1


def test_a_browser_that_never_sends_the_cookie_is_told_why_nothing_moves(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status("unconfirmed", position=7, refreshIntervalSeconds=2)]
    open_line(gate, tab, page=UNCONFIRMED)
    expect(tab.locator(field("position"))).to_have_text("7")
    expect(tab.locator("[data-note=unconfirmed]")).to_be_visible()
    poll(tab, 2000)
    poll(tab, 2000)
    expect(tab.locator("[data-note=cookies]")).to_be_visible()
    expect(tab.locator("[data-note=unconfirmed]")).to_be_hidden()


def test_the_gate_says_how_often_it_is_asked_and_a_second_is_the_floor(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status(refreshIntervalSeconds=5), status(refreshIntervalSeconds=0.001), status()]
    open_line(gate, tab)
    tab.clock.run_for(19_900)
    assert gate.polls == 0
    poll(tab, 200)
    poll(tab, 5200)
    poll(tab, 1200)
    assert gate.polls == 3


@pytest.mark.parametrize("state", ["recovering", "store_down"])
def test_while_the_line_is_put_in_order_the_last_position_stays(gate: StubGate, tab: Page, state: str) -> None:
    gate.statuses = [status(state, position=None), status(position=41)]
    open_line(gate, tab)
    poll(tab)
    expect(tab.locator(f"[data-note={state}]")).to_be_visible()
    expect(tab.locator(field("position"))).to_have_text("42")
    expect(tab.locator(field("announcement"))).not_to_be_empty()
    poll(tab)
    expect(tab.locator(field("position"))).to_have_text("41")
    expect(tab.locator(f"[data-note={state}]")).to_be_hidden()


def test_a_page_that_opens_while_recovering_shows_the_position_that_the_tab_saw_last(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status()]
    open_line(gate, tab)
    expect(tab.locator("progress")).to_be_visible()
    gate.show("/event/7", RENDERER.render(replace(UNCONFIRMED, state="recovering")))
    tab.reload()
    expect(tab.locator(field("position"))).to_have_text("42")
    expect(tab.locator("[data-note=recovering]")).to_be_visible()


@pytest.mark.parametrize(
    ("failure", "ends"), [(500, "requestfinished"), (None, "requestfailed")], ids=["no JSON", "hung up"]
)
def test_a_gate_that_cannot_be_asked_is_asked_less_often_and_the_position_stays(
    gate: StubGate, tab: Page, failure: int | None, ends: Literal["requestfinished", "requestfailed"]
) -> None:
    gate.statuses = [failure, failure, status(position=40)]
    open_line(gate, tab, page=replace(WAITING, refresh_seconds=4))
    poll(tab, 4000, ends=ends)
    expect(tab.locator("[data-note=reconnecting]")).to_be_visible()
    expect(tab.locator(field("position"))).to_have_text("42")
    tab.clock.run_for(7900)
    assert gate.polls == 1
    poll(tab, 2600, ends=ends)
    expect(tab.locator(field("position"))).to_have_text("42")
    tab.clock.run_for(15_900)
    assert gate.polls == 2
    poll(tab, 5000)
    expect(tab.locator(field("position"))).to_have_text("40")
    expect(tab.locator("[data-note=reconnecting]")).to_be_hidden()


def test_a_tab_without_a_network_says_so_and_goes_on_by_itself(
    gate: StubGate, tab: Page, context: BrowserContext
) -> None:
    gate.statuses = [status(position=30)]
    open_line(gate, tab)
    context.set_offline(True)
    expect(tab.locator("[data-note=offline]")).to_be_visible()
    tab.clock.run_for(25_000)
    expect(tab.locator("[data-note=offline]")).to_be_visible()
    tab.clock.run_for(2000)
    context.set_offline(False)
    expect(tab.locator(field("position"))).to_have_text("30")
    expect(tab.locator("[data-note=offline]")).to_be_hidden()


def test_a_hidden_tab_keeps_a_heartbeat_and_asks_at_once_when_it_is_seen_again(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status(refreshIntervalSeconds=5), status(refreshIntervalSeconds=5), status(position=9)]
    open_line(gate, tab, page=replace(WAITING, refresh_seconds=5, heartbeat_seconds=30))
    set_hidden(tab, hidden=True)
    poll(tab, 5000)
    tab.clock.run_for(29_000)
    assert gate.polls == 1
    poll(tab, 1500)
    tab.clock.run_for(4000)
    assert gate.polls == 2
    set_hidden(tab, hidden=False)
    expect(tab.locator(field("position"))).to_have_text("9")


def test_whoever_looks_at_the_tab_again_and_again_asks_once_a_second_at_most(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status()]
    open_line(gate, tab)
    tab.clock.run_for(5000)
    for _ in range(10):
        set_hidden(tab, hidden=False)
        tab.get_by_text("Check now").click()
    wait_until_sync(lambda: gate.polls == 1)
    assert gate.polls == 1
    assert tab.url == gate.url("/event/7")


def test_announcements_follow_changes_and_not_polls(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status(position=position) for position in (40, 39, 38, 38)]
    open_line(gate, tab)
    announcement = tab.locator(field("announcement"))
    poll(tab)
    expect(tab.locator(field("position"))).to_have_text("40")
    expect(announcement).to_be_empty()  # 20 s after the page was read
    poll(tab)
    expect(announcement).to_have_text("You are number 39 in line. Estimated wait: Not known yet.")
    poll(tab)
    expect(tab.locator(field("position"))).to_have_text("38")
    expect(announcement).to_contain_text("number 39")
    poll(tab)
    expect(announcement).to_contain_text("number 39")  # 40 s later, but nothing moved
    assert announcement.get_attribute("role") == "status"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/event/7"),
        ("GET", "/event/7?seats=2&row=b#map"),
        ("POST", "/event/7?seats=2"),
        ("POST", "/event/7#map"),
    ],
)
def test_an_admitted_visitor_lands_by_get_on_the_url_that_was_asked_for(
    gate: StubGate, tab: Page, method: str, path: str
) -> None:
    answers = [Reply(RENDERER.render(WAITING), status=503), Reply(SITE)]
    gate.pages["/event/7"] = lambda _call: answers.pop(0)
    gate.pages["/"] = lambda _call: Reply(f'<form method="post" action="{path}"><button>Buy</button></form>'.encode())
    gate.statuses = [status("admitted", position=None, inWaitingRoom=False, refreshIntervalSeconds=0)]
    hold_time(tab)
    if method == "POST":
        tab.goto(gate.url("/"))
        tab.get_by_role("button").click()
    else:
        tab.goto(gate.url(path))
    expect(tab.locator("progress")).to_be_visible()  # the script has started
    poll_and_follow(tab)
    expect(tab.locator("h1")).to_have_text("Welcome")
    assert tab.url == gate.url(path)
    target = path.partition("#")[0]
    assert [call.method for call in gate.calls if call.target == target] == [method, "GET"]


def test_an_entry_that_leads_back_to_the_line_is_not_repeated_in_a_loop(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status("admitted", position=None, refreshIntervalSeconds=1)]
    open_line(gate, tab, page=replace(WAITING, refresh_seconds=1))
    page = gate.pages["/event/7"]
    # A page that does loop is let out, for a test that fails must end too.
    gate.pages["/event/7"] = lambda call: page(call) if gate.count("GET", "/event/7") < 9 else Reply(SITE)
    poll_and_follow(tab, 1100)
    for _ in range(3):
        poll(tab, 1100)
    assert gate.count("GET", "/event/7") == 2
    poll_and_follow(tab, 2200)  # the second try, after five seconds
    for _ in range(7):
        poll(tab, 1100)
    assert gate.count("GET", "/event/7") == 3


def test_a_state_that_the_page_cannot_show_is_asked_for_from_the_gate(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status("paused"), status("waiting")]
    open_line(gate, tab)
    gate.show("/event/7", RENDERER.render(PAUSED))
    poll_and_follow(tab)
    expect(tab.locator("h1")).to_have_text("The line is paused")
    gate.show("/event/7", RENDERER.render(WAITING))
    poll_and_follow(tab)
    expect(tab.locator("h1")).to_have_text("You are in line")


def test_the_page_without_a_store_goes_back_to_the_line_when_the_store_is_back(gate: StubGate, tab: Page) -> None:
    gate.show("/", RENDERER.render(STORE_DOWN), STORE_DOWN_CONTENT_SECURITY_POLICY)
    gate.statuses = [status("store_down", position=None), status(position=3)]
    hold_time(tab)
    tab.goto(gate.url("/"))
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(246, 243, 238)"
    poll(tab, 10_000)
    gate.show("/", RENDERER.render(replace(WAITING, position=3, users_ahead=2)))
    poll_and_follow(tab)
    expect(tab.locator(field("position"))).to_have_text("3")


def test_leaving_takes_two_steps_and_tells_the_gate_where_the_visitor_was(gate: StubGate, tab: Page) -> None:
    gate.statuses = [status()]
    gate.show(f"{PREFIX}leave", SITE)
    open_line(gate, tab)
    leave = tab.get_by_role("button", name="Leave now")
    expect(leave).to_be_hidden()
    tab.get_by_text("Leave the line").click()
    leave.click()
    expect(tab.locator("h1")).to_have_text("Welcome")
    [call] = [call for call in gate.calls if call.method == "POST"]
    assert (call.target, call.body) == (f"{PREFIX}leave", "return_url=%2Fevent%2F7%3Fseats%3D2")


def test_waits_and_numbers_read_the_same_from_the_gate_and_from_the_script(gate: StubGate, tab: Page) -> None:
    cases: list[tuple[int | None, int | None]] = [
        (None, None), (0, 59), (60, 60), (30, 100), (130, 290), (250, 290), (3000, 3540), (3000, 3541), (4000, 8000), (9, 8000)
    ]  # fmt: skip
    for index, (low, high) in enumerate(cases):
        position = (1, 2, 999, 1000, 1234567)[index % 5]
        page = replace(
            WAITING, position=position, users_ahead=position - 1, wait_low_seconds=low, wait_high_seconds=high,
            place_held_seconds=100 * position,
        )  # fmt: skip
        gate.show(f"/{index}", RENDERER.render(page))
        wait = None if low is None else {"low": low, "high": high}
        gate.statuses = [status(position=position, estimatedWaitSeconds=wait, placeHeldSeconds=100 * position)]
        tab.goto(gate.url(f"/{index}"))
        names = ("position", "ahead", "wait", "held")
        rendered = [tab.locator(field(name)).text_content() for name in names] + [tab.title()]
        tab.evaluate("document.querySelectorAll('dd, strong, .ahead, .held span').forEach(e => (e.textContent = ''))")
        tab.get_by_text("Check now").click()
        expect(tab.locator(field("held"))).not_to_be_empty()
        written = [tab.locator(field(name)).text_content() for name in names] + [tab.title()]
        assert written == rendered


def test_without_storage_the_page_works_all_the_same(gate: StubGate, tab: Page) -> None:
    tab.add_init_script(
        "delete Storage.prototype.getItem; Storage.prototype.setItem = () => { throw new Error('full') }"
    )
    gate.statuses = [status(position=21)]
    open_line(gate, tab)
    poll(tab)
    expect(tab.locator(field("position"))).to_have_text("21")
    assert tab.evaluate("document.querySelector('progress').position") == 0.5


def test_without_scripts_the_page_refreshes_itself_until_the_site_answers(gate: StubGate, browser: Browser) -> None:
    waiting = replace(WAITING, refresh_seconds=1)
    answers = [
        Reply(RENDERER.render(replace(waiting, state="unconfirmed")), status=503),
        Reply(RENDERER.render(waiting)),
    ]
    gate.pages["/event/7"] = lambda _call: answers.pop(0) if answers else Reply(SITE)
    without = browser.new_context(java_script_enabled=False)
    tab = without.new_page()
    tab.goto(
        gate.url("/event/7?seats=2#map")
    )  # with a fragment, which makes browsers ignore a refresh without an address
    expect(tab.locator("h1")).to_have_text("Welcome")
    assert [call.target for call in gate.calls if call.target.startswith("/event")] == ["/event/7?seats=2"] * 3
    assert tab.url == gate.url("/event/7?seats=2")
    without.close()


def test_without_scripts_an_unconfirmed_visitor_goes_where_the_gate_checks_the_cookie(
    gate: StubGate, browser: Browser
) -> None:
    confirm = f"{PREFIX}confirm?return_url=%2Fevent%2F7"
    gate.show("/event/7", RENDERER.render(replace(UNCONFIRMED, confirm_url=confirm)))
    gate.show(f"{PREFIX}confirm", SITE)
    without = browser.new_context(java_script_enabled=False)
    tab = without.new_page()
    tab.goto(gate.url("/event/7"))
    expect(tab.locator("h1")).to_have_text("Welcome")
    assert tab.url == gate.url(confirm)
    without.close()
