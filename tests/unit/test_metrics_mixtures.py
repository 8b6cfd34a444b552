"""Mixtures of talkers: the reference values, and which source a stream is taken for."""

import numpy as np
import pytest
from refvectors import EXPECTED, load, present
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from wedefense_lite.metrics.classification import decision_metrics
from wedefense_lite.metrics.mixtures import assign_by_oracle, assign_by_sisdr, class_names, mixture_metrics


def reference_set() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = load("mixed_speaker.json")
    return tuple(np.array([r[k] for r in rows]) for k in ("stream_score", "label_src", "sisdr_stream_by_src"))


@present
def test_reference_values():
    scores, labels, sisdr = reference_set()
    expected = EXPECTED["mixed_speaker"]["metrics"]
    found = mixture_metrics(scores, labels, assign_by_sisdr(sisdr))
    assert found["classes"] == expected["class_order"]
    assert found["confusion"] == expected["confusion_true_by_pred"]
    assert found["n_permuted"] == expected["n_permuted_by_sisdr"]
    for name in ("accuracy", "precision", "recall", "f1", "macro_f1", "balanced_accuracy"):
        assert found[name] == pytest.approx(expected[name], abs=1e-12), name
    assert found["source_accuracy"] == pytest.approx(expected["source_accuracy_sisdr_assignment"], abs=1e-12)
    assert found["source_eer"] == pytest.approx(expected["source_eer_sisdr_assignment_official"], abs=1e-12)
    assert found["any_spoof_eer"] == pytest.approx(expected["mixture_any_spoof_eer_min_score"], abs=1e-12)


@present
def test_the_oracle_looks_better_than_the_truth():
    scores, labels, sisdr = reference_set()
    oracle = mixture_metrics(scores, labels, assign_by_oracle(scores, labels))
    expected = EXPECTED["mixed_speaker"]["metrics"]["source_accuracy_oracle_label_PIT"]
    assert oracle["source_accuracy"] == pytest.approx(expected, abs=1e-12)
    assert oracle["source_accuracy"] > mixture_metrics(scores, labels, assign_by_sisdr(sisdr))["source_accuracy"]


def test_assignment_maximises_the_sum_and_not_each_stream():
    # Stream 0 is best at source 0, but the pair is better the other way round.
    assert assign_by_sisdr([[[10, 9], [9, 0]]]).tolist() == [[1, 0]]


def test_three_talkers_have_four_classes():
    assert class_names(3) == ["SSS", "SSB", "SBB", "BBB"]
    found = mixture_metrics([[1, 1, -1], [1, 1, 1]], [[1, 0, 1], [1, 1, 1]], [[0, 2, 1], [0, 1, 2]])
    assert (found["accuracy"], found["source_accuracy"], found["n_permuted"]) == (1, 1, 1)
    assert found["any_spoof_eer"] == 0


def test_an_eer_without_one_of_its_classes_is_left_out():
    assert "source_eer" not in mixture_metrics([[1.0, 2.0]], [[1, 1]], [[0, 1]])


def test_decisions_equal_scikit_learn():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    ours = decision_metrics(true, predicted, 3)
    assert ours["confusion"] == confusion_matrix(true, predicted).tolist()
    precision, recall, f1, _ = precision_recall_fscore_support(true, predicted)
    for name, value in {"precision": precision, "recall": recall, "f1": f1}.items():
        assert ours[name] == pytest.approx(value.tolist(), abs=1e-12)
    assert ours["weighted_f1"] == pytest.approx(f1_score(true, predicted, average="weighted"), abs=1e-12)
    assert ours["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, predicted), abs=1e-12)
    assert ours["accuracy"] == pytest.approx(np.mean(true == predicted))
