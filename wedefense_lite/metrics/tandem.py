"""Metrics of a spoof detector in tandem with a speaker verifier (ASV), or of one score for both."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from wedefense_lite.metrics.costs import CostModel
from wedefense_lite.metrics.detection import (
    MERGE_TIES,
    Curve,
    OperatingPoint,
    SortedScores,
    UndefinedMetric,
    WeightedScores,
)


class AsvRates(NamedTuple):
    """Error rates (fractions) of an ASV system at its threshold.

    Attributes:
        miss: share of targets rejected.
        fa_nontarget: share of nontargets accepted.
        fa_spoof: share of spoofs accepted.
    """

    miss: float
    fa_nontarget: float
    fa_spoof: float


def checked_rates(values: Sequence[float]) -> AsvRates:
    """Error rates of an ASV system that somebody typed.

    Raises:
        ValueError: not three values, or a value outside [0, 1]; percent are outside.
    """
    if len(values) != len(AsvRates._fields):
        names = ", ".join(AsvRates._fields)
        raise ValueError(f"{len(values)} values, expected three: {names}")
    for name, value in zip(AsvRates._fields, values):
        # A NaN is in no range either.
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value:g}, expected a share between 0 and 1")
    return AsvRates(*values)


def measure_asv_rates(
    target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, merge_ties: bool = MERGE_TIES
) -> AsvRates:
    """Error rates of an ASV system at the threshold of its EER (targets against nontargets).

    The official packages take the highest score that the EER rejects, and accept it here. The rate
    of spoofs is that of accepted ones; ASVspoof 5's ``calculate_metrics.py`` takes the rejected
    ones where it measures instead of using its constants.

    Args:
        target: ASV scores of target trials.
        nontarget: ASV scores of nontarget trials.
        spoof: ASV scores of spoofed trials.
        merge_ties: as in ``SortedScores.eer``.
    """
    eer_threshold = SortedScores(target, nontarget).eer(merge_ties).threshold
    threshold = np.nextafter(eer_threshold, -np.inf)
    return AsvRates(
        miss=float(np.mean(np.asarray(target) < threshold)),
        fa_nontarget=float(np.mean(np.asarray(nontarget) >= threshold)),
        fa_spoof=float(np.mean(np.asarray(spoof) >= threshold)),
    )


def tandem_costs(asv: AsvRates, cost: CostModel) -> tuple[float, float, float]:
    """C0, C1, C2 of the t-DCF.

    Source:
        ASVspoof 2021 evaluation plan, Eq. 3-5.

    Raises:
        ValueError: a rate outside [0, 1], or (``UndefinedMetric``) the ASV errs so much that
            rejecting everybody, or accepting every spoof, is free.
    """
    checked_rates(asv)
    target_weight = cost.p_target * cost.c_miss
    nontarget_weight = cost.p_nontarget * cost.c_fa_nontarget
    c0 = target_weight * asv.miss + nontarget_weight * asv.fa_nontarget
    c1 = target_weight - c0
    c2 = cost.fa_weight * asv.fa_spoof
    if min(c1, c2) <= 0:
        rates = ", ".join(f"{name} {value:g}" for name, value in asv._asdict().items())
        raise UndefinedMetric(f"t-DCF is undefined for an ASV system with {rates}")
    return c0, c1, c2


def min_tdcf(scores: WeightedScores, asv: AsvRates, cost: CostModel) -> dict[str, float]:
    """Minimum normalised tandem detection cost, in two forms with the same threshold.

    Args:
        scores: of the spoof detector.
        asv: the ASV system's error rates, fixed.
        cost: priors and costs.

    Returns:
        ``min_tdcf_2019`` (Kinnunen et al., 2018) leaves out C0, the cost of the ASV's own errors,
        so a perfect detector has 0; ``min_tdcf_2021`` (ASV-constrained; Kinnunen et al., 2020) has
        it above and below, so a perfect detector has C0 / (C0 + min(C1, C2)).

    Source:
        The two papers; agrees with the packages of ASVspoof 2019, 2021 and 5.
    """
    c0, c1, c2 = tandem_costs(asv, cost)
    form_2019 = scores.min_cost(c1, c2).value
    default_cost = min(c1, c2)
    form_2021 = (c0 + default_cost * form_2019) / (c0 + default_cost)
    return {"min_tdcf_2019": form_2019, "min_tdcf_2021": form_2021}


def min_adcf(
    target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, cost: CostModel
) -> OperatingPoint:
    """Minimum normalised architecture-agnostic DCF of one score.

    The least cost lies just below a target's score, or above all of them, so only those are
    visited. The threshold t returned is that target's score.

    Source:
        Shim et al., 2024, Eq. 2-4; agrees with the authors' package and with ASVspoof 5's.
    """
    thresholds = np.unique(np.asarray(target, dtype=np.float64))
    miss = _share_below(target, thresholds)
    nontargets_rejected = _share_below(nontarget, thresholds)
    spoofs_rejected = _share_below(spoof, thresholds)
    miss_weight = cost.p_target * cost.c_miss
    nontarget_weight = cost.p_nontarget * cost.c_fa_nontarget
    spoof_weight = cost.fa_weight
    costs = (
        miss_weight * miss
        + nontarget_weight * (1 - nontargets_rejected)
        + spoof_weight * (1 - spoofs_rejected)
    )
    best = int(np.argmin(costs))
    threshold = float(np.append(thresholds, np.inf)[best])
    default_cost = min(miss_weight, nontarget_weight + spoof_weight)
    return OperatingPoint(float(costs[best]) / default_cost, threshold)


def _share_below(scores: ArrayLike, thresholds: np.ndarray) -> np.ndarray:
    """Share of scores < t for each threshold t, and 1 for one above all."""
    scores = np.asarray(scores)
    count = np.searchsorted(np.sort(scores), thresholds, "left")
    return np.append(count, len(scores)) / len(scores)


def _asv_curves(
    target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, merge_ties: bool
) -> AsvRates:
    """Rates ``(N,)`` of an ASV system at rising thresholds, from one that rejects none.

    Args:
        target: scores of target trials.
        nontarget: scores of nontarget trials.
        spoof: scores of spoofed trials.
        merge_ties: as in ``concurrent_teer``.
    """
    scores = np.concatenate([target, nontarget, spoof]).astype(np.float64)
    classes = np.repeat([0, 1, 2], [len(target), len(nontarget), len(spoof)])
    # A stable sort leaves equal scores in the order of the classes.
    order = np.argsort(scores, kind="stable")
    points = np.arange(len(scores) + 1)
    if merge_ties:
        ranked = scores[order]
        inner_ends = np.flatnonzero(ranked[1:] != ranked[:-1]) + 1
        points = np.concatenate([[0], inner_ends, [len(scores)]])
    rejected_shares = []
    for label in range(3):
        is_class = classes[order] == label
        rejected = np.append(0, np.cumsum(is_class))
        rejected_shares.append(rejected[points] / is_class.sum())
    miss, nontargets_rejected, spoofs_rejected = rejected_shares
    return AsvRates(miss, 1 - nontargets_rejected, 1 - spoofs_rejected)


def concurrent_teer(
    cm_bonafide: ArrayLike,
    cm_spoof: ArrayLike,
    target: ArrayLike,
    nontarget: ArrayLike,
    spoof: ArrayLike,
    merge_ties: bool = MERGE_TIES,
) -> float:
    """Concurrent tandem equal error rate, a fraction.

    At each ASV threshold the detector's threshold is set where the tandem's miss rate and false
    alarm rate (half nontargets, half spoofs) are closest. Of these pairs the one counts where the
    false alarm rates of nontargets and of spoofs are closest.

    Args:
        cm_bonafide: detector scores of target and nontarget trials.
        cm_spoof: detector scores of spoofed trials.
        target: ASV scores of target trials.
        nontarget: ASV scores of nontarget trials.
        spoof: ASV scores of spoofed trials.
        merge_ties: False steps through equal scores one at a time, as in ``WeightedScores.eer``:
            of the detector bona fide first, of the ASV system target, nontarget, spoof.

    Raises:
        UndefinedMetric: the ASV system misses more than it lets pass at every threshold.

    Source:
        Kinnunen et al., 2023. Visits all ASV thresholds; the official program visits a sample of
        them, and calls the result percent.
    """
    detector = SortedScores(cm_bonafide, cm_spoof)
    cm = detector.curve if merge_ties else detector.official_curve
    asv_miss, fa_nontarget, fa_spoof = _asv_curves(target, nontarget, spoof, merge_ties)
    # Where the ASV alone misses more than it lets pass, no detector can make both rates equal.
    usable = (asv_miss < (fa_nontarget + fa_spoof) / 2) & (fa_spoof > 0)
    if not usable.any():
        raise UndefinedMetric("t-EER is undefined for an ASV system that accepts no spoof")
    asv = AsvRates(asv_miss[usable], fa_nontarget[usable], fa_spoof[usable])
    point = _balance_tandem(cm, asv)
    # The share of bona fide trials that pass the detector; tiny where none does, to divide by it.
    passed = np.maximum(1 - cm.miss[point], np.finfo(float).tiny)
    difference = np.abs(asv.fa_nontarget / asv.fa_spoof - cm.false_alarm[point] / passed)
    best = int(np.argmin(difference))
    return float(asv.fa_spoof[best] * cm.false_alarm[point][best])


def _balance_tandem(cm: Curve, asv: AsvRates) -> np.ndarray:
    """Point of the detector's curve where the tandem's two rates are closest, by ASV threshold.

    The difference of the rates rises along the curve, so it is found by bisection.

    Args:
        cm: curve of the detector.
        asv: rates ``(N,)`` at N thresholds.
    """
    # All thresholds are bisected at once; low has a negative difference, high a positive one.
    low = np.zeros(len(asv.miss), dtype=int)
    high = np.full(len(asv.miss), len(cm.miss) - 1)
    while (high - low > 1).any():
        middle = (low + high) // 2
        is_above = _tandem_gap(cm, asv, middle) >= 0
        low = np.where(is_above, low, middle)
        high = np.where(is_above, middle, high)
    low_is_nearer = np.abs(_tandem_gap(cm, asv, low)) <= np.abs(_tandem_gap(cm, asv, high))
    return np.where(low_is_nearer, low, high)


def _tandem_gap(cm: Curve, asv: AsvRates, point: np.ndarray) -> np.ndarray:
    """Miss rate minus false alarm rate of the tandem, at a point of the detector's curve each."""
    miss = asv.miss + (1 - asv.miss) * cm.miss[point]
    nontargets_accepted = (1 - cm.miss[point]) * asv.fa_nontarget
    spoofs_accepted = cm.false_alarm[point] * asv.fa_spoof
    return miss - (nontargets_accepted + spoofs_accepted) / 2
