"""Bootstrap: what is drawn, and that its intervals mean what they say."""

import numpy as np
import pytest

from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.summary import Options, detection_statistic


def draws(resampler: Resampler, count: int = 200) -> np.ndarray:
    return np.stack([resampler.weights(np.random.default_rng(seed)) for seed in range(count)])


def test_trials_are_drawn_within_their_class():
    classes = np.array(["bonafide"] * 3 + ["spoof"] * 5)
    weights = draws(Resampler(classes))
    assert (weights[:, :3].sum(axis=1) == 3).all()
    assert (weights[:, 3:].sum(axis=1) == 5).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(8), abs=0.25)


def test_trials_of_a_cluster_are_drawn_together_and_no_class_is_ever_empty():
    classes = np.array(["bonafide", "spoof", "spoof", "bonafide", "spoof", "bonafide"])
    clusters = np.array(["a", "a", "b", "b", "c", "d"])  # c has spoofs only, d bona fide only
    weights = draws(Resampler(classes, clusters))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 3]).all()
    assert (weights[:, 0] + weights[:, 2] == 2).all()
    assert (weights[:, 4:] == 1).all()
    assert len(np.unique(weights[:, 0])) == 3


def test_a_dash_is_no_cluster():
    classes = np.array(["bonafide"] * 4 + ["spoof"] * 4)
    weights = draws(Resampler(classes, np.array(["-"] * 4 + ["A01", "A01", "A02", "A02"])))
    assert (weights[:, :4].sum(axis=1) == 4).all()
    assert weights[:, :4].max() > 1
    assert (weights[:, 4] == weights[:, 5]).all()


def trials(seed: int, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = np.repeat(["bonafide", "spoof"], [count, count])
    return classes, rng.normal(size=2 * count) + 2 * (classes == "bonafide")


def test_the_same_seed_gives_the_same_samples():
    classes, scores = trials(0)
    statistic = detection_statistic({"class": classes, "cm-score": scores}, Options())
    first, again, other = (replicates(statistic, Resampler(classes), 20, seed)["eer"] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_intervals_hold_the_true_value_about_as_often_as_they_say():
    true_auc = 0.92135  # of two unit normals two apart: Phi(sqrt(2))
    held = 0
    for seed in range(60):
        classes, scores = trials(seed, count=60)
        given = SortedScores(scores[:60], scores[60:])

        def auc(weights, given=given):
            return {"auc": given.weighted(weights[:60], weights[60:]).auc()}

        low, high = interval(replicates(auc, Resampler(classes), 100)["auc"])
        held += low <= true_auc <= high
    assert 50 <= held <= 60


def test_clusters_that_differ_widen_the_interval():
    rng = np.random.default_rng(3)
    classes, clusters = np.tile(["bonafide", "spoof"], 200), np.repeat(np.arange(10), 40)
    scores = rng.normal(size=400) + 3 * (classes == "bonafide") + rng.normal(size=10)[clusters] * 2
    statistic = detection_statistic({"class": classes, "cm-score": scores}, Options())
    by_trial, by_cluster = (
        np.ptp(interval(replicates(statistic, Resampler(classes, units), 200)["auc"])) for units in (None, clusters)
    )
    assert by_cluster > 1.5 * by_trial
