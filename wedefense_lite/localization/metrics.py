"""Metrics of where an utterance is spoofed: by segments of one length, and by duration."""

from collections.abc import Iterable

import numpy as np

from wedefense_lite.audio.segments import Segments
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.localization.frames import Frames
from wedefense_lite.metrics.detection import OperatingPoint, SortedScores


def durations(frames: Frames, segments: Segments, label: int) -> np.ndarray:
    """``(T,)`` seconds of each frame that lie in segments of the class ``label``."""
    chosen = segments.label == label
    if not chosen.any():
        return np.zeros(len(frames.score))
    start, end = segments.start[chosen], segments.end[chosen]
    covered = np.cumsum(np.stack([np.zeros_like(start), end - start], axis=1))
    return np.diff(np.interp(frames.edges, np.stack([start, end], axis=1).ravel(), covered))


def range_eer(utterances: Iterable[tuple[Frames, Segments]]) -> OperatingPoint:
    """Equal error rate over time instead of trials, exact (Zhang et al., 2023).

    Every frame counts with the seconds that it shares with the reference of each class, so one sort
    finds the threshold at which the share of spoofed time accepted is nearest to the share of bona
    fide time rejected. The official program searches that threshold until both agree within 1e-5,
    which coarse data never do: it does not end.

    Raises:
        ValueError: no bona fide or no spoofed time.
    """
    pairs = list(utterances)
    score = np.concatenate([frames.score for frames, _ in pairs])
    given, weights = [], []
    for label in (BONAFIDE, SPOOF):
        seconds = np.concatenate([durations(frames, segments, label) for frames, segments in pairs])
        if not seconds.any():
            raise ValueError(f"no {LABELS[label]} time in the reference")
        given.append(score[seconds > 0])
        weights.append(seconds[seconds > 0])
    return SortedScores(*given).weighted(*weights).eer()


def segment_scores(
    frames: Frames, segments: Segments, hop: float, resolution: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of the segments of one utterance, by PartialSpoof's rule.

    Frames are labelled first: boundaries are rounded to frames (half to even), and what the reference
    leaves out is spoof. A segment of several frames has their lowest score, and is spoof if one of
    them is; what remains at the end is a shorter segment.

    Args:
        hop: seconds a frame.
        resolution: seconds a segment, a whole number of frames.

    Raises:
        ValueError: it is not.
    """
    size = round(resolution / hop)
    if size < 1 or abs(size * hop - resolution) > 1e-6 * resolution:
        raise ValueError(
            f"resolution {resolution:g} s is not a whole number of frames of {hop:g} s"
        )
    label = np.full(len(frames.score), SPOOF)
    first, last = np.rint(segments.start / hop).astype(int), np.rint(segments.end / hop).astype(int)
    for begin, end, kind in zip(first, last, segments.label):
        label[begin:end] = kind
    starts = np.arange(0, len(label), size)
    return np.minimum.reduceat(frames.score, starts), np.minimum.reduceat(label, starts)


def segment_eer(
    utterances: Iterable[tuple[Frames, Segments]], hop: float, resolution: float
) -> OperatingPoint:
    """Equal error rate of segments of ``resolution`` seconds; see :func:`segment_scores`."""
    pairs = [segment_scores(frames, segments, hop, resolution) for frames, segments in utterances]
    scores, labels = (np.concatenate(part) for part in zip(*pairs))
    return SortedScores(scores[labels == BONAFIDE], scores[labels == SPOOF]).eer()


def confusion(decided: Segments, reference: Segments) -> np.ndarray:
    """``(2, 2)`` seconds of each class in the reference (rows) that were decided to be of each (columns).

    Args:
        decided: segments that leave no gaps.
        reference: segments.
    """
    frames = Frames(np.append(decided.start, decided.end[-1]), decided.label)
    seconds = np.stack([durations(frames, reference, label) for label in (SPOOF, BONAFIDE)])
    return np.stack([seconds[:, decided.label == label].sum(1) for label in (SPOOF, BONAFIDE)], 1)


def decision_rates(counts: np.ndarray) -> dict[str, float | None]:
    """Precision, recall, F1 and IoU of what is spoofed; None where nothing was decided, or is there, to divide by.

    Args:
        counts: ``(2, 2)``, as :func:`confusion` or of segments.
    """
    (hit, missed), (false, _) = counts
    parts = {"precision": hit + false, "recall": hit + missed, "f1": hit + (missed + false) / 2}
    parts["iou"] = hit + missed + false
    return {name: float(hit / of) if of else None for name, of in parts.items()}


def found_seconds(decided: Segments, parts: Segments) -> np.ndarray:
    """``(S,)`` seconds of each part, whatever its label, that were decided to be spoof."""
    frames = Frames(
        np.stack([parts.start, parts.end], 1).ravel(), np.zeros(2 * len(parts.start) - 1)
    )
    return durations(frames, decided, SPOOF)[::2]
