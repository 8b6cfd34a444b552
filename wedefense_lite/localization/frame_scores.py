"""Frame scores: read, and checked against the segments of a reference."""

from array import array
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wedefense_lite.audio.segments import SLACK, Segments
from wedefense_lite.files import InputError, converted, iter_rows, number, write_lines
from wedefense_lite.localization.frames import Frames
from wedefense_lite.scoring.scores import align


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


def write_frames(path: str | Path, llr: Mapping[str, np.ndarray], hop: float) -> None:
    """Write what :func:`read_frames` reads, each utterance from second 0 on, all frames ``hop`` seconds long."""
    write_lines(
        path,
        (
            f"{name} {round(place * hop, 6)} {round(hop, 6)} {value:.7g}"
            for name, values in llr.items()
            for place, value in enumerate(values)
        ),
    )


def matched(
    frames: dict[str, Frames],
    segments: dict[str, Segments],
    hop: float,
    source: str,
    reference: str,
) -> list[tuple[Frames, Segments]]:
    """Frames and segments of each utterance, which must cover the same time within 50 ms or two frames.

    Raises:
        InputError: an utterance is in one of them only, or ends elsewhere.
    """
    pairs = list(zip(align(frames, source, segments, reference), segments.values()))
    for name, ((edges, _), (_, ends, _)) in zip(segments, pairs):
        if abs(edges[-1] - ends[-1]) > max(0.05, 2 * hop) + SLACK:
            raise InputError(
                f"{source}: {name} ends at {edges[-1]:g} s, at {ends[-1]:g} s in {reference}"
            )
    return pairs
