"""From logits of any number of classes to log-likelihood ratios."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from wedefense_lite.files import InputError, read_columns, read_table
from wedefense_lite.scoring.archives import read_archive
from wedefense_lite.scoring.sidecar import Sidecar

POOL_SECONDS = 0.2


def llr_from_logits(logits: ArrayLike, bonafide: ArrayLike, prior: ArrayLike | None) -> np.ndarray:
    """log p(x | bona fide) - log p(x | spoof), each a mixture of its classes.

    The softmax of the logits is the posterior of C classes under ``prior``, so the sum of the
    posteriors of a group over the sum of their priors is the group's likelihood, its classes weighted
    by their share of the group (Bruemmer, 2010, section 2.3). Dividing each logit by its own prior
    instead, and adding, weighs every class of a group by 1 and is no likelihood.

    Args:
        logits: ``(..., C)``.
        bonafide: ``(C,)`` booleans, the classes that are bona fide.
        prior: ``(C,)`` class prior that the loss saw; None leaves the prior in, for a head whose
            softmax is no posterior.

    Returns:
        ``(...)``, natural logarithm, higher is more bona fide.

    Raises:
        ValueError: one of the two groups is empty.
    """
    logits, bonafide = np.asarray(logits, dtype=np.float64), np.asarray(bonafide, dtype=bool)
    if bonafide.all() or not bonafide.any():
        raise ValueError("the classes are not of two groups")
    odds = logsumexp(logits[..., bonafide], axis=-1) - logsumexp(logits[..., ~bonafide], axis=-1)
    if prior is None:
        return odds
    prior = np.asarray(prior, dtype=np.float64)
    return odds - np.log(prior[bonafide].sum() / prior[~bonafide].sum())


def training_prior(
    sidecar: Sidecar, scp: str | Path, training_counts: str | None, train_label: str | None
) -> tuple[float, ...] | None:
    """Effective class prior of the loss; shares of the training trials where the sidecar has none.

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
    raw = None
    if training_counts:
        rows = read_columns(training_counts, {"count": int}, ["label"], ["label", "count"])
        counts = {label: count for label, (count,) in rows.items()}
        found = Counter(read_table(train_label).values()) if train_label else counts
        if counts != found or set(counts) != set(sidecar.labels) or min(counts.values()) < 1:
            expected = f"expected positive counts of {', '.join(sidecar.labels)}"
            raise InputError(
                f"{training_counts}: {counts}, {expected}"
                + f", as in {train_label}" * bool(train_label)
            )
        raw = tuple(counts[label] / sum(counts.values()) for label in sidecar.labels)
    if not sidecar.has_posterior:
        logging.warning(
            "this head has no posterior: no prior correction, affine calibration is needed"
        )
        return None
    prior = sidecar.class_prior or raw
    if prior is None:
        raise InputError(f"{scp}: no class prior in the sidecar, expected --training_counts")
    if raw and not np.allclose(raw, prior, rtol=0.01):
        logging.warning(
            "the loss saw the class prior %s (class weights or balanced sampling), not the %s of the "
            "training counts: using the former",
            *(", ".join(f"{p:.4f}" for p in values) for values in (prior, raw)),
        )
    return prior


def read_logits(
    scp: str | Path, classes: int, by_frame: bool
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Utterances in the order of a Kaldi ``scp``, their ``(N, C)`` logits after each other, and the rows of each.

    Args:
        by_frame: whether an utterance has ``(T, C)`` logits, and not ``(C,)``.

    Raises:
        InputError: unreadable or doubled entries, another shape, logits not finite.
    """
    try:
        rows = dict(read_archive(scp))
    except (OSError, ValueError) as error:
        raise InputError(f"{scp}: {error}") from error
    for name, row in rows.items():
        if (
            row.ndim != 1 + by_frame
            or row.shape[-1:] != (classes,)
            or not row.size
            or not np.isfinite(row).all()
        ):
            frames = " a frame" * by_frame
            raise InputError(
                f"{scp}: {name} has logits {row.tolist()}, expected {classes} finite numbers{frames}"
            )
    shaped = [row.reshape(-1, classes) for row in rows.values()]
    return list(rows), np.concatenate(shaped), np.array(list(map(len, shaped)))


def utterance_llr(llr_T: np.ndarray, frame_seconds: float | None) -> float:
    """Score of an utterance from its frames: the lowest mean over :data:`POOL_SECONDS`, or over less audio.

    One part that is spoofed makes the utterance spoofed, so the lowest frames decide; a mean over some is
    steadier than a single one. Without frames it is the only score.
    """
    size = min(len(llr_T), max(1, round(POOL_SECONDS / frame_seconds))) if frame_seconds else 1
    sums = np.cumsum(np.append(0.0, llr_T))
    return float(((sums[size:] - sums[:-size]) / size).min())
