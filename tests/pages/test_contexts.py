"""The contract between the gate and the templates, both ways, and what a page refuses to be given."""

from dataclasses import fields, replace
from datetime import datetime

import pytest
from jinja2 import meta, nodes

from ropeline.pages import ContextError, Page
from ropeline.pages.contexts import PAGES
from ropeline.pages.environment import make_environment, read_templates
from ropeline.pages.texts import texts
from tests.pages.samples import ENDED, LIMITED, WAITING

ENVIRONMENT = make_environment(texts("en"))
SOURCES = read_templates()


def lineage(name: str) -> list[nodes.Template]:
    """The template of that name and all that it extends, as far as the most derived one leaves them in place."""
    trees = [ENVIRONMENT.parse(SOURCES[name])]
    while (parent := trees[-1].find(nodes.Extends)) is not None:
        trees.append(ENVIRONMENT.parse(SOURCES[parent.template.as_const()]))
    return trees


def test_the_templates_are_those_of_the_pages_and_their_parents() -> None:
    parents = {
        tree.find(nodes.Extends).template.as_const()  # type: ignore[union-attr]
        for page in PAGES
        for tree in lineage(page.template)[:-1]
    }
    assert set(SOURCES) == {page.template for page in PAGES} | parents


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_a_template_uses_the_fields_of_its_page_all_of_them_and_nothing_else(page: type[Page]) -> None:
    used = set().union(*(meta.find_undeclared_variables(tree) for tree in lineage(page.template)))
    assert used == {field.name for field in fields(page)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_every_field_says_what_it_means(page: type[Page]) -> None:
    for field in fields(page):
        assert field.metadata["help"].endswith("."), field.name


def test_every_text_that_a_template_names_is_in_the_catalogue_and_the_other_way_round() -> None:
    named = {
        argument.value
        for source in SOURCES.values()
        for use in ENVIRONMENT.parse(source).find_all(nodes.Filter)
        if use.name in {"text", "plural"}
        for argument in ([use.node] if use.name == "text" else use.args)
        if isinstance(argument, nodes.Const)
    }
    catalogue = texts("en")
    assert named <= catalogue.page.keys() | catalogue.script.keys()
    assert catalogue.page.keys() <= named


@pytest.mark.parametrize(
    "path",
    [
        "",
        "status",
        "//evil.example/",
        "/\\evil.example",
        "/\t/evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
    ],
)
@pytest.mark.parametrize("field", ["asset_prefix", "status_url", "leave_url"])
def test_a_path_that_leads_off_the_site_is_refused_by_name(field: str, path: str) -> None:
    with pytest.raises(ContextError, match=rf"^{field}: got .*, expected a path on this host") as caught:
        replace(WAITING, **{field: path})  # type: ignore[arg-type]
    assert (caught.value.field, caught.value.value) == (field, path)


def test_words_that_are_none_of_those_allowed_are_refused() -> None:
    with pytest.raises(
        ContextError, match=r"^state: got 'admitted', expected one of waiting, unconfirmed, recovering$"
    ):
        replace(WAITING, state="admitted")  # type: ignore[arg-type]
    with pytest.raises(ContextError, match=r"^ending: got 'over', expected one of ended, left$"):
        replace(ENDED, ending="over")  # type: ignore[arg-type]
    with pytest.raises(ContextError, match=r"^reason: got 'rude', expected one of blocked, limited, error$"):
        replace(LIMITED, reason="rude")  # type: ignore[arg-type]


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ContextError, match=r"^updated_at: got .*, expected a datetime with a time zone$"):
        replace(WAITING, updated_at=datetime(2031, 5, 4))  # noqa: DTZ001
