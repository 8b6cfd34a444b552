"""Detection metrics of two sets of scores, all from one object that sorts them once.

Scores are *more bona fide* the higher they are; a miss is a bona fide trial rejected, a false alarm a
spoofed trial accepted. Rates are fractions.
"""

import copy
import math
from bisect import bisect_left
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression
from scipy.special import rel_entr

from wedefense_lite.metrics.costs import DEFAULT, CostModel


class OperatingPoint(NamedTuple):
    """A metric at its threshold: scores up to that, itself included, are rejected."""

    value: float
    threshold: float


class Curve(NamedTuple):
    """Error rates after rejecting all scores up to each threshold; the first point rejects none."""

    threshold: np.ndarray
    miss: np.ndarray
    false_alarm: np.ndarray


class SortedScores:
    """Scores of bona fide and spoofed trials, sorted, with every metric of them.

    Args:
        bonafide: scores of bona fide trials, any shape, at least one; infinities are allowed.
        spoof: the same of spoofed trials.

    Raises:
        ValueError: a class is empty or has a NaN.
    """

    def __init__(self, bonafide: ArrayLike, spoof: ArrayLike):
        self._given = _checked(bonafide, "bonafide"), _checked(spoof, "spoof")
        self.bonafide, self.spoof = map(np.sort, self._given)
        self._weights = None, None  # or the weight of each sorted trial
        self._rejected = (
            np.arange(self.bonafide.size + 1),
            np.arange(self.spoof.size + 1),
        )  # by first n trials

    def weighted(self, bonafide: ArrayLike, spoof: ArrayLike) -> "SortedScores":
        """The same scores with a weight (count, duration) for each trial, without sorting again.

        Args:
            bonafide: weights not below zero, in the order in which the scores were given.
            spoof: the same of spoofed trials.

        Raises:
            ValueError: the weights of a class sum to zero or less, or are not as many as the scores.
        """
        if np.size(bonafide) != self.bonafide.size or np.size(spoof) != self.spoof.size:
            raise ValueError("the number of weights differs from the number of scores")
        _ = self._points, self._orders  # shared with the copy
        other = copy.copy(self)
        other._weights = tuple(
            np.ravel(w)[order] for w, order in zip((bonafide, spoof), self._orders)
        )
        other._rejected = tuple(np.append(0, np.cumsum(weights)) for weights in other._weights)
        for name in ("curve", "hull"):
            other.__dict__.pop(name, None)
        if not all(total[-1] > 0 for total in other._rejected):
            raise ValueError("the weights of a class sum to zero")
        return other

    @cached_property
    def _orders(self) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.argsort(scores, kind="stable") for scores in self._given)

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sorted scores (N), bona fide trials among the first n (N+1), ends of tied groups (T+1)."""
        pooled = np.concatenate([self.bonafide, self.spoof])
        # A stable sort of two sorted runs is a merge, and puts the bona fide first in a tie.
        order = np.argsort(pooled, kind="stable")
        pooled = pooled[order]
        bonafide = np.concatenate([[0], np.cumsum(order < self.bonafide.size)])
        ends = np.flatnonzero(pooled[1:] != pooled[:-1]) + 1
        return pooled, bonafide, np.concatenate([[0], ends, [pooled.size]])

    def _rates(self, rejected):
        """Miss and false alarm rate after rejecting so many of the pooled sorted trials."""
        bonafide = self._points[1][rejected]
        miss, correct = self._rejected[0][bonafide], self._rejected[1][rejected - bonafide]
        return miss / self._rejected[0][-1], (self._rejected[1][-1] - correct) / self._rejected[1][
            -1
        ]

    def _threshold(self, rejected: int) -> float:
        pooled = self._points[0]
        if rejected > 0:
            return float(pooled[rejected - 1])
        return float(min(pooled[0] - 0.001, np.nextafter(pooled[0], -np.inf)))

    @cached_property
    def curve(self) -> Curve:
        """The step curve with one point a distinct score, ties merged."""
        pooled, _, ends = self._points
        return Curve(
            np.concatenate([[self._threshold(0)], pooled[ends[1:] - 1]]), *self._rates(ends)
        )

    def eer(self, merge_ties: bool = True) -> OperatingPoint:
        """Equal error rate: the mean of both rates where their difference is smallest.

        Of several such thresholds the first from below counts. No interpolation, no hull.

        Args:
            merge_ties: put a threshold between distinct scores only, as a detector can. The ASVspoof
                packages (2019, 2021, 5) step through equal scores one at a time, the bona fide first,
                and so visit points that no threshold reaches: all scores equal give 100 % there, and
                50 % here. False reproduces them. Without ties between the classes the two are the
                same number.
        """
        pooled, _, ends = self._points
        points = ends if merge_ties else range(pooled.size + 1)

        def gap(rejected: int) -> float:
            miss, false_alarm = self._rates(rejected)
            return miss - false_alarm

        crossing = bisect_left(points, 0.0, key=gap)  # the gap goes from -1 to 1 and never falls
        before, after = int(points[crossing - 1]), int(points[crossing])
        nearest = before if -gap(before) <= gap(after) else after
        return OperatingPoint(float(sum(self._rates(nearest))) / 2, self._threshold(nearest))

    def min_cost(self, miss_weight: float, fa_weight: float) -> OperatingPoint:
        """Least ``miss_weight * miss + fa_weight * false alarm`` over that of the cheaper constant."""
        cost = miss_weight * self.curve.miss + fa_weight * self.curve.false_alarm
        best = int(np.argmin(cost))
        return OperatingPoint(
            float(cost[best]) / min(miss_weight, fa_weight), float(self.curve.threshold[best])
        )

    def min_dcf(self, cost: CostModel = DEFAULT) -> OperatingPoint:
        """Normalised detection cost at the best threshold (ASVspoof 5 evaluation plan, Eq. 2)."""
        return self.min_cost(cost.miss_weight, cost.fa_weight)

    def errors_at(self, threshold: float) -> tuple[float, float]:
        """Miss and false alarm rate where scores at ``threshold`` *or above* are accepted."""
        below = [
            np.searchsorted(scores, threshold, "left") for scores in (self.bonafide, self.spoof)
        ]
        miss, correct = (float(sums[n] / sums[-1]) for sums, n in zip(self._rejected, below))
        return miss, 1 - correct

    def act_dcf(self, cost: CostModel = DEFAULT) -> float:
        """Normalised detection cost at the Bayes threshold; above 1 if no detector would do better."""
        miss, false_alarm = self.errors_at(cost.threshold)
        weights = cost.miss_weight, cost.fa_weight
        return (weights[0] * miss + weights[1] * false_alarm) / min(weights)

    def cllr(self) -> float:
        """Cost of the scores read as LLRs, in bits (Bruemmer and du Preez, 2006).

        Infinite where an infinite score is on the wrong side, finite everywhere else.
        """
        nats = 0.0
        for llr, weights in zip((self.bonafide, -self.spoof), self._weights):
            surprise = np.log1p(np.exp(-np.abs(llr))) + np.maximum(
                -llr, 0
            )  # -log p(true class), no overflow
            nats += np.average(surprise, weights=weights)
        return float(nats) / (2 * math.log(2))

    @cached_property
    def hull(self) -> Curve:
        """Vertices of the ROC convex hull, by pool-adjacent-violators over the curve's steps."""
        threshold, miss, false_alarm = self.curve
        bonafide, spoof = np.diff(miss), -np.diff(false_alarm)
        steps = np.flatnonzero((bonafide > 0) | (spoof > 0))  # a resampled trial may weigh nothing
        weight = (bonafide + spoof)[steps]
        blocks = isotonic_regression(bonafide[steps] / weight, weights=weight).blocks
        vertices = np.concatenate([[0], steps[blocks[1:] - 1] + 1])
        return Curve(threshold[vertices], miss[vertices], false_alarm[vertices])

    def eer_rocch(self) -> float:
        """Equal error rate on the ROC convex hull; never above 50 %, so it hides a flipped polarity."""
        _, miss, false_alarm = self.hull
        gap = miss - false_alarm
        after = int(np.argmax(gap >= 0))
        share = gap[after] / (gap[after] - gap[after - 1])
        return float(miss[after] + share * (miss[after - 1] - miss[after]))

    def min_cllr(self) -> float:
        """Cllr after the best increasing map of the scores (pool adjacent violators), in bits."""
        bonafide, spoof = np.diff(self.hull.miss), -np.diff(self.hull.false_alarm)
        bits = rel_entr(bonafide, bonafide + spoof) + rel_entr(spoof, bonafide + spoof)
        return float(-bits.sum()) / (2 * math.log(2))

    def auc(self) -> float:
        """Probability that a bona fide trial scores above a spoofed one, ties counting half."""
        _, miss, false_alarm = self.curve
        return float(1 - np.dot(np.diff(miss), false_alarm[1:] + false_alarm[:-1]) / 2)


def _checked(scores: ArrayLike, name: str) -> np.ndarray:
    scores = np.ravel(np.asarray(scores, dtype=np.float64))
    if not scores.size:
        raise ValueError(f"no {name} scores")
    if np.isnan(scores).any():
        raise ValueError(f"{np.isnan(scores).sum()} of {scores.size} {name} scores are NaN")
    return scores
