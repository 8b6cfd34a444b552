"""Score files and keys as they are published give the numbers of the same data in our format."""

import gzip
import json
import shutil
from collections.abc import Mapping

import numpy as np
import pytest
from commands import refused, run

from wedefense_lite import cli
from wedefense_lite.bin.compare import compare
from wedefense_lite.bin.evaluate import OFFICIAL_OPTIONS, evaluate
from wedefense_lite.bin.fuse import fuse

ATTACKS = ("A07", "A11", "A19")
CODECS = ("none", "alaw", "opus")


def make_trials() -> dict[str, list]:
    """Columns of 60 trials: two bona fide ones in five, of three attacks and three codecs."""
    rng = np.random.default_rng(3)
    labels = ["bonafide" if position % 5 < 2 else "spoof" for position in range(60)]
    # Scores with a few ties, so that the rule for ties matters too.
    scores = np.round(rng.normal(size=60) + [1.5 * (label == "bonafide") for label in labels], 1)
    attacks = []
    for position, label in enumerate(labels):
        attacks.append("-" if label == "bonafide" else ATTACKS[position % 3])
    return {
        "utt": [f"LA_E_{1000 + 7 * position}" for position in range(60)],
        "label": labels,
        "score": [repr(float(score)) for score in scores],
        "attack": attacks,
        "speaker": [f"LA_00{10 + position % 6}" for position in range(60)],
        "codec": [CODECS[position // 2 % 3] for position in range(60)],
    }


TRIALS = make_trials()


def rows(template: str, trials: Mapping[str, list] = TRIALS) -> str:
    """A line a trial, with the names of columns in braces."""
    lines = []
    for cells in zip(*trials.values(), strict=True):
        lines.append(template.format(**dict(zip(trials, cells))))
    return "".join(f"{line}\n" for line in lines)


def results(tmp_path) -> dict:
    return json.loads((tmp_path / "out.json").read_text())


def assert_close(found, expected, place: str = "") -> None:
    """Numbers that differ by 1e-12 at most, in dictionaries and lists of the same members."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for name in expected:
            assert_close(found[name], expected[name], f"{place}/{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for found_member, expected_member in zip(found, expected):
            assert_close(found_member, expected_member, place)
    elif isinstance(expected, float):
        assert abs(found - expected) <= 1e-12, place
    else:
        assert found == expected, place


def evaluated(monkeypatch, tmp_path, *words) -> dict:
    run(monkeypatch, evaluate, *words, "--json", tmp_path / "out.json")
    return results(tmp_path)


@pytest.fixture
def ours(tmp_path):
    """Options of the trials in our formats."""
    (tmp_path / "ours.txt").write_text("filename\tcm-score\n" + rows("{utt}\t{score}"))
    (tmp_path / "ours.key").write_text("filename\tcm-label\n" + rows("{utt}\t{label}"))
    (tmp_path / "ours.meta").write_text("utt attack codec\n" + rows("{utt} {attack} {codec}"))
    return ["--cm", tmp_path / "ours.txt", "--cm_key", tmp_path / "ours.key"]


SCORES = {
    "2019": rows("{utt} {attack} {label} {score}"),
    "2021": rows("{utt} {score}"),
    "2021 with metadata": rows("{speaker} {utt} {codec} x {attack} {label} notrim eval {score}"),
    "NII's log": "warning: x\n" + rows("Output, {utt}, 1, {score}") + "done in 3 s\n",
    "ASVspoof 5's first package": rows("{speaker} {utt} {score} {label}"),
    "semicolons": "file;cm-score\n" + rows("{utt};{score}"),
    "AntiDeepfake": "ID,Score,Label\n" + rows('{utt},"[0.0, {score}]",0'),
    "CSV": "score,label,file_name\n" + rows("{score},{label},flac/{utt}.flac"),
    "TSV": "cm-score\tcodec\tutt\n" + rows("{score}\t{codec}\t{utt}"),
}
KEYS = {
    "2019 protocol": rows("{speaker} {utt} - {attack} {label}"),
    "2019 scores": rows("{utt} {attack} {label} 0"),
    "2021 LA": rows("{speaker} {utt} {codec} ita_tx {attack} {label} notrim eval")
    + "LA_0009 LA_E_1 alaw ita_tx A07 spoof notrim progress\n",
    "2021 DF": rows(
        "{speaker} {utt} {codec} asvspoof {attack} {label} notrim eval traditional - - - -"
    )
    + "LA_0009 LA_E_1 nocodec asvspoof A07 spoof notrim hidden x - - - -\n",
    "2021 PA": rows("{speaker} {utt} R1 M1 d1 r1 m1 s1 c1 {label} notrim eval"),
    "2017": rows("{utt} {label} M0017 S02 - - -"),
    "ASVspoof 5": rows("{speaker} {utt} F {codec} 0 - AC1 {attack} {label} -"),
    "ASVspoof 5 in full": "tar_spk_anon trial_anon codec cm-label attack_anon track_2_tag\n"
    + rows("{speaker} {utt} {codec} {label} {attack} x"),
    "arena": "file_name,label\n" + rows("/data/wav/{utt}.wav,{label}"),
    "In-the-Wild": "file,speaker,label\n" + rows('{utt}.wav,"Guinness, Alec",{label}'),
}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("packed", [False, True])
def test_published_scores_give_our_numbers(monkeypatch, tmp_path, ours, name, packed):
    expected = evaluated(monkeypatch, tmp_path, *ours)
    content = SCORES[name].encode()
    (tmp_path / "scores").write_bytes(gzip.compress(content) if packed else content)
    words = ["--cm", tmp_path / "scores", "--cm_key", tmp_path / "ours.key"]
    assert_close(evaluated(monkeypatch, tmp_path, *words), expected)


@pytest.mark.parametrize("name", KEYS)
def test_published_keys_give_our_numbers(monkeypatch, caplog, tmp_path, ours, name):
    caplog.set_level("INFO")
    expected = evaluated(monkeypatch, tmp_path, *ours)
    (tmp_path / "key").write_text(KEYS[name])
    words = ["--cm", tmp_path / "ours.txt", "--cm_key", tmp_path / "key"]
    assert_close(evaluated(monkeypatch, tmp_path, *words), expected)
    assert f"{tmp_path}/key: read as " in caplog.text


@pytest.mark.parametrize("name", ["2019 protocol", "2021 LA", "ASVspoof 5", "ASVspoof 5 in full"])
def test_attacks_and_codecs_stand_in_the_key(monkeypatch, tmp_path, ours, name):
    (tmp_path / "key").write_text(KEYS[name])
    words = ["--cm", tmp_path / "ours.txt", "--cm_key", tmp_path / "key"]
    columns = ["attack"] if name == "2019 protocol" else ["attack", "codec"]
    for column in columns:
        by = ["--by", column, *(["--both"] if column == "codec" else [])]
        meta = ["--meta", tmp_path / "ours.meta"]
        expected = evaluated(monkeypatch, tmp_path, *ours, *meta, *by)
        assert set(expected["by"]) == set(ATTACKS if column == "attack" else CODECS)
        assert_close(evaluated(monkeypatch, tmp_path, *words, *by), expected)
        # The same file as metadata of another key.
        meta = ["--meta", tmp_path / "key"]
        assert_close(evaluated(monkeypatch, tmp_path, *ours, *meta, *by), expected)


def test_metadata_is_matched_without_folder_and_extension(monkeypatch, caplog, tmp_path, ours):
    by = ["--by", "codec", "--meta", tmp_path / "meta"]
    (tmp_path / "meta").write_text("filename codec\n" + rows("{utt} {codec}"))
    expected = evaluated(monkeypatch, tmp_path, *ours, *by)
    (tmp_path / "meta").write_text("path,codec\n" + rows("flac/{utt}.flac,{codec}"))
    assert_close(evaluated(monkeypatch, tmp_path, *ours, *by), expected)
    assert "ids of" in caplog.text and "matched without folder and extension" in caplog.text


def test_a_folder_is_no_score_file(monkeypatch, capsys, tmp_path, ours):
    monkeypatch.chdir(tmp_path)
    message = refused(monkeypatch, capsys, evaluate, "--cm", ".", *ours[2:])
    assert message.endswith("error: .: a folder, expected a file")


def test_scores_with_labels_need_no_key(monkeypatch, caplog, tmp_path, ours):
    expected = evaluated(monkeypatch, tmp_path, *ours)
    (tmp_path / "scores").write_text(SCORES["2019"])
    assert_close(evaluated(monkeypatch, tmp_path, "--cm", tmp_path / "scores"), expected)
    # The demonstration of the t-DCF package of 2019 has names on several lines.
    (tmp_path / "cm_dev.txt").write_text(SCORES["2019"].replace("LA_E_1007", "LA_E_1000"))
    found = evaluated(monkeypatch, tmp_path, "--cm", tmp_path / "cm_dev.txt")
    assert_close(found, expected)
    assert "1 ids are on several lines" in caplog.text
    by = ["--cm", tmp_path / "cm_dev.txt", "--by", "attack"]
    expected = evaluated(monkeypatch, tmp_path, "--cm", tmp_path / "scores", "--by", "attack")
    assert_close(evaluated(monkeypatch, tmp_path, *by), expected)


def test_a_phase_is_asked_for(monkeypatch, capsys, tmp_path, ours):
    trials = TRIALS | {"phase": ["progress" if row % 2 else "eval" for row in range(60)]}
    template = "{speaker} {utt} {codec} ita_tx {attack} {label} notrim {phase}"
    (tmp_path / "key").write_text(rows(template, trials))
    words = ["--cm", tmp_path / "ours.txt", "--cm_key", tmp_path / "key"]
    assert_close(
        evaluated(monkeypatch, tmp_path, *words, "--phase", "all"),
        evaluated(monkeypatch, tmp_path, *ours),
    )
    odd = {name: cells[1::2] for name, cells in TRIALS.items()}
    (tmp_path / "odd.key").write_text("filename cm-label\n" + rows("{utt} {label}", odd))
    assert_close(
        evaluated(monkeypatch, tmp_path, *words, "--phase", "progress"),
        evaluated(monkeypatch, tmp_path, *ours, "--cm_key", tmp_path / "odd.key"),
    )
    message = refused(monkeypatch, capsys, evaluate, *words, "--phase", "hidden")
    assert "no utterance of phase 'hidden', expected one of eval, progress or all" in message
    for key in ("ours.key", "2017.key"):
        (tmp_path / "2017.key").write_text(KEYS["2017"])
        words = [*ours, "--cm_key", tmp_path / key, "--phase", "progress"]
        assert "a key without phases" in refused(monkeypatch, capsys, evaluate, *words)


def test_options_of_the_official_program_are_taken(monkeypatch, tmp_path, ours):
    expected = evaluated(monkeypatch, tmp_path, *ours)
    words = ["evaluate", "--m", "t1", "--cm", tmp_path / "ours.txt", "--json", tmp_path / "o.json"]
    for key in (["--cm_keys", tmp_path / "ours.key"], [f"--cm_keys={tmp_path}/ours.key"]):
        monkeypatch.setattr("sys.argv", [str(word) for word in (*words, *key)])
        cli.run(evaluate, aliases=OFFICIAL_OPTIONS)
        shutil.move(tmp_path / "o.json", tmp_path / "out.json")
        assert_close(results(tmp_path), expected)


def test_comparison_and_fusion_read_published_files_too(monkeypatch, caplog, tmp_path, ours):
    (tmp_path / "a").write_text(SCORES["2019"])
    (tmp_path / "b").write_text(SCORES["CSV"])
    (tmp_path / "key").write_text(KEYS["2021 LA"])
    out = ["--json", tmp_path / "out.json", "--bootstrap", 20]
    words = [tmp_path / "a", tmp_path / "b", "--cm_key", tmp_path / "key", "--cluster", "speaker"]
    run(monkeypatch, compare, *words, *out, positional=True)
    assert results(tmp_path)["eer"]["difference"] == 0
    flipped = {**TRIALS, "score": [repr(-float(score)) for score in TRIALS["score"]]}
    (tmp_path / "c").write_text(rows("{utt} {score}", flipped))
    (tmp_path / "new").write_text(rows("x{utt} {score}"))
    words = ["--cm", f"{tmp_path}/new,{tmp_path}/new", "--out", tmp_path / "fused" / "llr.txt"]
    words += ["--cal_cm", f"{tmp_path}/a,{tmp_path}/c", "--cal_key", tmp_path / "key"]
    run(monkeypatch, fuse, *words, "--allow_negative_slope", "true")
    assert f"{tmp_path}/c: EER above 50 %" in caplog.text
    assert f"{tmp_path}/a: EER above" not in caplog.text


def make_verification() -> dict[str, list]:
    """Columns of 90 trials of a speaker and an utterance, a third of each class."""
    rng = np.random.default_rng(5)
    classes = [("target", "nontarget", "spoof")[position % 3] for position in range(90)]
    asv = rng.normal(size=90) + [3 * (label != "nontarget") for label in classes]
    cm = rng.normal(size=90) + [2 * (label != "spoof") for label in classes]
    attacks = []
    for position, label in enumerate(classes):
        attacks.append(ATTACKS[position // 3 % 3] if label == "spoof" else "bonafide")
    return {
        "speaker": [f"LA_00{10 + position % 7}" for position in range(90)],
        "utt": [f"LA_E_{2000 + position}" for position in range(90)],
        "key": classes,
        "label": ["spoof" if label == "spoof" else "bonafide" for label in classes],
        "number": [{"target": "1.0", "nontarget": "2.0", "spoof": "0.0"}[key] for key in classes],
        "attack": attacks,
        "codec": [CODECS[position // 3 % 2] for position in range(90)],
        "cm": [repr(float(score)) for score in cm],
        "asv": [repr(float(score)) for score in asv],
        "sasv": [repr(float(score)) for score in asv + cm],
    }


VERIFICATION = make_verification()


@pytest.fixture
def tandem(tmp_path):
    """Options of the trials of ``VERIFICATION`` in our formats."""
    header = "spk filename cm-score asv-score sasv-score\n"
    template = "{speaker} {utt} {cm} {asv} {sasv}"
    (tmp_path / "sasv.txt").write_text(header + rows(template, VERIFICATION))
    header = "spk filename cm-label asv-label\n"
    (tmp_path / "sasv.key").write_text(header + rows("{speaker} {utt} {label} {key}", VERIFICATION))
    return ["--sasv", tmp_path / "sasv.txt", "--sasv_key", tmp_path / "sasv.key"]


SINGLE_SCORES = {
    "three columns": "{speaker} {utt} {sasv}",
    "a-DCF": "{speaker} {utt} {sasv} {key}",
    "SASV 2022": "{speaker} {utt} {attack} {key} {sasv}",
}
VERIFICATION_KEYS = {
    "SASV 2022": rows("{speaker} {utt} {attack} {key}", VERIFICATION),
    "a-DCF": rows("{speaker} {utt} 0 {key}", VERIFICATION),
    "in full": "tar_spk_anon trial_anon codec cm-label asv-label attack_anon track_2_tag\n"
    + rows("{speaker} {utt} {codec} {label} {key} {attack} x", VERIFICATION)
    + "LA_1 LA_E_1 none spoof spoof A07 dummy\n",
}


@pytest.mark.parametrize("name", SINGLE_SCORES)
def test_single_scores_of_speakers_and_utterances(monkeypatch, tmp_path, tandem, name):
    expected = evaluated(monkeypatch, tmp_path, "--m", "t2_single", *tandem)
    (tmp_path / "scores").write_text(rows(SINGLE_SCORES[name], VERIFICATION))
    words = ["--m", "t2_single", "--sasv", tmp_path / "scores"]
    key = ["--sasv_key", tmp_path / "sasv.key"]
    assert_close(evaluated(monkeypatch, tmp_path, *words, *key), expected)
    if name != "three columns":
        assert_close(evaluated(monkeypatch, tmp_path, *words), expected)


@pytest.mark.parametrize("name", VERIFICATION_KEYS)
def test_keys_of_speakers_and_utterances(monkeypatch, tmp_path, tandem, name):
    (tmp_path / "key").write_text(VERIFICATION_KEYS[name])
    words = ["--m", "t2_tandem", *tandem]
    key = ["--sasv_key", tmp_path / "key"]
    expected = evaluated(monkeypatch, tmp_path, *words)
    assert_close(evaluated(monkeypatch, tmp_path, *words, *key), expected)
    if name != "a-DCF":
        meta = "utt attack\n" + rows("{utt} {attack}", VERIFICATION)
        (tmp_path / "meta").write_text(meta)
        by = ["--by", "attack"]
        expected = evaluated(monkeypatch, tmp_path, *words, *by, "--meta", tmp_path / "meta")
        assert set(expected["by"]) == set(ATTACKS)
        assert_close(evaluated(monkeypatch, tmp_path, *words, *key, *by), expected)


def test_tables_without_ids_are_joined_by_their_order(monkeypatch, caplog, tmp_path, tandem):
    header = "asv_score,cm_score,fused_score\n"
    (tmp_path / "fused.csv").write_text(header + rows("{asv},{cm},{sasv}", VERIFICATION))
    header = "asv_score,cm_score,sasv_label\n"
    (tmp_path / "dev.csv").write_text(header + rows("{asv},{cm},{number}", VERIFICATION))
    expected = evaluated(monkeypatch, tmp_path, "--m", "t2_tandem", *tandem)
    words = ["--sasv", tmp_path / "fused.csv", "--sasv_key", tmp_path / "dev.csv"]
    assert_close(evaluated(monkeypatch, tmp_path, "--m", "t2_tandem", *words), expected)
    assert "have no ids, row N is the same trial in both" in caplog.text


def test_trials_of_the_scores_alone_are_left_out_and_of_the_key_alone_refused(
    monkeypatch, capsys, caplog, tmp_path, tandem
):
    words = ["--m", "t2_single", *tandem]
    expected = evaluated(monkeypatch, tmp_path, *words)
    with open(tmp_path / "sasv.txt", "a") as file:
        file.write("LA_1 LA_E_1 - - 3\n")
    assert_close(evaluated(monkeypatch, tmp_path, *words), expected)
    assert "1 trials of" in caplog.text
    with open(tmp_path / "sasv.key", "a") as file:
        file.write("LA_2 LA_E_1 bonafide target\n")
    message = refused(monkeypatch, capsys, evaluate, *words)
    assert "1 of 91 trials of" in message and message.endswith("have no score: LA_2 LA_E_1")


def test_the_a_dcf_is_that_of_its_package(monkeypatch, tmp_path):
    # Thresholds: below all, costs .05 * 10 + .05 * 20 = 1.5; above n (0.5): .05 * 20 / 2 = .5;
    # above s (1.5) too: .9 / 2 = .45 for the target at 1, and nothing else; above 2.5 all: .9.
    text = "a u1 1 target\na u2 2 target\nb u3 0.5 nontarget\nb u4 -1 nontarget\n"
    (tmp_path / "list").write_text(text + "c u5 1.5 spoof\nc u6 -2 spoof\n")
    words = ["--m", "t2_single", "--sasv", tmp_path / "list", "--cost", "a_dcf"]
    # The smaller of both constant decisions is to reject all: .9.
    assert_close(evaluated(monkeypatch, tmp_path, *words)["min_adcf"], 0.45 / 0.9)


ASV_ROWS = {
    "2019": "{attack} {key} {asv}",
    "2021 with metadata": "{speaker}-x {utt}-x {codec} tx {attack} {key} notrim eval {asv}",
    "a-DCF": "{speaker} {utt} {asv} {key}",
    "SASV 2022": "{speaker} {utt} {attack} {key} {asv}",
}


@pytest.fixture
def of_asv(tmp_path):
    """Options of detection on the utterances of ``VERIFICATION``."""
    (tmp_path / "cm.txt").write_text(rows("{utt} {cm}", VERIFICATION))
    (tmp_path / "cm.key").write_text(rows("{speaker} {utt} - {attack} {label}", VERIFICATION))
    (tmp_path / "asv.txt").write_text(rows(ASV_ROWS["2019"], VERIFICATION))
    return ["--cm", tmp_path / "cm.txt", "--cm_key", tmp_path / "cm.key"]


@pytest.mark.parametrize("name", ASV_ROWS)
def test_asv_scores_of_every_format(monkeypatch, tmp_path, of_asv, name):
    (tmp_path / "asv").write_text(rows(ASV_ROWS[name], VERIFICATION))
    expected = evaluated(monkeypatch, tmp_path, *of_asv, "--asv_scores", tmp_path / "asv.txt")
    assert "min_tdcf_2021" in expected
    found = evaluated(monkeypatch, tmp_path, *of_asv, "--asv_scores", tmp_path / "asv")
    assert_close(found, expected)


def test_asv_scores_of_2021_have_their_classes_beside_them(monkeypatch, capsys, tmp_path, of_asv):
    folder = tmp_path / "ASV" / "ASVTorch_Kaldi"
    folder.mkdir(parents=True)
    (folder / "score.txt").write_text(rows("{speaker} {utt}-x {asv}", VERIFICATION))
    asv = ["--asv_scores", folder / "score.txt"]
    message = refused(monkeypatch, capsys, evaluate, *of_asv, *asv)
    assert "without classes: --asv_key names the file" in message
    template = "{speaker} {utt}-x {codec} tx {attack} {key} notrim eval"
    metadata = rows(template, VERIFICATION) + "LA_1 LA_E_1-x none tx A07 spoof notrim progress\n"
    (tmp_path / "key").write_text(metadata)
    expected = evaluated(monkeypatch, tmp_path, *of_asv, "--asv_scores", tmp_path / "asv.txt")
    key = ["--asv_key", tmp_path / "key"]
    assert_close(evaluated(monkeypatch, tmp_path, *of_asv, *asv, *key), expected)
    (tmp_path / "ASV" / "trial_metadata.txt").write_text(metadata)
    assert_close(evaluated(monkeypatch, tmp_path, *of_asv, *asv), expected)
    assert "--asv_key goes with" in refused(monkeypatch, capsys, evaluate, *of_asv, *key)


def test_asv_scores_of_track_2_have_their_classes_in_its_key(monkeypatch, tmp_path, tandem):
    header = "spk filename asv-score\n"
    (tmp_path / "org").write_text(header + rows("{speaker} {utt} {asv}", VERIFICATION))
    words = ["--m", "t2_tandem", *tandem]
    expected = evaluated(monkeypatch, tmp_path, *words)
    found = evaluated(monkeypatch, tmp_path, *words, "--asv_scores", tmp_path / "org")
    assert abs(found["min_tdcf_2021"] - expected["min_tdcf_2021"]) <= 1e-12


def test_the_tdcf_of_a_codec_has_asv_rates_of_the_codec(monkeypatch, tmp_path, of_asv):
    template = "{speaker} {utt} {codec} tx {attack} {label} notrim eval"
    (tmp_path / "key").write_text(rows(template, VERIFICATION))
    (tmp_path / "asv").write_text(rows(ASV_ROWS["2021 with metadata"], VERIFICATION))
    words = [*of_asv[:2], "--cm_key", tmp_path / "key", "--asv_scores", tmp_path / "asv"]
    found = evaluated(monkeypatch, tmp_path, *words, "--by", "codec", "--both")["by"]
    assert set(found) == {"none", "alaw"}
    for codec, condition in found.items():
        is_codec = [name == codec for name in VERIFICATION["codec"]]
        subset = {}
        for name, cells in VERIFICATION.items():
            subset[name] = [cell for cell, kept in zip(cells, is_codec) if kept]
        (tmp_path / "key").write_text(rows(template, subset))
        (tmp_path / "asv").write_text(rows(ASV_ROWS["2021 with metadata"], subset))
        expected = evaluated(monkeypatch, tmp_path, *words)
        for metric in ("eer", "min_tdcf_2019", "min_tdcf_2021"):
            assert abs(condition[metric] - expected[metric]) <= 1e-12


def test_asv_scores_of_another_set_give_no_tdcf(monkeypatch, caplog, tmp_path, of_asv):
    asv = ["--asv_scores", tmp_path / "asv.txt"]
    other = dict(VERIFICATION)
    other["attack"] = ["-" if attack == "bonafide" else "S1" for attack in other["attack"]]
    other["utt"] = [f"{utterance}0" for utterance in other["utt"]]
    (tmp_path / "cm.txt").write_text(rows("{utt} {cm}", other))
    (tmp_path / "cm.key").write_text(rows("{speaker} {utt} - {attack} {label}", other))
    found = evaluated(monkeypatch, tmp_path, *of_asv, *asv)
    assert "eer" in found and "min_tdcf_2021" not in found and "asv_rates" not in found
    assert "no t-DCF, its spoofs are of A07, A11, A19, those of" in caplog.text
    # A file with utterances tells more than attacks do.
    (tmp_path / "asv.txt").write_text(rows(ASV_ROWS["2021 with metadata"], VERIFICATION))
    assert "min_tdcf_2021" not in evaluated(monkeypatch, tmp_path, *of_asv, *asv)
    assert "no utterance of" in caplog.text
    (tmp_path / "asv.txt").write_text(rows(ASV_ROWS["2019"], VERIFICATION))
    (tmp_path / "cm.key").write_text(rows("{utt} {label}", other))
    assert "min_tdcf_2021" in evaluated(monkeypatch, tmp_path, *of_asv, *asv)
    assert "names no attacks: the t-DCF is one only if" in caplog.text


def test_a_set_of_one_class_has_no_tdcf(monkeypatch, caplog, tmp_path, of_asv):
    spoofs = [
        line for line in (tmp_path / "cm.key").read_text().splitlines() if line.endswith(" spoof")
    ]
    (tmp_path / "cm.key").write_text("\n".join(spoofs) + "\n")
    found = evaluated(monkeypatch, tmp_path, *of_asv, "--asv_scores", tmp_path / "asv.txt")
    assert "min_tdcf_2021" not in found
    assert "no t-DCF of a set of one class" in caplog.text
