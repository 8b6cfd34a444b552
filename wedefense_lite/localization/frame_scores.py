"""Frame scores: read, written, and paired with the segments of a reference."""

from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from wedefense_lite.audio.segments import END_TOLERANCE, TIME_SLACK, Segments
from wedefense_lite.files import InputError, converted, iter_rows, number, write_lines
from wedefense_lite.localization.frames import FrameScores
from wedefense_lite.scoring.scores import align, finite_number
from wedefense_lite.scoring.sidecar import find_sidecar


def read_frames(path: str | Path) -> tuple[dict[str, FrameScores], float]:
    """Frame scores of each utterance, and the duration of a frame in seconds.

    Args:
        path: lines ``utt start duration llr``, in any order; its sidecar, if any, is checked.

    Raises:
        InputError: as ``find_sidecar``; a value that is no number or NaN, a time that is infinite;
            frames of an utterance that begin before 0 s, leave gaps or differ in duration (the last
            one may be shorter).
    """
    find_sidecar(path)
    # Rows of doubles, four in a row: lists of Python floats would take four times the memory.
    cells_of: dict[str, array] = {}
    for line, (name, *cells) in iter_rows(path, columns=4):
        values = []
        # A score may be infinite, a time may not.
        for cell, convert in zip(cells, (finite_number, finite_number, number)):
            values.append(converted(path, line, name, cell, convert))
        cells_of.setdefault(name, array("d")).extend([*values, line])
    tables = {name: np.array(cells).reshape(-1, 4) for name, cells in cells_of.items()}
    hop = round(max(table[:, 1].max() for table in tables.values()), 6)
    # Printed times are good to a millisecond: shorter frames can't be told from gaps.
    if hop <= TIME_SLACK:
        raise InputError(f"{path}: frames of {hop:g} s, expected longer ones than {TIME_SLACK:g} s")
    frames = {name: _check_frames(path, name, table, hop) for name, table in tables.items()}
    return frames, hop


def _check_frames(path: str | Path, name: str, table: np.ndarray, hop: float) -> FrameScores:
    """Frame scores from rows ``start, duration, score, line``; InputError where they leave gaps."""
    start, duration, score, line = table[np.argsort(table[:, 0], kind="stable")].T
    end = start + duration
    is_wrong = ~((start >= 0) & (duration > 0) & (duration <= hop + TIME_SLACK))
    is_apart = np.abs(start[1:] - end[:-1]) > TIME_SLACK
    is_short = np.abs(duration[:-1] - hop) > TIME_SLACK
    is_wrong[1:] |= is_apart | is_short
    if is_wrong.any():
        first = int(is_wrong.argmax())
        raise InputError(
            f"{path}:{line[first]:.0f}: {name} has a frame at {start[first]:g} s, "
            f"expected frames of {hop:g} s, each after the one before"
        )
    return FrameScores(np.append(start[0], end), score)


def write_frames(path: str | Path, llr: Mapping[str, np.ndarray], hop: float) -> None:
    """Write lines ``utt start duration llr``, which ``read_frames`` reads.

    Args:
        path: file to write.
        llr: LLRs of the frames of each utterance, the first frame beginning at 0 s.
        hop: seconds of every frame.
    """
    write_lines(path, _frame_lines(llr, hop))


def _frame_lines(llr: Mapping[str, np.ndarray], hop: float) -> Iterator[str]:
    for name, values in llr.items():
        for position, value in enumerate(values):
            yield f"{name} {round(position * hop, 6)} {round(hop, 6)} {value:.7g}"


def match_frames(
    frames: dict[str, FrameScores],
    segments: dict[str, Segments],
    hop: float,
    frames_path: str,
    segments_path: str,
) -> list[tuple[FrameScores, Segments]]:
    """Frame scores and segments of each utterance, in the order of the segments.

    Args:
        frames: by utterance.
        segments: by utterance.
        hop: seconds a frame.
        frames_path: file of the frames, for errors.
        segments_path: file of the segments, for errors.

    Raises:
        InputError: an utterance is in one of them only, or its two ends are more than 50 ms and
            more than two frames apart.
    """
    # Two frames, since at a coarse hop one alone is longer than the tolerance.
    tolerance = max(END_TOLERANCE, 2 * hop) + TIME_SLACK
    pairs = list(zip(align(frames, frames_path, segments, segments_path), segments.values()))
    for name, (scores, reference) in zip(segments, pairs):
        frames_end = scores.edges[-1]
        segments_end = reference.end[-1]
        if abs(frames_end - segments_end) > tolerance:
            raise InputError(
                f"{frames_path}: {name} ends at {frames_end:g} s, "
                f"at {segments_end:g} s in {segments_path}"
            )
    return pairs
