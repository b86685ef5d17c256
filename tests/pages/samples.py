"""One of each page, as a gate would make it, for the tests to vary."""

from dataclasses import replace
from datetime import UTC, datetime

from ropeline.pages import (
    ClosedPage,
    CookiesRefusedPage,
    Page,
    PausedPage,
    PrequeuePage,
    RefusedPage,
    SessionEndedPage,
    StoreDownPage,
    WaitingPage,
)
from tests.pages.stub_gate import PREFIX

WAITING = WaitingPage(
    tenant_name="Acme tickets",
    language="en",
    asset_prefix=PREFIX,
    state="waiting",
    position=42,
    users_ahead=41,
    wait_low_seconds=180,
    wait_high_seconds=300,
    refresh_seconds=20,
    status_url=f"{PREFIX}status",
    leave_url=f"{PREFIX}leave",
    return_url="/event/7?seats=2",
    place_held_seconds=780,
    updated_at=datetime(2031, 5, 4, 18, 30, 5, tzinfo=UTC),
)
UNCONFIRMED = WaitingPage(
    tenant_name="Acme tickets",
    language="en",
    asset_prefix=PREFIX,
    state="unconfirmed",
    position=None,
    users_ahead=None,
    wait_low_seconds=None,
    wait_high_seconds=None,
    refresh_seconds=20,
    status_url=f"{PREFIX}status",
    leave_url=f"{PREFIX}leave",
    return_url="/",
    place_held_seconds=None,
    updated_at=datetime(2031, 5, 4, 18, 30, 5, tzinfo=UTC),
)
PAUSED = PausedPage(
    tenant_name="Acme tickets",
    language="en",
    asset_prefix=PREFIX,
    position=42,
    users_ahead=41,
    refresh_seconds=20,
    status_url=f"{PREFIX}status",
    leave_url=f"{PREFIX}leave",
    return_url="/",
    place_held_seconds=780,
    updated_at=datetime(2031, 5, 4, 18, 30, 5, tzinfo=UTC),
)
PREQUEUE = PrequeuePage(
    tenant_name="Acme tickets",
    language="en",
    asset_prefix=PREFIX,
    is_unconfirmed=False,
    starts_at=datetime(2031, 5, 4, 19, 0, tzinfo=UTC),
    seconds_until_start=754,
    is_shuffled=False,
    refresh_seconds=20,
    status_url=f"{PREFIX}status",
    leave_url=f"{PREFIX}leave",
    return_url="/event/7",
    place_held_seconds=780,
)
STORE_DOWN = StoreDownPage(
    tenant_name="Acme tickets",
    language="en",
    asset_prefix=PREFIX,
    refresh_seconds=10,
    status_url=f"{PREFIX}status",
    return_url="/event/7",
)
CLOSED = ClosedPage(tenant_name="Acme tickets", language="en", asset_prefix=PREFIX)
COOKIES_REFUSED = CookiesRefusedPage(
    tenant_name="Acme tickets", language="en", asset_prefix=PREFIX, return_url="/event/9?seat=a"
)
ENDED = SessionEndedPage(
    tenant_name="Acme tickets", language="en", asset_prefix=PREFIX, ending="ended", return_url="/event/7"
)
LEFT = SessionEndedPage(
    tenant_name="Acme tickets", language="en", asset_prefix=PREFIX, ending="left", return_url="/event/7"
)
BLOCKED = RefusedPage(tenant_name="Acme tickets", language="en", asset_prefix=PREFIX, reason="blocked")
LIMITED = RefusedPage(
    tenant_name="Acme tickets", language="en", asset_prefix=PREFIX, reason="limited", retry_seconds=40
)
FAILED = RefusedPage(tenant_name="Acme tickets", language="en", asset_prefix=PREFIX, reason="error")

SAMPLES: dict[str, Page] = {
    "waiting": WAITING,
    "unconfirmed": UNCONFIRMED,
    "paused": PAUSED,
    "prequeue": PREQUEUE,
    "shuffled": replace(PREQUEUE, is_shuffled=True, is_unconfirmed=True, seconds_until_start=7384),
    "store_down": STORE_DOWN,
    "closed": CLOSED,
    "cookies_refused": COOKIES_REFUSED,
    "ended": ENDED,
    "left": LEFT,
    "blocked": BLOCKED,
    "limited": LIMITED,
    "failed": FAILED,
}
