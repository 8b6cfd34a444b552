"""Metrics of mixtures of talkers, each bona fide or spoofed, from one score a separated stream.

Mixtures may have different numbers of talkers. Arrays are as wide as the largest number, and absent
talkers come last: their label is ``wedefense_lite.labels.NO_LABEL``, their scores and SI-SDRs
are NaN. A source of the results is a talker of a mixture.

Shapes: M mixtures, K streams or talkers of a mixture.
"""

import numpy as np
import scipy  # imports its parts where they are used, some of which take a second
from numpy.typing import ArrayLike

from wedefense_lite.labels import BONAFIDE, NO_LABEL
from wedefense_lite.metrics.classification import decision_metrics
from wedefense_lite.metrics.detection import SortedScores

MAX_THRESHOLDS = 1000  # candidates, each of which costs a pass over all mixtures


def assign_by_sisdr(sisdr: ArrayLike) -> np.ndarray:
    """Talker of each stream, one to one, with the highest sum of SI-SDR.

    Args:
        sisdr: ``(M, K streams, K talkers)`` in dB, NaN where either is absent.

    Returns:
        ``(M, K)`` indices of talkers.
    """
    # So far below any SI-SDR that absent streams are left to absent talkers.
    sisdr_MKK = np.nan_to_num(np.asarray(sisdr, dtype=np.float64), nan=-1e9)
    assignments = []
    for sisdr_KK in sisdr_MKK:
        _, talker_K = scipy.optimize.linear_sum_assignment(sisdr_KK, maximize=True)
        assignments.append(talker_K)
    return np.array(assignments)


