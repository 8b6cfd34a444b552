"""Metrics of where an utterance is spoofed: by segments of one length, and by duration.

Letters: G frames of an utterance, N rows (frames of all utterances, or spans of time), C classes.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from wedefense_lite.audio.segments import Segments
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.localization.frames import FrameScores
from wedefense_lite.metrics.detection import (
    MERGE_TIES,
    OperatingPoint,
    SortedScores,
    UndefinedMetric,
)

# The two definitions of the label of a frame, see ``frame_labels``.
FrameLabelRule = Literal["rounded", "any_spoofed_sample"]
# That of PartialSpoof's scorer, so that segment EERs are those of the field.
SCORING_RULE: FrameLabelRule = "rounded"
SAMPLE_RATE = 16000  # Hz of the samples that ``any_spoofed_sample`` looks at, that of PartialSpoof


def class_seconds(edges: np.ndarray, segments: Segments, label: int) -> np.ndarray:
    """Seconds of each frame that lie in segments of one class.

    Args:
        edges: ``(G + 1,)`` seconds, ascending: where frames begin, and where the last one ends.
        segments: without overlap.
        label: class index.

    Returns:
        ``(G,)``, each at least 0 and at most the length of its frame.
    """
    has_label = segments.label == label
    if not has_label.any():
        return np.zeros(len(edges) - 1)
    start = segments.start[has_label]
    end = segments.end[has_label]
    # The seconds of the class before a time grow by the time within its segments, and stay as they
    # are between them: a line from boundary to boundary, which np.interp reads at the edges.
    boundaries = np.stack([start, end], axis=1).ravel()
    seconds_before = np.cumsum(np.stack([np.zeros_like(start), end - start], axis=1))
    return np.diff(np.interp(edges, boundaries, seconds_before))


def range_eer(utterances: Iterable[tuple[FrameScores, Segments]]) -> OperatingPoint:
    """Equal error rate over time instead of trials, exact.

    Every frame counts with the seconds that it shares with the reference of each class. One sort
    finds the threshold at which the share of spoofed time accepted is nearest to the share of bona
    fide time rejected. The official program searches that threshold until both agree within 1e-5;
    coarse data never agree so closely, and the search does not end.

    Args:
        utterances: scores of the frames and reference segments of each.

    Returns:
        The rate, in [0, 1], and its threshold.

    Raises:
        UndefinedMetric: no bona fide or no spoofed time in the frames.

    Source: Zhang et al., "Range-based equal error rate for spoof localization", 2023.
    """
    pairs = list(utterances)
    score_N = np.concatenate([frames.score for frames, _ in pairs])
    scores = []
    weights = []
    for label in (BONAFIDE, SPOOF):
        seconds_N = np.concatenate(
            [class_seconds(frames.edges, segments, label) for frames, segments in pairs]
        )
        if not seconds_N.any():
            raise UndefinedMetric(f"no {LABELS[label]} time in the reference")
        has_class = seconds_N > 0
        scores.append(score_N[has_class])
        weights.append(seconds_N[has_class])
    return SortedScores(*scores).weighted(*weights).eer()


def frames_of_segment(hop: float, resolution: float) -> int:
    """Number of frames of ``hop`` seconds in a segment of ``resolution`` seconds.

    Raises:
        ValueError: the number is not whole.
    """
    size = round(resolution / hop)
    # Not ==: decimal numbers are rounded to binary ones, and 0.14 / 0.02 is 7.000000000000001.
    if size < 1 or abs(size * hop - resolution) > 1e-6 * resolution:
        raise ValueError(
            f"resolution {resolution:g} s is not a whole number of frames of {hop:g} s"
        )
    return size


def frame_labels(
    segments: Segments, count: int, hop: float, rule: FrameLabelRule = SCORING_RULE
) -> np.ndarray:
    """Labels ``(G,)`` of ``count`` frames. A frame that no segment covers is spoof.

    The two rules differ at boundaries that lie inside a frame: in 218 of 40,000 labels of 20 ms,
    where the boundaries are multiples of 10 ms.

    Args:
        segments: of the utterance.
        count: number of frames.
        hop: seconds a frame.
        rule: ``rounded``, that of PartialSpoof's scorer: boundaries are rounded to frames (half to
            even). ``any_spoofed_sample``, that of the label lists that PartialSpoof publishes, and
            of training (``wedefense_lite.audio.tracks.by_overlap``): a frame is spoof if any of its
            samples is.
    """
    label_G = np.full(count, SPOOF)
    if rule == "rounded":
        first_frame = np.rint(segments.start / hop).astype(int)
        end_frame = np.rint(segments.end / hop).astype(int)
        for first, end, label in zip(first_frame, end_frame, segments.label):
            label_G[first:end] = label
        return label_G
    frame_samples = hop * SAMPLE_RATE
    # A billionth of a frame: boundaries are whole samples, and their quotient is rounded.
    first_frame = np.floor(np.rint(segments.start * SAMPLE_RATE) / frame_samples + 1e-9)
    end_frame = np.ceil(np.rint(segments.end * SAMPLE_RATE) / frame_samples - 1e-9)
    # Spoof last: it wins where a frame has samples of both classes.
    for label in (BONAFIDE, SPOOF):
        for segment in np.flatnonzero(segments.label == label):
            label_G[int(first_frame[segment]) : int(end_frame[segment])] = label
    return label_G


def lowest_of_segments(values_G: np.ndarray, size: int) -> np.ndarray:
    """The lowest of every ``size`` values; the last segment may have fewer."""
    step = min(size, len(values_G))
    return np.minimum.reduceat(values_G, np.arange(0, len(values_G), step))


def segment_scores(
    frames: FrameScores,
    segments: Segments,
    hop: float,
    resolution: float,
    rule: FrameLabelRule = SCORING_RULE,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of the segments of one utterance.

    As in PartialSpoof's scorer frames are labelled first, see ``frame_labels``. A segment of
    several frames has their lowest score, and is spoof if one of them is. The last segment may be
    shorter.

    Args:
        frames: scores of the utterance.
        segments: reference.
        hop: seconds a frame.
        resolution: seconds a segment, a whole number of frames.
        rule: by which frames are labelled.

    Returns:
        scores and class indices, one of each a segment.

    Raises:
        ValueError: ``resolution`` is not a whole number of frames.
    """
    size = frames_of_segment(hop, resolution)
    label_G = frame_labels(segments, len(frames.score), hop, rule)
    return lowest_of_segments(frames.score, size), lowest_of_segments(label_G, size)


