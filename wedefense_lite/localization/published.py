"""Frame scores and references of localization as other toolkits and corpora have them.

Frame scores, by ``read_frame_scores``:

| file | content |
|---|---|
| ours | lines ``utt start duration llr`` |
| partialspoof-metrics | lines ``utt frame score_bonafide score_spoof`` |
| ``*_score_ali_<10 ms>_*.pkl`` of PartialSpoof | arrays of rows ``utt score_0 score_1 [class]`` |
| ``.npy``, ``.npz``, ``.pkl`` | a dictionary, utterances to scores of frames |

References, by ``read_reference``:

| file | content |
|---|---|
| RTTM | segments of both classes, or of spoofed parts alone: the rest is bona fide |
| ``*_seglab_<seconds>.npy`` of PartialSpoof | a dictionary, utterances to 0 and 1 of frames |
| LlamaPartialSpoof, partialspoof-metrics | lines ``utt duration label start-end-label ...`` |
| HAD | lines ``utt start-end-T/start-end-F/... 0|1``, T bona fide |

Where frames have no times, their length is an option, or stands in the name of the file.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from wedefense_lite.audio.segments import (
    TIME_SLACK,
    Segments,
    parse_seconds,
    read_rttm,
    runs,
)
from wedefense_lite.files import InputError, converted, iter_rows, note_input, number
from wedefense_lite.interop.cells import cells_of
from wedefense_lite.interop.pickled import is_pickled, read_arrays, read_frame_labels
from wedefense_lite.interop.score_tables import TIMED_LABEL, check_cells
from wedefense_lite.labels import BONAFIDE, SPOOF, label_id, label_of_word
from wedefense_lite.localization.frame_scores import read_frames
from wedefense_lite.localization.frames import FrameScores

# The length of a frame in the names of published files: in seconds, or in units of 10 ms.
SECONDS_IN_NAME = re.compile(r"(?:seglab_|unit_?|_)(0\.\d+)")
UNITS_IN_NAME = re.compile(r"_score_ali_(\d+)(?:_|\.|$)")
UNIT = 0.01
HAD_CLASSES = {"T": BONAFIDE, "F": SPOOF}


def frame_seconds(path: str | Path, option: str, hop: float | None) -> float:
    """Length of the frames of a file that has no times: as typed, or in the file's name.

    Args:
        path: the file.
        option: name of the option, for errors.
        hop: its value; None if it was not given.

    Raises:
        InputError: neither says it, or it is none.
    """
    if hop is None:
        name = Path(path).name
        units = UNITS_IN_NAME.search(name)
        seconds = SECONDS_IN_NAME.search(name)
        if units:
            hop = UNIT * int(units[1])
        elif seconds:
            hop = float(seconds[1])
        else:
            raise InputError(f"{path}: frames without times: {option} is their length in seconds")
        logging.info("%s: frames of %g s, by its name", path, hop)
    if not TIME_SLACK < hop < 10:
        raise InputError(f"{option} {hop:g}: expected seconds between {TIME_SLACK:g} and 10")
    return round(hop, 6)


def read_frame_scores(
    path: str | Path, hop: float | None = None
) -> tuple[dict[str, FrameScores], float]:
    """Frame scores of each utterance in a format above, and the duration of a frame in seconds.

    Args:
        path: the file.
        hop: seconds a frame, for files without times.

    Raises:
        InputError: as ``read_frames``; another format; no length of the frames.
    """
    if is_pickled(path):
        seconds = frame_seconds(path, "--hop", hop)
        return _framed(_scores_of_arrays(path), seconds), seconds
    if _has_frame_numbers(path):
        logging.info("%s: read as partialspoof-metrics, -1 times the score of spoof", path)
        seconds = frame_seconds(path, "--hop", hop)
        return _framed(_scores_of_lines(path), seconds), seconds
    if hop is not None:
        raise InputError(f"{path}: its frames have times, expected no --hop")
    return read_frames(path)


def _framed(scores: Mapping[str, np.ndarray], hop: float) -> dict[str, FrameScores]:
    frames = {}
    for name, values in scores.items():
        frames[name] = FrameScores(np.arange(len(values) + 1) * hop, values)
    return frames


def _has_frame_numbers(path: str | Path) -> bool:
    """Whether the second column counts the frames of each utterance, and is no time.

    Times of frames of 1 s count too, so the third column must not be their duration.
    """
    counts: dict[str, int] = {}
    durations = set()
    for _, row in iter_rows(path, columns=None):
        if len(row) != 4 or row[1] != str(counts.get(row[0], 0)):
            return False
        counts[row[0]] = counts.get(row[0], 0) + 1
        durations.add(row[2])
    are_seconds = durations <= {"1", "1.0"}
    return max(counts.values()) > 1 and not are_seconds


def _scores_of_lines(path: str | Path) -> dict[str, np.ndarray]:
    """Scores of lines ``utt frame score_bonafide score_spoof``: that of spoof turned round."""
    scores: dict[str, list[float]] = {}
    for line, (name, _, _, spoof) in iter_rows(path, columns=4):
        scores.setdefault(name, []).append(-converted(path, line, name, spoof, number))
    return {name: np.array(values) for name, values in scores.items()}


def _scores_of_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Scores of frames by utterance, of a dictionary or of PartialSpoof's rows."""
    arrays = read_arrays(path)
    scores: dict[str, np.ndarray] = {}
    if isinstance(arrays, dict):
        logging.info("%s: read as a dictionary of frame scores", path)
        for name, array in arrays.items():
            is_column = array.ndim == 1 or (array.ndim == 2 and 1 in array.shape)
            if not is_column or not array.size:
                raise InputError(
                    f"{path}: {name} has scores of shape {array.shape}, expected one a frame, "
                    "higher for bona fide"
                )
            scores[name] = _numbers(path, name, array.ravel())
        return scores
    logging.info("%s: read as rows of PartialSpoof, their score of bona fide", path)
    rows_by_name: dict[str, list[np.ndarray]] = {}
    for array in arrays:
        if array.ndim != 2 or array.shape[1] not in (3, 4) or array.dtype.kind not in "US":
            raise InputError(
                f"{path}: an array of shape {array.shape}, expected rows 'utt score_0 score_1'"
            )
        names = array[:, 0].astype(str)
        for name in dict.fromkeys(names.tolist()):
            rows_by_name.setdefault(name, []).append(array[names == name, 2])
    for name, parts in rows_by_name.items():
        scores[name] = _numbers(path, name, np.concatenate(parts))
    return scores


