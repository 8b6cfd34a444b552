"""Mixtures of talkers: the reference values, and which source a stream is taken for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refvectors import EXPECTED, load
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from wedefense_lite.labels import NO_LABEL
from wedefense_lite.metrics.classification import decision_metrics
from wedefense_lite.mixtures.metrics import (
    assign_by_oracle,
    assign_by_sisdr,
    best_threshold,
    chance_macro_f1,
    class_names,
    mixture_classes,
    mixture_metrics,
)


def reference_set() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = load("mixed_speaker.json")
    scores = np.array([row["stream_score"] for row in rows])
    labels = np.array([row["label_src"] for row in rows])
    sisdr = np.array([row["sisdr_stream_by_src"] for row in rows])
    return scores, labels, sisdr


def test_reference_values():
    scores, labels, sisdr = reference_set()
    expected = EXPECTED["mixed_speaker"]["metrics"]
    found = mixture_metrics(scores, labels, assign_by_sisdr(sisdr))
    assert found["classes"] == expected["class_order"]
    assert found["confusion"] == expected["confusion_true_by_pred"]
    assert found["n_permuted"] == expected["n_permuted_by_sisdr"]
    for name in ("accuracy", "precision", "recall", "f1", "macro_f1", "balanced_accuracy"):
        assert found[name] == pytest.approx(expected[name], abs=1e-12), name
    assert found["source_accuracy"] == pytest.approx(
        expected["source_accuracy_sisdr_assignment"], abs=1e-12
    )
    assert found["source_eer"] == pytest.approx(
        expected["source_eer_sisdr_assignment_official"], abs=1e-12
    )
    assert found["any_spoof_eer"] == pytest.approx(
        expected["mixture_any_spoof_eer_min_score"], abs=1e-12
    )


def test_the_oracle_looks_better_than_the_truth():
    scores, labels, sisdr = reference_set()
    oracle = mixture_metrics(scores, labels, assign_by_oracle(scores, labels))
    expected = EXPECTED["mixed_speaker"]["metrics"]["source_accuracy_oracle_label_PIT"]
    assert oracle["source_accuracy"] == pytest.approx(expected, abs=1e-12)
    assert (
        oracle["source_accuracy"]
        > mixture_metrics(scores, labels, assign_by_sisdr(sisdr))["source_accuracy"]
    )


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
    assert ours["weighted_f1"] == pytest.approx(
        f1_score(true, predicted, average="weighted"), abs=1e-12
    )
    assert ours["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(true, predicted), abs=1e-12
    )
    assert ours["accuracy"] == pytest.approx(np.mean(true == predicted))


def test_mixtures_of_several_talker_counts_have_the_classes_of_each():
    labels, scores = [[0, 1, NO_LABEL], [1, 1, 0]], [[-1, 2, np.nan], [3, -4, 5]]
    names, first = mixture_classes(labels)
    assert (names, first.tolist()) == (["SS", "SB", "BB", "SSS", "SSB", "SBB", "BBB"], [0, 3])
    found = mixture_metrics(scores, labels, [[0, 1, 2], [0, 2, 1]])
    assert np.argwhere(found["confusion"]).tolist() == [[1, 1], [5, 5]]
    assert (found["source_accuracy"], found["n_permuted"], found["source_eer"]) == (1, 1, 0)
    wrong = mixture_metrics(scores, labels, [[1, 0, 2], [0, 1, 2]])
    assert wrong["source_accuracy"] == 1 / 5


def test_absent_talkers_take_no_part_in_an_assignment():
    nan = np.nan
    assert assign_by_sisdr([[[-9, 5, nan], [4, -20, nan], [nan] * 3]]).tolist() == [[1, 0, 2]]
    # Two absent ones, and one of the streams is infinitely certain.
    labels, scores = [[1, 0, NO_LABEL, NO_LABEL]], [[-np.inf, 3, nan, nan]]
    assert assign_by_oracle(scores, labels)[0, :2].tolist() == [1, 0]
    assert mixture_metrics(scores, labels, assign_by_oracle(scores, labels))["source_accuracy"] == 1


def test_unknown_sources_leave_out_what_needs_them():
    found = mixture_metrics([[1, -1], [1, 1]], [[1, 0], [1, 1]], None)
    assert not {"source_eer", "source_accuracy", "n_permuted"} & set(found)
    assert (found["macro_f1"], found["any_spoof_eer"]) == (2 / 3, 0)


def test_a_score_of_the_mixture_replaces_that_of_its_lowest_stream():
    scores, labels = [[1, -1], [1, 2]], [[1, 0], [1, 1]]
    assert mixture_metrics(scores, labels, None)["any_spoof_eer"] == 0
    assert mixture_metrics(scores, labels, None, any_spoof=[5, -5])["any_spoof_eer"] == 1


@given(
    st.lists(st.integers(1, 50), min_size=3, max_size=3),
    st.lists(st.integers(1, 50), min_size=4, max_size=4),
)
def test_chance_is_the_macro_f1_of_the_expected_guesses(two, three):
    rows = [[0] * (2 - n) + [1] * n + [NO_LABEL] for n in range(3) for _ in range(two[n])]
    rows += [[0] * (3 - n) + [1] * n for n in range(4) for _ in range(three[n])]
    f1 = []
    for counts in map(np.array, (two, three)):
        confusion = np.outer(counts, counts) / counts.sum()
        f1 += list(2 * confusion.diagonal() / (confusion.sum(0) + confusion.sum(1)))
    assert chance_macro_f1(rows) == pytest.approx(np.mean(f1))
    assert chance_macro_f1(rows) == 2 / 7


def test_the_best_threshold_by_hand():
    # SB, BB and SS: above 1 and up to 2 only the three bona fide streams are accepted.
    scores, labels = [[3, -1], [2, 4], [1, 0]], [[1, 0], [1, 1], [0, 0]]
    assert best_threshold(scores, labels) == (2, 1)
    # All spoofed: reject all. All bona fide: accept all.
    assert best_threshold([[1.0, 2.0]], [[0, 0]]) == (np.nextafter(2, 3), 1 / 3)
    assert best_threshold([[1.0, 2.0]], [[1, 1]]) == (1, 1 / 3)


@st.composite
def some_mixtures(draw):
    """Labels and scores, ties included, of mixtures of one to three talkers."""
    rows = draw(
        st.lists(
            st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=3),
            min_size=1,
        )
    )
    labels, scores = np.full((len(rows), 3), NO_LABEL), np.full((len(rows), 3), np.nan)
    for row, talkers in enumerate(rows):
        labels[row, : len(talkers)], scores[row, : len(talkers)] = zip(*talkers)
    return labels, scores


@given(some_mixtures())
def test_no_threshold_is_better_than_the_best(drawn):
    labels, scores = drawn
    threshold, f1 = best_threshold(scores, labels)
    assert mixture_metrics(scores, labels, None, threshold)["macro_f1"] == pytest.approx(
        f1, abs=1e-12
    )
    every = [mixture_metrics(scores, labels, None, one)["macro_f1"] for one in np.arange(-3.5, 4)]
    assert f1 == pytest.approx(max(every), abs=1e-12)


def test_a_threshold_needs_finite_scores():
    with pytest.raises(ValueError, match="finite"):
        best_threshold([[1, np.inf]], [[0, 1]])
