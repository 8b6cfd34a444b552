"""Decided segments against a reference, in time: over all, and by properties of the utterances.

Letters: G frames of an utterance, N spoofed segments or utterances of a set, C classes.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from wedefense_lite.audio.segments import END_TOLERANCE, TIME_SLACK, Segments
from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.localization.metrics import (
    SCORING_RULE,
    FrameLabelRule,
    confusion,
    decision_rates,
    frame_labels,
    frames_of_segment,
    lowest_of_segments,
    spoofed_seconds,
)
from wedefense_lite.scoring.scores import align

Pairs = Sequence[tuple[Segments, Segments]]  # decided segments and reference of each utterance
FRACTIONS = ("none", "up to 25 %", "25 to 50 %", "50 to 75 %", "over 75 %")
LENGTHS = {
    "up to 0.1 s": 0.1,
    "0.1 to 0.2 s": 0.2,
    "0.2 to 0.5 s": 0.5,
    "0.5 to 1 s": 1.0,
    "over 1 s": np.inf,
}
AROUND_SPLICE = 0.1  # seconds to either side of a splice in which a false alarm counts


def match_decisions(
    decided: Mapping[str, Segments],
    reference: Mapping[str, Segments],
    hop: float,
    decided_path: str,
    reference_path: str,
) -> list[tuple[Segments, Segments]]:
    """Decided segments and reference of each utterance, in the order of the reference.

    Args:
        decided: by utterance.
        reference: by utterance.
        hop: seconds a frame.
        decided_path: file of the decided segments, for errors.
        reference_path: file of the reference, for errors.

    Raises:
        InputError: an utterance is in one of them only, or its decided segments leave out a part:
            that a part is bona fide has to be decided too.
    """
    pairs = []
    tolerance = max(END_TOLERANCE, 2 * hop) + TIME_SLACK
    decisions = align(decided, decided_path, reference, reference_path)
    for name, segments, truth in zip(reference, decisions, reference.values()):
        boundaries = np.append(0.0, segments.end)
        gaps = np.append(segments.start - boundaries[:-1], truth.end[-1] - segments.end[-1])
        allowed = np.append(np.full(len(segments.start), TIME_SLACK), tolerance)
        is_open = np.abs(gaps) > allowed
        if is_open.any():
            second = boundaries[int(is_open.argmax())]
            raise InputError(
                f"{decided_path}: {name} is not decided, or beyond its end, at {second:g} s, "
                f"expected segments of both classes from 0 to {truth.end[-1]:g} s without a gap"
            )
        pairs.append((segments, truth))
    return pairs


def time_metrics(seconds_CC: np.ndarray) -> dict:
    """Rates of decisions, and seconds of either error in an hour of audio.

    Args:
        seconds_CC: as ``wedefense_lite.localization.metrics.confusion`` gives them.

    Returns:
        ``decision_rates``, ``hours``, ``missed_seconds_an_hour``, ``false_seconds_an_hour``.
    """
    hours = seconds_CC.sum() / 3600
    metrics = decision_rates(seconds_CC)
    metrics["hours"] = hours
    metrics["missed_seconds_an_hour"] = seconds_CC[SPOOF, BONAFIDE] / hours
    metrics["false_seconds_an_hour"] = seconds_CC[BONAFIDE, SPOOF] / hours
    return metrics


def by_fraction(pairs: Pairs) -> dict[str, dict]:
    """``time_metrics`` of utterances by the share of their time that is spoofed."""
    seconds_NCC = np.array([confusion(decided, reference) for decided, reference in pairs])
    quarters = 4 * seconds_NCC[:, SPOOF].sum(1) / seconds_NCC.sum((1, 2))
    # A share of a quarter that is rounded up by 1e-16 still belongs to "up to 25 %".
    group_N = np.ceil(quarters - 1e-9).astype(int)
    metrics = {}
    for group in np.unique(group_N):
        metrics[FRACTIONS[group]] = time_metrics(seconds_NCC[group_N == group].sum(0))
    return metrics


def by_length(pairs: Pairs) -> dict[str, dict]:
    """Decisions in the spoofed segments of the reference, by the length of these.

    Returns:
        By length, ``segments``, their number; ``recall``, the share of their time that was decided
        to be spoof; ``half_found``, the share of them of which at least half was.
    """
    hits = []
    lengths = []
    for decided, reference in pairs:
        is_spoof = reference.label == SPOOF
        if is_spoof.any():
            spoofed = Segments(*(column[is_spoof] for column in reference))
            hits.append(spoofed_seconds(decided, spoofed))
            lengths.append(spoofed.end - spoofed.start)
    if not hits:
        return {}
    hit_N = np.concatenate(hits)
    length_N = np.concatenate(lengths)
    group_N = np.searchsorted(list(LENGTHS.values()), length_N)
    metrics = {}
    for group, name in enumerate(LENGTHS):
        in_group = group_N == group
        if in_group.any():
            metrics[name] = {
                "segments": int(in_group.sum()),
                "recall": float(hit_N[in_group].sum() / length_N[in_group].sum()),
                "half_found": float((hit_N >= length_N / 2)[in_group].mean()),
            }
    return metrics


def at_resolution(
    pairs: Pairs, hop: float, resolution: float, rule: FrameLabelRule = SCORING_RULE
) -> dict[str, float | None]:
    """``decision_rates`` of segments of ``resolution`` seconds.

    A frame is decided to be what it is in its middle, and a segment is decided to be spoof if one
    of its frames is.

    Args:
        pairs: decided segments and reference of each utterance.
        hop: seconds a frame.
        resolution: seconds a segment.
        rule: by which frames of the reference are labelled, see
            ``wedefense_lite.localization.metrics.frame_labels``.
    """
    size = frames_of_segment(hop, resolution)
    counts_CC = np.zeros((2, 2))
    for decided, reference in pairs:
        count = round(decided.end[-1] / hop)
        middle_G = np.arange(count) * hop + hop / 2
        # Rounding may put the middle of the last frame behind the end of the last segment.
        segment_G = np.searchsorted(decided.end, middle_G).clip(max=len(decided.end) - 1)
        decided_labels = lowest_of_segments(decided.label[segment_G], size)
        true_labels = lowest_of_segments(frame_labels(reference, count, hop, rule), size)
        np.add.at(counts_CC, (true_labels, decided_labels), 1)
    return decision_rates(counts_CC)


def at_splices(
    decided: Mapping[str, Segments], splices: Mapping[str, list[float]]
) -> dict[str, float]:
    """False alarms around joints of bona fide parts.

    A system that alarms at these joints has learned to find joints, not spoofed speech.

    Args:
        decided: segments by utterance.
        splices: seconds of the joints, by utterance.

    Returns:
        ``at_splices``, the share of joints with something decided to be spoof within 0.1 s; and for
        comparison ``between``, the same share at times halfway between joints.
    """
    halfway = {}
    for name, times in splices.items():
        edges = np.array([0.0, *sorted(times), decided[name].end[-1]])
        halfway[name] = (edges[1:] + edges[:-1]) / 2
    return {
        "at_splices": _alarm_share(decided, splices),
        "between": _alarm_share(decided, halfway),
    }


def _alarm_share(decided: Mapping[str, Segments], times: Mapping[str, Iterable[float]]) -> float:
    """Share of times, seconds by utterance, with an alarm around them."""
    has_alarm = []
    for name, seconds in times.items():
        for second in seconds:
            around = Segments(
                np.array([second - AROUND_SPLICE]),
                np.array([second + AROUND_SPLICE]),
                np.array([BONAFIDE]),
            )
            has_alarm.append(spoofed_seconds(decided[name], around)[0] > 0)
    return float(np.mean(has_alarm))
