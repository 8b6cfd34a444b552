"""Labelled segments of utterances as RTTM: ``SPEAKER utt 1 start duration <NA> <NA> label <NA> <NA>``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wedefense_lite.files import InputError, converted, iter_rows, number, write_lines
from wedefense_lite.labels import LABELS, label_id


class Segments(NamedTuple):
    """Labelled segments of one utterance in order, without overlap; seconds, class indices."""

    start: np.ndarray
    end: np.ndarray
    label: np.ndarray


# Seconds by which printed times that should be equal may differ: files round them, to 1e-4 or 1e-3.
TIME_SLACK = 1e-3
# Seconds that the segments of an utterance may end before or after its audio, or its frame scores.
END_TOLERANCE = 0.05


def read_rttm(path: str | Path) -> dict[str, Segments]:
    """Segments of each utterance from RTTM ``SPEAKER`` lines, the label in field 8.

    Raises:
        InputError: another label than bonafide or spoof, times that are none, segments that overlap.
    """
    found: dict[str, list[tuple[float, float, int]]] = {}
    for line, row in iter_rows(path, columns=None):
        if len(row) < 8:
            raise InputError(f"{path}:{line}: {len(row)} columns, expected the label in column 8")
        start, duration = (converted(path, line, row[1], cell, number) for cell in row[3:5])
        label = converted(path, line, row[1], row[7], label_id)
        found.setdefault(row[1], []).append((start, start + duration, label))
    segments = {name: Segments(*map(np.array, zip(*sorted(rows)))) for name, rows in found.items()}
    for name, (start, end, _) in segments.items():
        if start[0] < 0 or not (end > start).all() or (end[:-1] > start[1:] + TIME_SLACK).any():
            raise InputError(f"{path}: {name} has segments that overlap, or of no length")
    return segments


def write_rttm(
    path: str | Path,
    segments: Mapping[str, Iterable[tuple[float, float, int]]],
    names: Sequence[str] = LABELS,
) -> None:
    """Write what :func:`read_rttm` reads, utterances and times in order, to a tenth of a millisecond;
    segments that touch still do.

    Args:
        segments: utterance to its segments ``(start, end, class index)``, seconds.
        names: of the classes; of those of :func:`read_rttm`, or talkers.
    """
    line = "SPEAKER {} 1 {:.4f} {:.4f} <NA> <NA> {} <NA> <NA>".format
    write_lines(
        path,
        (
            line(name, start, round(end, 4) - round(start, 4), names[label])
            for name in sorted(segments, key=str.encode)
            for start, end, label in sorted(segments[name])
        ),
    )


def runs(values: np.ndarray) -> list[tuple[int, int, int]]:
    """``(begin, end, value)`` of each stretch of equal values, as indices."""
    edges = np.flatnonzero(np.diff(values)) + 1
    begin, end = np.concatenate([[0], edges]), np.concatenate([edges, [len(values)]])
    return list(zip(begin.tolist(), end.tolist(), values[begin].tolist()))
