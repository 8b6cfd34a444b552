"""Score and key files: read, checked line by line, and joined by utterance."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from wedefense_lite.files import InputError, iter_rows, read_table, write_lines
from wedefense_lite.labels import LABELS
from wedefense_lite.scoring.sidecar import read_sidecar

ASV_LABELS = ("target", "nontarget", "spoof")


def number(text: str) -> float:
    """A float, infinite perhaps.

    Raises:
        ValueError: NaN, or no number.
    """
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r}, expected a number") from None
    if math.isnan(value):
        raise ValueError("NaN, expected a number")
    return value


def one_of(known: Collection[str]) -> Callable[[str], str]:
    """A check that a text is one of ``known``, which raises ValueError."""

    def check(text: str) -> str:
        if text not in known:
            raise ValueError(f"{text!r}, expected {' or '.join(known)}")
        return text

    return check


def converted(path: str | Path, line: int, name: str, text: str, convert: Callable):
    """``convert(text)``, its ValueError an :class:`InputError` that names file, line and utterance."""
    try:
        return convert(text)
    except ValueError as error:
        raise InputError(f"{path}:{line}: {name} has {error}") from None


def read_column(path: str | Path, column: str, convert: Callable = str, ids: Sequence[str] = ("filename",)) -> dict:
    """A column of a table with a header, by trial, in the order of the file.

    Args:
        path: separated by tabs or spaces.
        column: a name in the header.
        convert: of a cell, raising ValueError.
        ids: columns whose values, joined by spaces, name a trial.

    Raises:
        InputError: no such column, another number of columns in a line, a trial twice, a cell that
            can't be converted, no line after the header.
    """
    rows = iter_rows(path, columns=None)
    first, header = next(rows)
    for name in (*ids, column):
        if name not in header:
            raise InputError(f"{path}:{first}: header {' '.join(header)!r} has no column {name!r}")
    places, place, cells = [header.index(name) for name in ids], header.index(column), {}
    for line, row in rows:
        name = " ".join([row[index] for index in places])
        if name in cells:
            raise InputError(f"{path}:{line}: {name} is there twice")
        cells[name] = converted(path, line, name, row[place], convert)
    if not cells:
        raise InputError(f"{path}: no line after the header")
    return cells


def aligned(values: Mapping, source: str | Path, reference: Mapping, other: str | Path) -> list:
    """``values`` in the order of ``reference``, which must have the same keys.

    Raises:
        InputError: names a key that only one of the two files has, and its line.
    """
    for here, there, names in (
        (source, other, values.keys() - reference.keys()),
        (other, source, reference.keys() - values.keys()),
    ):
        for name in sorted(names)[:1]:
            ids = set(name.split())
            line, _ = max(iter_rows(here, columns=None), key=lambda row: len(ids & set(row[1])))
            raise InputError(f"{here}:{line}: {name} is not in {there}")
    return [values[name] for name in reference]


def read_trials(scores: str | Path, key: str | Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Utterances, labels and scores of a detector, in the order of the key.

    Args:
        scores: with the header ``filename cm-score``; its sidecar, if any, must have our polarity.
        key: with the header ``filename cm-label``.

    Raises:
        InputError: as :func:`read_column`, an utterance in one file only, a class without trials.
    """
    labels = read_column(key, "cm-label", one_of(LABELS))
    values = np.array(aligned(read_scores(scores), scores, labels, key))
    classes = np.array(list(labels.values()))
    by_class(classes, values, LABELS, key)
    return list(labels), classes, values


def read_scores(path: str | Path) -> dict[str, float]:
    """Scores of a file with the header ``filename cm-score``, whose sidecar, if any, is checked."""
    read_sidecar(path, required=False)
    return read_column(path, "cm-score", number)


def read_condition(path: str | Path, column: str, names: Iterable[str], headed: bool = False) -> np.ndarray:
    """A column of a metadata table, one value for each of ``names``; it may have more utterances.

    A table whose first line names the column has a header, with the utterance in the column
    ``filename`` or else in the first. One of two columns without such a header (``utt2attack``) *is*
    the column, unless it has to be ``headed``.

    Raises:
        InputError: neither of the two, an utterance twice, or one without a line.
    """
    _, first = next(iter_rows(path, columns=None))
    if column in first:
        table = read_column(path, column, ids=["filename" if "filename" in first else first[0]])
    elif len(first) == 2 and not headed:
        table = read_table(path)
    else:
        raise InputError(f"{path}: its first line has no column {column!r}: {' '.join(first)!r}")
    for name in names:
        if name not in table:
            raise InputError(f"{path}: no line for {name}")
    return np.array([table[name] for name in names])


def read_asv_scores(path: str | Path) -> dict[str, np.ndarray]:
    """ASV scores by class from lines ``source key score`` (the format of 2019 LA, no header).

    Raises:
        InputError: another key than target, nontarget or spoof, a score that is no number, or a key
            that does not occur.
    """
    keys, scores = [], []
    for line, (source, key, score) in iter_rows(path, columns=3):
        keys.append(converted(path, line, source, key, one_of(ASV_LABELS)))
        scores.append(converted(path, line, source, score, number))
    return by_class(np.array(keys), np.array(scores), ASV_LABELS, path)


def by_class(labels: np.ndarray, values: np.ndarray, known: Sequence[str], source: str | Path) -> dict[str, np.ndarray]:
    """``values`` of each class; a class without trials is an :class:`InputError`."""
    for label in known:
        if not (labels == label).any():
            raise InputError(f"{source}: no {label} trial among {len(labels)}")
    return {label: values[labels == label] for label in known}


def write_scores(path: str | Path, names: Iterable[str], scores: Iterable[float]) -> None:
    """Write ``filename cm-score`` rows in ASVspoof 5's format, numbers in full precision."""
    rows = (f"{name}\t{float(score)!r}" for name, score in zip(names, scores))
    write_lines(path, ["filename\tcm-score", *rows])
