"""The class of every sample: from segments, moved with the samples, and read at any resolution.

A track has one int8 a sample: 0 spoof, 1 bona fide, -1 where there is no audio or no segment.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from wedefense_lite.audio.segments import END_TOLERANCE, Segments, read_rttm
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, NO_LABEL


def with_segments(index: list[Utterance], rttm: str | Path, sample_rate: int) -> list[Utterance]:
    """The rows with their segments of an RTTM.

    Raises:
        InputError: lengths are not known before reading, as in a stream, or the segments of an
            utterance, by name, are missing or end more than 50 ms before or after its audio.
    """
    segments = read_rttm(rttm)
    for row in index:
        if not row.samples:
            raise InputError(
                f"{rttm}: the length of {row.key} is not known: segments go with lists that have an index"
            )
        ends, seconds = (
            segments[row.key].end[-1] if row.key in segments else 0.0,
            row.samples / sample_rate,
        )
        if abs(ends - seconds) > END_TOLERANCE:
            raise InputError(
                f"{rttm}: the segments of {row.key} end at {ends:g} s, its audio at {seconds:g} s"
            )
    return [replace(row, segments=segments[row.key]) for row in index]


def track_of(segments: Segments | None, first: int, count: int, sample_rate: int) -> np.ndarray:
    """The track of ``count`` samples from ``first`` on."""
    track = np.full(count, NO_LABEL, dtype=np.int8)
    for start, end, label in zip(*segments) if segments else ():
        begin, stop = (max(round(seconds * sample_rate) - first, 0) for seconds in (start, end))
        track[begin:stop] = label
    return track


def by_overlap(track_BT: Tensor, size: int) -> Tensor:
    """Labels of frames of ``size`` samples (or of smaller frames), by the rule of the label lists
    that PartialSpoof publishes.

    A frame is spoof if any of it is, -1 if all of it is; the last frame may be shorter.

    Returns:
        ``labels_BG``, int64, as many as it takes to hold all samples.
    """
    track_BT = track_BT.where(track_BT != NO_LABEL, BONAFIDE + 1)
    filled_BT = F.pad(track_BT, (0, -track_BT.shape[1] % size), value=BONAFIDE + 1)
    lowest_BG = filled_BT.unflatten(1, (-1, size)).amin(2)
    return lowest_BG.where(lowest_BG <= BONAFIDE, NO_LABEL).long()
