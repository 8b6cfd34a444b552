"""What of a recording is scored: its speech, in one window or in several.

Recipes score what the protocol of a corpus says, and all windows of it where that is asked for. A
recording that somebody has may begin with seconds of ringing or end in silence, to which systems
give scores of their own.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from wedefense_lite.audio.activity import speech
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError

Windows = Literal["first", "all"]

MIN_SPEECH_SECONDS = 0.5
# Kept before the first and behind the last segment of speech: soft beginnings and ends of words.
MARGIN_SECONDS = 0.1
WINDOW_MARK = "#"  # in ids of windows, between the recording and the second
LOWEST = re.compile(r"lowest([1-9][0-9]{0,3})")


class Span(NamedTuple):
    """Part of a recording, in samples.

    Attributes:
        first: its first sample.
        end: the sample behind its last.
    """

    first: int
    end: int


def speech_span(wav_T: np.ndarray, sample_rate: int) -> Span:
    """Speech of a recording from its first segment to its last, with a margin of 0.1 s.

    Args:
        wav_T: samples in [-1, 1].
        sample_rate: Hz.

    Raises:
        InputError: less than 0.5 s of it is speech; says how much is.
    """
    if len(wav_T) < MIN_SPEECH_SECONDS * sample_rate:
        raise InputError(
            f"too short: {len(wav_T) / sample_rate:.3f} s, {MIN_SPEECH_SECONDS} s of speech needed"
        )
    (segments,) = speech(wav_T[None], sample_rate)
    seconds = sum(end - start for start, end in segments)
    if not segments:
        raise InputError(f"no speech in {len(wav_T) / sample_rate:.2f} s")
    if seconds < MIN_SPEECH_SECONDS:
        raise InputError(f"{seconds:.2f} s of speech, {MIN_SPEECH_SECONDS} s needed")
    margin = round(MARGIN_SECONDS * sample_rate)
    first = round(segments[0][0] * sample_rate) - margin
    end = round(segments[-1][1] * sample_rate) + margin
    return Span(max(0, first), min(len(wav_T), end))


def windows_of(
    span: Span, size: int, windows: Windows, crop: Literal["first", "centre"] = "first"
) -> list[Span]:
    """Windows of a part of a recording, one behind the other.

    The last one ends where the part ends, and so overlaps the one before.

    Args:
        span: the part.
        size: samples of a window; 0 for one window, which is the whole part.
        windows: ``first``: the one that stage 4 scores; ``all`` that it takes to cover the part.
        crop: place of the one of stage 4, as ``data.eval_crop``.
    """
    length = span.end - span.first
    if size == 0 or length <= size:
        return [span]
    if windows == "first":
        first = span.first
        if crop == "centre":
            first += (length - size) // 2
        return [Span(first, first + size)]
    spans = []
    for first in range(span.first, span.end - size, size):
        spans.append(Span(first, first + size))
    spans.append(Span(span.end - size, span.end))
    return spans


def window_rows(rows: Iterable[Utterance], size: int, sample_rate: int) -> list[Utterance]:
    """A row for each window of each row of a list, as ``windows_of`` covers it.

    Its id is that of the row, ``#``, and the second at which the window begins.

    Args:
        rows: rows of a list, with their lengths.
        size: samples of a window, at the rate of the system.
        sample_rate: of the system, Hz.
    """
    windows = []
    for row in rows:
        whole = Span(0, row.samples_at(sample_rate))
        for span in windows_of(whole, size, "all"):
            key = f"{row.key}{WINDOW_MARK}{span.first / sample_rate:.6f}"
            windows.append(replace(row, key=key, first=span.first))
    return windows


def by_recording(windows: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Scores of the windows of each recording, by the second at which they begin.

    Args:
        windows: score by id of a row of ``window_rows``.
    """
    recordings: dict[str, dict[str, float]] = {}
    for key, score in windows.items():
        recording, _, second = key.rpartition(WINDOW_MARK)
        recordings.setdefault(recording, {})[second] = score
    return recordings


def merger(name: str) -> Callable[[np.ndarray], float]:
    """Function that makes one score of those of the windows of a recording.

    Args:
        name: ``mean``; ``min``, the window that is most likely spoofed; or ``lowestK``, the mean of
            the K lowest, for recordings that are spoofed in parts.

    Raises:
        InputError: another name.
    """
    if name == "mean":
        return np.mean
    if name == "min":
        return np.min
    match = LOWEST.fullmatch(name)
    if match is None:
        raise InputError(f"merge {name!r}, expected mean, min, or lowest3 and the like")
    count = int(match[1])

    def mean_of_lowest(scores: np.ndarray) -> float:
        return np.sort(scores)[:count].mean()

    return mean_of_lowest