def assign_by_oracle(scores: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Talker of each stream that makes the scores look best: the highest to the bona fide.

    An upper bound that looks at the labels, for analysis; as a result it would be inflated.

    Args:
        scores: ``(M, K)`` by stream.
        labels: ``(M, K)`` class index by talker.

    Returns:
        ``(M, K)`` indices of talkers.
    """
    # Labels in order are absent, spoof, bona fide. Streams are put in the same order: absent ones
    # first (the last key of lexsort counts most), then by score.
    talkers_in_order = np.argsort(labels, axis=1, kind="stable")
    streams_in_order = np.lexsort((scores, np.not_equal(labels, NO_LABEL)))
    assignment_MK = np.empty(np.shape(scores), dtype=int)
    np.put_along_axis(assignment_MK, streams_in_order, talkers_in_order, axis=1)
    return assignment_MK


def class_names(num_talkers: int) -> list[str]:
    """Classes of a mixture by its number of spoofed talkers: SS, SB, BB for two."""
    names = []
    for bonafide in range(num_talkers + 1):
        names.append("S" * (num_talkers - bonafide) + "B" * bonafide)
    return names


def mixture_classes(labels: ArrayLike) -> tuple[list[str], np.ndarray]:
    """Classes of mixtures, and where those of each mixture's number of talkers begin.

    The class of a mixture has the index of that beginning plus its number of bona fide talkers.

    Args:
        labels: ``(M, K)`` class index by talker.

    Returns:
        Names of classes, those of fewer talkers first, and ``(M,)`` indices into them.
    """
    counts_M = np.not_equal(labels, NO_LABEL).sum(axis=1)
    counts, count_of_mixture_M = np.unique(counts_M, return_inverse=True)
    names = []
    beginnings = []
    for count in counts.tolist():
        beginnings.append(len(names))
        names.extend(class_names(count))
    return names, np.array(beginnings)[count_of_mixture_M]


def chance_macro_f1(labels: ArrayLike) -> float:
    """Macro F1 of guessing among the classes of a mixture's number of talkers, as often as they
    occur.

    By the expected counts, a guess has precision and recall, so F1, equal to the share of its
    class. Shares sum to 1 for each number of talkers, so this is the count of such numbers over
    that of
    classes: 1/3 for two talkers.

    Args:
        labels: ``(M, K)`` class index by talker.
    """
    names, first_class_M = mixture_classes(labels)
    return len(np.unique(first_class_M)) / len(names)


def best_threshold(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Threshold with the highest macro F1 on the number of spoofed talkers, and that macro F1.

    Candidates are all scores (a thousand quantiles, if there are more different ones) and one above
    all. The lowest of several best thresholds is taken.

    Args:
        scores: ``(M, K)`` by stream, finite.
        labels: ``(M, K)`` class index by talker.

    Raises:
        ValueError: a score that is not finite.
    """
    scores_MK = np.asarray(scores, dtype=np.float64)
    labels_MK = np.asarray(labels)
    names, first_class_M = mixture_classes(labels_MK)
    class_M = first_class_M + (labels_MK == BONAFIDE).sum(axis=1)
    different = np.unique(scores_MK[labels_MK != NO_LABEL])
    if not np.isfinite(different).all():
        raise ValueError("a threshold needs finite scores")
    count = min(MAX_THRESHOLDS, len(different))
    thresholds = different[np.linspace(0, len(different) - 1, count).astype(int)].tolist()
    thresholds.append(np.nextafter(thresholds[-1], np.inf))
    macro_f1 = []
    for threshold in thresholds:
        # Absent streams have NaN, which no threshold accepts.
        decided_M = first_class_M + (scores_MK >= threshold).sum(axis=1)
        macro_f1.append(decision_metrics(class_M, decided_M, len(names))["macro_f1"])
    best = int(np.argmax(macro_f1))
    return float(thresholds[best]), macro_f1[best]


def mixture_metrics(
    scores: ArrayLike,
    labels: ArrayLike,
    assignment: ArrayLike | None,
    threshold: float = 0.0,
    any_spoof: ArrayLike | None = None,
) -> dict:
    """Metrics of mixtures and of their talkers.

    Args:
        scores: ``(M, K)`` by stream, higher is more bona fide.
        labels: ``(M, K)`` class index by talker.
        assignment: ``(M, K)`` talker of each stream; None where it is unknown.
        threshold: a stream is bona fide at this score or more.
        any_spoof: ``(M,)`` scores of mixtures, higher is more likely that no talker is spoofed;
            by default the score of the lowest stream.

    Returns:
        ``classes``; the decisions on the number of spoofed talkers
        (``wedefense_lite.metrics.classification.decision_metrics``, which needs no assignment);
        ``any_spoof_eer``, where a mixture is bona fide if all talkers are; with ``assignment`` also
        ``source_eer``, ``source_accuracy`` and ``n_permuted``, the number of mixtures whose streams
        are not in the order of their talkers. An EER without one of its classes is left out.
    """
    scores_MK = np.asarray(scores, dtype=np.float64)
    labels_MK = np.asarray(labels)
    bonafide_MK = labels_MK == BONAFIDE
    present_MK = labels_MK != NO_LABEL
    accepted_MK = scores_MK >= threshold
    names, first_class_M = mixture_classes(labels_MK)
    class_M = first_class_M + bonafide_MK.sum(axis=1)
    decided_M = first_class_M + accepted_MK.sum(axis=1)
    metrics = {"classes": names}
    metrics.update(decision_metrics(class_M, decided_M, len(names)))

    any_spoof_M = lowest(scores_MK) if any_spoof is None else np.asarray(any_spoof)
    all_bonafide_M = (bonafide_MK | ~present_MK).all(axis=1)
    if assignment is not None:
        assignment_MK = np.asarray(assignment)
        stream_bonafide_MK = np.take_along_axis(bonafide_MK, assignment_MK, axis=1)
        moved_MK = (assignment_MK != np.arange(labels_MK.shape[1])) & present_MK
        correct_MK = accepted_MK == stream_bonafide_MK
        metrics["source_accuracy"] = float(np.mean(correct_MK[present_MK]))
        metrics["n_permuted"] = int(moved_MK.any(axis=1).sum())
    _add_eer(metrics, "any_spoof_eer", any_spoof_M, all_bonafide_M)
    if assignment is not None:
        is_bonafide = stream_bonafide_MK[present_MK]
        _add_eer(metrics, "source_eer", scores_MK[present_MK], is_bonafide)
    return metrics


def _add_eer(metrics: dict, name: str, scores: np.ndarray, is_bonafide: np.ndarray) -> None:
    """Put an EER into ``metrics``, if both classes are there."""
    if is_bonafide.any() and not is_bonafide.all():
        metrics[name] = SortedScores(scores[is_bonafide], scores[~is_bonafide]).eer().value


def lowest(scores: ArrayLike) -> np.ndarray:
    """The lowest stream's score of each mixture, ``(M,)``: whether any talker is spoofed."""
    return np.nanmin(scores, axis=1)
