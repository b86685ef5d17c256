"""A visitor as Locust simulates it: comes, waits as the page tells it to, looks around, and goes.

It behaves as a browser with the page's script does: it confirms its place at once, polls when it is told to, and asks for
the page again when its turn has come. Whatever it sees goes to the onlooker.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from locust import FastHttpUser
from locust.contrib.fasthttp import ResponseContextManager

from loadtests.invariants import Answer, VisitorWatch
from loadtests.onlooker import ONLOOKER
from loadtests.tickets import TicketFacts, read_ticket

__all__ = ["Visitor"]

PREFIX: Final = "/.well-known/waiting-room/"
PAGES: Final = ("/", "/cart", "/events/paper-lions", "/events/aurora-vale", "/events/long-summer")

_LOOK_SECONDS: Final = 2.0
_PAUSE_FLOOR: Final = 0.05
_TRY_AGAIN_SECONDS: Final = 2.0


class Shown(NamedTuple):
    """What became of one request: let through to the site or not, and when to ask again."""

    is_inside: bool
    again: float


class Visitor(FastHttpUser):
    """Comes once when `come_and_go` is called. Scenarios say when, how often, and how visitors leave."""

    abstract = True
    # The server closes connections that were idle for some seconds; the next request may come at that very moment.
    max_retries = 1

    farewells: tuple[str, ...] = ("leave",)
    """`leave`: by the button. `close`: the tab, whose beacon says so. `vanish`: without a word."""

    _seen: VisitorWatch | None = None

    def come_and_go(self) -> None:
        """One visit from arrival to departure, with a new browser's session."""
        self.client.cookiejar.clear()
        self._seen = ONLOOKER.visitor()
        wanted = random.choice(PAGES)
        shown = self._ask("GET", wanted, "arrive")
        while not shown.is_inside:
            shown = self._wait(shown)
            if shown.is_inside:
                shown = self._ask("GET", wanted, "enter")
        ends = time.monotonic() + random.expovariate(1 / self._stay)
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, random.uniform(0, 2 * _LOOK_SECONDS)))
            if not self._ask("GET", random.choice(PAGES), "look").is_inside:
                # Thrown back, which the onlooker has judged; whoever it happens to goes home.
                break
        self._go(random.choice(self.farewells))
        ONLOOKER.finished += 1

    def on_stop(self) -> None:
        """Whoever is still there when the run ends goes home, so that nobody stands in the next run's way."""
        if self._seen is not None:
            self._go("leave")

    @property
    def _stay(self) -> float:
        options = self.environment.parsed_options
        return float(options.stay) if options is not None else 1.0

    def _wait(self, shown: Shown) -> Shown:
        """Wait as long as the last answer said, and ask how things stand."""
        time.sleep(max(shown.again, _PAUSE_FLOOR))
        return self._ask("GET", f"{PREFIX}status?tenant={ONLOOKER.tenant}", "poll", accept="application/json")

    def _go(self, farewell: str) -> None:
        seen, self._seen = self._seen, None
        if seen is not None:
            seen.leaves()
        if farewell != "vanish":
            beacon = "&beacon=1" if farewell == "close" else ""
            path = f"{PREFIX}leave?tenant={ONLOOKER.tenant}{beacon}"
            # A POST is not sent again when its connection turns out to have been closed by the server meanwhile.
            self.client.client.close()
            with self._send("POST", path, farewell, "application/json") as response:
                _judge(response, is_expected=response.status_code in (200, 204))

    def _ask(self, method: str, path: str, name: str, accept: str = "text/html") -> Shown:
        """Send one request and tell the onlooker what came of it."""
        sent = time.monotonic()
        with self._send(method, path, name, accept) as response:
            received = time.monotonic()
            headers = _headers(response)
            word = headers.get("waiting-room", "").partition(";")[0]
            ticket = self._ticket()
            is_inside = word == "admitted" and response.status_code in (200, 304)
            is_judged = ticket is not None and (is_inside or word == "queued")
            _judge(response, is_expected=is_judged)
            if ticket is None or not is_judged:
                return Shown(is_inside=False, again=_TRY_AGAIN_SECONDS)
            if self._seen is not None:
                self._seen.saw(Answer(sent, received, is_inside, *ticket))
            if is_inside or accept != "application/json":
                # A page that has just been opened confirms its place at once.
                again = 0.0 if not ticket.is_confirmed else float(headers.get("retry-after", _TRY_AGAIN_SECONDS))
                return Shown(is_inside, again)
            return Shown(is_inside, _refresh(response))

    def _send(self, method: str, path: str, name: str, accept: str) -> ResponseContextManager:
        return self.client.request(
            method, path, name=name, headers={"Accept": accept}, catch_response=True, allow_redirects=False
        )

    def _ticket(self) -> TicketFacts | None:
        name = f"wr_{ONLOOKER.tenant}"
        for cookie in self.client.cookiejar:
            if cookie.name.endswith(name) and cookie.value:
                return read_ticket(cookie.value)
        return None


def _headers(response: ResponseContextManager) -> Mapping[str, str]:
    """The answer's headers; none when there was no answer."""
    return cast("Mapping[str, str]", response.headers or {})


def _judge(response: ResponseContextManager, *, is_expected: bool) -> None:
    """Locust takes the status of a page of the line for a failure, and that of a site which failed open for none."""
    if is_expected:
        response.success()  # type: ignore[no-untyped-call]
    elif response.status_code:
        said = _headers(response).get("waiting-room", "nothing of the gate")
        response.failure(f"{response.status_code}, {said}")  # type: ignore[no-untyped-call]


def _refresh(response: ResponseContextManager) -> float:
    document: dict[str, Any] = response.json()
    seconds = document["waitingRoom"]["refreshIntervalSeconds"]
    return float(seconds) or _TRY_AGAIN_SECONDS
