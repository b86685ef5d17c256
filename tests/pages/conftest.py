"""A browser for each file of browser tests, and a stub gate and a tab for each test."""

from collections.abc import Generator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.pages.stub_gate import StubGate
from tests.system import find_program

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# One a file, not one a run: while it is open the main thread counts as running an event loop, and no async test could.
@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=find_program("chromium"), args=_FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def gate() -> Generator[StubGate]:
    with StubGate() as stub:
        yield stub


@pytest.fixture
def context(browser: Browser) -> Generator[BrowserContext]:
    opened = browser.new_context(locale="en-GB", timezone_id="UTC")
    opened.set_default_timeout(5000)
    yield opened
    opened.close()


@pytest.fixture
def tab(context: BrowserContext) -> Generator[Page]:
    """A tab whose page must not raise an error nor run into its own content security policy."""
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console", lambda message: problems.append(message.text) if "Content Security Policy" in message.text else None
    )
    yield page
    assert problems == []
