"""From logits of any number of classes to log-likelihood ratios."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import kaldiio
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from wedefense_lite.files import InputError, read_table
from wedefense_lite.scoring.sidecar import Sidecar


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


def bonafide_classes(labels: Sequence[str], bonafide_labels: Sequence[str]) -> np.ndarray:
    """Which of ``labels`` are bona fide, as booleans.

    Raises:
        InputError: a bona fide label is none of the classes, or every class is one.
    """
    unknown = set(bonafide_labels) - set(labels)
    if unknown or not set(labels) - set(bonafide_labels) or not bonafide_labels:
        raise InputError(
            f"classes are {', '.join(labels)}, expected {', '.join(bonafide_labels)} "
            "(--bonafide_labels) among them, and at least one other"
        )
    return np.isin(labels, bonafide_labels)


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
    counts = read_table(training_counts) if training_counts else None
    if counts and (set(counts) != set(sidecar.labels) or not all(n.isdecimal() for n in counts.values())):
        raise InputError(f"{training_counts}: {counts}, expected counts of {', '.join(sidecar.labels)}")
    if counts and train_label:
        found = {label: str(count) for label, count in Counter(read_table(train_label).values()).items()}
        if found != counts:
            raise InputError(f"{training_counts}: {counts}, but {train_label} has {found}")
    if not sidecar.has_posterior:
        logging.warning("this head has no posterior: no prior correction, affine calibration is needed")
        return None
    total = sum(map(int, counts.values())) if counts else 0
    raw = tuple(int(counts[label]) / total for label in sidecar.labels) if counts else None
    prior = sidecar.class_prior or raw
    if prior is None or min(prior) == 0:
        raise InputError(f"{scp}: no class prior in the sidecar, expected --training_counts above zero")
    if raw and not np.allclose(raw, prior, rtol=0.01):
        logging.warning(
            "the loss saw the class prior %s (class weights or balanced sampling), not the %s of the "
            "training counts: using the former",
            *(", ".join(f"{p:.4f}" for p in values) for values in (prior, raw)),
        )
    return prior


def read_logits(scp: str | Path, classes: int) -> tuple[list[str], np.ndarray]:
    """Utterances and their ``(N, C)`` logits in the order of a Kaldi ``scp``.

    Raises:
        InputError: unreadable or doubled entries, another shape than ``(C,)``, logits not finite.
    """
    rows = {}
    for name, entry in read_table(scp).items():
        try:
            row = np.asarray(kaldiio.load_mat(entry))
        except (OSError, ValueError) as error:
            raise InputError(f"{scp}: {name} can't be read: {error}") from error
        if row.shape != (classes,):
            raise InputError(f"{scp}: {name} has shape {row.shape}, expected ({classes},)")
        if not np.isfinite(row).all():
            raise InputError(f"{scp}: {name} has logits {row.tolist()} (NaN or infinite)")
        rows[name] = row
    return list(rows), np.stack(list(rows.values()))
