"""Doubt: the range of scores in which too many decisions would be wrong."""

import numpy as np
import scipy  # imports its parts where they are used, some of which take a second
from numpy.typing import ArrayLike


def doubtful_range(
    bonafide: ArrayLike, spoof: ArrayLike, threshold: float, share: float
) -> tuple[float, float] | None:
    """Range of scores around a threshold in which more than a share of decisions would be wrong.

    The probability of bona fide speech rises with the score. It is estimated by isotonic
    regression, both classes counted half. Below the threshold, where the decision is spoof, it is
    the share of wrong decisions; above, its complement is. So the share falls with the distance
    from the threshold, and the scores at which it is too large are one range.

    Args:
        bonafide: ``(N,)`` scores of bona fide trials.
        spoof: the same of spoofed trials.
        threshold: scores at or above it are decided to be bona fide.
        share: largest share of wrong decisions that leaves no doubt, in (0, 1).

    Returns:
        Lowest and highest score of doubt, the threshold between them; None where there is none.

    Raises:
        ValueError: a class without trials.

    Source:
        Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability
        estimates, 2002, for the estimate.
    """
    bonafide = np.asarray(bonafide, dtype=np.float64)
    spoof = np.asarray(spoof, dtype=np.float64)
    if not len(bonafide) or not len(spoof):
        raise ValueError("doubt needs scores of both classes")
    scores, group_of_trial = np.unique(np.concatenate([bonafide, spoof]), return_inverse=True)
    # Equal scores are one point, of which some trials are bona fide.
    bonafide_groups = group_of_trial[: len(bonafide)]
    spoof_groups = group_of_trial[len(bonafide) :]
    bonafide_mass = np.bincount(bonafide_groups, minlength=len(scores)) / len(bonafide)
    spoof_mass = np.bincount(spoof_groups, minlength=len(scores)) / len(spoof)
    mass = bonafide_mass + spoof_mass
    fit = scipy.optimize.isotonic_regression(bonafide_mass / mass, weights=mass)
    wrong = np.where(scores < threshold, fit.x, 1 - fit.x)
    doubtful = scores[wrong > share]
    if not len(doubtful):
        return None
    return min(float(doubtful[0]), threshold), max(float(doubtful[-1]), threshold)
