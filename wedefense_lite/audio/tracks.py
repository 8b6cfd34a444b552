"""Tracks: the class of every sample.

Tracks are made from segments, moved with the samples, and read at any resolution. A track has one
int8 a sample: 0 spoof, 1 bona fide, ``NO_LABEL`` (-1) where there is no audio or no segment.
Letters of
shapes: B utterances of a batch, T samples (or frames, where a track is framed again), G rows with a
decision each, W samples of a frame.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from wedefense_lite.audio.segments import END_TOLERANCE, Segments, read_rttm
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, NO_LABEL


def with_segments(
    index: Iterable[Utterance], rttm: str | Path, sample_rate: int
) -> list[Utterance]:
    """The rows with their segments.

    Args:
        index: rows whose ``samples`` are known.
        rttm: RTTM with the segments of all of them.
        sample_rate: rate in Hz of audio whose own one is not known.

    Raises:
        InputError: lengths are unknown before reading, as in a stream, or the segments of an
            utterance are missing or end more than 50 ms before or after its audio; names it.
    """
    segments = read_rttm(rttm)
    rows = []
    for row in index:
        if not row.samples:
            raise InputError(
                f"{rttm}: the length of {row.key} is not known: segments go with lists that have"
                " an index"
            )
        end = segments[row.key].end[-1] if row.key in segments else 0.0
        seconds = row.samples / (row.rate or sample_rate)
        if abs(end - seconds) > END_TOLERANCE:
            raise InputError(
                f"{rttm}: the segments of {row.key} end at {end:g} s, its audio at {seconds:g} s"
            )
        rows.append(replace(row, segments=segments[row.key]))
    return rows


def make_track(segments: Segments, first: int, count: int, sample_rate: int) -> np.ndarray:
    """Track of a crop.

    Args:
        segments: segments of the utterance.
        first: first sample of the crop.
        count: samples of the crop.
        sample_rate: rate in Hz.

    Returns:
        ``(count,)``, int8.
    """
    track = np.full(count, NO_LABEL, dtype=np.int8)
    for start, end, label in zip(*segments):
        begin = max(round(start * sample_rate) - first, 0)
        stop = max(round(end * sample_rate) - first, 0)
        track[begin:stop] = label
    return track


def by_overlap(track_BT: Tensor, size: int) -> Tensor:
    """Labels of frames by the rule of PartialSpoof's published label lists.

    A frame is spoof if any of it is spoof, and ``NO_LABEL`` if all of it is; the last frame may be
    shorter.

    Args:
        track_BT: class of each sample, or of each smaller frame.
        size: samples, or smaller frames, in a frame.

    Returns:
        ``labels_BG``, int64, as many frames as hold all samples.
    """
    # The label of a frame is the lowest of its samples: spoof < bona fide < this stand-in for none.
    nothing = BONAFIDE + 1
    filled_BT = track_BT.where(track_BT != NO_LABEL, nothing)
    padded_BT = F.pad(filled_BT, (0, -filled_BT.shape[1] % size), value=nothing)
    frames_BGW = padded_BT.unflatten(1, (-1, size))
    lowest_BG = frames_BGW.amin(2)
    return lowest_BG.where(lowest_BG <= BONAFIDE, NO_LABEL).long()
