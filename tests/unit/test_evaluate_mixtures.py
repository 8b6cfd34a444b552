"""Evaluation of mixtures: assignments, thresholds and calibration from dev, conditions."""

import json

import pytest
from commands import refused, run

from wedefense_lite.bin.evaluate_mixtures import evaluate_mixtures
from wedefense_lite.scoring.scores import read_scores
from wedefense_lite.scoring.sidecar import read_sidecar

HEADER = (
    "mixture label seconds label_1 attack_1 label_2 attack_2 label_3 attack_3 "
    "overlap level_difference sex\n"
)
# Two talkers: SB, BB, SS, SB; three: SBB.
PLAN = HEADER + (
    "m1 SB 2 bonafide - spoof A1 - - 0 3 same\n"
    "m2 BB 2 bonafide - bonafide - - - 0.25 3.1 same\n"
    "m3 SS 2 spoof A2 spoof A1 - - 0.3 9 different\n"
    "m4 SB 2 spoof A2 bonafide - - - 1 30 different\n"
    "m5 SBB 2 bonafide - bonafide - spoof A1 - - -\n"
)
# By stream; streams of m1 and m5 are not in the order of their sources.
SCORES = {"m1-1": -2, "m1-2": 6, "m2-1": 5, "m2-2": 4, "m3-1": 1, "m3-2": -3, "m4-1": -1, "m4-2": 3}
SCORES |= {"m5-1": -4, "m5-2": 7, "m5-3": 8}
SISDR = (
    "mixture stream source sisdr_1 sisdr_2 sisdr_3 "
    "sisdr_mixture_1 sisdr_mixture_2 sisdr_mixture_3\n"
    "m1 1 2 -5 9 - 1 -1 -\nm1 2 1 11 -5 - 1 -1 -\n"
    "m2 1 1 8 -5 - 0 0 -\nm2 2 2 -5 8 - 0 0 -\n"
    "m3 1 1 8 -5 - 0 0 -\nm3 2 2 -5 8 - 0 0 -\n"
    "m4 1 1 8 -5 - 0 0 -\nm4 2 2 -5 8 - 0 0 -\n"
    "m5 1 3 -5 -5 8 0 0 0\nm5 2 1 8 -5 -5 0 0 0\nm5 3 2 -5 8 -5 0 0 0\n"
)
DEV = (
    "mixture label_1 label_2\n"
    "d1 bonafide spoof\nd2 bonafide bonafide\nd3 spoof spoof\nd4 spoof bonafide\n"
)
DEV_SCORES = {
    "d1-1": 6,
    "d1-2": 2,
    "d2-1": 3,
    "d2-2": 5,
    "d3-1": 2.5,
    "d3-2": -1,
    "d4-1": 3.5,
    "d4-2": 4,
}


def written(path, scores):
    path.write_text(
        "filename\tcm-score\n" + "".join(f"{name}\t{score}\n" for name, score in scores.items())
    )
    return path


@pytest.fixture
def given(tmp_path):
    """Options of the five mixtures."""
    (tmp_path / "plan.tsv").write_text(PLAN.replace(" ", "\t"))
    cm = written(tmp_path / "llr.txt", SCORES)
    return ["--cm", cm, "--key", tmp_path / "plan.tsv", "--out_dir", tmp_path / "out"]


@pytest.fixture
def sisdr(tmp_path):
    (tmp_path / "separation.tsv").write_text(SISDR.replace(" ", "\t"))
    return ["--separation", tmp_path / "separation.tsv"]


@pytest.fixture
def dev(tmp_path):
    (tmp_path / "dev.tsv").write_text(DEV)
    return [
        "--dev_cm",
        written(tmp_path / "dev.txt", DEV_SCORES),
        "--dev_key",
        tmp_path / "dev.tsv",
    ]


def results(tmp_path) -> dict:
    return json.loads((tmp_path / "out/results.json").read_text())


