"""Prepared corpora as one training set: names, tables, and all stages of the recipe."""

import json
import sys

import pytest
from commands import ROOT, refused, run
from conftest import typist
from corpora import make_corpus

from wedefense_lite.audio.data_dir import Trial, check_data_dir, write_data_dirs
from wedefense_lite.audio.segments import write_rttm
from wedefense_lite.files import read_table

sys.path.insert(0, str(ROOT / "egs/multi_corpus/local"))

from combine_corpora import combine_corpora  # noqa: E402


def prepare(folder, count=6, sets=("train", "dev", "eval"), meta=None):
    """A corpus as its recipe leaves it; every third utterance is bona fide."""
    trials = {}
    for set_name in sets:
        corpus = make_corpus(folder / "audio" / set_name, [8000] * count)
        trials[set_name] = []
        for key, wav in corpus.wavs.items():
            attack = "A01" if corpus.labels[key] == "spoof" else "-"
            name = f"{set_name}_{key}"
            row = Trial(name, wav, corpus.labels[key], "spk1", attack, meta or {})
            trials[set_name].append(row)
    write_data_dirs(folder / "data", trials)
    return folder / "data"


def test_ids_speakers_and_attacks_of_corpora_never_meet(monkeypatch, tmp_path):
    one = prepare(tmp_path / "one", 3)
    two = prepare(tmp_path / "two", 4, sets=("train", "eval"), meta={"codec": "C01"})
    segments = {key: [(0.0, 0.5, 0)] for key in read_table(one / "train/utt2lab")}
    write_rttm(one / "train/segments.rttm", segments)
    words = ("--corpora", f"one={one} two={two}", "--data_dir", tmp_path / "data")
    run(monkeypatch, combine_corpora, *words)
    tables = check_data_dir(tmp_path / "data/train")
    assert list(tables["utt2lab"]) == [f"one-train_u0{n}" for n in range(3)] + [
        f"two-train_u0{n}" for n in range(4)
    ]
    assert tables["utt2corpus"]["two-train_u00"] == "two"
    assert tables["utt2orig"]["two-train_u00"] == "train_u00"
    assert tables["utt2attack"]["one-train_u01"] == "one-A01"
    assert tables["utt2attack"]["one-train_u00"] == "-"
    assert set(tables["utt2spk"].values()) == {"one-spk1", "two-spk1"}
    meta = (tmp_path / "data/train/meta.tsv").read_text().splitlines()
    assert meta[0].split("\t") == ["filename", "corpus", "codec", "set"]
    assert meta[1].split("\t") == ["one-train_u00", "one", "-", "train"]
    assert meta[-1].split("\t") == ["two-train_u03", "two", "C01", "train"]
    # Only one corpus has segments, and only one has a dev set.
    assert not (tmp_path / "data/train/segments.rttm").exists()
    assert set(check_data_dir(tmp_path / "data/dev")["utt2corpus"].values()) == {"one"}
    words = ("--corpora", f"one={one}", "--eval_corpora", f"x={two / 'eval'}")
    run(monkeypatch, combine_corpora, *words, "--data_dir", tmp_path / "data")
    assert set(check_data_dir(tmp_path / "data/eval")["utt2corpus"].values()) == {"x"}
    rttm = (tmp_path / "data/train/segments.rttm").read_text().splitlines()
    assert rttm[0] == "SPEAKER one-train_u00 1 0.0000 0.5000 <NA> <NA> spoof <NA> <NA>"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("one=ONE one=TWO", "one twice, expected another name"),
        ("one=ONE nowhere", "egs/nowhere/data has no train, dev or eval with utt2lab"),
        ("one=ONE a.b=TWO", "1 ids hold '.', '/' or white space: a.b"),
        ("two=TWO", "no corpus has a dev set: --dev_corpora names others"),
    ],
)
def test_corpora_that_cannot_be_combined_are_named(monkeypatch, capsys, tmp_path, words, message):
    one = prepare(tmp_path / "one", 3)
    two = prepare(tmp_path / "two", 3, sets=("train", "eval"))
    words = words.replace("ONE", str(one)).replace("TWO", str(two))
    command = ("--corpora", words, "--data_dir", tmp_path / "data")
    assert message in refused(monkeypatch, capsys, combine_corpora, *command)
    assert not (tmp_path / "data").exists()


@pytest.mark.turns("recipes")
def test_the_recipe_trains_on_two_corpora_and_reports_each(tmp_path):
    corpora = f"one={prepare(tmp_path / 'one')} two={prepare(tmp_path / 'two', 9)}"
    typed = typist(tmp_path)
    recipe = ["bash", "egs/multi_corpus/run.sh", "--corpora", corpora, "--data_dir", "data"]
    recipe += ["--exp_dir", "exp", "--config", "conf/lcnn_small.yaml"]
    training = "--data.crop_seconds 0.3 --data.batch_size 4 --num_epochs 1"
    recipe += ["--train_options", training, "--bootstrap", "0", "--nproc", "1", "--num_avg", "1"]
    recipe += ["--llr_options", "--allow_negative_slope true"]
    said = typed([*recipe, "--stop_stage", "7", "--weights", "one=1 two=3"])
    assert "corpus one: 2 bona fide, 4 spoof, 25.0 % of the draws" in said
    assert "corpus two: 3 bona fide, 6 spoof, 75.0 % of the draws" in said
    assert "balance_classes: true" in (tmp_path / "exp/config.yaml").read_text()
    results = json.loads((tmp_path / "exp/results_eval.json").read_text())
    assert {"one", "two"} <= set(json.dumps(results).replace('"', " ").split())
    header = (tmp_path / "exp/metrics.csv").read_text().splitlines()[0]
    assert header.endswith("dev_eer,dev_eer_one,dev_eer_two")
    said = typed([*recipe, "--weights", "one two=1"], status=2)
    assert "--weights has 'one', expected NAME=NUMBER" in said
