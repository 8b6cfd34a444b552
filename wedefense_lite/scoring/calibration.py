"""Calibration and fusion: scores of one or several systems to log-likelihood ratios."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from wedefense_lite.files import InputError, write_json
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.scores import write_scores
from wedefense_lite.scoring.sidecar import Sidecar, write_sidecar


@dataclass(frozen=True)
class Affine:
    """LLR = sum over systems of ``scale * score``, plus ``offset``."""

    scale: tuple[float, ...]
    offset: float

    def __call__(self, scores: ArrayLike) -> np.ndarray:
        """LLRs ``(N,)`` of scores ``(N,)`` or ``(N, K systems)``."""
        return _columns(scores) @ np.asarray(self.scale) + self.offset


IDENTITY = Affine((1.0,), 0.0)


def fit_affine(bonafide: ArrayLike, spoof: ArrayLike, p_spoof: float) -> Affine:
    """Logistic regression of the class on K scores, each class weighted to its target prior.

    Minimises the prior-weighted cross-entropy, the objective of BOSARIS and PYLLR, without
    regularisation that could be felt (C = 1e10); the prior's log odds are then taken off.

    Args:
        bonafide: scores ``(N,)`` or ``(N, K)`` of bona fide trials.
        spoof: the same of spoofed trials.
        p_spoof: target prior of spoof, in (0, 1).

    Raises:
        ValueError: an empty class, scores that are not finite, or a prior out of range.
    """
    from sklearn.linear_model import (
        LogisticRegression,
    )  # slow to import, and most calls of stage 6 go without

    bonafide, spoof = _columns(bonafide), _columns(spoof)
    if not 0 < p_spoof < 1:
        raise ValueError(f"the prior of spoof is {p_spoof}, expected a number between 0 and 1")
    scores = np.concatenate([bonafide, spoof])
    if not len(bonafide) or not len(spoof) or not np.isfinite(scores).all():
        raise ValueError("calibration needs finite scores of both classes")
    classes = np.arange(len(scores)) < len(bonafide)
    weights = np.where(classes, (1 - p_spoof) / len(bonafide), p_spoof / len(spoof)) * len(scores)
    mean, deviation = scores.mean(axis=0), scores.std(axis=0)
    deviation[deviation == 0] = 1.0
    model = LogisticRegression(C=1e10, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit((scores - mean) / deviation, classes, sample_weight=weights)
    scale = model.coef_[0] / deviation
    if len(scale) == 1 and scale[0] < 0:
        logging.warning(
            "the calibration set has higher scores for spoof: calibration turns all scores round"
        )
    return Affine(
        tuple(map(float, scale)), float(model.intercept_[0] - scale @ mean + logit(p_spoof))
    )


def pav_llr(bonafide: ArrayLike, spoof: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """LLRs that the best increasing map gives these very trials: for analysis, never to score others.

    They are infinite where only one class is.

    Args:
        bonafide: scores of bona fide trials.
        spoof: the same of spoofed trials.

    Returns:
        LLRs of the bona fide and of the spoofed trials, in the order given.
    """
    threshold, miss, false_alarm = SortedScores(bonafide, spoof).hull
    with np.errstate(divide="ignore"):
        llr = np.log(np.diff(miss)) - np.log(-np.diff(false_alarm))
    return tuple(
        llr[np.searchsorted(threshold[1:], scores, "left")] for scores in (bonafide, spoof)
    )


def refuse_overlap(fitted_on: Iterable[str], applied_to: Iterable[str], what: str) -> None:
    """Refuse to test a calibration on trials it was fitted on.

    Raises:
        InputError: a name is in both.
    """
    both = sorted(set(fitted_on) & set(applied_to))
    if both:
        raise InputError(
            f"{what}: {both[0]} is in the calibration set too ({len(both)} such), expected none"
        )


def write_calibrated(
    path: str | Path,
    scores: Mapping[str, ArrayLike],
    affine: Affine,
    sidecar: Sidecar,
    report: dict,
) -> None:
    """Write the LLRs of ``scores`` by utterance, their sidecar and, beside them, ``calibration.json``."""
    write_scores(path, scores, affine(list(scores.values())))
    write_sidecar(path, sidecar)
    write_json(Path(path).with_name("calibration.json"), asdict(affine) | report)


def _columns(scores: ArrayLike) -> np.ndarray:
    return np.atleast_2d(np.asarray(scores, dtype=np.float64).T).T