def test_what_is_known_without_sources(monkeypatch, capsys, tmp_path, given):
    run(monkeypatch, evaluate_mixtures, *given)
    found = results(tmp_path)
    assert found["classes"] == ["SS", "SB", "BB", "SSS", "SSB", "SBB", "BBB"]
    assert [row[:3] for row in found["confusion"][:3]] == [
        [0, 1, 0],
        [0, 2, 0],
        [0, 0, 1],
    ]  # m3-1 is accepted
    assert (found["confusion"][5][5], found["accuracy"], found["n_mixtures"]) == (1, 0.8, 5)
    assert (found["assignment"], found["threshold"], found["any_spoof_eer"]) == ("none", 0, 0)
    assert found["chance_macro_f1"] == pytest.approx(2 / 7)
    assert not {"source_eer", "source_accuracy", "sisdr_improvement", "dev", "any_spoof"} & set(
        found
    )
    assert not (tmp_path / "out/mixture_llr.txt").exists()
    assert (tmp_path / "out/results.txt").read_text() == capsys.readouterr().out
    picture = (tmp_path / "out/confusion.svg").read_text()
    run(monkeypatch, evaluate_mixtures, *given)
    assert picture == (tmp_path / "out/confusion.svg").read_text() and "<svg" in picture


def test_sources_by_sisdr_by_number_and_by_the_labels(monkeypatch, caplog, tmp_path, given, sisdr):
    run(monkeypatch, evaluate_mixtures, *given, *sisdr)
    found = results(tmp_path)
    assert (found["assignment"], found["n_permuted"], found["source_accuracy"]) == (
        "sisdr",
        2,
        10 / 11,
    )
    assert found["source_eer"] == 0
    # Streams of m1 win 10 dB over the mixture, all others 8 dB.
    assert found["sisdr_improvement"] == pytest.approx((2 * 10 + 9 * 8) / 11)
    run(monkeypatch, evaluate_mixtures, *given, "--assignment", "identity")
    assert results(tmp_path)["source_accuracy"] == 6 / 11
    assert "upper bounds" not in caplog.text
    run(monkeypatch, evaluate_mixtures, *given, "--assignment", "oracle")
    assert results(tmp_path)["source_accuracy"] == 10 / 11
    assert "upper bounds" in caplog.text


def test_a_key_needs_no_columns_but_labels(monkeypatch, tmp_path):
    (tmp_path / "key.txt").write_text(
        "mixture label_1 label_2\nm1 bonafide spoof\nm2 bonafide bonafide\n"
    )
    cm = written(tmp_path / "llr.txt", {"m1-1": 3, "m1-2": -3, "m2-1": 1, "m2-2": 2})
    words = "--key", tmp_path / "key.txt", "--cm", cm, "--out_dir", tmp_path / "out"
    run(monkeypatch, evaluate_mixtures, *words, "--bootstrap", 5)
    assert results(tmp_path)["confusion"] == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert results(tmp_path)["ci"]["accuracy"] == [1, 1]
    assert results(tmp_path)["by"] == {}


def test_results_by_condition(monkeypatch, tmp_path, given, sisdr):
    run(monkeypatch, evaluate_mixtures, *given, *sisdr)
    by = results(tmp_path)["by"]
    counts = {}
    for condition, summaries in by.items():
        counts[condition] = {value: summary["n"] for value, summary in summaries.items()}
    assert counts == {
        "talkers": {"2": 4, "3": 1},
        "overlap": {"none": 1, "up to 25 %": 1, "25 to 50 %": 1, "over 75 %": 1},
        "level_difference": {"up to 3 dB": 1, "3 to 6 dB": 1, "6 to 10 dB": 1, "over 10 dB": 1},
        "sex": {"different": 2, "same": 2},
        "attacks": {"A1": 2, "A1+A2": 1, "A2": 1},
    }
    two = by["talkers"]["2"]
    assert (two["accuracy"], two["source_eer"], two["chance_macro_f1"]) == (0.75, 0, 1 / 3)
    assert two["macro_f1"] == pytest.approx((0 + 2 * 2 / 5 + 1) / 3)
    # A class that does not occur has no F1, and no chance.
    assert by["sex"]["same"]["macro_f1"] is by["sex"]["same"]["chance_macro_f1"] is None
    assert (by["attacks"]["A1+A2"]["source_eer"], by["attacks"]["A1"]["sisdr_improvement"]) == (
        None,
        8.8,
    )


