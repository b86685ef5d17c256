"""Turns a page into bytes: the templates, compiled once for each language, in a sandbox and with autoescape on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .contexts import PAGES, Page
from .texts import languages, texts


class Renderer:
    """Renders pages. Reads and compiles everything when built; after that no file is touched and nothing is kept.

    Building one imports Jinja2 and takes one or two tenths of a second; it may be shared by all threads and tasks.
    """

    def __init__(self) -> None:
        from .environment import compile_template, make_environment, read_templates

        sources = read_templates()
        self._render: dict[str, dict[type[Page], Callable[[Mapping[str, object]], str]]] = {}
        for language in languages():
            environment = make_environment(texts(language))
            self._render[language] = {
                page: compile_template(environment, sources, page.template).render for page in PAGES
            }

    def render(self, page: Page) -> bytes:
        """The page as a complete HTML document in UTF-8."""
        language = texts(page.language).language
        # A path may hold what UTF-8 cannot say; that visitor gets a question mark there, and not an error.
        return self._render[language][type(page)]({**vars(page), "language": language}).encode(errors="replace")
