"""Decisions counted: accuracy, precision, recall and F1 from a confusion matrix."""

import numpy as np
from numpy.typing import ArrayLike


def decision_metrics(true: ArrayLike, predicted: ArrayLike, classes: int = 2) -> dict:
    """Metrics of decisions among C classes.

    Args:
        true: ``(N,)`` class indices.
        predicted: the same as decided.
        classes: C.

    Returns:
        ``confusion``, counts with true rows and predicted columns; ``accuracy``; ``precision``,
        ``recall``, ``f1``, one a class, 0 for a class that was never predicted or never true; their
        means ``macro_f1``, ``weighted_f1`` (by true counts), and ``balanced_accuracy`` (mean recall of
        the classes that occur).
    """
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (np.asarray(true, dtype=int), np.asarray(predicted, dtype=int)), 1)
    right, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(true, 1)
    f1 = 2 * right / np.maximum(true + predicted, 1)
    return {
        "confusion": confusion.tolist(),
        "accuracy": float(right.sum() / true.sum()),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "macro_f1": float(f1.mean()),
        "weighted_f1": float(f1 @ true / true.sum()),
        "balanced_accuracy": float(recall[true > 0].mean()),
    }
