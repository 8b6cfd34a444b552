"""Score and key files: read, checked line by line, and joined by utterance."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from wedefense_lite.files import (
    InputError,
    converted,
    iter_rows,
    number,
    one_of,
    read_columns,
    write_lines,
)
from wedefense_lite.labels import LABELS
from wedefense_lite.scoring.sidecar import read_sidecar

ASV_LABELS = ("target", "nontarget", "spoof")


def aligned(values: Mapping, source: str | Path, reference: Mapping, other: str | Path) -> list:
    """``values`` in the order of ``reference``, which must have the same keys.

    Raises:
        InputError: names a key that only one of the two files has, and its line where it stands there as it is.
    """
    for here, there, names in (
        (source, other, values.keys() - reference.keys()),
        (other, source, reference.keys() - values.keys()),
    ):
        for name in sorted(names)[:1]:
            ids = set(name.split())
            line, row = max(iter_rows(here, columns=None), key=lambda row: len(ids & set(row[1])))
            place = f"{here}:{line}" if ids & set(row) else here
            raise InputError(f"{place}: {name} is not in {there}")
    return [values[name] for name in reference]


def read_trials(scores: str | Path, key: str | Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Utterances, labels and scores of a detector, in the order of the key.

    Args:
        scores: with the header ``filename cm-score``; its sidecar, if any, must have our polarity.
        key: with the header ``filename cm-label``.

    Raises:
        InputError: as :func:`read_columns`, an utterance in one file only, a class without trials.
    """
    labels = read_columns(key, {"cm-label": one_of(LABELS)})
    values = np.array(aligned(read_scores(scores), scores, labels, key))
    classes = np.array(list(labels.values()))[:, 0]
    by_class(classes, values, LABELS, key)
    return list(labels), classes, values[:, 0]


def read_verification(
    scores: str | Path, key: str | Path, columns: Sequence[str]
) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Utterances, classes and columns of scores of trials of a speaker and an utterance each.

    Args:
        scores: with the header ``spk filename`` and ``columns``.
        key: with the header ``spk filename cm-label asv-label``.

    Raises:
        InputError: as :func:`read_trials`, or a spoof by one label alone.
    """
    ids = "spk", "filename"
    labels = read_columns(key, {"cm-label": one_of(LABELS), "asv-label": one_of(ASV_LABELS)}, ids)
    for trial, (cm, asv) in labels.items():
        if (cm == "spoof") != (asv == "spoof"):
            raise InputError(f"{key}: {trial} is {cm} by cm-label and {asv} by asv-label")
    cells = aligned(read_columns(scores, dict.fromkeys(columns, number), ids), scores, labels, key)
    classes = np.array(list(labels.values()))[:, 1]
    by_class(classes, classes, ASV_LABELS, key)
    return [trial.split()[1] for trial in labels], classes, dict(zip(columns, np.array(cells).T))


def read_scores(path: str | Path) -> dict[str, list[float]]:
    """Rows of one score of a file ``filename cm-score``, whose sidecar, if any, is checked."""
    read_sidecar(path, required=False)
    return read_columns(path, {"cm-score": number})


def read_condition(path: str | Path, column: str, names: Iterable[str]) -> np.ndarray:
    """A column of a metadata table, one value for each of ``names``; it may have more utterances.

    A table has a header, with the utterance in the column ``filename`` or else in the first. Two
    columns without such a header (``utt2attack``) *are* the column asked for.

    Raises:
        InputError: no such column, an utterance twice, or one without a line.
    """
    _, first = next(iter_rows(path, columns=None))
    bare = len(first) == 2 and not {column, "filename"} & set(first)
    utterance = "filename" if bare or "filename" in first else first[0]
    table = read_columns(path, {column: str}, [utterance], [utterance, column] if bare else None)
    for name in names:
        if name not in table:
            raise InputError(f"{path}: no line for {name}")
    return np.array([table[name][0] for name in names])


def read_asv_scores(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """ASV scores by class, and those of the spoofs by their source, which is the attack.

    Args:
        path: lines ``source key score`` (the format of 2019 LA, no header).

    Raises:
        InputError: another key than target, nontarget or spoof, a score that is no number, or a key
            that does not occur.
    """
    sources, keys, scores = [], [], []
    for line, (source, key, score) in iter_rows(path, columns=3):
        sources.append(source)
        keys.append(converted(path, line, source, key, one_of(ASV_LABELS)))
        scores.append(converted(path, line, source, score, number))
    found = by_class(np.array(keys), np.array(scores), ASV_LABELS, path)
    attacks = np.array(sources)[np.array(keys) == "spoof"]
    return found, {
        attack: found["spoof"][attacks == attack] for attack in np.unique(attacks).tolist()
    }


def by_class(
    labels: np.ndarray, values: np.ndarray, known: Sequence[str], source: str | Path
) -> dict[str, np.ndarray]:
    """``values`` of each class; a class without trials is an :class:`InputError`."""
    for label in known:
        if label not in labels:
            raise InputError(f"{source}: no {label} trial among {len(labels)}")
    return {label: values[labels == label] for label in known}


def write_scores(path: str | Path, names: Iterable[str], scores: Iterable[float]) -> None:
    """Write ``filename cm-score`` rows in ASVspoof 5's format, numbers in full precision."""
    rows = (f"{name}\t{float(score)!r}" for name, score in zip(names, scores))
    write_lines(path, ["filename\tcm-score", *rows])
