"""Calibration and fusion: scores of one or several systems to log-likelihood ratios."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from wedefense_lite.files import InputError, write_json
from wedefense_lite.scoring.scores import write_scores
from wedefense_lite.scoring.sidecar import Sidecar, write_sidecar


@dataclass(frozen=True)
class Affine:
    """LLR = sum over systems of ``scale * score``, plus ``offset``."""

    scale: tuple[float, ...]
    offset: float

    def __call__(self, scores: ArrayLike) -> np.ndarray:
        """LLRs ``(N,)`` of scores ``(N,)``, or ``(N, systems)`` with a column a system."""
        return _as_columns(scores) @ np.asarray(self.scale) + self.offset


IDENTITY = Affine((1.0,), 0.0)


def fit_affine(bonafide: ArrayLike, spoof: ArrayLike, p_spoof: float) -> Affine:
    """Logistic regression of the class on the scores, each class weighted to its target prior.

    Minimises the prior-weighted cross-entropy without regularisation that could be felt; the log
    odds of the target prior are then taken off, so the result is an LLR.

    Args:
        bonafide: scores of bona fide trials, ``(N,)``, or ``(N, systems)`` with a column a system.
        spoof: the same of spoofed trials.
        p_spoof: target prior of spoof, in (0, 1).

    Raises:
        ValueError: an empty class, scores that are not finite, or a prior out of range.

    Source:
        The objective of BOSARIS and PYLLR.
    """
    # Slow to import, and most calls of stage 6 go without.
    from sklearn.linear_model import LogisticRegression

    bonafide = _as_columns(bonafide)
    spoof = _as_columns(spoof)
    if not 0 < p_spoof < 1:
        raise ValueError(f"the prior of spoof is {p_spoof}, expected a number between 0 and 1")
    scores = np.concatenate([bonafide, spoof])
    if not len(bonafide) or not len(spoof) or not np.isfinite(scores).all():
        raise ValueError("calibration needs finite scores of both classes")
    is_bonafide = np.arange(len(scores)) < len(bonafide)
    bonafide_weight = (1 - p_spoof) / len(bonafide)
    spoof_weight = p_spoof / len(spoof)
    weights = np.where(is_bonafide, bonafide_weight, spoof_weight) * len(scores)
    # The solver wants scores of about unit size; a column of equal scores stays as it is.
    mean = scores.mean(axis=0)
    deviation = scores.std(axis=0)
    deviation[deviation == 0] = 1.0
    # C is the inverse of the regularisation: 1e10 leaves none that could be felt.
    model = LogisticRegression(C=1e10, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit((scores - mean) / deviation, is_bonafide, sample_weight=weights)
    scale = model.coef_[0] / deviation
    offset = model.intercept_[0] - scale @ mean + logit(p_spoof)
    if len(scale) == 1 and scale[0] < 0:
        logging.warning(
            "the calibration set has higher scores for spoof: calibration turns all scores round"
        )
    return Affine(tuple(scale.tolist()), float(offset))


def refuse_overlap(fitted_on: Iterable[str], applied_to: Iterable[str], source: str) -> None:
    """Refuse to test a calibration on trials that it was fitted on.

    Args:
        fitted_on: names of the calibration set.
        applied_to: names of the tested set.
        source: file of the tested set, for the error.

    Raises:
        InputError: a name is in both.
    """
    both = sorted(set(fitted_on) & set(applied_to))
    if both:
        raise InputError(
            f"{source}: {both[0]} is in the calibration set too ({len(both)} such), expected none"
        )


def write_calibrated(
    path: str | Path,
    scores: Mapping[str, ArrayLike],
    affine: Affine,
    sidecar: Sidecar,
    report: dict,
) -> None:
    """Write LLRs, their sidecar and, beside them, ``calibration.json``.

    Args:
        path: ``llr.txt``.
        scores: score, or one score a system, of each utterance.
        affine: map from these to the LLR.
        sidecar: of the LLRs.
        report: entries of ``calibration.json`` besides the map.
    """
    llrs = affine(list(scores.values()))
    write_scores(path, scores, llrs)
    write_sidecar(path, sidecar)
    write_json(Path(path).with_name("calibration.json"), asdict(affine) | report)


def _as_columns(scores: ArrayLike) -> np.ndarray:
    """``(N, systems)`` of scores that may be ``(N,)`` of a single system."""
    scores = np.asarray(scores, dtype=np.float64)
    return scores[:, None] if scores.ndim == 1 else scores
