"""Compiles the templates for one language. The only module here that imports Jinja2, so import it when it is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from math import ceil

from jinja2 import Environment, StrictUndefined, Template, nodes
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from .assets import asset
from .contexts import LOCAL_PATH
from .texts import Texts, countdown


def read_templates() -> dict[str, str]:
    """The sources of all templates by file name."""
    folder = files(__package__).joinpath("templates")
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".html")}


def make_environment(catalogue: Texts) -> Environment:
    """A sandbox in which the templates find their filters and the words of one language."""
    environment = SandboxedEnvironment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    # A filter on a constant is worked out while compiling, so most texts cost nothing when a page is rendered. Phrases made
    # of numbers are kept, a bounded lot of them: the visitors of one line share most.
    kept = lru_cache(maxsize=4096)
    environment.filters = {
        "text": catalogue.text,
        "plural": kept(lambda count, name: catalogue.plural(name, count)),
        "number": catalogue.number,
        "duration": kept(catalogue.duration),
        "interval": kept(catalogue.interval),
        "wait": kept(catalogue.wait),
        "words": lambda group: _data_block(getattr(catalogue, group)),
        "versioned": lambda name: f"{name}?v={asset(name).version}",
        "inline": lambda name: Markup(asset(name).body.decode()),  # noqa: S704
        "local": lambda path: path if LOCAL_PATH.fullmatch(path) else "/",
        "whole": lambda seconds: max(1, ceil(seconds)),
        "iso": lambda moment: moment.isoformat(timespec="seconds"),
        "clock": _clock,
        "date": _date,
        "countdown": countdown,
        "sign": lambda name: getattr(catalogue, name),
    }
    environment.globals = {}
    return environment


def compile_template(environment: Environment, sources: Mapping[str, str], name: str) -> Template:
    """The template with everything that it extends put into one piece.

    Looking up blocks and parents while rendering took two thirds of the time of the waiting page.
    """
    lineage = [environment.parse(sources[name], name)]
    while (parent := lineage[-1].find(nodes.Extends)) is not None:
        parent_name = parent.template.as_const()
        lineage.append(environment.parse(sources[parent_name], parent_name))
    blocks: dict[str, list[nodes.Node]] = {}
    for tree in lineage:
        for block in tree.find_all(nodes.Block):
            blocks.setdefault(block.name, block.body)
    tree = lineage[-1]
    tree.body = _BlockFiller(blocks).fill(tree.body)
    return environment.from_string(tree)


class _BlockFiller(NodeTransformer):
    """Puts in the place of each block what the most derived template says there."""

    def __init__(self, blocks: Mapping[str, list[nodes.Node]]) -> None:
        self._blocks = blocks

    def fill(self, body: list[nodes.Node]) -> list[nodes.Node]:
        return [filled for node in body for filled in self.visit_list(node)]

    def visit_Block(self, node: nodes.Block) -> list[nodes.Node]:  # noqa: N802 (the visitor looks this name up)
        return self.fill(self._blocks[node.name])


def _data_block(words: object) -> Markup:
    # Such a block ends at the first "</", whatever it holds.
    return Markup(json.dumps(words, ensure_ascii=False).replace("<", "\\u003c"))  # noqa: S704


def _date(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()


def _clock(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment.hour:02}:{moment.minute:02}:{moment.second:02}"
