"""What a rendered page is: complete, escaped, free of anything inline, and usable without scripts or assets."""

import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from html.parser import HTMLParser
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.pages import ASSETS, Page, Renderer
from tests.pages.samples import ENDED, LEFT, LIMITED, PAUSED, SAMPLES, STORE_DOWN, UNCONFIRMED, WAITING
from tests.pages.stub_gate import PREFIX

RENDERER = Renderer()
VOID = {"meta", "link", "input", "br"}
PAYLOAD = (
    """</title></script></noscript>--><script>alert(1)</script><img src=x onerror=alert(1)>"' onload='x' {{ 7*7 }}"""
)


class Document(HTMLParser):
    """A parsed page: its elements in order, its texts, and whether every element that was opened is closed."""

    def __init__(self, source: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.within: list[tuple[list[str], str]] = []
        self.feed(source.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute is given twice: {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        self.within.append((list(self.open), data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def of(self, tag: str) -> str:
        return "".join(data for path, data in self.within if tag in path)


def document(page: Page) -> Document:
    return Document(RENDERER.render(page))


def shape(page: Page) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(attributes)) for tag, attributes in document(page).elements]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_page_is_a_whole_document_that_names_its_tenant_and_is_not_indexed(name: str) -> None:
    page = document(SAMPLES[name])
    assert page.open == []
    assert page.elements[0] == ("html", {"lang": "en"})
    assert page.of("title").endswith(" · Acme tickets")
    assert page.of("h1").strip()
    assert [tag for tag, _ in page.elements].count("h1") == 1
    metas = {attributes.get("name"): attributes.get("content") for attributes in page.all("meta")}
    assert metas["robots"] == "noindex, nofollow"
    assert "width=device-width" in str(metas["viewport"])
    assert {"rel": "icon", "href": "data:,"} in page.all("link")


@pytest.mark.parametrize("name", SAMPLES)
def test_no_page_has_a_script_a_style_or_a_handler_inside(name: str) -> None:
    page = document(SAMPLES[name])
    for tag, attributes in page.elements:
        assert not [attribute for attribute in attributes if attribute.startswith("on") or attribute == "style"]
        if tag == "script":
            assert attributes.get("type") == "application/json" or str(attributes["src"]).startswith(PREFIX)
    assert len(page.all("style")) == (1 if name == "store_down" else 0)


@pytest.mark.parametrize("name", SAMPLES)
def test_what_stands_in_a_field_stays_text(name: str) -> None:
    sample = SAMPLES[name]
    strings = [
        field.name
        for field in fields(sample)
        if isinstance(getattr(sample, field.name), str) and field.name not in {"state", "ending", "reason"}
    ]
    assert "tenant_name" in strings
    for field in strings:
        # A path cannot hold spaces, and everything else that could end an attribute is in it all the same.
        value = PAYLOAD if field in {"tenant_name", "language"} else "/" + PAYLOAD.replace(" ", "")
        hostile = replace(sample, **{field: value})
        assert shape(hostile) == shape(sample), field
        if field != "language":
            rendered = RENDERER.render(hostile).decode()
            assert "<script>alert" not in rendered
            assert "7*7" in rendered


@given(tenant=st.text(), path=st.text(), position=st.integers(1, 10**9))
def test_any_text_renders_into_the_same_elements(tenant: str, path: str, position: int) -> None:
    page = replace(WAITING, tenant_name=tenant, return_url=path, position=position, users_ahead=position - 1)
    assert shape(page) == shape(WAITING)


def test_a_path_that_utf_8_cannot_say_does_not_break_the_page() -> None:
    assert "/a?b" in str(document(replace(WAITING, return_url="/a\udcff" + "b")).all("input"))


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", "https://evil.example", "javascript:alert(1)"])
def test_the_way_back_never_leads_to_another_host(path: str) -> None:
    assert [link["href"] for link in document(replace(LEFT, return_url=path)).all("a")] == ["/"]
    inputs = document(replace(WAITING, return_url=path)).all("input")
    assert [field["value"] for field in inputs] == ["/"]


def test_the_waiting_page_says_all_that_is_known() -> None:
    page = document(WAITING)
    assert page.of("title") == "No. 42 in line · Acme tickets"
    assert page.of("strong") == "42"
    for words in (
        "41 people are ahead of you",
        "3 to 5 minutes",
        "18:30:05 UTC",
        "come back within 13 minutes",
        "this page opens the site by itself",
    ):
        assert words in page.text
    [form] = page.all("form")
    assert (form["method"], form["action"]) == ("post", f"{PREFIX}leave")
    assert {"type": "hidden", "name": "return_url", "value": "/event/7?seats=2"} in page.all("input")


def test_the_first_in_line_is_told_so() -> None:
    assert "You are next" in document(replace(WAITING, position=1, users_ahead=0)).text
    assert "1 person is ahead of you" in document(replace(WAITING, position=2, users_ahead=1)).text


def test_a_position_that_is_not_known_is_not_made_up() -> None:
    page = document(replace(WAITING, state="recovering", position=None, users_ahead=None, place_held_seconds=None))
    assert page.of("strong") == "–"
    assert page.of("title") == "In line · Acme tickets"
    assert "come back within" not in page.of("section")
    assert not any("data-value" in attributes for _, attributes in page.elements)


@pytest.mark.parametrize("state", ["waiting", "unconfirmed", "recovering"])
def test_only_the_note_that_applies_is_shown(state: str) -> None:
    notes = [element for _, element in document(replace(WAITING, state=state)).elements if "data-note" in element]  # type: ignore[arg-type]
    shown = [note["data-note"] for note in notes if "hidden" not in note]
    assert shown == ([] if state == "waiting" else [state])


def test_without_scripts_an_unconfirmed_page_comes_back_after_a_second_and_others_when_the_gate_says() -> None:
    def refresh(page: Page) -> str | None:
        [found] = [
            element["content"] for element in document(page).all("meta") if element.get("http-equiv") == "refresh"
        ]
        return found

    assert refresh(UNCONFIRMED) == "1;url=/"
    assert refresh(replace(UNCONFIRMED, confirm_url="/confirm?return_url=%2F")) == "1;url=/confirm?return_url=%2F"
    assert refresh(replace(WAITING, refresh_seconds=20.2)) == "21;url=/event/7?seats=2"
    assert refresh(replace(WAITING, return_url="//evil.example")) == "20;url=/"
    assert refresh(replace(PAUSED, refresh_seconds=0.2)) == "1;url=/"
    assert refresh(STORE_DOWN) == "10;url=/event/7"


@pytest.mark.parametrize("name", SAMPLES)
def test_a_refresh_stands_inside_noscript_only(name: str) -> None:
    source = RENDERER.render(SAMPLES[name]).decode()
    assert "http-equiv" not in re.sub(r"<noscript>.*?</noscript>", "", source, flags=re.DOTALL)


@pytest.mark.parametrize("name", ["waiting", "unconfirmed", "paused", "prequeue", "store_down"])
def test_a_page_that_waits_can_be_asked_to_check_without_a_script(name: str) -> None:
    assert {"href": "", "data-check": None} in document(SAMPLES[name]).all("a")


@pytest.mark.parametrize("name", ["closed", "cookies_refused", "ended", "left", "blocked", "limited", "failed"])
def test_a_page_that_waits_for_nothing_loads_no_script(name: str) -> None:
    assert document(SAMPLES[name]).all("script") == []


def test_the_page_without_a_store_needs_no_other_file_to_look_right() -> None:
    page = document(STORE_DOWN)
    assert page.of("style").encode() == ASSETS["page.css"].body
    assert [link["rel"] for link in page.all("link")] == ["icon"]


def test_the_words_of_the_script_travel_in_the_page() -> None:
    page = document(WAITING)
    [words] = [data for path, data in page.within if path[-1:] == ["script"]]
    assert json.loads(words)["wait_unknown"] == "Not known yet"


def test_each_refusal_and_each_ending_has_its_own_words() -> None:
    assert "Please try again in 40 seconds" in document(LIMITED).text
    headings = {
        name: document(SAMPLES[name]).of("h1") for name in SAMPLES if name not in {"waiting", "unconfirmed", "shuffled"}
    }
    assert len(set(headings.values())) == len(headings)
    assert [link["href"] for link in document(ENDED).all("a")] == ["/event/7"]


def test_an_unknown_language_is_answered_in_english_and_says_so() -> None:
    assert document(replace(WAITING, language="tlh")).elements[0] == ("html", {"lang": "en"})
    assert document(replace(WAITING, language="en-GB")).elements[0] == ("html", {"lang": "en"})


def test_rendering_reads_no_file() -> None:
    script = """
import sys
from ropeline.pages import Renderer
from tests.pages.samples import SAMPLES
renderer = Renderer()
opened = []
sys.addaudithook(lambda event, arguments: opened.append(arguments) if event == "open" else None)
for page in SAMPLES.values():
    renderer.render(page)
assert not opened, opened
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_importing_the_pages_does_not_import_jinja2() -> None:
    script = "import sys, ropeline.pages; sys.exit('jinja2' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_field_that_is_missing_is_an_error_and_not_an_empty_place() -> None:
    page = cast("Page", replace(WAITING))
    del vars(page)["position"]
    with pytest.raises(Exception, match="'position' is undefined"):
        RENDERER.render(page)
