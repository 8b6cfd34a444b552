"""Metrics of mixtures of K talkers, each bona fide or spoofed, from one score a separated stream."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from wedefense_lite.labels import BONAFIDE
from wedefense_lite.metrics.classification import decision_metrics
from wedefense_lite.metrics.detection import SortedScores


def assign_by_sisdr(sisdr: ArrayLike) -> np.ndarray:
    """Source of each stream, one to one, with the highest sum of SI-SDR.

    Args:
        sisdr: ``(M, K streams, K sources)`` in dB.

    Returns:
        ``(M, K)`` source indices.
    """
    return np.array([linear_sum_assignment(mixture, maximize=True)[1] for mixture in np.asarray(sisdr)])


def assign_by_oracle(scores: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Source of each stream that makes the scores look best: the highest to the bona fide.

    An upper bound that looks at the labels, for analysis; as a result it would be inflated.

    Args:
        scores: ``(M, K)`` by stream.
        labels: ``(M, K)`` class index by source.

    Returns:
        ``(M, K)`` source indices.
    """
    sources = np.empty(np.shape(scores), dtype=int)
    order = np.argsort(labels, axis=1, kind="stable")
    np.put_along_axis(sources, np.argsort(scores, axis=1, kind="stable"), order, axis=1)
    return sources


def class_names(talkers: int) -> list[str]:
    """Classes of a mixture by its number of spoofed talkers: SS, SB, BB for two."""
    return ["S" * (talkers - bonafide) + "B" * bonafide for bonafide in range(talkers + 1)]


def mixture_metrics(scores: ArrayLike, labels: ArrayLike, sources: ArrayLike, threshold: float = 0.0) -> dict:
    """Metrics of mixtures and of their sources.

    Args:
        scores: ``(M, K)`` by stream, higher is more bona fide.
        labels: ``(M, K)`` class index by source.
        sources: ``(M, K)`` source of each stream.
        threshold: a stream is bona fide at this score or more.

    Returns:
        ``classes``; the decisions on the number of spoofed talkers
        (:func:`wedefense_lite.metrics.classification.decision_metrics`, which needs no assignment);
        ``source_eer`` and ``source_accuracy``; ``any_spoof_eer``, where a mixture has its lowest
        stream's score and is bona fide if all talkers are; ``n_permuted``, mixtures whose streams are
        not in the order of their sources. An EER without one of its classes is left out.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    talkers, bonafide, accepted = scores.shape[1], labels == BONAFIDE, scores >= threshold
    truth = np.take_along_axis(bonafide, np.asarray(sources), axis=1)
    metrics = {"classes": class_names(talkers)}
    metrics |= decision_metrics(bonafide.sum(axis=1), accepted.sum(axis=1), talkers + 1)
    metrics["source_accuracy"] = float(np.mean(accepted == truth))
    metrics["n_permuted"] = int((np.asarray(sources) != np.arange(talkers)).any(axis=1).sum())
    any_spoof = "any_spoof_eer", scores.min(axis=1), bonafide.all(axis=1)
    for name, values, true in (("source_eer", scores, truth), any_spoof):
        if true.any() and not true.all():
            metrics[name] = SortedScores(values[true], values[~true]).eer().value
    return metrics
