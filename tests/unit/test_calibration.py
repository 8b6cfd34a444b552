"""Calibration: scales that data determine are those of plain logistic regression, others are held
to what the number of trials supports.
"""

import logging

import numpy as np
import pytest
from commands import refused, run

from wedefense_lite.bin.fuse import fuse
from wedefense_lite.files import InputError, read_json, write_json
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.calibration import (
    IDENTITY,
    Affine,
    fit_affine,
    overlap,
    read_calibration,
    write_calibrated,
)
from wedefense_lite.scoring.scores import read_scores
from wedefense_lite.scoring.sidecar import Sidecar

P_SPOOF = 0.05


def normal_scores(seed: int, distance: float, bonafide: int, spoof: int):
    """Scores of two classes of unit deviation, whose means are a distance apart."""
    rng = np.random.default_rng(seed)
    return rng.normal(distance / 2, 1, bonafide), rng.normal(-distance / 2, 1, spoof)


@pytest.mark.parametrize("distance", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_classes_that_mix_have_the_map_of_the_regression(seed, distance, caplog):
    bonafide, spoof = normal_scores(seed, distance, 100, 300)
    affine = fit_affine(bonafide, spoof, P_SPOOF)
    assert affine == fit_affine(bonafide, spoof, P_SPOOF, gaussian_share=0)
    assert affine.gaussian_share == 0
    assert not caplog.text


def test_the_overlap_counts_trials_by_their_posteriors():
    """Two trials on the wrong side count as two, and a tie at even odds as half a trial each."""
    assert overlap(np.array([-50.0, 50.0]), np.array([50.0, -50.0]), 0.5) == pytest.approx(2)
    assert overlap(np.array([0.0, 50.0]), np.array([0.0, -50.0]), 0.5) == pytest.approx(1)
    # Odds of 19 to 1 for bona fide: at an LLR of 0 the spoofed trial counts 0.95.
    assert overlap(np.array([50.0]), np.array([0.0]), 0.05) == pytest.approx(0.95)


def test_four_trials_support_no_large_llrs(caplog):
    affine = fit_affine([2.0, 1.0], [-1.0, -2.0], P_SPOOF)
    llrs = affine([2.0, 1.0, -1.0, -2.0])
    assert np.abs(llrs).max() < 5
    assert (np.diff(llrs) < 0).all()
    assert affine.gaussian_share == 1
    assert "determine no scale" in caplog.text


def test_llrs_at_the_means_are_those_of_student_distributions():
    """By hand: means 1.5 and -1.5, pooled variance 0.5 of 2 degrees of freedom, 3/2 log 7."""
    affine = fit_affine([2.0, 1.0], [-1.0, -2.0], P_SPOOF)
    assert affine([1.5, -1.5]) == pytest.approx([1.5 * np.log(7), -1.5 * np.log(7)])


def test_separated_classes_of_many_normal_trials_have_the_true_scale():
    bonafide, spoof = normal_scores(0, 8, 3000, 3000)
    assert fit_affine(bonafide, spoof, P_SPOOF).scale[0] == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize("distance", [6, 7])
@pytest.mark.parametrize("closer", [1, 2 / 3])
def test_the_cllr_of_held_out_trials_does_not_rise(distance, closer):
    """Twenty dev sets whose classes are separated.

    Classes of the held-out set are as far apart, or a third closer, as those of eval are to a
    system that was selected on dev.
    """
    cllrs = {"ours": [], "regression": [], "raw": []}
    for seed in range(20):
        bonafide, spoof = normal_scores(seed, distance, 40, 120)
        if bonafide.min() <= spoof.max():
            continue
        held_out = normal_scores(1000 + seed, closer * distance, 2000, 2000)
        ours = fit_affine(bonafide, spoof, P_SPOOF)
        regression = fit_affine(bonafide, spoof, P_SPOOF, gaussian_share=0)
        for name, affine in {"ours": ours, "regression": regression, "raw": IDENTITY}.items():
            cllrs[name].append(SortedScores(*map(affine, held_out)).cllr())
    assert len(cllrs["ours"]) >= 15
    assert np.mean(cllrs["ours"]) <= np.mean(cllrs["regression"])
    assert np.mean(cllrs["ours"]) <= np.mean(cllrs["raw"])


# Calibration sets that determine no scale, and the largest LLR that is still sane for them.
SEPARATED = {
    "by 1e-6": (5e-7 + np.arange(1, 300) / 100, -5e-7 - np.arange(1, 300) / 100, 20),
    "two values": ([1.0] * 50, [0.0] * 150, 60),
    "a trial a class": ([1.0], [0.0], 5),
    "touching": ([2.0, 1.0, 0.0], [0.0, -1.0, -2.0], 5),
    "tiny": ([1e-30, 3e-30], [-1e-30, -2e-30], 5),
    "tinier": ([1e-200, 3e-200], [-1e-200, -2e-200], 5),
    "huge": ([1e300, 2e300], [-1e300, -3e300], 5),
}


@pytest.mark.parametrize("name", SEPARATED)
def test_separated_classes_give_sane_llrs_and_a_warning(caplog, name):
    bonafide, spoof, largest = SEPARATED[name]
    affine = fit_affine(bonafide, spoof, P_SPOOF)
    llrs = affine([*bonafide, *spoof])
    assert np.isfinite(llrs).all()
    assert np.abs(llrs).max() < largest
    assert affine.scale[0] > 0
    assert "determine no scale" in caplog.text
    if "tin" in name:
        assert "differ by little" in caplog.text


def test_there_is_no_jump_where_a_trial_crosses_to_the_other_class():
    bonafide = [0.0, 1.0, 1.5, 2.0, 3.0]
    scales = []
    for crossing in np.linspace(-0.4, 1.2, 81):
        affine = fit_affine(bonafide, [-3.0, -2.0, -1.5, -1.0, crossing], 0.5)
        scales.append(affine.scale[0])
    steps = np.abs(np.diff(scales)) / scales[:-1]
    assert steps.max() < 0.1


def test_separated_systems_are_fused_with_sane_weights():
    rng = np.random.default_rng(0)
    bonafide = rng.normal(4, 1, (100, 2))
    spoof = rng.normal(-4, 1, (300, 2))
    # With independent systems of one quality the true weights are equal, 8 each.
    affine = fit_affine(bonafide, spoof, P_SPOOF)
    assert affine.scale[0] == pytest.approx(affine.scale[1], rel=0.1)
    assert 3 < affine.scale[0] < 8


def test_scores_of_one_value_give_one_llr():
    assert fit_affine([1.0, 1.0], [1.0, 1.0], 0.5)([1.0]) == pytest.approx(0, abs=1e-9)


def test_classes_with_one_mean_give_no_evidence():
    affine = fit_affine([0.0], [-1.0, 1.0], 0.5)
    assert affine([-1.0, 0.0, 1.0]) == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)


