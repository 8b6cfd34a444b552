"""HTML by plain functions that escape whatever is not HTML already."""

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template


class Markup(str):
    """Text that is HTML already; every other text is escaped when it goes into a page."""


def join(content: Iterable) -> Markup:
    """Content one after another."""
    return Markup("".join(part if isinstance(part, Markup) else escape(str(part)) for part in content))


def tag(name: str, *content, **attributes: str) -> Markup:
    """An element that is not void; ``class_`` stands for ``class``."""
    pairs = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{pairs}>{join(content)}</{name}>")


def table(title: str, head: Iterable, rows: Iterable[Iterable]) -> Markup:
    """A table in a card; a cell that is Markup brings its own ``td`` or ``th``."""

    def line(cells: Iterable, kind: str) -> Markup:
        return tag("tr", *(cell if isinstance(cell, Markup) else tag(kind, cell) for cell in cells))

    body = tag("tbody", *(line(row, "td") for row in rows))
    heading = [tag("h3", title)] if title else []
    return tag("section", *heading, tag("table", tag("thead", line(head, "th")), body), class_="card")


def data_uri(svg: str) -> str:
    """An address that holds the picture itself."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def fill(template: str, **values) -> Markup:
    """A template of this folder with its ``$names`` replaced by values."""
    page = Template(Path(__file__).with_name(template).read_text(encoding="utf-8"))
    return Markup(page.substitute({name: join([value]) for name, value in values.items()}))