def _numbers(path: str | Path, name: str, values: np.ndarray) -> np.ndarray:
    """Scores as numbers; InputError where one is none, or NaN."""
    try:
        numbers = values.astype(np.float64)
    except ValueError as error:
        raise InputError(f"{path}: {name}: {error}") from None
    if np.isnan(numbers).any():
        raise InputError(f"{path}: {name}: NaN, expected a number")
    return numbers


def read_reference(
    path: str | Path, frames: Mapping[str, FrameScores], hop: float | None = None
) -> dict[str, Segments]:
    """Segments of each utterance in a format above.

    Args:
        path: the file.
        frames: frame scores by utterance: where a reference has spoofed parts alone, or frames,
            an utterance ends where its scores do.
        hop: seconds a label, for files without times.

    Raises:
        InputError: as ``read_rttm``; another format; no length of the frames.
    """
    if is_pickled(path):
        seconds = frame_seconds(path, "--label_hop", hop)
        note_input(path)
        logging.info("%s: read as labels of frames, 1 is bona fide", path)
        return _segments_of_frames(read_frame_labels(path), frames, seconds)
    if hop is not None:
        raise InputError(f"{path}: its labels have times, expected no --label_hop")
    _, first_row = cells_of(path)[0]
    has_list = len(first_row) > 1 and TIMED_LABEL.match(first_row[1].split("/")[0])
    if has_list:
        logging.info("%s: read as labels of HAD, T is bona fide", path)
        return _read_had(path)
    if len(first_row) > 3 and TIMED_LABEL.fullmatch(first_row[3]):
        logging.info("%s: read as labels of LlamaPartialSpoof", path)
        return _read_timed_labels(path)
    segments = read_rttm(path)
    has_bonafide = any((truth.label == BONAFIDE).any() for truth in segments.values())
    return segments if has_bonafide else _with_bona_fide_rest(path, segments, frames)


