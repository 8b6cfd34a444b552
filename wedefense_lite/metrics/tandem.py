"""Metrics of a spoof detector in tandem with a speaker verifier (ASV), and of one score for both."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from wedefense_lite.metrics.costs import CostModel
from wedefense_lite.metrics.detection import OperatingPoint, SortedScores


class AsvRates(NamedTuple):
    """Error rates (fractions) of an ASV system at its threshold."""

    miss: float
    fa_nontarget: float
    fa_spoof: float


def measured_rates(
    target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, merge_ties: bool = True
) -> AsvRates:
    """Error rates of an ASV system at its EER threshold (targets against nontargets).

    As in the official packages a score *at* the threshold is accepted, although the EER counts it as
    rejected. The rate of spoofs is that of accepted ones; ASVspoof 5's ``calculate_metrics.py`` takes
    the rejected ones where it measures instead of using its constants.
    """
    threshold = SortedScores(target, nontarget).eer(merge_ties).threshold
    accepted = (float(np.mean(np.asarray(scores) >= threshold)) for scores in (nontarget, spoof))
    return AsvRates(float(np.mean(np.asarray(target) < threshold)), *accepted)


def tandem_costs(asv: AsvRates, cost: CostModel) -> tuple[float, float, float]:
    """C0, C1, C2 of the t-DCF (ASVspoof 2021 evaluation plan, Eq. 3-5).

    Raises:
        ValueError: the ASV errs so much that rejecting everybody, or accepting every spoof, is free.
    """
    c0 = (
        cost.p_target * cost.c_miss * asv.miss
        + cost.p_nontarget * cost.c_fa_nontarget * asv.fa_nontarget
    )
    c1 = cost.p_target * cost.c_miss - c0
    c2 = cost.fa_weight * asv.fa_spoof
    if min(c1, c2) <= 0:
        raise ValueError(f"t-DCF is undefined for an ASV system with {asv}")
    return c0, c1, c2


def min_tdcf(scores: SortedScores, asv: AsvRates, cost: CostModel) -> dict[str, float]:
    """Minimum normalised tandem detection cost, in two forms with the same threshold.

    Args:
        scores: of the spoof detector.
        asv: the ASV system's error rates, fixed.

    Returns:
        ``min_tdcf_2019`` (Kinnunen et al., 2018) leaves out C0, the cost of the ASV's own errors, so a
        perfect detector has 0; ``min_tdcf_2021`` (ASV-constrained; Kinnunen et al., 2020) has it above
        and below, so a perfect detector has C0 / (C0 + min(C1, C2)).
    """
    c0, c1, c2 = tandem_costs(asv, cost)
    value, least = scores.min_cost(c1, c2).value, min(c1, c2)
    return {"min_tdcf_2019": value, "min_tdcf_2021": (c0 + least * value) / (c0 + least)}


def min_adcf(
    target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, cost: CostModel
) -> OperatingPoint:
    """Minimum normalised architecture-agnostic DCF of one score (Shim et al., 2024, Eq. 2-4).

    The least cost lies just below a target's score, or above all of them, so only those are visited.
    The threshold returned is that target's score, and scores *at or above* it are accepted.
    """
    scores = np.unique(np.asarray(target, dtype=np.float64))
    below = [
        np.append(np.searchsorted(np.sort(trials), scores, "left"), len(trials)) / len(trials)
        for trials in map(np.asarray, (target, nontarget, spoof))
    ]
    miss = cost.p_target * cost.c_miss
    fa_nontarget, fa_spoof = cost.p_nontarget * cost.c_fa_nontarget, cost.fa_weight
    costs = miss * below[0] + fa_nontarget * (1 - below[1]) + fa_spoof * (1 - below[2])
    best = int(np.argmin(costs))
    threshold = float(np.append(scores, np.inf)[best])
    return OperatingPoint(float(costs[best]) / min(miss, fa_nontarget + fa_spoof), threshold)


def concurrent_teer(
    cm_bonafide: ArrayLike,
    cm_spoof: ArrayLike,
    target: ArrayLike,
    nontarget: ArrayLike,
    spoof: ArrayLike,
) -> float:
    """Concurrent tandem equal error rate (Kinnunen et al., 2023), a fraction.

    At each ASV threshold the detector's threshold is set where the tandem's miss rate and false alarm
    rate (half nontargets, half spoofs) are closest, found by bisection, since their difference rises
    with it. Of these pairs the one counts where the false alarm rates of nontargets and of spoofs are
    closest. Visits all ASV thresholds; the official program visits a sample of them, and calls the
    result percent.

    Args:
        cm_bonafide: detector scores of target and nontarget trials.
        cm_spoof: detector scores of spoofed trials.
        target: ASV scores of target trials.
        nontarget: ASV scores of nontarget trials.
        spoof: ASV scores of spoofed trials.
    """
    cm = SortedScores(cm_bonafide, cm_spoof).curve
    thresholds = np.unique(np.concatenate([target, nontarget, spoof]).astype(np.float64))
    rejected = [
        np.append(0, np.searchsorted(np.sort(trials), thresholds, "right")) / len(trials)
        for trials in (target, nontarget, spoof)
    ]
    asv_miss, fa_nontarget, fa_spoof = rejected[0], 1 - rejected[1], 1 - rejected[2]
    usable = (asv_miss < (fa_nontarget + fa_spoof) / 2) & (fa_spoof > 0)
    asv_miss, fa_nontarget, fa_spoof = asv_miss[usable], fa_nontarget[usable], fa_spoof[usable]

    def gap(at):
        miss = asv_miss + (1 - asv_miss) * cm.miss[at]
        return miss - ((1 - cm.miss[at]) * fa_nontarget + cm.false_alarm[at] * fa_spoof) / 2

    low, high = np.zeros(len(asv_miss), dtype=int), np.full(len(asv_miss), len(cm.miss) - 1)
    while (high - low > 1).any():
        middle = (low + high) // 2
        above = gap(middle) >= 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    at = np.where(np.abs(gap(low)) <= np.abs(gap(high)), low, high)
    passed = np.maximum(1 - cm.miss[at], np.finfo(float).tiny)
    best = int(np.argmin(np.abs(fa_nontarget / fa_spoof - cm.false_alarm[at] / passed)))
    return float(fa_spoof[best] * cm.false_alarm[at][best])
