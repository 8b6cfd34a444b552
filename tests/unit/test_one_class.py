"""Sets of one class and sets without labels: checked, listed, evaluated, in tables of systems."""

import json
import logging

import pytest
import soundfile as sf
from commands import refused, run, run_script
from corpora import RATE, tone

from wedefense_lite.audio.data_dir import Counts, Trial, check_data_dirs, write_data_dirs
from wedefense_lite.audio.index import read_index
from wedefense_lite.bin.compare import compare
from wedefense_lite.bin.cross_table import cross_table
from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.bin.fuse import fuse
from wedefense_lite.files import InputError
from wedefense_lite.metrics.summary import likely_cause

SCORES = {"u1": -4.0, "u2": -1.0, "u3": 2.0, "u4": 5.0}


@pytest.fixture
def scored(tmp_path):
    """Scores of four utterances; a key of each class alone, one of both; attacks."""
    rows = "".join(f"{name}\t{score}\n" for name, score in SCORES.items())
    (tmp_path / "llr.txt").write_text(f"filename\tcm-score\n{rows}")
    keys = {"spoof": ["spoof"] * 4, "bonafide": ["bonafide"] * 4, "both": ["spoof"] * 3}
    keys["both"].append("bonafide")
    for key, labels in keys.items():
        rows = "".join(f"{name}\t{label}\n" for name, label in zip(SCORES, labels))
        (tmp_path / f"{key}.txt").write_text(f"filename\tcm-label\n{rows}")
    (tmp_path / "utt2attack").write_text("u1 A1\nu2 A1\nu3 A2\nu4 A2\n")
    return tmp_path


def results_of(monkeypatch, folder, key, *more):
    path = folder / "results.json"
    key = key if key == "none" else folder / f"{key}.txt"
    words = ("--cm", folder / "llr.txt", "--cm_key", key, "--json", path)
    run(monkeypatch, evaluate, *words, *more)
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("key", "rate", "share", "count"),
    [("spoof", "fa", 0.25, "n_spoof"), ("bonafide", "miss", 0.75, "n_bonafide")],
)
def test_a_set_of_one_class_has_a_rate_at_a_threshold_and_no_eer(
    monkeypatch, capsys, scored, key, rate, share, count
):
    # A score at the threshold is accepted: 5 of -4, -1, 2, 5.
    results = results_of(monkeypatch, scored, key, "--threshold", "5")
    assert (results["eer"], results[rate], results["threshold"]) == (None, share, 5.0)
    assert results[count] == 4
    assert results["n_bonafide"] + results["n_spoof"] == 4
    distribution = results["scores"]
    assert distribution["mean"] == distribution["median"] == 0.5
    assert (distribution["min"], distribution["max"]) == (-4.0, 5.0)
    text = capsys.readouterr().out
    assert f"only {key} trials: EER n/a" in text
    assert f"{rate}: at 5 (--threshold)" in text


def test_rates_by_attack_with_intervals_at_the_threshold_of_the_costs(monkeypatch, scored):
    more = ("--meta", scored / "utt2attack", "--by", "attack", "--bootstrap", "50")
    results = results_of(monkeypatch, scored, "spoof", *more)
    assert results["threshold"] == results["cost"]["threshold"]
    assert {name: row["fa"] for name, row in results["by"].items()} == {"A1": 0.0, "A2": 1.0}
    low, high = results["ci"]["fa"]
    assert 0 <= low < results["fa"] == 0.5 < high <= 1


def test_the_threshold_of_dev_is_that_of_its_eer(monkeypatch, capsys, scored):
    dev = results_of(monkeypatch, scored, "both")
    (scored / "results.json").rename(scored / "results_dev.json")
    at_dev = ("--threshold", scored / "results_dev.json")
    results = results_of(monkeypatch, scored, "spoof", *at_dev)
    assert results["threshold"] == dev["eer_threshold"]
    assert results["fa"] == 0.25
    both = results_of(monkeypatch, scored, "both", *at_dev)
    assert (both["miss"], both["fa"]) == (0.0, 0.0)
    (scored / "results.json").write_text(json.dumps(results))
    words = ("--cm", scored / "llr.txt", "--cm_key", scored / "spoof.txt")
    message = refused(monkeypatch, capsys, evaluate, *words, "--threshold", scored / "results.json")
    assert "results.json has no eer_threshold, expected a number or results" in message


def test_scores_without_labels_have_a_share_of_accepted_ones(monkeypatch, capsys, scored):
    results = results_of(monkeypatch, scored, "none", "--threshold", "0")
    assert (results["n_unlabelled"], results["accepted"], results["eer"]) == (4, 0.5, None)
    assert "no labels: EER n/a" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "words"),
    [("spoof.txt", "spoof.txt: 4 trials, all spoof, expected both classes"), ("none", "'none' is")],
)
def test_comparison_and_fusion_of_one_class_are_refused(monkeypatch, capsys, scored, key, words):
    path = key if key == "none" else str(scored / key)
    llr = str(scored / "llr.txt")
    options = ["--cm", llr, "--cal_cm", llr, "--cal_key", path, "--out", str(scored / "out.txt")]
    messages = [
        refused(monkeypatch, capsys, compare, llr, llr, "--cm_key", path, positional=True),
        refused(monkeypatch, capsys, fuse, *options),
    ]
    for message in messages:
        assert words in message
        assert "bin/evaluate.py" in message