def test_scores_that_are_higher_for_spoof_are_refused_unless_asked_for(caplog):
    reversed_scores = [-1.0, 0.5, -2.0], [1.0, 0.0, 2.0]
    with pytest.raises(ValueError, match=r"higher scores for spoof .*--allow_negative_slope true"):
        fit_affine(*reversed_scores, 0.5)
    affine = fit_affine(*reversed_scores, 0.5, allow_negative_slope=True)
    assert affine.scale[0] < 0
    assert affine.allow_negative_slope
    assert "calibration turns them round" in caplog.text


def test_a_system_among_several_that_is_higher_for_spoof_is_named():
    rng = np.random.default_rng(0)
    bonafide = rng.normal([1, -1], 1, (300, 2))
    spoof = rng.normal([-1, 1], 1, (300, 2))
    with pytest.raises(ValueError, match="higher scores of system 2 for spoof"):
        fit_affine(bonafide, spoof, 0.5)


def test_a_system_that_corrects_another_may_have_a_negative_weight(caplog):
    """The second system has the noise of the first one, and little of its own."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 3, (600, 1))
    signal = np.repeat([[1.0, 0.05], [-1.0, -0.05]], 300, axis=0)
    scores = signal + noise + rng.normal(0, 0.3, (600, 2))
    affine = fit_affine(scores[:300], scores[300:], 0.5)
    assert affine.scale[0] > 0 > affine.scale[1]
    assert "scores of system 2 have the negative weight" in caplog.text


def test_a_calibration_comes_back_as_it_was(tmp_path):
    affine = Affine((-2.0,), 1.0, 0.25, allow_negative_slope=True)
    report = {"training_prior": (0.9, 0.1)}
    write_calibrated(tmp_path / "llr.txt", {"a": 1.0}, affine, Sidecar(), report)
    calibration = read_calibration(tmp_path / "calibration.json")
    assert calibration.affine == affine
    assert calibration.training_prior == (0.9, 0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": "2"}, "scale is '2', expected a list, each a finite number"),
        ({"scale": [None]}, r"scale is \(None,\), expected a list, each a finite number"),
        ({"offset": None}, "offset is None, expected a finite number"),
        ({"offset": 10**400}, "offset is 10+, expected a finite number"),
        ({"training_prior": [2, -1]}, "class_prior is"),
        ({"allow_negative_slope": 1}, "allow_negative_slope is 1, expected true or false"),
    ],
)
def test_a_damaged_calibration_is_refused_by_file_and_field(tmp_path, change, message):
    content = {"scale": [1.0], "offset": 0.0, "training_prior": None}
    write_json(tmp_path / "calibration.json", content | change)
    with pytest.raises(InputError, match=f"calibration.json: {message}"):
        read_calibration(tmp_path / "calibration.json")


@pytest.mark.parametrize("name", ["scale", "offset", "training_prior"])
def test_a_calibration_that_lacks_a_field_is_refused(tmp_path, name):
    content = {"scale": [1.0], "offset": 0.0, "training_prior": None}
    del content[name]
    write_json(tmp_path / "calibration.json", content)
    with pytest.raises(InputError, match=f"calibration.json: no field '{name}'"):
        read_calibration(tmp_path / "calibration.json")


def test_llrs_that_are_not_finite_are_never_written(tmp_path):
    with pytest.raises(InputError, match=r"llr.txt: b has the score inf, expected a finite"):
        write_calibrated(
            tmp_path / "llr.txt", {"a": 1.0, "b": 1e10}, Affine((1e300,), 0.0), Sidecar(), {}
        )
    assert list(tmp_path.iterdir()) == []


def test_scores_unlike_those_of_the_calibration_set_are_warned_of(tmp_path, caplog):
    affine = fit_affine([1e-30, 3e-30], [-1e-30, -2e-30], 0.5)
    write_calibrated(tmp_path / "llr.txt", {"a": 1.0}, affine, Sidecar(), {})
    assert "of another size than those of the calibration set" in caplog.text


@pytest.fixture
def systems(tmp_path):
    """Scores of two systems on dev and eval, and the words of their fusion."""
    rng = np.random.default_rng(0)
    labels = ["bonafide", "spoof", "spoof"] * 30
    for prefix in ("dev", "eval"):
        for system in ("a", "b"):
            lines = ["filename cm-score"]
            for number, label in enumerate(labels):
                lines.append(f"{prefix}{number} {rng.normal(2 * (label == 'bonafide'), 1)}")
            (tmp_path / f"{prefix}_{system}.txt").write_text("\n".join(lines) + "\n")
    key = ["filename cm-label"]
    for number, label in enumerate(labels):
        key.append(f"dev{number} {label}")
    (tmp_path / "key.txt").write_text("\n".join(key) + "\n")
    files = {name: f"{tmp_path}/{name}_a.txt,{tmp_path}/{name}_b.txt" for name in ("dev", "eval")}
    words = ["--cm", files["eval"], "--cal_cm", files["dev"], "--cal_key", tmp_path / "key.txt"]
    return [*words, "--out", tmp_path / "fused/llr.txt"]


@pytest.mark.parametrize("file", ["dev_b.txt", "eval_a.txt"])
@pytest.mark.parametrize("value", ["inf", "-inf"])
def test_fusion_of_infinite_scores_is_refused_by_line(
    monkeypatch, capsys, tmp_path, systems, file, value
):
    lines = (tmp_path / file).read_text().splitlines()
    name = lines[3].split()[0]
    lines[3] = f"{name} {value}"
    (tmp_path / file).write_text("\n".join(lines) + "\n")
    message = refused(monkeypatch, capsys, fuse, *systems)
    assert f"{file}:4: {name}: {value}, expected a finite number" in message
    assert not (tmp_path / "fused").exists()


def test_fusion_below_a_file_is_refused_before_the_work(monkeypatch, capsys, tmp_path, systems):
    (tmp_path / "file").touch()
    monkeypatch.setattr("wedefense_lite.bin.fuse.read_trials", None)
    message = refused(monkeypatch, capsys, fuse, *systems[:-1], tmp_path / "file/llr.txt")
    assert "file/llr.txt: can't be written" in message


def test_fusion_turns_a_system_round_if_asked(monkeypatch, capsys, tmp_path, systems, caplog):
    caplog.set_level(logging.WARNING)
    for prefix in ("dev", "eval"):
        lines = (tmp_path / f"{prefix}_a.txt").read_text().splitlines()
        turned = [lines[0]]
        for name, score in map(str.split, lines[1:]):
            turned.append(f"{name} {-float(score)}")
        (tmp_path / f"{prefix}_a.txt").write_text("\n".join(turned) + "\n")
    assert "higher scores of system 1 for spoof" in refused(monkeypatch, capsys, fuse, *systems)
    run(monkeypatch, fuse, *systems, "--allow_negative_slope", "true")
    first, second = read_json(tmp_path / "fused/calibration.json")["scale"]
    assert first < 0 < second
    assert len(read_scores(tmp_path / "fused/llr.txt")) == 90
