"""Calibration and fusion: scores of one or several systems to log-likelihood ratios."""

import logging
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from wedefense_lite.files import InputError, file_path, read_json, write_json
from wedefense_lite.scoring.scores import check_finite, write_scores
from wedefense_lite.scoring.sidecar import (
    Sidecar,
    begin_results,
    check_types,
    sidecar_path,
    write_sidecar,
)

# Logits are float32, of unit size: differences below this inverse are rounding.
LARGEST_SCALE = 1e5
# The scale of smaller scores would be infinite.
SMALLEST_SCORE = 1e-300
# Odds of e^1000 to 1: more than there are trials in the world.
LARGEST_LLR = 1e3
# Distance of the means of two classes in deviations, at which 3 of 10 million trials are wrong:
# no set is large enough to show a larger one.
LARGEST_DISTANCE = 10.0


@dataclass(frozen=True)
class Affine:
    """LLR = sum over systems of ``scale * score``, plus ``offset``.

    Attributes:
        scale: weight of each system.
        offset: what is added.
        gaussian_share: part of the map that is of the Gaussian model of ``fit_affine``, 0 to 1; 0
            for plain logistic regression, or no fit at all.
        allow_negative_slope: whether the fit was asked to turn scores round where they are higher
            for spoof.
    """

    scale: tuple[float, ...]
    offset: float
    gaussian_share: float = 0.0
    allow_negative_slope: bool = False

    def __call__(self, scores: ArrayLike) -> np.ndarray:
        """LLRs ``(N,)`` of scores ``(N,)``, or ``(N, systems)`` with a column a system."""
        # An LLR that is not finite is refused where it is used, by the name of its utterance.
        with np.errstate(over="ignore", invalid="ignore"):
            return _as_columns(scores) @ np.asarray(self.scale) + self.offset


IDENTITY = Affine((1.0,), 0.0)


def fit_affine(
    bonafide: ArrayLike,
    spoof: ArrayLike,
    p_spoof: float,
    allow_negative_slope: bool = False,
    gaussian_share: float | None = None,
) -> Affine:
    """Logistic regression of the class on the scores, each class weighted to its target prior.

    Minimises the prior-weighted cross-entropy; the log odds of the target prior are then taken off,
    so the result is an LLR.

    Scores that separate the classes have no best scale: the larger it is, the lower the
    cross-entropy, and where a solver stops says nothing of the scores. There the map comes from
    normal distributions of the two classes with one deviation. Their unknown means and deviation
    are integrated out, so LLRs are the smaller, the fewer trials support them. ``overlap`` tells
    how far the classes are from separated: up to an overlap of one trial the map is that of the
    normal distributions, from two trials on that of plain logistic regression, and between them a
    mean of both; a warning says so. So sets whose classes mix have the result of the regression.

    Args:
        bonafide: scores of bona fide trials, ``(N,)``, or ``(N, systems)`` with a column a system.
        spoof: the same of spoofed trials.
        p_spoof: target prior of spoof, in (0, 1).
        allow_negative_slope: accept scores that are higher for spoof, and turn them round.
        gaussian_share: part of the normal distributions in the map, 0 to 1, 0 for plain logistic
            regression; None decides by the overlap.

    Raises:
        ValueError: an empty class, scores that are not finite, a prior out of range, or scores that
            are higher for spoof.

    Source:
        The objective of BOSARIS and PYLLR. Bruemmer and Swart, Bayesian calibration for forensic
        evidence reporting, 2014.
    """
    bonafide = _as_columns(bonafide)
    spoof = _as_columns(spoof)
    if not 0 < p_spoof < 1:
        raise ValueError(f"the prior of spoof is {p_spoof}, expected a number between 0 and 1")
    scores = np.concatenate([bonafide, spoof])
    if not len(bonafide) or not len(spoof) or not np.isfinite(scores).all():
        raise ValueError("calibration needs finite scores of both classes")
    largest = np.abs(scores).max(axis=0)
    if ((largest > 0) & (largest < SMALLEST_SCORE)).any():
        raise ValueError(
            f"calibration needs scores above {SMALLEST_SCORE:g}, the largest is smaller"
        )
    affine = _regression(bonafide, spoof, p_spoof)
    if gaussian_share is None:
        # No jump where a single trial crosses to the other class.
        separation = 2 - overlap(affine(bonafide), affine(spoof), p_spoof)
        gaussian_share = float(np.clip(separation, 0, 1))
        if gaussian_share:
            logging.warning(
                "%d bona fide and %d spoofed trials of the calibration set have (nearly) separated "
                "scores, which determine no scale: it is that of normal distributions",
                len(bonafide),
                len(spoof),
            )
    if gaussian_share:
        gaussian = _gaussian_model(bonafide, spoof, p_spoof)
        share = gaussian_share
        scale = share * np.array(gaussian.scale) + (1 - share) * np.array(affine.scale)
        offset = share * gaussian.offset + (1 - share) * affine.offset
        affine = Affine(tuple(scale.tolist()), offset, gaussian_share)
    _check_scale(affine, bonafide, spoof, allow_negative_slope)
    return replace(affine, allow_negative_slope=allow_negative_slope)