def test_a_set_of_one_class_is_a_cell_of_a_table_of_systems(monkeypatch, capsys, scored):
    results_of(monkeypatch, scored, "spoof")
    (scored / "results.json").rename(scored / "results_spoofs.json")
    results_of(monkeypatch, scored, "both")
    (scored / "results.json").rename(scored / "results_eval.json")
    capsys.readouterr()
    run(monkeypatch, cross_table, "--exp_dirs", scored)
    assert capsys.readouterr().out.splitlines()[-1].split()[1:] == ["0.00", "0.0000", "n/a", "n/a"]


@pytest.mark.parametrize(
    ("eer", "cllr", "cause"),
    [
        (0.95, None, "polarity may be flipped"),
        (0.61, 0.9, "polarity may be flipped"),
        (0.55, 1.4, "a set that the system was not made for"),
        (0.45, 1.4, "a set that the system was not made for"),
        (0.51, None, "a set that the system was not made for"),
        (0.45, 0.99, None),
        (0.39, 3.0, None),
    ],
)
def test_a_warning_names_the_likely_cause(eer, cllr, cause):
    text = likely_cause(eer, cllr)
    assert (text is None) if cause is None else (cause in text)


def test_a_foreign_set_is_not_taken_for_a_flipped_polarity(monkeypatch, caplog, scored):
    # Each bona fide score has a spoof about it: an EER of 50 %, and LLRs that mislead.
    scores = {"u1": -9.0, "u2": -8.0, "u3": 8.0, "u4": 9.0}
    rows = "".join(f"{name}\t{score}\n" for name, score in scores.items())
    (scored / "llr.txt").write_text(f"filename\tcm-score\n{rows}")
    rows = "u1\tspoof\nu2\tbonafide\nu3\tbonafide\nu4\tspoof\n"
    (scored / "both.txt").write_text(f"filename\tcm-label\n{rows}")
    results = results_of(monkeypatch, scored, "both")
    assert results["eer"] == 0.5
    assert "pooled: EER near 50 %, the scores tell nothing here: a set that" in caplog.text
    assert "polarity" not in caplog.text


def test_a_subset_is_evaluated_alone(monkeypatch, capsys, scored):
    (scored / "list").write_text("u4\nu1 more\n")
    results = results_of(monkeypatch, scored, "both", "--subset", scored / "list")
    assert (results["n_bonafide"], results["n_spoof"], results["eer"]) == (1, 1, 0.0)
    (scored / "list").write_text("u4\nu9\n")
    words = ("--cm", scored / "llr.txt", "--cm_key", scored / "both.txt")
    message = refused(monkeypatch, capsys, evaluate, *words, "--subset", scored / "list")
    assert "list: 1 utterances are no trials of the key: u9" in message


def write_set(folder, labels):
    folder.mkdir()
    (folder / "wav.scp").write_text("a a.wav\nb b.wav\n")
    if labels:
        (folder / "utt2lab").write_text("".join(f"{key} {label}\n" for key, label in labels))


def test_a_data_directory_of_one_class_is_valid_and_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_set(tmp_path / "spoofs", [("a", "spoof"), ("b", "spoof")])
    check_data_dirs([tmp_path / "spoofs"])
    assert "no utterance is bonafide: a set to score, whose EER is n/a" in caplog.text


def test_a_data_directory_without_labels_is_valid_where_that_is_said(tmp_path):
    write_set(tmp_path / "field", [])
    check_data_dirs([tmp_path / "field"], has_labels=False)
    with pytest.raises(InputError, match="utt2lab"):
        check_data_dirs([tmp_path / "field"])
    write_set(tmp_path / "labelled", [("a", "spoof"), ("b", "spoof")])
    with pytest.raises(InputError, match="expected none, as --labels none says"):
        check_data_dirs([tmp_path / "labelled"], has_labels=False)


@pytest.mark.parametrize("kind", ["raw", "shard"])
def test_a_set_without_labels_is_listed(tmp_path, monkeypatch, kind):
    for number, key in enumerate("ab"):
        sf.write(tmp_path / f"{key}.wav", tone(number, 800), RATE)
    write_set(tmp_path / "data", [])
    places = {"raw": ["raw.list"], "shard": ["shards", "shard.list"]}[kind]
    words = ["data/wav.scp", "none", *places]
    status, said = run_script(tmp_path, f"tools/make_{kind}_list.py", *words)
    assert status == 0, said
    monkeypatch.chdir(tmp_path)
    rows = read_index(places[-1], kind)
    assert [(row.key, row.label, row.samples) for row in rows] == [
        ("a", None, 800),
        ("b", None, 800),
    ]


@pytest.mark.parametrize("label", ["spoof", "bonafide"])
def test_a_corpus_of_one_class_is_prepared_with_its_published_counts(tmp_path, label):
    trials = []
    for number in range(2):
        sf.write(tmp_path / f"{number}.wav", tone(number, 800), RATE)
        attack = "A1" if label == "spoof" else "-"
        trials.append(Trial(str(number), f"{tmp_path}/{number}.wav", label, "s", attack))
    counts = Counts(**{"spoof": 0, "bonafide": 0} | {label: 2})
    write_data_dirs(tmp_path / "data", {"x": trials}, {"x": counts})
    check_data_dirs([tmp_path / "data/x"])
    assert (tmp_path / "data/x/lab2num_utts").read_text() == f"{label} 2\n"
    with pytest.raises(InputError, match="published; --expect_counts false"):
        write_data_dirs(tmp_path / "data", {"x": trials[:1]}, {"x": counts})
