"""What a waiting visitor sees, and the scripts for the visitor's browser.

A page is a dataclass; `Renderer.render` turns it into bytes. `ASSETS` are the files that pages and sites load, and the
policies are what a page's `Content-Security-Policy` header should say. Jinja2 is imported when a Renderer is built.
"""

from .assets import (
    ASSETS,
    CONTENT_SECURITY_POLICY,
    STORE_DOWN_CONTENT_SECURITY_POLICY,
    STORE_DOWN_STYLE_HASH,
    Asset,
    asset,
)
from .contexts import (
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
from .errors import ContextError, PagesError, UnknownAsset
from .renderer import Renderer

__all__ = [
    "ASSETS",
    "CONTENT_SECURITY_POLICY",
    "STORE_DOWN_CONTENT_SECURITY_POLICY",
    "STORE_DOWN_STYLE_HASH",
    "Asset",
    "ClosedPage",
    "ContextError",
    "CookiesRefusedPage",
    "Page",
    "PagesError",
    "PausedPage",
    "PrequeuePage",
    "RefusedPage",
    "Renderer",
    "SessionEndedPage",
    "StoreDownPage",
    "UnknownAsset",
    "WaitingPage",
    "asset",
]
