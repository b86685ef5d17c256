"""What each page may show: one dataclass a page, whose fields are the whole contract between the gate and the templates.

A template may use the fields of its page and nothing else, and uses all of them. Each field's meaning stands in its
`metadata["help"]`. Texts are no fields: templates name them, and the catalogue of the page's language has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from .errors import ContextError

WaitingState: TypeAlias = Literal["waiting", "unconfirmed", "recovering"]
SessionEnding: TypeAlias = Literal["ended", "left"]
Refusal: TypeAlias = Literal["blocked", "limited", "error"]

# Browsers drop tabs and newlines from a link and read a backslash as a slash: "/<tab>/other.example" leaves the site.
LOCAL_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\x7f\\]*")

_Check: TypeAlias = tuple[Callable[[Any], object], str]


def _one_of(members: tuple[str, ...]) -> _Check:
    return members.__contains__, f"one of {', '.join(members)}"


_A_PATH: _Check = (LOCAL_PATH.fullmatch, "a path on this host that begins with exactly one slash")
_CHECKS: Mapping[str, _Check] = {
    "asset_prefix": _A_PATH,
    "status_url": _A_PATH,
    "leave_url": _A_PATH,
    "updated_at": (lambda moment: moment.tzinfo is not None, "a datetime with a time zone"),
    "starts_at": (lambda moment: moment.tzinfo is not None, "a datetime with a time zone"),
    "state": _one_of(get_args(WaitingState)),
    "ending": _one_of(get_args(SessionEnding)),
    "reason": _one_of(get_args(Refusal)),
}


@dataclass(frozen=True, kw_only=True)
class Page:
    """What every page knows. Raises ContextError for a path that would lead off the site, a word that is none of those
    allowed, or a time without a zone.
    """

    template: ClassVar[str]

    tenant_name: str = field(metadata={"help": "The tenant's name as visitors know it."})
    language: str = field(
        metadata={
            "help": "BCP 47 tag wanted. The template sees that of the catalogue used: the nearest one, else English."
        }
    )
    asset_prefix: str = field(
        metadata={"help": "Path under which the gate serves page.js and page.css, with the slash at its end."}
    )

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in _CHECKS:
                is_right, expected = _CHECKS[name]
                if not is_right(value):
                    raise ContextError(name, value, expected)


@dataclass(frozen=True, kw_only=True)
class _PollingPage(Page):
    """A page that asks for news by itself, and follows when the visitor's state is one that it cannot show."""

    status_url: str = field(metadata={"help": "Path of the status that the page's script polls."})
    refresh_seconds: float = field(
        metadata={"help": "When to ask next, jitter included. The script never asks twice within a second."}
    )
    heartbeat_seconds: float = field(
        default=30, metadata={"help": "Least time between two polls of a hidden tab: the ceiling of the poll policy."}
    )
    return_url: str = field(
        metadata={
            "help": "Path and query that the visitor asked for: loaded again without scripts, posted along when leaving. "
            "One that would lead to another host becomes `/`."
        }
    )


@dataclass(frozen=True, kw_only=True)
class _PlacePage(_PollingPage):
    """A page for a visitor who keeps something by staying: a place, or the right to one."""

    place_held_seconds: int | None = field(
        metadata={"help": "How long the place outlives the last sign of the visitor. None: no promise is shown."}
    )
    leave_url: str = field(metadata={"help": "Path that the form which gives the place up is posted to."})


@dataclass(frozen=True, kw_only=True)
class _LinePage(_PlacePage):
    """A page for a visitor with a place in the line."""

    position: int | None = field(
        metadata={"help": "People ahead + 1. None: not known now; the script keeps the last one."}
    )
    users_ahead: int | None = field(metadata={"help": "People ahead. None together with `position`."})
    updated_at: datetime = field(
        metadata={"help": "When the position was read; aware. Shown in UTC, by the script in local time."}
    )


@dataclass(frozen=True, kw_only=True)
class WaitingPage(_LinePage):
    """The line: shown until the visitor's turn comes."""

    template: ClassVar[str] = "waiting.html"

    state: WaitingState = field(
        metadata={"help": "unconfirmed: the script confirms the place at once; recovering: no position can be named."}
    )
    wait_low_seconds: int | None = field(metadata={"help": "Lower end of the estimated wait. None: not known."})
    wait_high_seconds: int | None = field(metadata={"help": "Upper end of the estimated wait. None: not known."})
    confirm_url: str | None = field(
        default=None,
        metadata={
            "help": "Path and query where an unconfirmed visitor without scripts goes after a second, so that the gate "
            "learns whether the cookie comes back. None: to `return_url`."
        },
    )


@dataclass(frozen=True, kw_only=True)
class PausedPage(_LinePage):
    """The line while nobody is let in."""

    template: ClassVar[str] = "paused.html"


@dataclass(frozen=True, kw_only=True)
class PrequeuePage(_PlacePage):
    """Before the start of an event: a countdown, and no position."""

    template: ClassVar[str] = "prequeue.html"

    is_unconfirmed: bool = field(metadata={"help": "True: the script confirms the visitor at once."})
    starts_at: datetime = field(
        metadata={"help": "When visitors are let in; aware. Shown in UTC, by the script in local time."}
    )
    seconds_until_start: int = field(
        metadata={"help": "By the server's clock. The script counts down from it, and again from each answer."}
    )
    is_shuffled: bool = field(
        metadata={"help": "True: places are drawn by lot at the start; False: they go by arrival."}
    )
    confirm_url: str | None = field(default=None, metadata={"help": "As on the waiting page."})


@dataclass(frozen=True, kw_only=True)
class StoreDownPage(_PollingPage):
    """The store of places cannot be reached. Carries its own style, so that nothing else need be reachable."""

    template: ClassVar[str] = "store_down.html"


@dataclass(frozen=True, kw_only=True)
class ClosedPage(Page):
    """Nobody is let in and there is no line to join. Does not ask again by itself."""

    template: ClassVar[str] = "closed.html"


@dataclass(frozen=True, kw_only=True)
class SessionEndedPage(Page):
    """The visitor's session is over, by time or because the visitor left."""

    template: ClassVar[str] = "session_ended.html"

    ending: SessionEnding = field(
        metadata={"help": "ended: its time ran out or it was revoked; left: the visitor gave it up."}
    )
    return_url: str = field(
        metadata={
            "help": "Path and query that the link back into the line leads to. "
            "One that would lead to another host becomes `/`."
        }
    )


@dataclass(frozen=True, kw_only=True)
class CookiesRefusedPage(Page):
    """The browser does not send the cookie back that would hold the place."""

    template: ClassVar[str] = "cookies_refused.html"

    return_url: str = field(
        metadata={
            "help": "Path and query that the visitor asked for: where to try again. One that would lead to another host "
            "becomes `/`."
        }
    )


@dataclass(frozen=True, kw_only=True)
class RefusedPage(Page):
    """The request is not served: a rule blocks it, too many joins came from its network, or something failed."""

    template: ClassVar[str] = "refused.html"

    reason: Refusal = field(metadata={"help": "blocked: by a rule; limited: by the join limit; error: anything else."})
    retry_seconds: int | None = field(
        default=None, metadata={"help": "When the visitor may try again. None: no time is named."}
    )


PAGES: tuple[type[Page], ...] = (
    WaitingPage,
    PausedPage,
    PrequeuePage,
    ClosedPage,
    SessionEndedPage,
    CookiesRefusedPage,
    StoreDownPage,
    RefusedPage,
)
