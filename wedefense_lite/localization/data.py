"""Data directories of corpora whose publishers give the times of spoofed parts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wedefense_lite.audio.data_dir import Counts, Trial, durations, write_data_dirs
from wedefense_lite.audio.segments import END_TOLERANCE, Segments, rttm_lines
from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF

SAMPLE_RATE = 16000


def label_of(segments: Segments) -> str:
    """Label of an utterance: spoof if any part of it is."""
    return LABELS[segments.label.min()]


def write_segmented_dirs(
    data_dir: str | Path,
    sets: Mapping[str, list[Trial]],
    segments: Mapping[str, Segments],
    counts: Mapping[str, Counts] | None = None,
    num_threads: int = 8,
    relative: bool = False,
) -> None:
    """Write ``data_dir/<set>/`` with ``segments.rttm``, whose last times are those of the audio.

    Args:
        data_dir: folder of the data directories.
        sets: name of a set to its trials.
        segments: segments of each utterance, as published.
        counts: published numbers of utterances of some or all sets.
        num_threads: threads that read headers.
        relative: as in ``write_data_dirs``.

    Raises:
        InputError: segments that end more than 50 ms before or after the audio, a trial whose label
            isn't that of its segments, or as ``write_data_dirs``. Nothing is written.
    """
    wavs = {trial.key: trial.wav for trials in sets.values() for trial in trials}
    seconds = durations(wavs, SAMPLE_RATE, num_threads)
    more_files = {}
    wrong = []
    for name, trials in sets.items():
        timed = {}
        for trial in trials:
            own = segments[trial.key]
            end = float(seconds[trial.key])
            if abs(own.end[-1] - end) > END_TOLERANCE:
                wrong.append(f"{trial.key} ends at {own.end[-1]:g} s, its audio at {end:g} s")
            if trial.label != label_of(own):
                wrong.append(f"{trial.key} is {trial.label}, its segments are not")
            timed[trial.key] = _to_end(own, end)
        more_files[name] = {"segments.rttm": rttm_lines(timed)}
    if wrong:
        raise InputError(f"{data_dir}: {len(wrong)} utterances disagree: {abbreviate(wrong)}")
    write_data_dirs(
        data_dir,
        dict(sets),
        counts,
        SAMPLE_RATE,
        num_threads=num_threads,
        more_files=more_files,
        relative=relative,
    )


def _to_end(segments: Segments, end: float) -> list[tuple[float, float, int]]:
    """Segments ``(start, end, class index)`` of which the last one ends where the audio does."""
    timed = [(float(start), float(stop), int(label)) for start, stop, label in zip(*segments)]
    start, _, label = timed[-1]
    if end > start:
        timed[-1] = (start, end, label)
    return timed


def with_bonafide_rest(parts: list[tuple[float, float]], end: float) -> Segments:
    """Segments of an utterance of which only the spoofed parts are published.

    Args:
        parts: start and end of each spoofed part, seconds.
        end: end of the utterance, seconds.

    Raises:
        ValueError: parts that overlap, are empty, or lie beyond the end.
    """
    starts = []
    ends = []
    labels = []
    place = 0.0
    for start, stop in sorted(parts):
        if not place <= start < stop <= end:
            raise ValueError(f"part {start:g}-{stop:g} s, expected one within {place:g}-{end:g} s")
        if start > place:
            starts.append(place)
            ends.append(start)
            labels.append(BONAFIDE)
        starts.append(start)
        ends.append(stop)
        labels.append(SPOOF)
        place = stop
    if end > place:
        starts.append(place)
        ends.append(end)
        labels.append(BONAFIDE)
    return Segments(np.array(starts), np.array(ends), np.array(labels))