def overlap(bonafide: np.ndarray, spoof: np.ndarray, p_spoof: float) -> float:
    """Number of trials that LLRs give to the other class, each counted by its posterior.

    It is 1 or more where a spoofed trial is as high as a bona fide one: their posteriors of the
    other class alone have that sum. It approaches 0 for separated classes as the scale grows.

    Args:
        bonafide: LLRs of bona fide trials.
        spoof: LLRs of spoofed trials.
        p_spoof: prior of spoof.
    """
    from scipy.special import expit, logit  # a device that applies calibrations has no scipy

    prior_log_odds = logit(1 - p_spoof)
    bonafide_errors = expit(-bonafide - prior_log_odds)
    spoof_errors = expit(spoof + prior_log_odds)
    return float(bonafide_errors.sum() + spoof_errors.sum())


def _regression(
    bonafide: np.ndarray, spoof: np.ndarray, p_spoof: float, inverse_penalty: float = 1e10
) -> Affine:
    """Minimum of the prior-weighted cross-entropy.

    Args:
        bonafide: scores of bona fide trials, ``(N, systems)``.
        spoof: the same of spoofed trials.
        p_spoof: target prior of spoof.
        inverse_penalty: inverse of the penalty on the squares of the scales, for scores of unit
            deviation; 1e10 leaves none that could be felt.
    """
    # Slow to import, and most calls of stage 6 go without.
    from scipy.special import logit
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scores = np.concatenate([bonafide, spoof])
    is_bonafide = np.arange(len(scores)) < len(bonafide)
    bonafide_weight = (1 - p_spoof) / len(bonafide)
    spoof_weight = p_spoof / len(spoof)
    weights = np.where(is_bonafide, bonafide_weight, spoof_weight) * len(scores)
    # A power of two first, which rounds nothing: the square of 1e-200 would be 0.
    _, exponent = np.frexp(np.abs(scores).max(axis=0))
    scores = np.ldexp(scores, -exponent)
    # The solver wants scores of about unit size; a column of equal scores stays as it is.
    mean = scores.mean(axis=0)
    deviation = scores.std(axis=0)
    deviation[deviation == 0] = 1.0
    model = LogisticRegression(
        C=inverse_penalty, solver="newton-cholesky", tol=1e-10, max_iter=1000
    )
    with warnings.catch_warnings():
        # Separated classes have no minimum; what is done about them is said elsewhere.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((scores - mean) / deviation, is_bonafide, sample_weight=weights)
    scale = model.coef_[0] / deviation
    offset = model.intercept_[0] - scale @ mean + logit(p_spoof)
    scale = np.ldexp(scale, -exponent)
    return Affine(tuple(scale.tolist()), float(offset))


def _gaussian_model(bonafide: np.ndarray, spoof: np.ndarray, p_spoof: float) -> Affine:
    """LLRs of normal distributions with one deviation, means and deviation integrated out.

    Predictions of a class are then Student-distributed. Their LLR is not affine; the map has its
    values at the means of the two classes. Several systems are first weighted by a regression,
    whose penalty keeps the weights of separated classes at the size of their scores.
    """
    weights = Affine((1.0,), 0.0)
    if bonafide.shape[1] > 1:
        weights = _regression(bonafide, spoof, p_spoof, inverse_penalty=1.0)
    bonafide = weights(bonafide)
    spoof = weights(spoof)
    # Exact, as in the regression: squares of 1e-200 would be 0.
    _, exponent = np.frexp(max(np.abs(bonafide).max(), np.abs(spoof).max()))
    bonafide = np.ldexp(bonafide, -exponent)
    spoof = np.ldexp(spoof, -exponent)
    distance = bonafide.mean() - spoof.mean()
    freedom = max(1, len(bonafide) + len(spoof) - 2)
    squares = len(bonafide) * bonafide.var() + len(spoof) * spoof.var()
    variance = max(squares / freedom, (distance / LARGEST_DISTANCE) ** 2)
    # Classes with one mean tell nothing of each other.
    if variance == 0 or distance == 0:
        return Affine((0.0,) * len(weights.scale), 0.0)
    at_means = []
    for other_class in (spoof, bonafide):
        spread = freedom * variance * (1 + 1 / len(other_class))
        at_means.append((freedom + 1) / 2 * np.log1p(distance**2 / spread))
    at_bonafide, at_spoof = at_means
    scale = (at_bonafide + at_spoof) / distance
    offset = at_bonafide - scale * bonafide.mean()
    scale = np.ldexp(scale, -exponent)
    weighted_scale = scale * np.array(weights.scale)
    return Affine(tuple(weighted_scale.tolist()), float(offset + scale * weights.offset))


