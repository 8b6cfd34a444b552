"""Detection metrics of two sets of scores, all from one object that sorts them once.

Scores are *more bona fide* the higher they are. A miss is a bona fide trial that is rejected, a
false alarm a spoofed trial that is accepted. Rates are fractions.

One comparison is in use everywhere: a score *at or above* a threshold t is bona fide. So the miss
rate is the share of bona fide trials with score < t, the false alarm rate that of spoofed trials
with score >= t, and ``errors_at`` gives at the threshold of any operating point the rates of that
point.

The ASVspoof packages return the highest rejected score as the threshold of an EER or of a minimum
cost. Ours is the next number above it: the same to the last bit but one, and on the right side.
"""

import math
from bisect import bisect_left
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import scipy  # imports its parts where they are used, some of which take a second
from numpy.typing import ArrayLike

from wedefense_lite.metrics.costs import DEFAULT, CostModel

# How equal scores are treated, see ``WeightedScores.eer``.
Tie = Literal["merge", "official"]
# The rule of every command and function that is not asked for another one.
DEFAULT_TIE: Tie = "merge"
MERGE_TIES = DEFAULT_TIE == "merge"


class UndefinedMetric(ValueError):
    """A metric that these trials don't define: a class is missing, or a cost has no meaning."""


class OperatingPoint(NamedTuple):
    """Value of a metric, and its threshold t: score < t is rejected, score >= t is accepted."""

    value: float
    threshold: float


class Curve(NamedTuple):
    """Error rates at rising thresholds: one point that rejects none, then one a distinct score.

    A score of infinity is above every threshold; the last point rejects it all the same, as the
    decision to reject everything does.

    Attributes:
        threshold: t of each point.
        miss: share of bona fide trials with score < t, rising from 0 to 1.
        false_alarm: share of spoofed trials with score >= t, falling from 1 to 0.
    """

    threshold: np.ndarray
    miss: np.ndarray
    false_alarm: np.ndarray


class PooledTrials(NamedTuple):
    """Trials of both classes in one rising order; in a tie the bona fide ones come first.

    Attributes:
        score: ``(N,)`` scores.
        bonafide_count: ``(N+1,)`` number of bona fide trials among the first n.
        tie_end: ends of the groups of equal scores, as numbers of trials, after a leading 0.
    """

    score: np.ndarray
    bonafide_count: np.ndarray
    tie_end: np.ndarray


class Ranking:
    """Scores of both classes in rising order: all that the weights of trials don't change.

    Args:
        bonafide: ``(N,)`` scores of bona fide trials, not NaN.
        spoof: the same of spoofed trials.

    Attributes:
        bonafide: scores of bona fide trials, sorted.
        spoof: scores of spoofed trials, sorted.
    """

    def __init__(self, bonafide: np.ndarray, spoof: np.ndarray):
        self._unsorted_bonafide = bonafide
        self._unsorted_spoof = spoof
        self.bonafide = np.sort(bonafide)
        self.spoof = np.sort(spoof)

    # Only weights need the order, and np.argsort takes several times as long as np.sort.
    @cached_property
    def bonafide_order(self) -> np.ndarray:
        """Positions of the sorted bona fide trials in the array that was given."""
        return np.argsort(self._unsorted_bonafide, kind="stable")

    @cached_property
    def spoof_order(self) -> np.ndarray:
        """Positions of the sorted spoofed trials in the array that was given."""
        return np.argsort(self._unsorted_spoof, kind="stable")

    @cached_property
    def pooled(self) -> PooledTrials:
        """Both classes in one order."""
        scores = np.concatenate([self.bonafide, self.spoof])
        # A stable sort of two sorted runs is a merge, and puts the bona fide first in a tie.
        order = np.argsort(scores, kind="stable")
        scores = scores[order]
        bonafide_count = np.concatenate([[0], np.cumsum(order < self.bonafide.size)])
        inner_ends = np.flatnonzero(scores[1:] != scores[:-1]) + 1
        tie_end = np.concatenate([[0], inner_ends, [scores.size]])
        return PooledTrials(scores, bonafide_count, tie_end)


class ClassWeights(NamedTuple):
    """Weights of the sorted trials of one class.

    Attributes:
        trial: ``(N,)`` weight of each trial; None where each counts once.
        cumulated: ``(N+1,)`` weight of the first n trials together.
    """

    trial: np.ndarray | None
    cumulated: np.ndarray

    @property
    def total(self) -> float:
        return self.cumulated[-1]


