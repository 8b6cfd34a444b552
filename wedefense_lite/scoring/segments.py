"""Frame scores and RTTM segments: read, and checked against each other."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np

from wedefense_lite.files import InputError, iter_rows
from wedefense_lite.labels import LABELS, label_id
from wedefense_lite.metrics.localization import Frames, Segments

SLACK = 1e-3  # seconds by which printed times may be off


def read_frames(path: str | Path) -> tuple[dict[str, Frames], float]:
    """Frames of each utterance from lines ``utt start duration llr``, and their duration in seconds.

    Raises:
        InputError: a value that is no number or NaN, frames with gaps, of different durations (the
            last one of an utterance may be shorter), or an utterance whose lines are not together.
    """
    found: dict[str, tuple[list[float], list[float]]] = {}
    current, edges, scores, hop = None, [], [], None
    for line, (name, *fields) in iter_rows(path, columns=4):
        start, duration, score = (_number(text, f"{path}:{line}: {name}") for text in fields)
        hop = hop or duration
        if name != current:
            if name in found:
                raise InputError(f"{path}:{line}: {name} is there twice, its lines not together")
            current, (edges, scores) = name, found.setdefault(name, ([start], []))
        elif abs(edges[-1] - edges[-2] - hop) > SLACK:
            raise InputError(f"{path}:{line}: {name} goes on after a frame that is not {hop:g} s long")
        if abs(start - edges[-1]) > SLACK or not 0 < duration <= hop + SLACK:
            raise InputError(
                f"{path}:{line}: {name} has a frame at {start:g} s of {duration:g} s, "
                f"expected one at {edges[-1]:g} s of {hop:g} s or less"
            )
        edges.append(start + duration)
        scores.append(score)
    return {
        name: Frames(np.array(edges), np.array(scores)) for name, (edges, scores) in found.items()
    }, hop


def read_rttm(path: str | Path) -> dict[str, Segments]:
    """Segments of each utterance from RTTM ``SPEAKER`` lines, the label in field 8.

    Raises:
        InputError: another label than bonafide or spoof, times that are none, segments that overlap.
    """
    found: dict[str, list[tuple[float, float, int]]] = {}
    for line, fields in iter_rows(path, columns=None):
        if len(fields) < 8:
            raise InputError(f"{path}:{line}: {len(fields)} columns, expected the label in column 8")
        name, label, where = fields[1], fields[7], f"{path}:{line}: {fields[1]}"
        start, duration = _number(fields[3], where), _number(fields[4], where)
        if label not in LABELS:
            raise InputError(f"{where} has label {label!r}, expected {' or '.join(LABELS)}")
        if start < 0 or not 0 < duration < math.inf:
            raise InputError(f"{where} has a segment at {start:g} s of {duration:g} s")
        found.setdefault(name, []).append((start, start + duration, label_id(label)))
    for name, segments in found.items():
        segments.sort()
        for (_, end, _), (start, _, _) in pairwise(segments):
            if end > start + SLACK:
                raise InputError(f"{path}: {name} has segments that overlap at {start:g} s")
    return {name: Segments(*map(np.array, zip(*segments))) for name, segments in found.items()}


def matched(
    frames: dict[str, Frames], segments: dict[str, Segments], hop: float, source: str, reference: str
) -> list[tuple[Frames, Segments]]:
    """Frames and segments of each utterance, which must cover the same time within 50 ms or two frames.

    Raises:
        InputError: an utterance is in one of them only, or ends elsewhere.
    """
    difference = sorted(frames.keys() ^ segments.keys())
    if difference:
        where = source if difference[0] in frames else reference
        raise InputError(
            f"{difference[0]} is only in {where} ({len(difference)} such in one file only)"
        )
    for name, (edges, _) in frames.items():
        end = segments[name].end[-1]
        if abs(edges[-1] - end) > max(0.05, 2 * hop) + SLACK:
            raise InputError(
                f"{source}: {name} ends at {edges[-1]:g} s, but at {end:g} s in {reference}"
            )
    return [(frames[name], segments[name]) for name in frames]


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise InputError(f"{where} has {text!r}, expected a number") from None
    if math.isnan(number):
        raise InputError(f"{where} has NaN, expected a number")
    return number
