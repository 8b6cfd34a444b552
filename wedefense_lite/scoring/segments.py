"""Frame scores and RTTM segments: read, and checked against each other."""

from array import array
from pathlib import Path

import numpy as np

from wedefense_lite.files import InputError, iter_rows
from wedefense_lite.labels import label_id
from wedefense_lite.metrics.localization import Frames, Segments
from wedefense_lite.scoring.scores import aligned, converted, number

SLACK = 1e-3  # seconds by which printed times may be off


def read_frames(path: str | Path) -> tuple[dict[str, Frames], float]:
    """Frames of each utterance from lines ``utt start duration llr``, and their duration in seconds.

    Lines may be in any order.

    Raises:
        InputError: a value that is no number or NaN, or frames of an utterance that leave gaps or
            are of different durations (the last one may be shorter).
    """
    found: dict[str, array] = {}
    for line, (name, *cells) in iter_rows(path, columns=4):
        row = [converted(path, line, name, cell, number) for cell in cells]
        found.setdefault(name, array("d")).extend([*row, line])
    rows = {name: np.array(cells).reshape(-1, 4) for name, cells in found.items()}
    hop, frames = round(max(cells[:, 1].max() for cells in rows.values()), 6), {}
    for name, cells in rows.items():
        start, duration, score, line = cells[np.argsort(cells[:, 0], kind="stable")].T
        ends = start + duration
        bad = ~((duration > 0) & (duration <= hop + SLACK))
        bad[1:] |= (np.abs(start[1:] - ends[:-1]) > SLACK) | (np.abs(duration[:-1] - hop) > SLACK)
        if bad.any():
            found = f"{path}:{line[bad][0]:.0f}: {name} has a frame at {start[bad][0]:g} s"
            raise InputError(f"{found}, expected frames of {hop:g} s, each after the one before")
        frames[name] = Frames(np.append(start[0], ends), score)
    return frames, hop


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
        if start[0] < 0 or not (end > start).all() or (end[:-1] > start[1:] + SLACK).any():
            raise InputError(f"{path}: {name} has segments that overlap, or of no length")
    return segments


def matched(
    frames: dict[str, Frames], segments: dict[str, Segments], hop: float, source: str, reference: str
) -> list[tuple[Frames, Segments]]:
    """Frames and segments of each utterance, which must cover the same time within 50 ms or two frames.

    Raises:
        InputError: an utterance is in one of them only, or ends elsewhere.
    """
    pairs = list(zip(aligned(frames, source, segments, reference), segments.values()))
    for name, ((edges, _), (_, ends, _)) in zip(segments, pairs):
        if abs(edges[-1] - ends[-1]) > max(0.05, 2 * hop) + SLACK:
            raise InputError(f"{source}: {name} ends at {edges[-1]:g} s, at {ends[-1]:g} s in {reference}")
    return pairs
