"""Metrics of mixtures of K talkers, each bona fide or spoofed, from one score a separated stream.

Mixtures may have different numbers of talkers. Arrays are as wide as the most then, and what a
mixture lacks comes last: its label is :data:`ABSENT`, its scores and SI-SDRs are NaN.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from wedefense_lite.labels import BONAFIDE, NO_LABEL
from wedefense_lite.metrics.classification import decision_metrics
from wedefense_lite.metrics.detection import SortedScores


def assign_by_sisdr(sisdr: ArrayLike) -> np.ndarray:
    """Source of each stream, one to one, with the highest sum of SI-SDR.

    Args:
        sisdr: ``(M, K streams, K sources)`` in dB.

    Returns:
        ``(M, K)`` source indices.
    """
    sisdr = np.nan_to_num(
        np.asarray(sisdr, dtype=np.float64), nan=-1e9
    )  # absent streams get absent sources
    return np.array([linear_sum_assignment(mixture, maximize=True)[1] for mixture in sisdr])


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
    np.put_along_axis(sources, np.lexsort((scores, np.not_equal(labels, NO_LABEL))), order, axis=1)
    return sources


def class_names(talkers: int) -> list[str]:
    """Classes of a mixture by its number of spoofed talkers: SS, SB, BB for two."""
    return ["S" * (talkers - bonafide) + "B" * bonafide for bonafide in range(talkers + 1)]


def mixture_classes(labels: ArrayLike) -> tuple[list[str], np.ndarray]:
    """Classes of mixtures, those of fewer talkers first, and for each mixture ``(M,)`` the place of
    its first one.

    The class of a mixture is at that place plus its number of bona fide talkers.

    Args:
        labels: ``(M, K)`` class index by source.
    """
    counts, kind = np.unique(np.not_equal(labels, NO_LABEL).sum(axis=1), return_inverse=True)
    names = [name for count in counts.tolist() for name in class_names(count)]
    return names, np.cumsum([0, *counts + 1])[kind]


def chance_macro_f1(labels: ArrayLike) -> float:
    """Macro F1 of guessing among the classes of a mixture's talker count, each as often as it
    occurs there.

    By the expected counts, a guess has precision and recall, so F1, equal to the share of its
    class. Shares sum to 1 for each talker count, so this is the number of counts over that of
    classes: 1/3 for two talkers.

    Args:
        labels: ``(M, K)`` class index by source.
    """
    names, first = mixture_classes(labels)
    return len(np.unique(first)) / len(names)


def best_threshold(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Threshold with the highest macro F1 on the number of spoofed talkers, and that macro F1.

    Tried are all scores, of more than a thousand different ones a thousand quantiles, and one above
    all. Of several best thresholds the lowest counts.

    Args:
        scores: ``(M, K)`` by stream, finite.
        labels: ``(M, K)`` class index by source.

    Raises:
        ValueError: a score that is not finite.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    names, first = mixture_classes(labels)
    true, tried = first + (labels == BONAFIDE).sum(axis=1), np.unique(scores[labels != NO_LABEL])
    if not np.isfinite(tried).all():
        raise ValueError("a threshold needs finite scores")
    tried = tried[np.linspace(0, len(tried) - 1, min(1000, len(tried))).astype(int)].tolist()
    tried.append(np.nextafter(tried[-1], np.inf))
    f1 = [
        decision_metrics(true, first + (scores >= one).sum(axis=1), len(names))["macro_f1"]
        for one in tried
    ]
    best = int(np.argmax(f1))
    return float(tried[best]), f1[best]


def mixture_metrics(
    scores: ArrayLike,
    labels: ArrayLike,
    sources: ArrayLike | None,
    threshold: float = 0.0,
    any_spoof: ArrayLike | None = None,
) -> dict:
    """Metrics of mixtures and of their sources.

    Args:
        scores: ``(M, K)`` by stream, higher is more bona fide.
        labels: ``(M, K)`` class index by source.
        sources: ``(M, K)`` source of each stream; None where that is not known.
        threshold: a stream is bona fide at this score or more.
        any_spoof: ``(M,)`` scores of mixtures, higher is more likely that no talker is spoofed;
            unless given, that of the lowest stream.

    Returns:
        ``classes``; the decisions on the number of spoofed talkers
        (:func:`wedefense_lite.metrics.classification.decision_metrics`, which needs no assignment);
        ``any_spoof_eer``, where a mixture is bona fide if all talkers are; with ``sources`` also
        ``source_eer``, ``source_accuracy`` and ``n_permuted``, mixtures whose streams are not in
        the order of their sources. An EER without one of its classes is left out.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    bonafide, present, accepted = labels == BONAFIDE, labels != NO_LABEL, scores >= threshold
    names, first = mixture_classes(labels)
    metrics = {"classes": names}
    metrics |= decision_metrics(
        first + bonafide.sum(axis=1), first + accepted.sum(axis=1), len(names)
    )
    any_spoof = lowest(scores) if any_spoof is None else np.asarray(any_spoof)
    tested = {"any_spoof_eer": (any_spoof, (bonafide | ~present).all(axis=1))}
    if sources is not None:
        truth = np.take_along_axis(bonafide, np.asarray(sources), axis=1)
        moved = (np.asarray(sources) != np.arange(labels.shape[1])) & present
        metrics["source_accuracy"] = float(np.mean((accepted == truth)[present]))
        metrics["n_permuted"] = int(moved.any(axis=1).sum())
        tested["source_eer"] = scores[present], truth[present]
    for name, (values, true) in tested.items():
        if true.any() and not true.all():
            metrics[name] = SortedScores(values[true], values[~true]).eer().value
    return metrics


def lowest(scores: ArrayLike) -> np.ndarray:
    """The lowest stream's score of each mixture, ``(M,)``: whether any talker is spoofed."""
    return np.nanmin(scores, axis=1)
