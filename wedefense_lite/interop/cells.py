"""Cells of a table as somebody wrote it: text or gzip, between spaces, tabs, commas, bars, ...

Semicolons separate too, as in tables of programs for offices.
"""

import csv
import gzip
import io
import logging
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from wedefense_lite.columns import BYTE_ORDER_MARK, Table, table_of
from wedefense_lite.files import (
    GZIP,
    InputError,
    check_text,
    note_input,
    read_bytes,
    split_fields,
)

# Bytes of a table that was packed; the largest of the field have 100 MB.
MOST_BYTES = 1 << 30
# Beginnings of lines that are no rows, before the first row. Behind it a line may be missed by
# nobody, in a table without ids.
COMMENTS = ("# ", ";;")
# Of a line whose cells tabs separate.
EMPTY_CELL = re.compile(rb"\t[ \r]*(?:\t|\n|\Z)|(?:\A|\n) *\t")


def cells_of(path: str | Path) -> list[tuple[int, list[str]]]:
    """Cells of each line of a table, with its number from 1.

    The first line tells what separates the cells: semicolons where it has as many of them as of
    commas, else commas, else bars, else spaces and tabs. Tabs alone separate, so that a cell may be
    empty, where all lines have as many of them, and a cell is empty or has spaces in it.

    Raises:
        InputError: unreadable or empty file, no UTF-8, damaged gzip, a control character, or a
            quote that is not closed.
    """
    rows = rows_of(path)
    if not rows:
        raise InputError(f"{path}: empty, expected a line a trial")
    separator = _separator(rows[0][1])
    if separator == " ":
        lines = [(line, split_fields(path, line, row)) for line, row in rows]
        if _is_tabbed(rows):
            tabbed = [(line, _stripped(row.split("\t"))) for line, row in rows]
            lengths = {len(cells) for _, cells in lines}
            # A protocol with a tab before the score alone has the cells of white space.
            if len(lengths) > 1 or any("" in cells for _, cells in tabbed):
                return tabbed
        return lines
    lines = []
    for line, row in rows:
        check_text(path, line, row)
        lines.append((line, quoted_cells(path, line, row, separator)))
    return lines


def rows_of(path: str | Path) -> list[tuple[int, str]]:
    """Lines of a table, packed or not, with their numbers from 1.

    Blank lines are left out, and comments before the first row, which are counted in the log.

    Raises:
        InputError: unreadable file, no UTF-8, or damaged gzip.
    """
    note_input(path)
    content = read_bytes(path)
    if content.startswith(GZIP):
        content = unpacked(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
        raise InputError(f"{path}: not UTF-8 text ({reason})") from error
    texts = text.splitlines() if "\n" not in text else text.removesuffix("\n").split("\n")
    rows = []
    comments = 0
    for line, row in enumerate(texts, 1):
        row = row.removesuffix("\r")
        if not row.strip():
            continue
        if not rows and row.startswith(COMMENTS):
            comments += 1
            continue
        rows.append((line, row))
    if comments and rows:
        logging.info("%s: %d comments before the first row", path, comments)
    return rows


def regular_table(path: str | Path) -> Table | None:
    """Cells of ``cells_of`` at once, where spaces separate them and nothing is wrong or particular.

    Returns:
        the table; None where ``cells_of`` has to say what the cells are, or what is wrong.
    """
    if not os.path.isfile(path):  # a pipe can be read once
        return None
    note_input(path)
    content = read_bytes(path)
    if content.startswith(GZIP):
        content = unpacked(path, content)
    # The first row decides, as there; a blank line before it is rare enough to be left to it.
    content = content.removeprefix(BYTE_ORDER_MARK)
    first_row = content.partition(b"\n")[0].decode(errors="replace")
    is_particular = _separator(first_row) != " " or first_row.startswith(COMMENTS)
    if is_particular or not first_row.strip():
        return None
    if b"\t" in content and EMPTY_CELL.search(content):
        return None
    return table_of(content)


def _separator(row: str) -> str:
    if ";" in row and row.count(";") >= row.count(","):
        return ";"
    for separator in (",", "|"):
        if separator in row:
            return separator
    return " "


def _is_tabbed(rows: Sequence[tuple[int, str]]) -> bool:
    """Whether a single tab stands between any two cells, some of which may be empty.

    A title is not empty, but for the first, of a column of numbers that pandas writes.
    """
    titles = rows[0][1].split("\t")
    has_titles = len(titles) > 1 and all(title.strip() for title in titles[1:])
    return has_titles and all(row.count("\t") == len(titles) - 1 for _, row in rows)


def quoted_cells(path: str | Path, line: int, row: str, separator: str) -> list[str]:
    """Cells of a line that may be in quotes, as in CSV.

    Raises:
        InputError: a quote that is not closed in this line. Between bars it is part of the cell,
            since transcripts of MLAAD begin with one.
    """
    # An open quote goes on in the next line.
    reader = csv.reader([row, ""], delimiter=separator, skipinitialspace=True)
    try:
        cells = next(reader, [])
    except csv.Error as error:
        raise InputError(f"{path}:{line}: {error}") from error
    if reader.line_num > 1:
        if separator == "|":
            return _stripped(row.split(separator))
        raise InputError(
            f"{path}:{line}: a quote that is not closed in its line, expected an even number of "
            "them, and each trial in one line"
        )
    return _stripped(cells)


def _stripped(cells: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def unpacked(path: str | Path, content: bytes) -> bytes:
    """Content of a gzip file.

    Raises:
        InputError: it is damaged, or far larger than a table.
    """
    try:
        with gzip.open(io.BytesIO(content)) as file:
            text = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a whole gzip file: {error}") from error
    if len(text) > MOST_BYTES:
        raise InputError(f"{path}: more than {MOST_BYTES} bytes in a gzip file, expected a table")
    return text


def plain(name: str) -> str:
    """Name of a column without case and punctuation."""
    return "".join(character for character in name.lower() if character.isalnum())
