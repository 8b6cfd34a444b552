"""Results as text on the terminal and as JSON in full precision."""

from collections.abc import Iterable, Sequence

from wedefense_lite.files import write_json, write_text


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table from rows of as many cells each, aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(map(str.rjust, row, widths)) for row in rows]


def tabulated(title: str, groups: dict[str, dict]) -> list[str]:
    """Lines of a table with a row a group, which all have the same numbers; None is unknown."""

    def shown(value: float | None) -> str:
        if value is None or isinstance(value, int):
            return "-" if value is None else str(value)
        return f"{value:.3f}"

    columns = list(next(iter(groups.values())))
    return table(
        [[title, *columns], *([name, *map(shown, one.values())] for name, one in groups.items())]
    )


def publish(lines: Iterable[str], results: dict, json: str | None, txt: str | None = None) -> None:
    """Print lines, and write them to ``txt`` and the results to ``json`` where these are asked for."""
    text = "".join(f"{line}\n" for line in lines)
    print(text, end="")
    if txt:
        write_text(txt, text)
    if json:
        write_json(json, results)
