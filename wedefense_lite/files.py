"""Plain-text tables, JSON and files that are written whole or not at all."""

import json
import math
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from wedefense_lite.labels import LABELS

NO_VALUE = "-"  # a cell of a table that says nothing


class InputError(Exception):
    """Something the user gave is wrong. Entry points print it as one line and exit with 2."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name when the block ends without an error.

    The content is synced to disk first, so a file that exists is complete; after an error the
    earlier file, if any, is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.fchmod(handle, 0o666 & ~_umask())
    os.close(handle)
    try:
        yield Path(name)
        with open(name, "rb") as written:
            os.fsync(written.fileno())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) atomically, making parent folders."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines, each ended by a newline, atomically."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def write_table(path: str | Path, table: dict[str, str]) -> None:
    """Write a two-column table ``key value`` sorted by key in byte order (``LC_ALL=C``)."""
    write_lines(path, (f"{key} {table[key]}" for key in sorted(table, key=str.encode)))


def write_json(path: str | Path, value) -> None:
    """Write JSON atomically, numbers in full precision."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_text(path: str | Path) -> str:
    """Text of a UTF-8 file; an :class:`InputError` where it can't be read."""
    return "".join(_lines(path))


def _lines(path: str | Path) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from file
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start})"
        ) from error


def read_json(path: str | Path):
    """Parsed JSON; an :class:`InputError` names the file where it is missing or malformed."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error


def iter_rows(
    path: str | Path, columns: int | None, maxsplit: int = -1
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a white-space separated file as ``(line number from 1, fields)``, blank lines left out.

    Args:
        columns: the number of fields each line must have; None: as many as the first one has.
        maxsplit: as in :meth:`str.split`, for a last field that may hold spaces.

    Raises:
        InputError: unreadable or empty file, or a line with another number of fields.
    """
    found = False
    for number, line in enumerate(_lines(path), 1):
        fields = line.split(None, maxsplit)
        if not fields:
            continue
        columns = columns or len(fields)
        if len(fields) != columns:
            raise InputError(
                f"{path}:{number}: {len(fields)} columns, expected {columns}: {line.strip()!r}"
            )
        found = True
        yield number, fields
    if not found:
        raise InputError(f"{path}: empty, expected lines of {columns or 'several'} columns")


def number(text: str) -> float:
    """A float, infinite perhaps; ValueError for NaN, or no number."""
    value = float(text)
    if math.isnan(value):
        raise ValueError("NaN, expected a number")
    return value


def converted(path: str | Path, line: int, name: str, text: str, convert: Callable):
    """``convert(text)``, its ValueError an :class:`InputError` that names file, line and utterance."""
    try:
        return convert(text)
    except ValueError as error:
        raise InputError(f"{path}:{line}: {name}: {error}") from None


def read_rows(
    path: str | Path, columns: int | None, maxsplit: int = -1
) -> list[tuple[int, list[str]]]:
    """All of :func:`iter_rows` at once, so that a bad line anywhere is found before any is used."""
    return list(iter_rows(path, columns, maxsplit))


def read_table(path: str | Path) -> dict[str, str]:
    """A two-column table ``key value`` (the value may hold spaces) in file order.

    Raises:
        InputError: as :func:`read_rows`, or a key that stands there twice.
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
        InputError: as :func:`read_table`, or another label.
    """
    table = read_table(path)
    for key, label in table.items():
        if label not in LABELS:
            expected = " or ".join(LABELS)
            raise InputError(f"{path}: {key} has label {label!r}, expected {expected}")
    return table


def abbreviate(names: list[str]) -> str:
    """The first three of some names, for a message."""
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def one_of(known: Collection[str]) -> Callable[[str], str]:
    """A check that a text is one of ``known``, which raises ValueError."""

    def check(text: str) -> str:
        if text not in known:
            raise ValueError(f"{text!r}, expected {' or '.join(known)}")
        return text

    return check


def read_columns(
    path: str | Path,
    columns: Mapping[str, Callable],
    ids: Sequence[str] = ("filename",),
    header: Sequence[str] | None = None,
) -> dict[str, list]:
    """Some columns of a table, by trial, in the order of the file.

    Args:
        path: separated by tabs or spaces.
        columns: names in the header, each with the conversion of its cells, which raises ValueError.
        ids: columns whose values, joined by spaces, name a trial.
        header: names of the columns of a file whose first line doesn't have them.

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
    ids = [header.index(name) for name in ids]
    places = [(header.index(name), convert) for name, convert in columns.items()]
    cells: dict[str, list] = {}
    for line, row in rows:
        name = " ".join([row[place] for place in ids])
        if name in cells:
            raise InputError(f"{path}:{line}: {name} is there twice")
        cells[name] = [
            converted(path, line, name, row[place], convert) for place, convert in places
        ]
    if not cells:
        raise InputError(f"{path}: no line after the header")
    return cells
