"""Metrics of source tracing: the class of known sources, and which sources are known.

Letters: N utterances, E embedding size, C classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from wedefense_lite.metrics.classification import decision_metrics
from wedefense_lite.metrics.detection import SortedScores

UNKNOWN = -1  # class of a source that is none of the classes


def unit_rows(embedding_NE: np.ndarray) -> np.ndarray:
    """Embeddings of length 1; one of zeros stays as it is."""
    length_N1 = np.linalg.norm(embedding_NE, axis=1, keepdims=True)
    return embedding_NE / np.where(length_N1 > 0, length_N1, 1)


def fingerprints(embedding_NE: np.ndarray, class_N: np.ndarray, classes: int) -> np.ndarray:
    """Fingerprint of each class: the mean of its embeddings.

    Source: Firc et al., "STOPA: A database of systematic variation of deepfake audio for open-set
    source tracing and attribution", Interspeech 2025, https://github.com/Manasi2001/STOPA.

    Args:
        embedding_NE: embeddings of utterances whose source is known, such as those of training.
        class_N: their classes; each class occurs.
        classes: C.

    Returns:
        ``fingerprint_CE``.
    """
    rows = [embedding_NE[class_N == number].mean(0) for number in range(classes)]
    return np.stack(rows)


def cosines(embedding_NE: np.ndarray, fingerprint_CE: np.ndarray) -> np.ndarray:
    """Cosine of each embedding to each fingerprint, ``NC``."""
    return unit_rows(embedding_NE) @ unit_rows(fingerprint_CE).T


def tracing_metrics(score_NC: np.ndarray, class_N: np.ndarray, classes: Sequence[str]) -> dict:
    """Metrics of scores for each class, higher for the likelier one.

    Args:
        score_NC: logits, or cosines to fingerprints.
        class_N: true classes, ``UNKNOWN`` for sources that are none of the classes.
        classes: names.

    Returns:
        of the utterances of known sources ``top1``, the share whose highest score is that of their
        class, and ``macro_f1``, the mean over the classes that occur among them, as in the protocol
        of MLAAD; ``f1`` of these classes, and the ``confusion`` of all. ``open_set_eer``: the
        highest score of an utterance tells known sources from others. ``trial_eer`` and
        ``trial_eer_unknown``: each score is a trial, whether the utterance is of that source, as in
        STOPA; non-targets are utterances of the other classes, or of unknown sources. A metric is
        None where nothing defines it. Rates are fractions.
    """
    is_known_N = class_N != UNKNOWN
    known_NC = score_NC[is_known_N]
    true_N = class_N[is_known_N]
    result = {"n": len(class_N), "n_known": len(true_N), "n_unknown": int((~is_known_N).sum())}
    result |= _closed_set(known_NC, true_N, classes)
    highest_N = score_NC.max(1)
    result["open_set_eer"] = _eer(highest_N[is_known_N], highest_N[~is_known_N])
    is_target_NC = np.arange(len(classes)) == true_N[:, None]
    target = known_NC[is_target_NC]
    result["trial_eer"] = _eer(target, known_NC[~is_target_NC])
    result["trial_eer_unknown"] = _eer(target, score_NC[~is_known_N].ravel())
    return result


def _closed_set(score_NC: np.ndarray, true_N: np.ndarray, classes: Sequence[str]) -> dict:
    if not len(true_N):
        return {"top1": None, "macro_f1": None, "f1": {}, "confusion": []}
    metrics = decision_metrics(true_N, score_NC.argmax(1), len(classes))
    occurring = np.unique(true_N)
    f1 = {classes[number]: metrics["f1"][number] for number in occurring}
    return {
        "top1": metrics["accuracy"],
        "macro_f1": float(np.mean(list(f1.values()))),
        "f1": f1,
        "confusion": metrics["confusion"],
    }


def _eer(target: np.ndarray, nontarget: np.ndarray) -> float | None:
    """Equal error rate of scores that are higher for targets; None without one of the two."""
    if not (len(target) and len(nontarget)):
        return None
    return float(SortedScores(bonafide=target, spoof=nontarget).eer().value)


def class_numbers(
    names: Sequence[str], classes: Sequence[str], same: Mapping[str, str]
) -> np.ndarray:
    """Class of each source, ``UNKNOWN`` where it is none.

    Args:
        names: sources of utterances.
        classes: names of the classes.
        same: sources under another name, and the classes that they are.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers.get(same.get(name, name), UNKNOWN) for name in names], dtype=int)