def test_attacks_are_told_apart_where_one_or_two_talkers_are_spoofed(monkeypatch, tmp_path, given):
    plan = PLAN.replace("bonafide - bonafide - spoof A1", "spoof A3 spoof A3 spoof A1").replace(
        "A1 - -", "- - -", 1
    )
    (tmp_path / "plan.tsv").write_text(plan)
    run(monkeypatch, evaluate_mixtures, *given)  # m1's attack is unknown, m5 has three
    assert {name: one["n"] for name, one in results(tmp_path)["by"]["attacks"].items()} == {
        "A1+A2": 1,
        "A2": 1,
    }


def test_an_output_for_the_mixture_is_its_score(monkeypatch, tmp_path, given):
    outputs = {"m1-0": -1, "m2-0": -2, "m3-0": -3, "m4-0": -4, "m5-0": -5}
    written(tmp_path / "llr.txt", SCORES | outputs)
    run(monkeypatch, evaluate_mixtures, *given)
    assert results(tmp_path)["any_spoof_eer"] == pytest.approx(0.125)  # m1 scores above m2


def test_dev_decides(monkeypatch, caplog, tmp_path, given, dev):
    run(monkeypatch, evaluate_mixtures, *given, *dev)
    found = results(tmp_path)
    # Up to 3.5, which d4's spoof has, d2 has lost a bona fide stream; up to 2.5 only d4 is wrong.
    assert (found["threshold"], found["dev"]["dev"]["accuracy"]) == (3, 0.75)
    assert found["fitted_on"] == str(tmp_path / "dev.txt") and not found["fitted_on_itself"]
    assert "one set" not in caplog.text
    assert found["accuracy"] == 1
    raw = {"m1": -2, "m2": 4, "m3": -3, "m4": -1, "m5": -4}
    llr = {name: score for name, (score,) in read_scores(tmp_path / "out/mixture_llr.txt").items()}
    affine = json.loads((tmp_path / "out/calibration.json").read_text())
    assert llr == pytest.approx(
        {name: affine["scale"][0] * score + affine["offset"] for name, score in raw.items()}
    )
    assert affine["pi_spoof"] == 0.05 and affine["scale"][0] > 0
    assert read_sidecar(tmp_path / "out/mixture_llr.txt").polarity == "higher is bonafide"
    assert {"n_bonafide", "n_spoof", "eer", "min_dcf", "act_dcf", "cllr"} <= set(found["any_spoof"])
    assert (
        found["any_spoof"]["n_bonafide"],
        found["any_spoof"]["n_spoof"],
        found["any_spoof"]["eer"],
    ) == (1, 4, 0)
    run(monkeypatch, evaluate_mixtures, *given, *dev, "--threshold", 0)
    assert (results(tmp_path)["threshold"], results(tmp_path)["accuracy"]) == (0, 0.8)


def test_fit_and_test_on_one_set_is_said(monkeypatch, caplog, tmp_path, given, sisdr):
    itself = "--dev_cm", given[1], "--dev_key", given[3], "--dev_separation", sisdr[1]
    run(monkeypatch, evaluate_mixtures, *given, *sisdr, *itself)
    dev = results(tmp_path)["dev"]["dev"]
    assert (dev["n"], dev["source_eer"], dev["sisdr_improvement"]) == (
        5,
        0,
        results(tmp_path)["sisdr_improvement"],
    )
    assert results(tmp_path)["fitted_on_itself"] and "fitted and tested on one set" in caplog.text
    assert results(tmp_path)["accuracy"] == results(tmp_path)["dev"]["dev"]["accuracy"] == 1