def segment_eer(
    utterances: Iterable[tuple[FrameScores, Segments]],
    hop: float,
    resolution: float,
    rule: FrameLabelRule = SCORING_RULE,
    merge_ties: bool = MERGE_TIES,
) -> OperatingPoint:
    """Equal error rate of segments of ``resolution`` seconds.

    Args:
        utterances: scores of the frames and reference segments of each.
        hop: seconds a frame.
        resolution: seconds a segment.
        rule: see ``frame_labels``.
        merge_ties: see ``WeightedScores.eer``.

    Raises:
        UndefinedMetric: no segment is bona fide, or none is spoof.
        ValueError: ``resolution`` is not a whole number of frames.
    """
    scores = []
    labels = []
    for frames, segments in utterances:
        score, label = segment_scores(frames, segments, hop, resolution, rule)
        scores.append(score)
        labels.append(label)
    score_N = np.concatenate(scores)
    label_N = np.concatenate(labels)
    detection = SortedScores(score_N[label_N == BONAFIDE], score_N[label_N == SPOOF])
    return detection.eer(merge_ties)


def confusion(decided: Segments, reference: Segments) -> np.ndarray:
    """Seconds by class of the reference (rows) and decided class (columns).

    Args:
        decided: segments that leave no gaps.
        reference: segments.

    Returns:
        ``(C, C)``, both in the order spoof, bona fide.
    """
    edges = np.append(decided.start, decided.end[-1])
    # Seconds of each class of the reference within each decided segment.
    spoof_N = class_seconds(edges, reference, SPOOF)
    bonafide_N = class_seconds(edges, reference, BONAFIDE)
    seconds_CN = np.stack([spoof_N, bonafide_N])
    columns = []
    for label in (SPOOF, BONAFIDE):
        columns.append(seconds_CN[:, decided.label == label].sum(axis=1))
    return np.stack(columns, axis=1)


def decision_rates(counts_CC: np.ndarray) -> dict[str, float | None]:
    """Precision, recall, F1 and intersection over union (IoU) of the class spoof.

    Args:
        counts_CC: seconds as ``confusion`` gives them, or numbers of segments.

    Returns:
        Each rate in [0, 1]; None where its denominator is 0.
    """
    (hits, misses), (false_alarms, _) = counts_CC
    denominators = {
        "precision": hits + false_alarms,
        "recall": hits + misses,
        "f1": hits + (misses + false_alarms) / 2,
        "iou": hits + misses + false_alarms,
    }
    rates = {}
    for name, denominator in denominators.items():
        rates[name] = float(hits / denominator) if denominator else None
    return rates


def spoofed_seconds(decided: Segments, spans: Segments) -> np.ndarray:
    """Seconds ``(N,)`` of each span of time, whatever its label, that were decided to be spoof."""
    edges = np.stack([spans.start, spans.end], 1).ravel()
    # Every second interval between these edges is a span; the others lie between two spans.
    return class_seconds(edges, decided, SPOOF)[::2]
