"""Decisions counted: accuracy, precision, recall and F1 from a confusion matrix."""

import numpy as np
from numpy.typing import ArrayLike


def confusion_matrix(true: ArrayLike, predicted: ArrayLike, classes: int = 2) -> np.ndarray:
    """``(C, C)`` counts, rows true, columns predicted, from class indices of any trials."""
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (np.asarray(true, dtype=int), np.asarray(predicted, dtype=int)), 1)
    return confusion


def decision_metrics(confusion: ArrayLike) -> dict:
    """Metrics of decisions among C classes.

    Args:
        confusion: ``(C, C)`` counts, rows true, columns predicted.

    Returns:
        ``confusion``; ``accuracy``; ``precision``, ``recall``, ``f1``, one a class, 0 for a class that
        was never predicted or never true; their means ``macro_f1``, ``weighted_f1`` (by true counts),
        and ``balanced_accuracy`` (mean recall of the classes that occur).
    """
    confusion = np.asarray(confusion)
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