def test_a_bootstrap_keeps_every_class(monkeypatch, tmp_path, given, sisdr):
    run(monkeypatch, evaluate_mixtures, *given, *sisdr, "--bootstrap", 20)
    low, high = results(tmp_path)["ci"]["accuracy"]
    assert low == high == 0.8  # in each sample one of each kind of labels, SB twice


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("llr.txt", "m5-3\t8\n", "", "plan.tsv: m5-3 is not in"),
        ("llr.txt", "m5-3\t", "m6-3\t", "llr.txt:12: m6-3 is not in"),
        ("llr.txt", "m5-3\t", "m5-2\t", "llr.txt:12: m5-2 is there twice"),
        ("llr.txt", "m5-3\t8", "m5-3\tnan", "llr.txt:12: m5-3: NaN"),
        (
            "plan.tsv",
            "m2\tBB\t2\tbonafide",
            "m2\tBB\t2\tfake",
            "plan.tsv:3: m2: unknown label 'fake'",
        ),
        ("separation.tsv", "m5\t3\t", "m5\tx\t", "separation.tsv:12: m5 x is not in"),
        ("llr.txt", "m1-1\t", "m1-0\t1\nm1-1\t", "plan.tsv:3: m2 is not in"),
        (
            "plan.tsv",
            "bonafide\t-\tspoof\tA1\t-",
            "-\t-\tspoof\tA1\t-",
            "m1 has talkers after an absent one",
        ),
        (
            "plan.tsv",
            "\tlabel_1",
            "\tlabl_1",
            "plan.tsv: columns label_2 label_3, expected label_1",
        ),
        (
            "plan.tsv",
            "\t0.25\t",
            "\tmuch\t",
            "plan.tsv:3: m2: 'much', expected a number",
        ),
        (
            "separation.tsv",
            "m1\t1\t2\t-5",
            "m1\t1\t2\t-",
            "separation.tsv: m1 1: no SI-SDR against source 1, which is",
        ),
        (
            "separation.tsv",
            "m1\t1\t2\t-5",
            "m1\t1\t2\t-inf",
            "m1 1: -inf, expected a finite number",
        ),
        ("separation.tsv", "sisdr_mixture_3", "sisdr_mixed_3", "has no column 'sisdr_mixture_3'"),
        ("dev.txt", "d1-1\t6", "d1-1\tinf", "dev.txt: a threshold needs finite scores"),
        (
            "dev.tsv",
            "d2 bonafide",
            "d2 spoof",
            "dev.txt: calibration needs finite scores of both classes",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(
    monkeypatch, capsys, tmp_path, given, sisdr, dev, file, old, new, message
):
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    assert message in refused(monkeypatch, capsys, evaluate_mixtures, *given, *sisdr, *dev)
    assert not (tmp_path / "out").exists()


def test_bad_options_are_one_line(monkeypatch, capsys, tmp_path, given, dev):
    assert "are required: cm" in refused(monkeypatch, capsys, evaluate_mixtures, *given[2:])
    message = refused(monkeypatch, capsys, evaluate_mixtures, *given, "--assignment", "sisdr")
    assert "assignment by sisdr needs SI-SDRs" in message
    assert "--dev_key is needed" in refused(
        monkeypatch, capsys, evaluate_mixtures, *given, *dev[:2]
    )
    assert "go with --dev_cm" in refused(monkeypatch, capsys, evaluate_mixtures, *given, *dev[2:4])
    (tmp_path / "dev.tsv").write_text(DEV.replace("d1", "m1"))
    written(
        tmp_path / "dev.txt",
        {name.replace("d1", "m1"): score for name, score in DEV_SCORES.items()},
    )
    assert "m1 is in the calibration set too" in refused(
        monkeypatch, capsys, evaluate_mixtures, *given, *dev
    )