def _with_bona_fide_rest(
    path: str | Path, segments: Mapping[str, Segments], frames: Mapping[str, FrameScores]
) -> dict[str, Segments]:
    """Segments of spoofed parts, and between them bona fide ones to the end of the scores."""
    completed = {}
    absent = 0
    for name in segments:
        if name not in frames:
            # The comparison of the two files names it.
            completed[name] = segments[name]
    for name, scores in frames.items():
        end = float(scores.edges[-1])
        timed = []
        begin = 0.0
        if name in segments:
            for start, stop in zip(segments[name].start, segments[name].end):
                if start - begin > TIME_SLACK:
                    timed.append((begin, start, BONAFIDE))
                timed.append((start, stop, SPOOF))
                begin = stop
        else:
            absent += 1
        # What rounding leaves at the end is no segment.
        if end - begin > TIME_SLACK:
            timed.append((begin, end, BONAFIDE))
        completed[name] = _segments(timed)
    logging.info(
        "%s: segments of spoofed parts alone, the rest is bona fide, and %d utterances without any",
        path,
        absent,
    )
    return completed


def _segments(timed: Iterable[tuple[float, float, int]]) -> Segments:
    starts, ends, labels = zip(*timed)
    return Segments(np.array(starts), np.array(ends), np.array(labels))


def _segments_of_frames(
    labels: Mapping[str, np.ndarray], frames: Mapping[str, FrameScores], hop: float
) -> dict[str, Segments]:
    """Runs of equal labels; the last frame ends where the scores do, if these end within it."""
    segments = {}
    for name, values in labels.items():
        timed = [(run.begin * hop, run.end * hop, run.value) for run in runs(values)]
        if name in frames:
            start, end, label = timed[-1]
            scores_end = float(frames[name].edges[-1])
            if end - hop < scores_end < end and scores_end > start:
                timed[-1] = (start, scores_end, label)
        segments[name] = _segments(timed)
    return segments


def _read_timed_labels(path: str | Path) -> dict[str, Segments]:
    """Segments of lines ``utt duration label start-end-label ...``."""
    segments = {}
    for line, cells in cells_of(path):
        check_cells(path, line, cells, 4, at_least=True)
        name, duration, label, *items = cells
        seconds = converted(path, line, name, duration, parse_seconds)
        is_spoof = converted(path, line, name, label, label_of_word) == "spoof"
        timed = []
        for item in items:
            begin, end, word = _timed_label(path, line, name, item)
            timed.append((begin, end, label_id(converted(path, line, name, word, label_of_word))))
        _refuse_repeated(path, line, name, segments)
        segments[name] = _checked(path, line, name, timed, is_spoof)
        if abs(segments[name].end[-1] - seconds) > TIME_SLACK:
            raise InputError(
                f"{path}:{line}: {name} has segments to {segments[name].end[-1]:g} s of {seconds:g}"
            )
    return segments


def _read_had(path: str | Path) -> dict[str, Segments]:
    """Segments of lines ``utt start-end-T/start-end-F/... 0|1``, 0 if a part is spoofed."""
    segments = {}
    for line, cells in cells_of(path):
        check_cells(path, line, cells, 3)
        name, items, label = cells
        if label not in ("0", "1"):
            raise InputError(f"{path}:{line}: {name} has {label!r}, expected 0 or 1")
        timed = []
        for item in items.split("/"):
            begin, end, word = _timed_label(path, line, name, item)
            if word not in HAD_CLASSES:
                raise InputError(f"{path}:{line}: {name} has {word!r}, expected T or F")
            timed.append((begin, end, HAD_CLASSES[word]))
        _refuse_repeated(path, line, name, segments)
        segments[name] = _checked(path, line, name, timed, is_spoof=label == "0")
    return segments


def _refuse_repeated(
    path: str | Path, line: int, name: str, segments: Mapping[str, Segments]
) -> None:
    if name in segments:
        raise InputError(f"{path}:{line}: {name} is there twice")


def _timed_label(path: str | Path, line: int, name: str, item: str) -> tuple[float, float, str]:
    timed = TIMED_LABEL.fullmatch(item)
    if timed is None:
        raise InputError(f"{path}:{line}: {name} has {item!r}, expected start-end-label")
    return float(timed[1]), float(timed[2]), timed[3]


def _checked(path: str | Path, line: int, name: str, timed: list, is_spoof: bool) -> Segments:
    """Segments in order, which must not overlap, and agree with the label of the utterance."""
    if not timed:
        raise InputError(f"{path}:{line}: {name} has no segments")
    segments = _segments(sorted(timed))
    overlap = (segments.end[:-1] > segments.start[1:] + TIME_SLACK).any()
    if overlap or not (segments.end > segments.start).all():
        raise InputError(f"{path}:{line}: {name} has segments that overlap, or of no length")
    if is_spoof != bool((segments.label == SPOOF).any()):
        word = "spoof" if is_spoof else "bona fide"
        raise InputError(f"{path}:{line}: {name} is {word} as a whole, but not by its segments")
    return segments
