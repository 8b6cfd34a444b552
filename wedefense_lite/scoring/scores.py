"""Score and key files: read, checked line by line, and joined by utterance."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from wedefense_lite.files import InputError, read_rows, write_lines
from wedefense_lite.labels import LABELS
from wedefense_lite.scoring.sidecar import read_sidecar

ASV_LABELS = ("target", "nontarget", "spoof")


@dataclass
class Table:
    """Rows of a file with a header, each utterance once; ``lines`` are line numbers from 1."""

    path: str | Path
    lines: list[int]
    names: list[str]
    columns: dict[str, list[str]]

    @cached_property
    def row(self) -> dict[str, int]:
        """Row of each utterance."""
        return {name: row for row, name in enumerate(self.names)}

    def numbers(self, column: str) -> np.ndarray:
        """A column as floats; infinities pass, a NaN or anything else is an :class:`InputError`."""
        values = self.columns[column]
        try:
            numbers = np.array(values, dtype=np.float64)
        except ValueError:
            numbers = np.array([float(value) if _is_number(value) else np.nan for value in values])
        for row in np.flatnonzero(np.isnan(numbers))[:1]:
            found = "NaN" if _is_number(values[row]) else repr(values[row])
            raise InputError(f"{self.at(row)} has {column} {found}, expected a number")
        return numbers

    def labels(self, column: str, known: Sequence[str] = LABELS) -> np.ndarray:
        """A column of class names; one that is not ``known`` is an :class:`InputError`."""
        values = np.array(self.columns[column])
        for row in np.flatnonzero(~np.isin(values, known))[:1]:
            expected = " or ".join(known)
            raise InputError(f"{self.at(row)} has {column} {str(values[row])!r}, expected {expected}")
        return values

    def rows_of(self, key: "Table") -> np.ndarray:
        """The row of each utterance of ``key``, in its order.

        Raises:
            InputError: an utterance is in one file only.
        """
        for row, name in enumerate(self.names):
            if name not in key.row:
                raise InputError(f"{self.at(row)} is not in {key.path}")
        missing = [name for name in key.names if name not in self.row]
        if missing:
            raise InputError(
                f"{self.path}: no line for {missing[0]} of {key.path}:{key.lines[key.row[missing[0]]]}"
                + (f" and {len(missing) - 1} more" if missing[1:] else "")
            )
        return np.array([self.row[name] for name in key.names])

    def at(self, row: int) -> str:
        """Where a row is, for messages."""
        return f"{self.path}:{self.lines[row]}: {self.names[row]}"


def read_headed(path: str | Path, columns: Sequence[str], ids: Sequence[str] = ("filename",)) -> Table:
    """A table whose first line names its columns.

    Args:
        path: separated by tabs or spaces.
        columns: names that must be there; others may be.
        ids: columns that together name a trial.

    Raises:
        InputError: no such column, a line with another number of columns, an utterance twice, no rows.
    """
    (first, header), *rows = read_rows(path, columns=None)
    missing = [name for name in (*ids, *columns) if name not in header]
    if missing:
        raise InputError(f"{path}:{first}: header {' '.join(header)!r} has no column {missing[0]!r}")
    if not rows:
        raise InputError(f"{path}: no line after the header")
    columns = dict(zip(header, map(list, zip(*(row for _, row in rows)))))
    names = list(map(" ".join, zip(*(columns[name] for name in ids))))
    return _unique(Table(path, [line for line, _ in rows], names, columns))


def read_trials(scores: str | Path, key: str | Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Utterances, labels and scores of a detector, in the order of the key.

    Args:
        scores: with the header ``filename cm-score``; its sidecar, if any, must have our polarity.
        key: with the header ``filename cm-label``.

    Raises:
        InputError: anything wrong in a line, an utterance in one file only, a class without trials.
    """
    read_sidecar(scores, required=False)
    table, truth = read_headed(scores, ["cm-score"]), read_headed(key, ["cm-label"])
    labels, values = truth.labels("cm-label"), table.numbers("cm-score")[table.rows_of(truth)]
    by_class(labels, values, LABELS, key)
    return truth.names, labels, values


