"""Numbers of public leaderboards: over several sets with one threshold, and of spoofs alone."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from wedefense_lite.metrics.detection import MERGE_TIES, OperatingPoint, SortedScores


class SetScores(NamedTuple):
    """Scores of a set.

    Attributes:
        bonafide: ``(N,)``; none in a set of spoofs.
        spoof: ``(M,)``; none in a set of bona fide speech.
    """

    bonafide: np.ndarray
    spoof: np.ndarray


def interpolated_eer(bonafide: ArrayLike, spoof: ArrayLike) -> OperatingPoint:
    """Equal error rate between two scores where the rates cross, as a fraction.

    The rates are those with each score as threshold, at and above which a trial is accepted. Where
    they cross between two scores, both rates and the threshold are interpolated.

    Args:
        bonafide: scores of bona fide trials.
        spoof: scores of spoofed trials.

    Source:
        Speech Anti-Spoofing Arena, speech-spoof-bench 0.3.4.
    """
    scores = SortedScores(bonafide, spoof)
    thresholds = np.unique(np.concatenate([scores.bonafide, scores.spoof]))
    # The last point of the curve rejects all, for which there is no threshold among the scores.
    miss = scores.curve.miss[:-1]
    false_alarm = scores.curve.false_alarm[:-1]
    gap = false_alarm - miss
    crossings = np.flatnonzero(np.diff(np.sign(gap)))
    if not crossings.size:
        nearest = int(np.argmin(np.abs(gap)))
        rate = (miss[nearest] + false_alarm[nearest]) / 2
        return OperatingPoint(float(rate), float(thresholds[nearest]))
    before = int(crossings[0])
    after = before + 1
    share = gap[before] / (gap[before] - gap[after])
    rates = (miss + false_alarm) / 2
    rate = rates[before] + share * (rates[after] - rates[before])
    threshold = thresholds[before] + share * (thresholds[after] - thresholds[before])
    return OperatingPoint(float(rate), float(threshold))


def spoof_acceptance(spoof: ArrayLike, threshold: float) -> float:
    """Share of spoofs at or above a threshold of another set: 1 - SRR, of spoof rejection rate."""
    return float(np.mean(np.asarray(spoof) >= threshold))


def pooled_metrics(
    sets: Mapping[str, SetScores], merge_ties: bool = MERGE_TIES
) -> dict[str, float]:
    """Numbers over all sets of a system.

    Args:
        sets: scores by set; sets of one class count in the pool alone.
        merge_ties: as in ``SortedScores.eer``.

    Returns:
        ``average_eer`` of the sets of both classes; of all trials in one pool ``pooled_eer``, its
        ``threshold``, and at that ``accuracy`` and ``f1``, bona fide being what is looked for.

    Raises:
        ValueError: no set of both classes (``UndefinedMetric``).
    """
    rates = []
    for scores in sets.values():
        if scores.bonafide.size and scores.spoof.size:
            rates.append(SortedScores(*scores).eer(merge_ties).value)
    bonafide = np.concatenate([scores.bonafide for scores in sets.values()])
    spoof = np.concatenate([scores.spoof for scores in sets.values()])
    point = SortedScores(bonafide, spoof).eer(merge_ties)
    accepted = int(np.sum(bonafide >= point.threshold))
    false_alarms = int(np.sum(spoof >= point.threshold))
    misses = bonafide.size - accepted
    metrics = {} if not rates else {"average_eer": float(np.mean(rates))}
    return metrics | {
        "pooled_eer": point.value,
        "threshold": point.threshold,
        "accuracy": 1 - (misses + false_alarms) / (bonafide.size + spoof.size),
        "f1": 2 * accepted / (2 * accepted + misses + false_alarms),
    }
