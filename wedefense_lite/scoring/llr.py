"""From logits to log-likelihood ratios: which prior is divided out, and how.

The training prior is the class prior that the loss saw. It travels in the sidecar from the
checkpoint to the logits, ``training_prior`` finds it, ``llr_from_logits`` divides it out,
and ``calibration.json`` keeps it as ``training_prior``. The target prior of a calibration
(``pi_spoof``) is another one, and plays no role here.

Letters: F frames of an utterance.
"""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from wedefense_lite.files import InputError, read_columns, read_table
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.scoring.archives import read_archive
from wedefense_lite.scoring.sidecar import Sidecar

# Several frames: their mean is steadier than a single frame.
POOL_SECONDS = 0.2


def llr_from_logits(logits: ArrayLike, prior: ArrayLike | None) -> np.ndarray:
    """log p(x | bona fide) - log p(x | spoof): posterior log odds minus those of the prior.

    Args:
        logits: ``(..., 2)``, ``[spoof, bonafide]``.
        prior: ``(2,)`` class prior that the loss saw; None leaves the prior in, for a head whose
            softmax is no posterior.

    Returns:
        ``(...)``, natural logarithm, higher is more bona fide.

    Source:
        Bruemmer, 2010, section 2.3, for two classes.
    """
    logits = np.asarray(logits, dtype=np.float64)
    posterior_log_odds = logits[..., BONAFIDE] - logits[..., SPOOF]
    if prior is None:
        return posterior_log_odds
    prior = np.asarray(prior, dtype=np.float64)
    return posterior_log_odds - np.log(prior[BONAFIDE] / prior[SPOOF])


def training_prior(
    sidecar: Sidecar, scp: str | Path, training_counts: str | None, train_label: str | None
) -> tuple[float, ...] | None:
    """Class prior that the loss saw: the sidecar's, or the shares of the training trials.

    Args:
        sidecar: of the logits.
        scp: the logits, for errors.
        training_counts: ``lab2num_utts``, trials a label.
        train_label: ``utt2lab`` of the same trials.

    Returns:
        One prior a class; None for a head without a posterior, which gets no correction.

    Raises:
        InputError: counts that are none, that differ from the labels, or that are of other classes
            than the logits; no prior at all.
    """
    prior_of_counts = None
    if training_counts:
        prior_of_counts = _prior_of_counts(training_counts, train_label)
    if not sidecar.has_posterior:
        logging.warning(
            "this head has no posterior: no prior correction, affine calibration is needed"
        )
        return None
    # The counts know nothing of class weights and balanced sampling, so the sidecar goes first.
    prior = sidecar.class_prior or prior_of_counts
    if prior is None:
        raise InputError(f"{scp}: no class prior in the sidecar, expected --training_counts")
    if prior_of_counts and not np.allclose(prior_of_counts, prior, rtol=0.01):
        logging.warning(
            "the loss saw the class prior %s (class weights or balanced sampling), "
            "not the %s of the training counts: using the former",
            _format_prior(prior),
            _format_prior(prior_of_counts),
        )
    return prior


def _prior_of_counts(training_counts: str, train_label: str | None) -> tuple[float, ...]:
    """Shares of the classes in ``lab2num_utts``, checked against the labels themselves if named."""
    rows = read_columns(training_counts, {"count": int}, ["label"], ["label", "count"])
    counts = {label: count for label, (count,) in rows.items()}
    has_classes = set(counts) == set(LABELS) and min(counts.values()) >= 1
    has_label_counts = not train_label or counts == Counter(read_table(train_label).values())
    if not (has_classes and has_label_counts):
        expected = f"expected positive counts of {', '.join(LABELS)}"
        if train_label:
            expected += f", as in {train_label}"
        raise InputError(f"{training_counts}: {counts}, {expected}")
    total = sum(counts.values())
    return tuple(counts[label] / total for label in LABELS)


def _format_prior(prior: tuple[float, ...]) -> str:
    return ", ".join(f"{share:.4f}" for share in prior)


def read_logits(scp: str | Path, by_frame: bool) -> dict[str, np.ndarray]:
    """Logits of each utterance, in the order of a Kaldi ``scp``.

    Args:
        scp: the archive's table.
        by_frame: whether an utterance has ``(F, 2)`` logits instead of ``(2,)``.

    Returns:
        ``(F, 2)`` of each utterance; a single row without frames.

    Raises:
        InputError: as ``Archive``, or another shape.
    """
    arrays = dict(read_archive(scp))
    classes = len(LABELS)
    shape = f"(frames, {classes})" if by_frame else f"({classes},)"
    logits = {}
    for name, array in arrays.items():
        has_dimensions = array.ndim == (2 if by_frame else 1)
        if not has_dimensions or array.shape[-1] != classes:
            raise InputError(f"{scp}: {name} has logits of shape {array.shape}, expected {shape}")
        logits[name] = array.reshape(-1, classes)
    return logits


def utterance_llr(llr_F: np.ndarray, frame_seconds: float | None) -> float:
    """Score of an utterance: the lowest mean of its frames over ``POOL_SECONDS``.

    One spoofed part makes the utterance spoofed, so the lowest frames decide. A shorter utterance
    has the mean of all its frames.

    Args:
        llr_F: LLRs of the frames; a single one without frames, which is the score.
        frame_seconds: length of a frame; None without frames.
    """
    size = 1
    if frame_seconds:
        size = min(len(llr_F), max(1, round(POOL_SECONDS / frame_seconds)))
    # Means of all windows of this size by differences of the running sum.
    sums = np.cumsum(np.append(0.0, llr_F))
    means = (sums[size:] - sums[:-size]) / size
    return float(means.min())
