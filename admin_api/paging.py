"""Pages of what is sorted by name: the next one begins after the last name of this one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Query

__all__ = ["MOST", "After", "Limit", "page_of"]

MOST: Final = 100
"""Most items of a page."""

Limit = Annotated[int, Query(ge=1, le=MOST, description="Most items of the page.")]
After = Annotated[str, Query(max_length=63, description="Begin after this name; empty: at the first.")]


def page_of(names: Sequence[str], after: str, limit: int) -> tuple[list[str], str | None]:
    """The names of a page out of all of them, sorted, and the one to begin the next page after; None: it is the last."""
    rest = [name for name in names if name > after]
    page = rest[:limit]
    return page, page[-1] if len(rest) > limit else None
