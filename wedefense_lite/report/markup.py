"""HTML elements by plain functions that escape whatever is not HTML already."""

import base64
from collections.abc import Iterable
from html import escape


class Markup(str):
    """Text that is HTML already; every other text is escaped when it goes into an element."""


def join(content: Iterable) -> Markup:
    """Content one after another."""
    return Markup("".join(part if isinstance(part, Markup) else escape(str(part)) for part in content))


def tag(name: str, *content, **attributes: str) -> Markup:
    """An element that is not void; ``class_`` stands for ``class``."""
    pairs = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{pairs}>{join(content)}</{name}>")


def table(head: Iterable[str], rows: Iterable[Iterable]) -> Markup:
    """A table; a cell that is Markup brings its own ``td`` or ``th``."""

    def line(cells: Iterable, kind: str) -> Markup:
        return tag("tr", *(cell if isinstance(cell, Markup) else tag(kind, cell) for cell in cells))

    body = (line(row, "td") for row in rows)
    return tag("table", tag("thead", line(head, "th")), tag("tbody", *body))


def pairs(values: Iterable[tuple]) -> Markup:
    """A list of names with their values."""
    return tag("dl", *(join((tag("dt", name), tag("dd", value))) for name, value in values))


def section(title: str, intro: str, *content) -> Markup:
    """A heading, a line under it, and the content."""
    return join((tag("h2", title), tag("p", intro, class_="soft"), *content))


def card(*content, title: str = "") -> Markup:
    return tag("section", *([tag("h3", title)] if title else []), *content, class_="card")


def figure(svg: str, title: str, caption: str) -> Markup:
    """A picture inside the page, and under it what to see in it."""
    source = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    picture = Markup(f'<img src="{source}" alt="{escape(title)}">')
    return tag("figure", tag("h3", title), picture, tag("figcaption", caption), class_="card")
