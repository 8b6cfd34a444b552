"""Bootstrap: what is drawn, and that its intervals mean what they say."""

import numpy as np
import pytest

from wedefense_lite.metrics import bootstrap
from wedefense_lite.metrics.bootstrap import Resampler, interval, intervals, replicates
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.summary import (
    DetectionMeasure,
    MetricOptions,
    Trials,
    make_resampler,
    split,
)


def draws(resampler: Resampler, count: int = 200) -> np.ndarray:
    """Counts of all trials, class after class, in many samples."""
    samples = []
    for seed in range(count):
        counts = resampler.draw(np.random.default_rng(seed))
        samples.append(np.concatenate(counts))
    return np.stack(samples)


def test_trials_are_drawn_within_their_class():
    weights = draws(Resampler([3, 5]))
    assert (weights[:, :3].sum(axis=1) == 3).all()
    assert (weights[:, 3:].sum(axis=1) == 5).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(8), abs=0.25)


def test_trials_of_a_cluster_are_drawn_together_and_no_class_is_ever_empty():
    # Three bona fide trials, then three spoofs; c has spoofs only, d bona fide only.
    weights = draws(Resampler([3, 3], ["a", "b", "d", "a", "b", "c"]))
    assert (weights[:, 0] == weights[:, 3]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, 0] + weights[:, 1] == 2).all()
    assert (weights[:, [2, 5]] == 1).all()
    assert len(np.unique(weights[:, 0])) == 3


def test_a_dash_is_no_cluster():
    weights = draws(Resampler([4, 4], ["-"] * 4 + ["A01", "A01", "A02", "A02"]))
    assert (weights[:, :4].sum(axis=1) == 4).all()
    assert weights[:, :4].max() > 1
    assert (weights[:, 4] == weights[:, 5]).all()


def make_trials(seed: int, count: int = 100) -> Trials:
    """Scores of two unit normals, two apart."""
    classes = np.repeat(["bonafide", "spoof"], [count, count])
    scores = np.random.default_rng(seed).normal(size=2 * count) + 2 * (classes == "bonafide")
    return split(classes, {"cm-score": scores})


def test_the_same_seed_gives_the_same_samples():
    table = make_trials(0)
    statistic = DetectionMeasure(table, MetricOptions()).resampled_metrics
    resampler = make_resampler(table)
    first = replicates(statistic, resampler, 20, seed=1)["eer"]
    again = replicates(statistic, resampler, 20, seed=1)["eer"]
    other = replicates(statistic, resampler, 20, seed=2)["eer"]
    assert first.tolist() == again.tolist() != other.tolist()


def test_threads_draw_the_same_samples_in_the_same_order(monkeypatch):
    table = make_trials(0, count=30)
    statistic = DetectionMeasure(table, MetricOptions()).resampled_metrics
    resampler = make_resampler(table)
    monkeypatch.setattr(bootstrap, "LONG_SAMPLE", 60.0)
    alone = replicates(statistic, resampler, 20)["eer"]
    monkeypatch.setattr(bootstrap, "LONG_SAMPLE", 0.0)
    threaded = replicates(statistic, resampler, 20)["eer"]
    assert len(set(alone.tolist())) > 2
    assert threaded.tolist() == alone.tolist()


def test_intervals_hold_the_true_value_about_as_often_as_they_say():
    true_auc = 0.92135  # of two unit normals two apart: Phi(sqrt(2))
    hits = 0
    for seed in range(60):
        table = make_trials(seed, count=60)
        scores = SortedScores(table["bonafide"]["cm-score"], table["spoof"]["cm-score"])

        def auc(*weights, scores=scores):
            return {"auc": scores.weighted(*weights).auc()}

        low, high = interval(replicates(auc, make_resampler(table), 100)["auc"])
        hits += low <= true_auc <= high
    assert 50 <= hits <= 60


def test_clusters_that_differ_widen_the_interval():
    rng = np.random.default_rng(3)
    classes = np.tile(["bonafide", "spoof"], 200)
    clusters = np.repeat(np.arange(10), 40)
    scores = rng.normal(size=400) + 3 * (classes == "bonafide") + rng.normal(size=10)[clusters] * 2
    widths = []
    for columns in ({"cm-score": scores}, {"cm-score": scores, "cluster": clusters.astype(str)}):
        table = split(classes, columns)
        statistic = DetectionMeasure(table, MetricOptions()).resampled_metrics
        low, high = intervals(statistic, make_resampler(table), 200)["auc"]
        widths.append(high - low)
    assert widths[1] > 1.5 * widths[0]