class WeightedScores:
    """Every detection metric of trials with weights; ``SortedScores.weighted`` makes one.

    Args:
        ranking: scores of both classes, sorted.
        bonafide_weights: of the bona fide trials in the order of the ranking.
        spoof_weights: the same of spoofed trials.
    """

    def __init__(
        self, ranking: Ranking, bonafide_weights: ClassWeights, spoof_weights: ClassWeights
    ):
        self._ranking = ranking
        self._bonafide_weights = bonafide_weights
        self._spoof_weights = spoof_weights

    @property
    def bonafide(self) -> np.ndarray:
        """Scores of bona fide trials, sorted."""
        return self._ranking.bonafide

    @property
    def spoof(self) -> np.ndarray:
        """Scores of spoofed trials, sorted."""
        return self._ranking.spoof

    def _rates(self, rejected):
        """Miss and false alarm rate after rejecting the first ``rejected`` of the pooled trials."""
        bonafide_rejected = self._ranking.pooled.bonafide_count[rejected]
        spoof_rejected = rejected - bonafide_rejected
        bonafide = self._bonafide_weights
        spoof = self._spoof_weights
        # A trial is missed if it is bona fide and rejected; a false alarm is a spoof that is left.
        miss = bonafide.cumulated[bonafide_rejected] / bonafide.total
        false_alarm = (spoof.total - spoof.cumulated[spoof_rejected]) / spoof.total
        return miss, false_alarm

    def _rate_gap(self, rejected: int) -> float:
        """Miss rate minus false alarm rate: -1 with none rejected, 1 with all, and never falls."""
        miss, false_alarm = self._rates(rejected)
        return miss - false_alarm

    def _threshold(self, rejected: int) -> float:
        """Threshold at which so many of the pooled trials are rejected."""
        scores = self._ranking.pooled.score
        if rejected > 0:
            return float(np.nextafter(scores[rejected - 1], np.inf))
        # Just below the lowest score; 0.001 as in the official packages, unless it is lost in
        # rounding.
        return float(min(scores[0] - 0.001, np.nextafter(scores[0], -np.inf)))

    @cached_property
    def curve(self) -> Curve:
        """The step curve with one point a distinct score, ties merged."""
        pooled = self._ranking.pooled
        highest_rejected = pooled.score[pooled.tie_end[1:] - 1]
        thresholds = np.nextafter(highest_rejected, np.inf)
        threshold = np.concatenate([[self._threshold(0)], thresholds])
        miss, false_alarm = self._rates(pooled.tie_end)
        return Curve(threshold, miss, false_alarm)

    @property
    def official_curve(self) -> Curve:
        """The step curve of the ASVspoof packages, with one point a trial."""
        scores = self._ranking.pooled.score
        threshold = np.concatenate([[self._threshold(0)], np.nextafter(scores, np.inf)])
        miss, false_alarm = self._rates(np.arange(scores.size + 1))
        return Curve(threshold, miss, false_alarm)

    def eer(self, merge_ties: bool = MERGE_TIES) -> OperatingPoint:
        """Equal error rate: the mean of both rates where their difference is smallest.

        Of several such thresholds the first from below counts. No interpolation, no hull. With
        ``merge_ties``, ``errors_at`` gives the two rates at the threshold that is returned.

        Args:
            merge_ties: put a threshold between distinct scores only, as a detector can. The
                ASVspoof packages (2019, 2021, 5) step through equal scores one at a time, the bona
                fide first, and so visit points that no threshold reaches: all scores equal give
                100 % there, and 50 % here. False reproduces them; a weight is then the whole number
                of times that a trial is there. Without ties between the classes the two are the
                same number.

        Source:
            With ``merge_ties`` the nearest point of scikit-learn's ``det_curve``; without, agrees
            with ASVspoof 5's evaluation package, whose threshold is the number just below ours.
        """
        pooled = self._ranking.pooled
        points = pooled.tie_end if merge_ties else range(pooled.score.size + 1)
        # The gap never falls, so the point where it changes sign is found by bisection.
        crossing = bisect_left(points, 0.0, key=self._rate_gap)
        before = int(points[crossing - 1])
        after = int(points[crossing])
        if not merge_ties and self._bonafide_weights.trial is not None:
            return self._eer_among_copies(before)
        before_is_nearer = -self._rate_gap(before) <= self._rate_gap(after)
        nearest = before if before_is_nearer else after
        miss, false_alarm = self._rates(nearest)
        return OperatingPoint(float(miss + false_alarm) / 2, self._threshold(nearest))

    def _eer_among_copies(self, before: int) -> OperatingPoint:
        """EER where the rates cross at a trial that is there several times, a step each time.

        Args:
            before: number of pooled trials below this trial.
        """
        bonafide = self._bonafide_weights
        spoof = self._spoof_weights
        bonafide_rejected = self._ranking.pooled.bonafide_count[before]
        spoof_rejected = before - bonafide_rejected
        rejected_bonafide = bonafide.cumulated[bonafide_rejected]
        rejected_spoof = spoof.cumulated[spoof_rejected]
        is_bonafide = self._ranking.pooled.bonafide_count[before + 1] > bonafide_rejected
        # One of the two numbers grows by one, copy after copy.
        if is_bonafide:
            copies = bonafide.trial[bonafide_rejected]
            rejected_bonafide = rejected_bonafide + np.arange(copies + 1)
        else:
            copies = spoof.trial[spoof_rejected]
            rejected_spoof = rejected_spoof + np.arange(copies + 1)
        misses, false_alarms = np.broadcast_arrays(
            rejected_bonafide / bonafide.total, (spoof.total - rejected_spoof) / spoof.total
        )
        nearest = int(np.argmin(np.abs(misses - false_alarms)))
        threshold = self._threshold(before + 1 if nearest else before)
        return OperatingPoint(float(misses[nearest] + false_alarms[nearest]) / 2, threshold)

    def min_cost(self, miss_weight: float, fa_weight: float) -> OperatingPoint:
        """Least weighted sum of both rates on ``curve``, over the smaller weight.

        The smaller weight is the cost of the better constant decision, so 1 is the cost of a
        detector that looks at nothing. Of equal costs the lowest threshold counts.
        """
        cost = miss_weight * self.curve.miss + fa_weight * self.curve.false_alarm
        best = int(np.argmin(cost))
        value = float(cost[best]) / min(miss_weight, fa_weight)
        return OperatingPoint(value, float(self.curve.threshold[best]))

    def min_dcf(self, cost: CostModel = DEFAULT) -> OperatingPoint:
        """Normalised detection cost at the best threshold.

        Source:
            ASVspoof 5 evaluation plan, Eq. 2; agrees with its evaluation package.
        """
        return self.min_cost(cost.miss_weight, cost.fa_weight)

    def errors_at(self, threshold: float) -> tuple[float, float]:
        """Miss rate (score < threshold) and false alarm rate (score >= threshold)."""
        bonafide = self._bonafide_weights
        spoof = self._spoof_weights
        bonafide_below = np.searchsorted(self.bonafide, threshold, "left")
        spoof_below = np.searchsorted(self.spoof, threshold, "left")
        miss = bonafide.cumulated[bonafide_below] / bonafide.total
        false_alarm = (spoof.total - spoof.cumulated[spoof_below]) / spoof.total
        return float(miss), float(false_alarm)

    def act_dcf(self, cost: CostModel = DEFAULT) -> float:
        """Normalised detection cost at the Bayes threshold.

        Above 1 the scores are worse than a decision that looks at nothing.

        Source:
            ASVspoof 5 evaluation plan; agrees with its evaluation package.
        """
        miss, false_alarm = self.errors_at(cost.threshold)
        expected_cost = cost.miss_weight * miss + cost.fa_weight * false_alarm
        return expected_cost / min(cost.miss_weight, cost.fa_weight)

    def cllr(self) -> float:
        """Cost of the scores read as LLRs, in bits.

        Infinite where an infinite score is on the wrong side, finite everywhere else.

        Source:
            Bruemmer and du Preez, 2006; agrees with PYLLR.
        """
        nats = 0.0
        nats += _mean_surprise(self.bonafide, self._bonafide_weights)
        nats += _mean_surprise(-self.spoof, self._spoof_weights)
        return float(nats) / (2 * math.log(2))

    @cached_property
    def hull(self) -> Curve:
        """Vertices of the ROC convex hull, by pool-adjacent-violators over the curve's steps."""
        threshold, miss, false_alarm = self.curve
        bonafide_step = np.diff(miss)
        spoof_step = -np.diff(false_alarm)
        # A trial that a bootstrap sample leaves out weighs nothing, and its step has no slope.
        steps = np.flatnonzero((bonafide_step > 0) | (spoof_step > 0))
        weight = (bonafide_step + spoof_step)[steps]
        bonafide_share = bonafide_step[steps] / weight
        blocks = scipy.optimize.isotonic_regression(bonafide_share, weights=weight).blocks
        vertices = np.concatenate([[0], steps[blocks[1:] - 1] + 1])
        return Curve(threshold[vertices], miss[vertices], false_alarm[vertices])

    def eer_rocch(self) -> float:
        """Equal error rate on the ROC convex hull: at most 50 %, so it hides a flipped polarity.

        Between two vertices of the hull the rates are interpolated, so no threshold belongs to it.

        Source:
            BOSARIS and PYLLR, within the tolerance of their search.
        """
        _, miss, false_alarm = self.hull
        gap = miss - false_alarm
        after = int(np.argmax(gap >= 0))
        # The gap is linear between two vertices; its zero lies at this share of the way back.
        share = gap[after] / (gap[after] - gap[after - 1])
        return float(miss[after] + share * (miss[after - 1] - miss[after]))

    def min_cllr(self) -> float:
        """Cllr after the best increasing map of the scores, in bits.

        The map is that of the pool-adjacent-violators algorithm, a block for each edge of
        ``hull``.

        Source:
            Bruemmer and du Preez, 2006; agrees with PYLLR.
        """
        bonafide = np.diff(self.hull.miss)
        spoof = -np.diff(self.hull.false_alarm)
        both = bonafide + spoof
        nats = scipy.special.rel_entr(bonafide, both) + scipy.special.rel_entr(spoof, both)
        # Not the negative of the sum, which is -0.0 for classes that don't overlap.
        return float(0.0 - nats.sum()) / (2 * math.log(2))

    def auc(self) -> float:
        """Probability that a bona fide trial scores above a spoofed one, ties counting half.

        Source:
            Agrees with scikit-learn's ``roc_auc_score``.
        """
        _, miss, false_alarm = self.curve
        return float(1 - np.dot(np.diff(miss), false_alarm[1:] + false_alarm[:-1]) / 2)


