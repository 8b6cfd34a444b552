"""Cells of a table as somebody wrote it: text or gzip, between spaces, tabs, commas or bars."""

import csv
import gzip
import io
import logging
import os
import zlib
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


def cells_of(path: str | Path) -> list[tuple[int, list[str]]]:
    """Cells of each line of a table, with its number from 1.

    The first line tells what separates the cells: commas, else bars, else spaces and tabs. Blank
    lines are left out, and comments before the first row, which are counted in the log.

    Raises:
        InputError: unreadable or empty file, no UTF-8, damaged gzip, or a control character.
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
    rows = text.splitlines() if "\n" not in text else text.removesuffix("\n").split("\n")
    lines = []
    separator = None
    comments = 0
    for line, row in enumerate(rows, 1):
        row = row.removesuffix("\r")
        if not row.strip():
            continue
        if separator is None and row.startswith(COMMENTS):
            comments += 1
            continue
        if separator is None:
            separator = _separator(row)
        if separator == " ":
            lines.append((line, split_fields(path, line, row)))
        else:
            check_text(path, line, row)
            lines.append((line, _quoted_cells(path, line, row, separator)))
    if not lines:
        raise InputError(f"{path}: empty, expected a line a trial")
    if comments:
        logging.info("%s: %d comments before the first row", path, comments)
    return lines


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
    first_row = content.removeprefix(BYTE_ORDER_MARK).partition(b"\n")[0].decode(errors="replace")
    is_particular = _separator(first_row) != " " or first_row.startswith(COMMENTS)
    if is_particular or not first_row.strip():
        return None
    return table_of(content)


def _separator(row: str) -> str:
    for separator in (",", "|"):
        if separator in row:
            return separator
    return " "


def _quoted_cells(path: str | Path, line: int, row: str, separator: str) -> list[str]:
    """Cells of a line that may be in quotes, as in CSV."""
    try:
        cells = next(csv.reader([row], delimiter=separator, skipinitialspace=True), [])
    except csv.Error as error:
        raise InputError(f"{path}:{line}: {error}") from error
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
