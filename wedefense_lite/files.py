"""Plain-text tables, JSON and files that are written whole or not at all."""

import json
import math
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from wedefense_lite.labels import LABELS

NO_VALUE = "-"  # a cell of a table that says nothing


class InputError(Exception):
    """Input that can't be used. Entry points print it as one line and exit with 2."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Temporary path beside ``path`` that takes its name when the block ends without an error.

    The content is synced to disk first, so a file that exists is complete. After an error an
    earlier file is as it was.

    Args:
        path: final path; its folder is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The kernel takes the umask off these permissions. Python could only learn the umask by setting
    # it for all threads, which then make files that everybody may write.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        # A rename within a file system happens at once or not at all.
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) atomically, making parent folders."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines, each ended by a newline, atomically."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def write_table(path: str | Path, table: dict[str, str]) -> None:
    """Write a two-column table ``key value`` sorted by key in byte order (``LC_ALL=C``)."""
    keys = sorted(table, key=str.encode)
    write_lines(path, (f"{key} {table[key]}" for key in keys))


def write_json(path: str | Path, value) -> None:
    """Write JSON atomically, numbers in full precision."""
    # NaN and Infinity are no JSON, and other readers refuse the whole file.
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_text(path: str | Path) -> str:
    """Text of a UTF-8 file; an ``InputError`` where it can't be read."""
    return "".join(_lines(path))


def _lines(path: str | Path) -> Iterator[str]:
    try:
        # Editors on Windows begin a file with a byte order mark, which is no part of the first key.
        with open(path, encoding="utf-8-sig") as file:
            yield from file
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start})"
        ) from error


def read_json(path: str | Path):
    """Parsed JSON; an ``InputError`` names the file where it is missing or malformed."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error


def iter_rows(
    path: str | Path, columns: int | None, maxsplit: int = -1
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a file that white space separates, as ``(line number from 1, fields)``.

    Blank lines are left out.

    Args:
        path: the file.
        columns: the number of fields each line must have; None: as many as the first one has.
        maxsplit: as in ``str.split``, for a last field that may hold spaces.

    Raises:
        InputError: unreadable or empty file, or a line with another number of fields.
    """
    is_empty = True
    for number, line in enumerate(_lines(path), 1):
        fields = line.split(None, maxsplit)
        if not fields:
            continue
        # Without a number, the first line decides for all.
        columns = columns or len(fields)
        if len(fields) != columns:
            raise InputError(
                f"{path}:{number}: {len(fields)} columns, expected {columns}: {line.strip()!r}"
            )
        is_empty = False
        yield number, fields
    if is_empty:
        raise InputError(f"{path}: empty, expected lines of {columns or 'several'} columns")


def number(text: str) -> float:
    """Number in a text; it may be infinite.

    Raises:
        ValueError: no number, or NaN.
    """
    value = float(text)
    # A comparison with NaN is false, so a NaN would count as a low score without a word.
    if math.isnan(value):
        raise ValueError("NaN, expected a number")
    return value


def converted(path: str | Path, line: int, name: str, text: str, convert: Callable):
    """Value of a cell of a table.

    Args:
        path: the table.
        line: number of the line, from 1.
        name: utterance or other id of the line.
        text: the cell.
        convert: function of the text that raises ValueError where it can't be converted.

    Raises:
        InputError: the conversion fails; names file, line and utterance.
    """
    try:
        return convert(text)
    except ValueError as error:
        raise InputError(f"{path}:{line}: {name}: {error}") from None


def read_rows(
    path: str | Path, columns: int | None, maxsplit: int = -1
) -> list[tuple[int, list[str]]]:
    """Rows of ``iter_rows`` at once, so that a bad line is found before any line is used."""
    return list(iter_rows(path, columns, maxsplit))


def read_table(path: str | Path) -> dict[str, str]:
    """Two-column table ``key value`` in file order; a value may hold spaces.

    Raises:
        InputError: as ``read_rows``, or a key on two lines.
    """
    table: dict[str, str] = {}
    for number, (key, value) in read_rows(path, columns=2, maxsplit=1):
        if key in table:
            raise InputError(f"{path}:{number}: {key} is there twice")
        table[key] = value.strip()
    return table


def read_labels(path: str | Path) -> dict[str, str]:
    """``utt2lab``: utterance to ``bonafide`` or ``spoof``.

    Raises:
        InputError: as ``read_table``, or another label.
    """
    table = read_table(path)
    for key, label in table.items():
        if label not in LABELS:
            expected = " or ".join(LABELS)
            raise InputError(f"{path}: {key} has label {label!r}, expected {expected}")
    return table


def abbreviate(names: list[str]) -> str:
    """First three names of a list, for a message; an ellipsis stands for more."""
    text = ", ".join(names[:3])
    return f"{text} ..." if len(names) > 3 else text


def one_of(words: Collection[str]) -> Callable[[str], str]:
    """Conversion of a cell that accepts certain words only, for ``read_columns``.

    Args:
        words: accepted texts.

    Returns:
        function that gives an accepted text back and raises ValueError for any other.
    """

    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r}, expected {' or '.join(words)}")
        return text

    return check


def read_columns(
    path: str | Path,
    columns: Mapping[str, Callable],
    ids: Sequence[str] = ("filename",),
    header: Sequence[str] | None = None,
) -> dict[str, list]:
    """Columns of a table by trial, in the order of the file.

    Args:
        path: table, separated by tabs or spaces.
        columns: names in the header, each with the conversion of its cells, which raises
            ValueError.
        ids: columns whose values, joined by spaces, name a trial.
        header: names of the columns of a table without a header line.

    Returns:
        trial to its converted cells, in the order of ``columns``.

    Raises:
        InputError: no such column, another number of columns in a line, a trial twice, a cell that
            can't be converted, no line after the header.
    """
    rows = iter_rows(path, columns=len(header) if header else None)
    if not header:
        first, header = next(rows)
        for name in (*ids, *columns):
            if name not in header:
                raise InputError(
                    f"{path}:{first}: header {' '.join(header)!r} has no column {name!r}"
                )
    id_columns = [header.index(name) for name in ids]
    # A trial may be named by several columns, as a talker by mixture and number.
    cells: dict[str, list] = {}
    for line, row in rows:
        trial = " ".join([row[column] for column in id_columns])
        if trial in cells:
            raise InputError(f"{path}:{line}: {trial} is there twice")
        cells[trial] = []
        for name, convert in columns.items():
            text = row[header.index(name)]
            cells[trial].append(converted(path, line, trial, text, convert))
    if not cells:
        raise InputError(f"{path}: no line after the header")
    return cells