class SortedScores(WeightedScores):
    """Scores of bona fide and spoofed trials, sorted, with every metric of them; each counts once.

    Args:
        bonafide: scores of bona fide trials, any shape, at least one; infinities are allowed.
        spoof: the same of spoofed trials.

    Raises:
        ValueError: a class has a NaN, or (``UndefinedMetric``) is empty.
    """

    def __init__(self, bonafide: ArrayLike, spoof: ArrayLike):
        ranking = Ranking(_check_scores(bonafide, "bonafide"), _check_scores(spoof, "spoof"))
        bonafide_weights = ClassWeights(None, np.arange(ranking.bonafide.size + 1))
        spoof_weights = ClassWeights(None, np.arange(ranking.spoof.size + 1))
        super().__init__(ranking, bonafide_weights, spoof_weights)

    def weighted(self, bonafide: ArrayLike, spoof: ArrayLike) -> WeightedScores:
        """The same scores with a weight (count, duration) for each trial, without sorting again.

        Args:
            bonafide: weights not below zero, in the order in which the scores were given.
            spoof: the same of spoofed trials.

        Raises:
            ValueError: the weights are not as many as the scores, or (``UndefinedMetric``) those of
                a class sum to zero or less.
        """
        ranking = self._ranking
        if np.size(bonafide) != ranking.bonafide.size or np.size(spoof) != ranking.spoof.size:
            raise ValueError("the number of weights differs from the number of scores")
        bonafide_weights = _class_weights(bonafide, ranking.bonafide_order)
        spoof_weights = _class_weights(spoof, ranking.spoof_order)
        if not (bonafide_weights.total > 0 and spoof_weights.total > 0):
            raise UndefinedMetric("the weights of a class sum to zero")
        return WeightedScores(ranking, bonafide_weights, spoof_weights)


def _class_weights(weights: ArrayLike, order: np.ndarray) -> ClassWeights:
    ranked = np.ravel(weights)[order]
    return ClassWeights(ranked, np.append(0, np.cumsum(ranked)))


def _mean_surprise(llr: np.ndarray, weights: ClassWeights) -> float:
    """Mean of -log p(true class) in nats, for LLRs in favour of the true class and equal priors."""
    # log(1 + exp(-x)) in a form that can't overflow.
    surprise = np.log1p(np.exp(-np.abs(llr))) + np.maximum(-llr, 0)
    if weights.trial is not None:
        # Of a trial that a sample leaves out; infinity times a weight of zero is no number.
        surprise = np.where(weights.trial > 0, surprise, 0.0)
    return np.average(surprise, weights=weights.trial)


def _check_scores(scores: ArrayLike, name: str) -> np.ndarray:
    scores = np.ravel(np.asarray(scores, dtype=np.float64))
    if not scores.size:
        raise UndefinedMetric(f"no {name} scores")
    if np.isnan(scores).any():
        raise ValueError(f"{np.isnan(scores).sum()} of {scores.size} {name} scores are NaN")
    return scores
