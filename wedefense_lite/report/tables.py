"""Results as text on the terminal and as JSON in full precision."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wedefense_lite.files import (
    NO_VALUE,
    InputError,
    check_writable,
    file_name,
    printable,
    write_json,
    write_lines,
    write_text,
)
from wedefense_lite.scoring.sidecar import refuse_sidecar

# Characters that mean something to LaTeX, or that its fonts lack, and what stands for them.
LATEX_TEXTS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": "--",
        "−": "$-$",
    }
)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, its columns aligned to the right.

    Args:
        rows: cells, as many in each row.
    """
    widths = [0] * len(rows[0])
    for row in rows:
        for column, cell in enumerate(row):
            widths[column] = max(widths[column], len(cell))
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths)]
        lines.append("  ".join(cells))
    return lines


def as_tsv(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose cells are separated by tabs."""
    return ["\t".join(printable(cell) for cell in row) for row in rows]


def as_latex(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table for LaTeX with the package booktabs, its first row the header."""
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}", r"\toprule"]
    for number, row in enumerate(rows):
        cells = [printable(cell).translate(LATEX_TEXTS) for cell in row]
        lines.append(" & ".join(cells) + r" \\")
        if number == 0:
            lines.append(r"\midrule")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def write_tables(folder: str | Path, tables: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Write each table as TSV and as LaTeX.

    Args:
        folder: folder to write to.
        tables: rows by the name of the table, ``SET_CONTENT``, which names its two files.
    """
    for name, rows in tables.items():
        path = Path(folder, file_name(name))
        write_lines(path.with_name(f"{path.name}.tsv"), as_tsv(rows))
        write_lines(path.with_name(f"{path.name}.tex"), as_latex(rows))


def tabulated(title: str, groups: dict[str, dict]) -> list[str]:
    """Lines of a table with a row a group.

    Args:
        title: head of the first column, which has the names of the groups.
        groups: numbers of each group by column, the columns alike in all; None is unknown. No
            lines without groups.
    """
    if not groups:
        return []
    columns = list(next(iter(groups.values())))
    rows = [[title, *columns]]
    for name, numbers in groups.items():
        rows.append([name, *(_format_number(value) for value in numbers.values())])
    return table(rows)


def _format_number(value: float | None) -> str:
    if value is None:
        return NO_VALUE
    if isinstance(value, int):
        return str(value)
    return f"{value:z.3f}"  # z: what rounds to zero has no sign


def check_outputs(*paths: str | None) -> None:
    """Refuse outputs that can't be written, before the work; None is an output not asked for.

    Raises:
        InputError: a folder, a read-only place, the sidecar of scores, or another output of the
            same name.
    """
    named = [path for path in paths if path]
    if len(set(named)) < len(named):
        raise InputError(f"{named[0]}: two outputs of one name, expected a name for each")
    check_writable(*named)
    for path in named:
        refuse_sidecar(path)


def publish(lines: Iterable[str], results: dict, json: str | None, txt: str | None = None) -> None:
    """Print lines, and write them to ``txt`` and the results to ``json`` if these are named.

    Raises:
        InputError: ``json`` is the sidecar of scores.
    """
    if json:
        refuse_sidecar(json)
    # Names of attacks and sets are other people's: none may steer the terminal of a reader.
    text = "".join(f"{printable(line)}\n" for line in lines)
    print(text, end="")
    if txt:
        write_text(txt, text)
    if json:
        write_json(json, results)
