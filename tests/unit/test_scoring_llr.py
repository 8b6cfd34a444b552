"""Logits to LLRs: the prior, calibration, and what is refused."""

import json
import logging

import kaldiio
import numpy as np
import pytest
from commands import refused, run
from scipy.special import logit

from wedefense_lite.bin.logits_to_llr import logits_to_llr
from wedefense_lite.files import InputError
from wedefense_lite.labels import LABELS
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.calibration import fit_affine
from wedefense_lite.scoring.llr import llr_from_logits
from wedefense_lite.scoring.sidecar import Sidecar, check_sidecar, read_sidecar, write_sidecar


def test_the_posterior_odds_without_the_training_prior_are_the_llr():
    likelihood = np.log([[0.2, 0.7], [0.5, 0.1]])
    posterior = likelihood + np.log([0.9, 0.1])
    llr = llr_from_logits(posterior - 5.0, [0.9, 0.1])
    assert llr == pytest.approx(likelihood[:, 1] - likelihood[:, 0])


def test_logits_of_spoof_and_bonafide_point_to_the_bonafide():
    assert llr_from_logits([0.0, 3.0], [0.5, 0.5]) > 0


def gaussian(count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose LLR is the score itself, seen through an affine map."""
    rng = np.random.default_rng(0)
    return rng.normal(2, 2, count) * 3 - 4, rng.normal(-2, 2, 3 * count) * 3 - 4


def test_the_regression_finds_the_map_back_to_llrs():
    bonafide, spoof = gaussian()
    for p_spoof in (0.05, 0.5):
        affine = fit_affine(bonafide, spoof, p_spoof)
        assert affine.scale[0] == pytest.approx(1 / 3, rel=0.03)
        assert affine.offset == pytest.approx(4 / 3, rel=0.06)


def test_the_regression_is_at_its_minimum_for_the_target_prior():
    bonafide, spoof = gaussian(500)
    p = 0.05
    affine = fit_affine(bonafide, spoof, p)

    def cost(scale, offset):
        odds = [scale * scores + offset - logit(p) for scores in (bonafide, spoof)]
        return (1 - p) * np.logaddexp(0, -odds[0]).mean() + p * np.logaddexp(0, odds[1]).mean()

    best = cost(affine.scale[0], affine.offset)
    for step in (1e-3, -1e-3):
        assert cost(affine.scale[0] + step, affine.offset) > best
        assert cost(affine.scale[0], affine.offset + step) > best


def test_fusing_two_systems_beats_either():
    rng = np.random.default_rng(1)
    bonafide = rng.normal(1, 1, (3000, 2))
    spoof = rng.normal(-1, 1, (3000, 2))
    affine = fit_affine(bonafide, spoof, 0.5)
    assert affine.scale == pytest.approx([2, 2], rel=0.15)
    fused = SortedScores(affine(bonafide), affine(spoof)).cllr()
    assert fused < 0.9 * SortedScores(2 * bonafide[:, 0], 2 * spoof[:, 0]).cllr()


def test_classes_that_separate_perfectly_still_give_finite_llrs():
    affine = fit_affine([1.0, 2.0], [-1.0, -2.0], 0.05)
    assert np.isfinite(affine([1.0, -1.0])).all()
    assert affine([2.0]) > 0 > affine([-2.0])


@pytest.mark.parametrize(
    ("bonafide", "spoof", "prior"), [([], [1.0], 0.5), ([np.inf], [1.0], 0.5), ([2.0], [1.0], 1.0)]
)
def test_what_can_not_be_fitted_is_refused(bonafide, spoof, prior):
    with pytest.raises(ValueError):
        fit_affine(bonafide, spoof, prior)


BALANCED = Sidecar(class_prior=(0.5, 0.5))


def write_set(folder, name, logits, labels, sidecar=BALANCED):
    folder.mkdir()
    with kaldiio.WriteHelper(f"ark,scp:{folder}/logits.ark,{folder}/logits.scp") as archive:
        for index, row in enumerate(logits):
            archive(f"{name}{index:04d}", np.asarray(row, dtype=np.float32))
    (folder / "utt2lab").write_text(
        "".join(f"{name}{i:04d} {label}\n" for i, label in enumerate(labels))
    )
    write_sidecar(folder / "logits.scp", sidecar)
    return folder / "logits.scp"


@pytest.fixture
def sets(tmp_path):
    """Logits of eval and dev, and training counts of one bona fide trial to nine spoofed ones."""
    rng = np.random.default_rng(0)
    for name in ("eval", "dev"):
        labels = np.array(["spoof", "spoof", "bonafide"] * 30)
        score = rng.normal(size=90) * 2 + 3 * (labels == "bonafide")
        write_set(tmp_path / name, name, np.stack([-score, score], axis=1), labels)
    (tmp_path / "lab2num_utts").write_text("bonafide 10\nspoof 90\n")
    (tmp_path / "train_utt2lab").write_text(
        "".join(f"t{i} {'spoof' if i >= 10 else 'bonafide'}\n" for i in range(100))
    )
    return tmp_path


def llrs(folder) -> np.ndarray:
    rows = [line.split("\t") for line in (folder / "llr.txt").read_text().splitlines()]
    assert rows[0] == ["filename", "cm-score"]
    return np.array([float(row[1]) for row in rows[1:]])


def options(sets, *more):
    counts = "--training_counts", sets / "lab2num_utts", "--train_label", sets / "train_utt2lab"
    return "--logits_scp_path", sets / "eval/logits.scp", *counts, *more


def calibrated(sets):
    return "--cal_logits_scp_path", sets / "dev/logits.scp", "--cal_label", sets / "dev/utt2lab"


def test_pi_spoof_weights_the_calibration(monkeypatch, sets):
    llrs_by_prior = {}
    for pi in (0.05, 0.5):
        run(monkeypatch, logits_to_llr, *options(sets, "--pi_spoof", pi, *calibrated(sets)))
        llrs_by_prior[pi] = llrs(sets / "eval")
        assert json.loads((sets / "eval/calibration.json").read_text())["pi_spoof"] == pi
    assert np.abs(llrs_by_prior[0.05] - llrs_by_prior[0.5]).max() > 0.01


def test_pi_spoof_changes_nothing_without_calibration_and_the_log_says_so(
    monkeypatch, caplog, sets
):
    caplog.set_level(logging.INFO)
    llrs_by_prior = {}
    for pi in (0.05, 0.5):
        run(monkeypatch, logits_to_llr, *options(sets, "--pi_spoof", pi))
        llrs_by_prior[pi] = llrs(sets / "eval")
        assert f"--pi_spoof {pi:g} changes nothing" in caplog.text
    assert (llrs_by_prior[0.05] == llrs_by_prior[0.5]).all()


def test_the_prior_comes_from_the_sidecar_and_the_log_names_the_difference(
    monkeypatch, caplog, sets
):
    run(monkeypatch, logits_to_llr, *options(sets, "--pi_spoof", 0.05))
    balanced = llrs(sets / "eval")
    assert "not the 0.9000, 0.1000 of the training counts" in caplog.text
    (sets / "eval/logits.json").unlink()
    run(monkeypatch, logits_to_llr, *options(sets, "--pi_spoof", 0.05))
    assert llrs(sets / "eval") - balanced == pytest.approx(np.full(90, np.log(9)), abs=1e-6)
    assert read_sidecar(sets / "eval/llr.txt").class_prior is None


def test_a_head_without_posterior_gets_no_prior_and_asks_for_calibration(monkeypatch, caplog, sets):
    write_sidecar(sets / "eval/logits.scp", Sidecar(class_prior=(0.9, 0.1), has_posterior=False))
    run(monkeypatch, logits_to_llr, *options(sets, "--pi_spoof", 0.05))
    logits = np.stack(
        [row for _, row in sorted(kaldiio.load_scp(str(sets / "eval/logits.scp")).items())]
    )
    assert llrs(sets / "eval") == pytest.approx(logits[:, 1] - logits[:, 0], abs=1e-6)
    assert "affine calibration is needed" in caplog.text


def test_logits_of_three_classes_are_refused_by_their_shape(monkeypatch, capsys, sets):
    scp = write_set(sets / "bad", "bad", [[0.0, 1.0, 2.0]], ["spoof"])
    words = "--logits_scp_path", scp, "--pi_spoof", 0.05
    message = refused(monkeypatch, capsys, logits_to_llr, *words)
    assert "bad0000 has logits of shape (3,), expected (2,)" in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused_by_name(monkeypatch, capsys, sets, value):
    scp = write_set(sets / "bad", "bad", [[0.0, 1.0], [value, 0.0]], ["spoof", "bonafide"])
    message = refused(
        monkeypatch, capsys, logits_to_llr, "--logits_scp_path", scp, "--pi_spoof", 0.05
    )
    assert "bad0001" in message and str(value) in message
    assert not (sets / "bad/llr.txt").exists()


def test_fitting_and_testing_on_the_same_trials_is_refused(monkeypatch, capsys, sets):
    same = "--cal_logits_scp_path", sets / "eval/logits.scp", "--cal_label", sets / "eval/utt2lab"
    message = refused(monkeypatch, capsys, logits_to_llr, *options(sets, "--pi_spoof", 0.05, *same))
    assert "eval0000 is in the calibration set too" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"polarity": "higher is spoof"}, "polarity is 'higher is spoof'"),
        ({"class_prior": [0.5, 0.6]}, "class_prior is [0.5, 0.6], expected 2 positive parts of 1"),
        ({"class_prior": [1.0]}, "class_prior is [1.0], expected 2 positive parts of 1"),
        (
            {"labels": ["bonafide", "spoof"]},
            "labels are ['bonafide', 'spoof'], expected ['spoof', 'bonafide']",
        ),
        ({"labels": ["tts", "vc", "bonafide"]}, "labels are ['tts', 'vc', 'bonafide'], expected"),
        ({"extra": 1}, "expected an object with the fields"),
    ],
)
def test_a_sidecar_that_contradicts_is_refused(monkeypatch, capsys, sets, changes, words):
    path = sets / "eval/logits.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert words in refused(monkeypatch, capsys, logits_to_llr, *options(sets, "--pi_spoof", 0.05))


def test_a_calibration_set_of_another_model_is_refused(monkeypatch, capsys, sets):
    write_sidecar(sets / "dev/logits.scp", Sidecar(class_prior=(0.5, 0.5), config_hash="other"))
    words = options(sets, "--pi_spoof", 0.05, *calibrated(sets))
    assert "config_hash is 'other', expected ''" in refused(
        monkeypatch, capsys, logits_to_llr, *words
    )


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("lab2num_utts", "bonafide 10\nspoof 91\n", "as in"),
        ("lab2num_utts", "bonafide ten\nspoof 90\n", "lab2num_utts:1: bonafide: invalid literal"),
        ("dev/utt2lab", "dev0000 spoof\n", "dev0001 is not in"),
        ("dev/utt2lab", "dev0000 fake\n", "label 'fake'"),
        (
            "eval/logits.scp",
            "eval0000 missing.ark:9\n",
            "eval0000 is in missing.ark, which does not exist",
        ),
        ("eval/logits.scp", "", "empty"),
    ],
)
def test_files_that_disagree_are_refused(monkeypatch, capsys, sets, file, text, words):
    (sets / file).write_text(text)
    # As if the archive had been written like this: the sidecar notes its hash.
    write_sidecar(sets / "eval/logits.scp", BALANCED)
    message = refused(
        monkeypatch, capsys, logits_to_llr, *options(sets, "--pi_spoof", 0.05, *calibrated(sets))
    )
    assert words in message and str(sets / file) in message


@pytest.mark.parametrize("words", [("--pi_spoof", 1.5), ("--pi_spoof", 0.5, "--cal_label", "x")])
def test_options_that_make_no_sense_are_refused(monkeypatch, capsys, sets, words):
    refused(monkeypatch, capsys, logits_to_llr, *options(sets, *words))


def test_logits_without_prior_or_counts_are_refused(monkeypatch, capsys, sets):
    write_sidecar(sets / "eval/logits.scp", Sidecar())
    words = "--logits_scp_path", sets / "eval/logits.scp", "--pi_spoof", 0.05
    assert "expected --training_counts" in refused(monkeypatch, capsys, logits_to_llr, *words)


def test_a_sidecar_comes_back_as_it_was(tmp_path):
    sidecar = Sidecar(LABELS, (0.25, 0.75), False, model="m.pt", commit="c0ffee", model_hash="abc")
    write_sidecar(tmp_path / "logits.ark", sidecar)
    assert read_sidecar(tmp_path / "logits.scp") == sidecar
    check_sidecar(tmp_path / "logits.scp", sidecar, model_hash="abc")
    with pytest.raises(InputError, match="logits.json: commit is 'c0ffee', expected 'tea'"):
        check_sidecar(tmp_path / "logits.scp", sidecar, commit="tea")
    with pytest.raises(InputError, match="No such file"):
        read_sidecar(tmp_path / "none.scp")
    assert read_sidecar(tmp_path / "none.scp", required=False) is None
    with pytest.raises(ValueError, match="polarity"):
        Sidecar(polarity="none")


def test_scores_higher_for_spoof_are_turned_round_only_if_asked(monkeypatch, capsys, sets):
    labels = (sets / "dev/utt2lab").read_text()
    exchanged = labels.replace("bonafide", "other").replace("spoof", "bonafide")
    (sets / "dev/utt2lab").write_text(exchanged.replace("other", "spoof"))
    words = options(sets, "--pi_spoof", 0.05, *calibrated(sets))
    message = refused(monkeypatch, capsys, logits_to_llr, *words)
    assert "higher scores for spoof" in message and "--allow_negative_slope true" in message
    assert not (sets / "eval/llr.txt").exists()
    run(monkeypatch, logits_to_llr, *words, "--allow_negative_slope", "true")
    calibration = json.loads((sets / "eval/calibration.json").read_text())
    assert calibration["scale"][0] < 0 and calibration["allow_negative_slope"] is True
