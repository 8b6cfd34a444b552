"""Labelled segments of utterances, and their file format RTTM.

A line is ``SPEAKER utt 1 start duration <NA> <NA> label <NA> <NA>``, times in seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wedefense_lite.files import InputError, converted, iter_rows, number, write_lines
from wedefense_lite.labels import LABELS, label_id, label_of_word


class Segments(NamedTuple):
    """Labelled segments of one utterance, in order and without overlap.

    Attributes:
        start: ``(N,)``, seconds.
        end: ``(N,)``, seconds.
        label: ``(N,)``, class indices.
    """

    start: np.ndarray
    end: np.ndarray
    label: np.ndarray


class Run(NamedTuple):
    """A stretch of equal values: ``values[begin:end]`` are all ``value``."""

    begin: int
    end: int
    value: int


RTTM_COMMENT = ";;"  # beginning of lines that are none
# Seconds by which printed times that should be equal may differ: files round them, to 1e-4 or 1e-3.
TIME_SLACK = 1e-3
# Seconds that the segments of an utterance may end before or after its audio, or its frame scores.
END_TOLERANCE = 0.05
MAX_SECONDS = 10**7  # of a time in a table; a longer recording than four months is a mistake


def parse_seconds(text: str) -> float:
    """Time in a text: a number from 0 to ``MAX_SECONDS``.

    Raises:
        ValueError: no number, or none of these.
    """
    value = number(text)
    if not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"{text!r}, expected seconds, from 0 to {MAX_SECONDS}")
    return value


def read_rttm(path: str | Path) -> dict[str, Segments]:
    """Segments of each utterance from RTTM ``SPEAKER`` lines, the label in field 8.

    Lines that begin with ``;;`` are comments. Other words for the labels are those of ``labels``.

    Raises:
        InputError: a label that is no word for a class, times that are no times, segments that
            overlap or have no length.
    """
    rows: dict[str, list[tuple[float, float, int]]] = {}
    for line, row in iter_rows(path, columns=None, comment=RTTM_COMMENT):
        if len(row) < 8:
            raise InputError(f"{path}:{line}: {len(row)} columns, expected the label in column 8")
        key = row[1]
        start = converted(path, line, key, row[3], parse_seconds)
        duration = converted(path, line, key, row[4], parse_seconds)
        word = converted(path, line, key, row[7], label_of_word)
        label = label_id(word)
        rows.setdefault(key, []).append((start, start + duration, label))
    segments = {}
    for key, utterance_rows in rows.items():
        starts, ends, labels = zip(*sorted(utterance_rows))
        segments[key] = Segments(np.array(starts), np.array(ends), np.array(labels))
    for key, (start, end, _) in segments.items():
        overlap = (end[:-1] > start[1:] + TIME_SLACK).any()
        if start[0] < 0 or not (end > start).all() or overlap:
            raise InputError(f"{path}: {key} has segments that overlap, or of no length")
    return segments


def write_rttm(
    path: str | Path,
    segments: Mapping[str, Iterable[tuple[float, float, int]]],
    names: Sequence[str] = LABELS,
) -> None:
    """Write an RTTM that ``read_rttm`` reads, see ``rttm_lines``."""
    write_lines(path, rttm_lines(segments, names))


def rttm_lines(
    segments: Mapping[str, Iterable[tuple[float, float, int]]], names: Sequence[str] = LABELS
) -> list[str]:
    """Lines of an RTTM that ``read_rttm`` reads, utterances and times in order.

    Args:
        segments: utterance to its segments ``(start, end, class index)``, seconds.
        names: names of the classes: labels as in ``read_rttm``, or talkers.
    """
    lines = []
    for key in sorted(segments, key=str.encode):
        for start, end, label in sorted(segments[key]):
            # The difference of the rounded ends: segments that touch still do after rounding.
            duration = round(end, 4) - round(start, 4)
            name = names[label]
            lines.append(f"SPEAKER {key} 1 {start:.4f} {duration:.4f} <NA> <NA> {name} <NA> <NA>")
    return lines


def runs(values: np.ndarray) -> list[Run]:
    """Runs of equal values, in order."""
    edges = np.flatnonzero(np.diff(values)) + 1
    begins = np.concatenate([[0], edges])
    ends = np.concatenate([edges, [len(values)]])
    return [
        Run(begin, end, value)
        for begin, end, value in zip(begins.tolist(), ends.tolist(), values[begins].tolist())
    ]
