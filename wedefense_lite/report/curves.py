"""Curves that show calibration, as pure functions of sorted scores."""

import numpy as np
from scipy.special import expit

from wedefense_lite.metrics.detection import SortedScores


def bayes_error(scores: SortedScores, log_odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Actual and minimum normalised Bayes error at each effective prior, costs equal.

    1 is what the better of "accept all" and "reject all" gives. The gap between the two is lost by
    calibration alone (Bruemmer, "Measuring, refining and calibrating speaker and language
    information extracted from speech", 2010, chapter 2).

    Args:
        scores: LLRs in nats, higher is bona fide.
        log_odds: log(P(bona fide) / P(spoof)), shape (K,), any finite values.

    Returns:
        actual (K,), not below minimum (K,), which is in [0, 1].
    """
    actual, minimum = [], []
    for odds in np.asarray(log_odds, dtype=np.float64):
        prior = expit(odds), expit(-odds)
        actual.append(np.dot(prior, scores.errors_at(-odds)) / min(prior))
        minimum.append(scores.min_cost(*prior).value)
    return np.array(actual), np.array(minimum)


def calibration_map(scores: SortedScores) -> tuple[np.ndarray, np.ndarray]:
    """The best increasing map of scores to LLRs (pool adjacent violators), as a step curve.

    Returns:
        ends (K,): the highest score of each step; llr (K,): what the trials of the step are worth in
        nats, log(share of bona fide / share of spoof), increasing from -inf or above to inf or below.
    """
    threshold, miss, false_alarm = scores.hull
    with np.errstate(divide="ignore"):
        return threshold[1:], np.log(np.diff(miss)) - np.log(-np.diff(false_alarm))
