"""Track 2 of ASVspoof 5: utterances of its trials, and scores of a detector with given ASV scores."""

import json
import math

import pytest
import soundfile as sf
from commands import run_script
from corpora import RATE, tone

from wedefense_lite.audio.data_dir import check_data_dir
from wedefense_lite.files import write_lines

SCRIPT = "egs/asvspoof5/local/score_track2.py"


def publish(corpus, name, letter, folder):
    """Trials of three speakers; nontargets and targets share utterances."""
    lines = []
    for number in range(12):
        key = f"{letter}_{number:010d}"
        sf.write(corpus / folder / f"{key}.flac", tone(number, 800), RATE)
        speaker = number % 3
        if number < 6:
            lines.append(f"{letter}_{speaker} {key} F bonafide target")
            lines.append(f"{letter}_{(speaker + 1) % 3} {key} F bonafide nontarget")
        else:
            lines.append(f"{letter}_{speaker} {key} F A11 spoof")
    path = corpus / f"ASVspoof5.{name}.track_2.trial.tsv"
    write_lines(path, lines)
    return [line.split() for line in lines]


@pytest.fixture
def corpus(tmp_path):
    """A corpus with trials; ASV scores that are poor at spoofs, CM scores that are good at them."""
    for name, letter, folder in (("dev", "D", "flac_D"), ("eval", "E", "flac_E_eval")):
        (tmp_path / "DB" / folder).mkdir(parents=True)
        trials = publish(tmp_path / "DB", name, letter, folder)
        asv = ["spk\tfilename\tasv-score"]
        cm = {}
        for place, (speaker, key, _, _, label) in enumerate(trials):
            asv_score = {"target": 0.6, "nontarget": 0.1, "spoof": 0.5}[label] + 0.03 * (place % 7)
            asv_score -= 0.5 * (label == "target" and place % 5 == 0)
            asv.append(f"{speaker}\t{key}\t{asv_score:.3f}")
            cm[key] = 4.0 - 9.0 * (label == "spoof") + 0.1 * place
        write_lines(tmp_path / f"asv_{name}.tsv", asv)
        write_lines(tmp_path / f"cm_{name}.txt", [f"{key} {score}" for key, score in cm.items()])
    return tmp_path


def score(folder):
    words = "--cm cm_eval.txt --asv_scores asv_eval.tsv --dev_asv_scores asv_dev.tsv --out_dir out"
    trials = [f"DB/ASVspoof5.{name}.track_2.trial.tsv" for name in ("eval", "dev")]
    return run_script(
        folder, SCRIPT, *words.split(), "--trials", trials[0], "--dev_trials", trials[1]
    )


def test_utterances_of_trials_are_listed_once(corpus):
    words = "--corpus_dir DB --subset eval_track2".split()
    status, said = run_script(corpus, "egs/asvspoof5/local/prepare_data.py", *words)
    assert status == 0, said
    tables = check_data_dir(corpus / "data/asvspoof5_eval_track2")
    labels = list(tables["utt2lab"].values())
    assert labels == ["bonafide"] * 6 + ["spoof"] * 6
    assert set(tables["utt2attack"].values()) == {"-", "A11"}
    path = corpus / "DB/ASVspoof5.eval.track_2.trial.tsv"
    path.write_text(path.read_text() + "E_1 E_0000000000 F A11 spoof\n")
    status, said = run_script(corpus, "egs/asvspoof5/local/prepare_data.py", *words)
    assert status == 2 and ":19: E_0000000000 has another label or attack before" in said


def test_scores_of_both_systems_are_one_llr_of_targets(corpus):
    status, said = score(corpus)
    assert status == 0, said
    rows = [line.split("\t") for line in (corpus / "out/scores.tsv").read_text().splitlines()]
    assert rows[0] == ["spk", "filename", "cm-score", "asv-score", "sasv-score"]
    assert len(rows) == 1 + 18
    for _, _, cm, asv, sasv in rows[1:]:
        # Targets against a mixture of nontargets (0.0095) and spoofs (0.05).
        share = 0.05 / 0.0595
        ratio = (1 - share) * math.exp(-float(asv)) + share * math.exp(-float(cm))
        assert float(sasv) == pytest.approx(-math.log(ratio), abs=1e-4)
    words = "--m t2_tandem --sasv out/scores.tsv --bootstrap 0 --json r.json --sasv_key"
    key = "DB/ASVspoof5.eval.track_2.trial.tsv"
    status, said = run_script(corpus, "wedefense_lite/bin/evaluate.py", *words.split(), key)
    assert status == 0, said
    pooled = json.dumps(json.loads((corpus / "r.json").read_text()))
    assert "min_adcf" in pooled


def test_utterances_without_a_score_are_named(corpus):
    path = corpus / "cm_eval.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    status, said = score(corpus)
    assert status == 2
    assert "cm_eval.txt: no score of 1 utterances of DB/ASVspoof5.eval.track_2.trial.tsv" in said
    assert "E_0000000011; prepare_data.py --subset eval_track2" in said