def read_conditions(
    paths: str, columns: Sequence[str | None], names: Sequence[str]
) -> list[np.ndarray | None]:
    """Columns of metadata tables, one value for each of ``names``; None for a column that is None.

    Args:
        paths: one table for all columns, or one for each, separated by commas.
    """
    tables, wanted = paths.split(","), len({column for column in columns if column})
    if len(tables) == 1:
        tables *= len(columns)
    elif len(tables) == len(columns):
        wanted = 1
    else:
        raise InputError(f"{paths}: {len(tables)} tables, expected 1 or {len(columns)}")
    return [
        read_condition(path, column, names, headed=wanted > 1) if column else None
        for path, column in zip(tables, columns)
    ]


def read_condition(path: str | Path, column: str, names: Sequence[str], headed: bool) -> np.ndarray:
    """A column of a metadata table, one value for each of ``names``.

    A table whose first line names the column has a header, and the utterance is in the column
    ``filename`` or else in the first. One of two columns without such a header (``utt2attack``) *is*
    the column, unless it has to be ``headed``. It may have more utterances than ``names``.

    Raises:
        InputError: neither of the two, an utterance twice, or one without a line.
    """
    (_, first), *rows = numbered = read_rows(path, columns=None)
    if column in first:
        key, value = first.index("filename") if "filename" in first else 0, first.index(column)
    elif len(first) == 2 and not headed:
        rows, key, value = numbered, 0, 1
    else:
        raise InputError(f"{path}: its first line has no column {column!r}: {' '.join(first)!r}")
    lines = [line for line, _ in rows]
    table = _unique(
        Table(path, lines, [row[key] for _, row in rows], {column: [row[value] for _, row in rows]})
    )
    missing = [name for name in names if name not in table.row]
    if missing:
        raise InputError(f"{path}: no line for {missing[0]} ({len(missing)} such)")
    return np.array([table.columns[column][table.row[name]] for name in names])


def _unique(table: Table) -> Table:
    """The table; an utterance that is there twice is an :class:`InputError`."""
    seen = set()
    for line, name in zip(table.lines, table.names):
        if name in seen:
            raise InputError(f"{table.path}:{line}: {name} is there twice")
        seen.add(name)
    return table


def read_asv_scores(path: str | Path) -> dict[str, np.ndarray]:
    """ASV scores by class from lines ``source key score`` (the format of 2019 LA, no header).

    Raises:
        InputError: another key than target, nontarget or spoof, a score that is no number, or a key
            that does not occur.
    """
    rows = read_rows(path, columns=3)
    sources, keys, scores = map(list, zip(*(row for _, row in rows)))
    table = Table(path, [line for line, _ in rows], sources, {"key": keys, "score": scores})
    keys, scores = table.labels("key", ASV_LABELS), table.numbers("score")
    return by_class(keys, scores, ASV_LABELS, path)


def by_class(
    labels: np.ndarray, values: np.ndarray, known: Sequence[str], source: str | Path
) -> dict[str, np.ndarray]:
    """``values`` of each class; a class without trials is an :class:`InputError`."""
    for label in known:
        if not (labels == label).any():
            raise InputError(f"{source}: no {label} trial among {len(labels)}")
    return {label: values[labels == label] for label in known}


def split_by_label(
    names: Sequence[str],
    scores: np.ndarray,
    labels: dict[str, str],
    source: str | Path,
    key: str | Path,
) -> tuple[np.ndarray, np.ndarray]:
    """Bona fide and spoofed scores by a table of labels, which has exactly these utterances.

    Raises:
        InputError: an utterance is in one of them only, or a class is empty.
    """
    difference = sorted(set(names) ^ set(labels))
    if difference:
        raise InputError(
            f"{difference[0]} is only in one of {source} and {key} ({len(difference)} such)"
        )
    classes = by_class(np.array([labels[name] for name in names]), scores, LABELS, key)
    return classes["bonafide"], classes["spoof"]


def write_scores(path: str | Path, names: Iterable[str], scores: Iterable[float]) -> None:
    """Write ``filename cm-score`` rows in ASVspoof 5's format, numbers in full precision."""
    rows = (f"{name}\t{float(score)!r}" for name, score in zip(names, scores))
    write_lines(path, ["filename\tcm-score", *rows])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
