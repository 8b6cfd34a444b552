"""The comparison of two systems is paired by utterance."""

import json

import numpy as np
import pytest
from commands import run

from wedefense_lite.bin.compare import compare

BOOTSTRAP = 400
# Of a standard deviation: quantiles at 2.5 % of 400 samples have a standard error of .13 of it.
TOLERANCE = 0.5


def write_systems(folder, labels, systems, clusters=None):
    """Key, metadata and one score file a system, as ``compare`` reads them."""
    names = [f"u{number:04d}" for number in range(len(labels))]
    key = [f"{name}\t{label}\n" for name, label in zip(names, labels)]
    (folder / "key.txt").write_text("filename\tcm-label\n" + "".join(key))
    for system, scores in systems.items():
        rows = [f"{name}\t{score!r}\n" for name, score in zip(names, scores.tolist())]
        (folder / f"{system}.txt").write_text("filename\tcm-score\n" + "".join(rows))
    if clusters is not None:
        rows = [f"{name}\t{cluster}\n" for name, cluster in zip(names, clusters)]
        (folder / "meta.tsv").write_text("filename\tspeaker\n" + "".join(rows))


def compare_systems(monkeypatch, folder, clustered=False, bootstrap=BOOTSTRAP):
    """Results of ``compare`` for the systems a and b."""
    words = [folder / "a.txt", folder / "b.txt", "--cm_key", folder / "key.txt"]
    words += ["--bootstrap", bootstrap, "--json", folder / "results.json"]
    if clustered:
        words += ["--meta", folder / "meta.tsv", "--cluster", "speaker"]
    run(monkeypatch, compare, *words, positional=True)
    return json.loads((folder / "results.json").read_text())


def equal_error_rate(bonafide, spoof):
    """EER by trying every score as a threshold, written for this test alone."""
    thresholds = np.unique(np.concatenate([bonafide, spoof]))
    misses = (bonafide[:, None] <= thresholds).mean(axis=0)
    false_alarms = (spoof[:, None] > thresholds).mean(axis=0)
    nearest = np.abs(misses - false_alarms).argmin()
    return (misses[nearest] + false_alarms[nearest]) / 2


def paired_differences(scores_a, scores_b, units_by_class, seed):
    """EER(a) - EER(b) over bootstrap samples of the same rows of both.

    Args:
        units_by_class: of bona fide and of spoof, a list of arrays of rows that are drawn together.
    """
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(4 * BOOTSTRAP):
        rows_by_class = []
        for units in units_by_class:
            sample = rng.integers(len(units), size=len(units))
            rows_by_class.append(np.concatenate([units[unit] for unit in sample]))
        bonafide, spoof = rows_by_class
        error_a = equal_error_rate(scores_a[bonafide], scores_a[spoof])
        error_b = equal_error_rate(scores_b[bonafide], scores_b[spoof])
        differences.append(error_a - error_b)
    return np.array(differences)


def test_the_interval_is_that_of_a_bootstrap_paired_by_utterance(monkeypatch, tmp_path):
    """B has A's scores, shuffled within each class: the same EER, errors on other utterances."""
    rng = np.random.default_rng(0)
    count = 150
    labels = ["bonafide"] * count + ["spoof"] * count
    bonafide = rng.normal(1, 1, count)
    spoof = rng.normal(-1, 1, count)
    scores_a = np.concatenate([bonafide, spoof])
    scores_b = np.concatenate([rng.permutation(bonafide), rng.permutation(spoof)])
    write_systems(tmp_path, labels, {"a": scores_a, "b": scores_b})
    row = compare_systems(monkeypatch, tmp_path)["eer"]
    assert row["difference"] == 0
    rows = np.arange(2 * count)[:, None]
    units_by_class = [list(rows[:count]), list(rows[count:])]
    expected = paired_differences(scores_a, scores_b, units_by_class, seed=1)
    assert row["ci"] == pytest.approx(
        np.quantile(expected, [0.025, 0.975]), abs=TOLERANCE * expected.std()
    )
    assert row["ci"][1] - row["ci"][0] > 0.04


def test_the_interval_of_clusters_is_that_of_a_bootstrap_paired_by_cluster(monkeypatch, tmp_path):
    """As above, with speakers whose utterances share an effect of their own in each system."""
    rng = np.random.default_rng(2)
    speakers = 24
    each = 6
    count = speakers * each
    speaker = np.repeat(np.arange(speakers), each)
    systems = {}
    for system in "ab":
        by_class = [
            mean + rng.normal(0, 0.7, speakers)[speaker] + rng.normal(0, 0.7, count)
            for mean in (1, -1)
        ]
        systems[system] = np.concatenate(by_class)
    labels = ["bonafide"] * count + ["spoof"] * count
    clusters = [f"b{number}" for number in speaker] + [f"s{number}" for number in speaker]
    write_systems(tmp_path, labels, systems, clusters)
    row = compare_systems(monkeypatch, tmp_path, clustered=True)["eer"]
    bonafide_units = [np.flatnonzero(speaker == number) for number in range(speakers)]
    spoof_units = [count + rows for rows in bonafide_units]
    expected = paired_differences(systems["a"], systems["b"], [bonafide_units, spoof_units], seed=3)
    assert row["ci"] == pytest.approx(
        np.quantile(expected, [0.025, 0.975]), abs=TOLERANCE * expected.std()
    )
    single = compare_systems(monkeypatch, tmp_path)["eer"]["ci"]
    assert row["ci"][1] - row["ci"][0] > 1.2 * (single[1] - single[0])


@pytest.mark.turns
@pytest.mark.parametrize("clustered", [False, True], ids=["utterances", "clusters"])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_equally_good_systems_rarely_differ(monkeypatch, tmp_path, correlation, clustered):
    """At most 6 of 40 pairs have p < .05 where 2 are expected; drawn by rank, more than 20 have.

    An EER moves in steps of a trial, so many of its differences are 0 and hide draws by rank. The
    AUC has hardly any ties.
    """
    rng = np.random.default_rng([int(100 * correlation), clustered])
    count = 200
    each = 4
    labels = ["bonafide"] * count + ["spoof"] * count
    speaker = np.arange(2 * count) // each
    means = np.repeat([1.0, -1.0], count)
    rejections = 0
    for _ in range(40):
        shared = rng.normal(size=2 * count)
        separate = rng.normal(size=(2, 2 * count))
        noise = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * separate
        if clustered:
            effects = rng.normal(size=(3, speaker.max() + 1))[:, speaker]
            by_speaker = np.sqrt(correlation) * effects[0] + np.sqrt(1 - correlation) * effects[1:]
            noise = (noise + by_speaker) / np.sqrt(2)
        write_systems(tmp_path, labels, {"a": means + noise[0], "b": means + noise[1]}, speaker)
        results = compare_systems(monkeypatch, tmp_path, clustered, bootstrap=60)
        if results["auc"]["p_value"] < 0.05:
            rejections += 1
    assert rejections <= 6