def _check_scale(
    affine: Affine, bonafide: np.ndarray, spoof: np.ndarray, allow_negative_slope: bool
) -> None:
    """Refuse scales that turn scores round unasked; warn of scales that no score file has.

    Of several systems, a weight below zero may correct for what systems have in common; that of a
    system whose scores are higher for spoof turns it round.
    """
    is_reversed = bonafide.mean(axis=0) < spoof.mean(axis=0)
    for system, scale in enumerate(affine.scale):
        name = "scores" if len(affine.scale) == 1 else f"scores of system {system + 1}"
        if scale < 0 and (len(affine.scale) == 1 or is_reversed[system]):
            if not allow_negative_slope:
                raise ValueError(
                    f"the calibration set has higher {name} for spoof (scale {scale:.3g}), "
                    "expected higher ones for bona fide; --allow_negative_slope true turns them "
                    "round"
                )
            logging.warning(
                "the calibration set has higher %s for spoof: calibration turns them round", name
            )
        elif scale < 0:
            logging.warning("%s have the negative weight %.3g", name, scale)
        if abs(scale) > LARGEST_SCALE:
            logging.warning(
                "the %s of the calibration set differ by little: a scale of %.3g", name, scale
            )


class Calibration(NamedTuple):
    """Content of ``calibration.json`` that is used again.

    Attributes:
        affine: map from scores to LLRs.
        training_prior: class prior that was divided out before; None for none.
    """

    affine: Affine
    training_prior: tuple[float, ...] | None


def read_calibration(path: str | Path) -> Calibration:
    """Calibration of ``calibration.json``.

    Raises:
        InputError: no such file, a field that is missing, or a value of another type; names file
            and field.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: {repr(content)[:80]}, expected an object with scale and offset")
    values = {}
    for name in ("scale", "offset", "training_prior"):
        if name not in content:
            raise InputError(f"{path}: no field {name!r}, expected a calibration of stage 6")
        value = content[name]
        # JSON has lists where fields are tuples.
        values[name] = tuple(value) if isinstance(value, list) else value
    # Without these fields it is from before they existed.
    for name in ("gaussian_share", "allow_negative_slope"):
        if name in content:
            values[name] = content[name]
    prior = values.pop("training_prior")
    try:
        affine = Affine(**values)
        check_types(affine)
        Sidecar(class_prior=prior)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    return Calibration(affine, prior)


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


def calibrated_files(path: str | Path) -> tuple[Path, Path, Path]:
    """Files of ``write_calibrated``: the LLRs, ``calibration.json`` and the sidecar."""
    path = file_path(path)
    return path, path.with_name("calibration.json"), sidecar_path(path)


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

    Raises:
        InputError: an LLR that is not finite, by the name of the utterance.
    """
    llrs = affine(list(scores.values()))
    check_finite(path, scores, llrs)
    largest = np.abs(llrs).max(initial=0.0)
    if largest > LARGEST_LLR:
        logging.warning(
            "%s: LLRs of %.3g, which no number of trials supports: the scores are of another size "
            "than those of the calibration set, or their classes lie far apart",
            path,
            largest,
        )
    _, calibration_path, _ = calibrated_files(path)
    begin_results(path)
    write_scores(path, scores, llrs)
    write_json(calibration_path, asdict(affine) | report)
    write_sidecar(path, sidecar, calibration_path)


def _as_columns(scores: ArrayLike) -> np.ndarray:
    """``(N, systems)`` of scores that may be ``(N,)`` of a single system."""
    scores = np.asarray(scores, dtype=np.float64)
    return scores[:, None] if scores.ndim == 1 else scores
