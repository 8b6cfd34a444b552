"""Decisions counted: accuracy, precision, recall and F1 from a confusion matrix."""

import numpy as np
from numpy.typing import ArrayLike


def decision_metrics(true: ArrayLike, predicted: ArrayLike, classes: int = 2) -> dict:
    """Metrics of decisions among C classes.

    Args:
        true: ``(N,)`` class indices.
        predicted: ``(N,)`` class indices as decided.
        classes: C.

    Returns:
        ``confusion``, counts with true rows and predicted columns; ``accuracy``; ``precision``,
        ``recall``, ``f1``, one a class, 0 for a class that was never predicted or never true; their
        means ``macro_f1``, ``weighted_f1`` (by true counts), and ``balanced_accuracy`` (mean recall
        of the classes that occur).

    Source:
        Agrees with scikit-learn's ``precision_recall_fscore_support`` with ``zero_division=0``.
    """
    true = np.asarray(true, dtype=int)
    predicted = np.asarray(predicted, dtype=int)
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (true, predicted), 1)
    correct = confusion.diagonal()
    true_count = confusion.sum(axis=1)
    predicted_count = confusion.sum(axis=0)
    # The numerator is 0 wherever a count is, so a denominator of 1 gives 0 there.
    precision = correct / np.maximum(predicted_count, 1)
    recall = correct / np.maximum(true_count, 1)
    f1 = 2 * correct / np.maximum(true_count + predicted_count, 1)
    return {
        "confusion": confusion.tolist(),
        "accuracy": float(correct.sum() / true_count.sum()),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "macro_f1": float(f1.mean()),
        "weighted_f1": float(f1 @ true_count / true_count.sum()),
        "balanced_accuracy": float(recall[true_count > 0].mean()),
    }
