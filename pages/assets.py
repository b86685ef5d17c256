"""The files that a page or a site loads from the gate, read once when this module is imported.

`client.js` is completed here with its words, so that the script itself holds none.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType

from .errors import UnknownAsset
from .texts import languages, texts

_CONTENT_TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
_CLIENT_WORDS = '"the catalogues stand here"'


@dataclass(frozen=True)
class Asset:
    """One file as the gate serves it. `version` changes with the body: with `?v=version` it may be cached for ever."""

    body: bytes
    content_type: str
    version: str

    @property
    def etag(self) -> str:
        """The version as an entity tag, quotes included."""
        return f'"{self.version}"'


def asset(name: str) -> Asset:
    """The asset of that file name; raises UnknownAsset for any other."""
    try:
        return ASSETS[name]
    except KeyError:
        raise UnknownAsset(name, tuple(ASSETS)) from None


def _read(name: str) -> Asset:
    source = files(__package__).joinpath("static", name).read_text(encoding="utf-8")
    if name == "client.js":
        words = {language: texts(language).client for language in languages()}
        source = source.replace(_CLIENT_WORDS, json.dumps(words, ensure_ascii=False))
    body = source.encode()
    return Asset(body=body, content_type=_CONTENT_TYPES[name.rpartition(".")[2]], version=sha256(body).hexdigest()[:16])


ASSETS: Mapping[str, Asset] = MappingProxyType({name: _read(name) for name in ("page.js", "page.css", "client.js")})

# The one page with a style of its own inside carries page.css, so this is the only hash that its policy needs.
STORE_DOWN_STYLE_HASH = f"'sha256-{b64encode(sha256(ASSETS['page.css'].body).digest()).decode()}'"

# `default-src 'none'` and no 'unsafe-inline': what a tenant's name or a path smuggles in cannot run even if it got out of its place.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
STORE_DOWN_CONTENT_SECURITY_POLICY = CONTENT_SECURITY_POLICY.replace(
    "style-src 'self'", f"style-src {STORE_DOWN_STYLE_HASH}"
)
