"""The files that pages and sites load: their hashes, their words, and the policy under which they run."""

import gzip
import json
import re
from base64 import b64encode
from hashlib import sha256

import pytest

from ropeline.pages import (
    ASSETS,
    CONTENT_SECURITY_POLICY,
    STORE_DOWN_CONTENT_SECURITY_POLICY,
    STORE_DOWN_STYLE_HASH,
    Renderer,
    UnknownAsset,
    asset,
)
from ropeline.pages.texts import texts
from tests.pages.samples import STORE_DOWN, WAITING
from tests.pages.stub_gate import PREFIX


@pytest.mark.parametrize("name", ["page.js", "page.css", "client.js"])
def test_an_asset_knows_its_type_and_its_hash(name: str) -> None:
    found = asset(name)
    assert found is ASSETS[name]
    assert found.version == sha256(found.body).hexdigest()[:16]
    assert found.etag == f'"{found.version}"'
    assert found.content_type == f"text/{'css' if name.endswith('css') else 'javascript'}; charset=utf-8"


@pytest.mark.parametrize("name", ["", "nothing.js", "../contexts.py", "page.js?v=1"])
def test_no_other_file_is_served(name: str) -> None:
    with pytest.raises(UnknownAsset, match=r"^asset: got .*, expected one of page.js, page.css, client.js$"):
        asset(name)


def test_pages_ask_for_assets_by_their_hash() -> None:
    page = Renderer().render(WAITING).decode()
    for name in ("page.js", "page.css"):
        assert f'"{PREFIX}{name}?v={ASSETS[name].version}"' in page


def test_the_policy_allows_the_style_inside_the_page_without_a_store_and_no_other() -> None:
    style = re.search(rb"<style>(.*)</style>", Renderer().render(STORE_DOWN), re.DOTALL)
    assert style is not None
    assert f"'sha256-{b64encode(sha256(style[1]).digest()).decode()}'" == STORE_DOWN_STYLE_HASH
    assert f"style-src {STORE_DOWN_STYLE_HASH};" in STORE_DOWN_CONTENT_SECURITY_POLICY
    for policy in (CONTENT_SECURITY_POLICY, STORE_DOWN_CONTENT_SECURITY_POLICY):
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy


def test_the_sites_script_brings_its_words_in_every_language() -> None:
    source = ASSETS["client.js"].body.decode()
    found = re.search(r"const catalogues = (.*);\n", source)
    assert found is not None
    assert json.loads(found[1]) == {"en": texts("en").client}


def test_the_sites_script_is_small() -> None:
    assert len(gzip.compress(ASSETS["client.js"].body)) < 5000
