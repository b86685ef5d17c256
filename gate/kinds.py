"""What may happen to a request, and the words for it."""

from __future__ import annotations

from enum import Enum

__all__ = ["Kind"]


class Kind(Enum):
    """What happens to the request: its word in the `Waiting-Room` header, and whether it goes to the site."""

    BYPASS = "bypass", True
    """To the site, unseen by the line: no tenant's, a suspended tenant's, or exempted by a rule."""
    ADMITTED = "admitted", True
    """To the site, as one of the quota."""
    FAILING_OPEN = "failing-open", True
    """To the site, although the store could not be asked."""
    QUEUED = "queued", False
    """In line."""
    CLOSED = "closed", False
    """The tenant takes nobody new."""
    NO_TICKET = "no-ticket", False
    """A request that may not get a ticket of its own (an image, a prefetch), or whose ticket has ended."""
    LIMITED = "limited", False
    """Too many new visitors from this address."""
    UNAVAILABLE = "unavailable", False
    """The store cannot be asked, and the failure policy does not let this visitor in."""
    BLOCKED = "blocked", False
    """Refused by a rule."""
    PREFLIGHT = "preflight", False
    """A browser asks whether it may send a request across origins; it brings no cookie for this."""
    MISDIRECTED = "misdirected", False
    """For a host that no tenant has."""

    # Plain attributes: an Enum's own properties cost more than the rest of the comparison, and this is asked of each request.
    def __init__(self, word: str, passes: bool) -> None:  # noqa: FBT001 - the two columns of the table above
        self.word = word
        self.passes = passes
        self.index = len(type(self).__members__)
