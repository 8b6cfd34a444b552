"""The commands that print and write metrics, and what they refuse."""

import json

import numpy as np
import pytest
from commands import refused, run
from refvectors import ASV, EXPECTED, FOLDER, lines, load, needs_scores

from wedefense_lite.bin.compare import compare
from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.bin.evaluate_localization import evaluate_localization
from wedefense_lite.bin.fuse import fuse
from wedefense_lite.metrics.costs import cost_model
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.tandem import measure_asv_rates, min_tdcf
from wedefense_lite.scoring.scores import read_asv_scores
from wedefense_lite.scoring.sidecar import Sidecar, read_sidecar, write_sidecar

SCORES = "filename\tcm-score\nE1\t1.5\nE2\t-0.5\nE3\t0.7\nE4\t-2\nE5\t0.1\n"
KEY = "filename\tcm-label\nE1\tbonafide\nE2\tspoof\nE3\tbonafide\nE4\tspoof\nE5\tspoof\n"


@pytest.fixture
def small(tmp_path):
    """Options of five trials, and the file of results."""
    (tmp_path / "llr.txt").write_text(SCORES)
    (tmp_path / "key.txt").write_text(KEY)
    files = ["--cm", tmp_path / "llr.txt", "--cm_key", tmp_path / "key.txt"]
    return [*files, "--json", tmp_path / "out.json"]


@pytest.fixture
def medium(tmp_path):
    """Options of 300 trials of five speakers and two attacks."""
    rng = np.random.default_rng(0)
    is_bonafide = np.arange(300) % 3 == 0
    scores = rng.normal(size=300) + 2 * is_bonafide
    score_text = "filename cm-score\n"
    key_text = "filename cm-label\n"
    meta_text = "filename attack speaker\n"
    for i in range(300):
        label = "bonafide" if is_bonafide[i] else "spoof"
        attack = "-" if is_bonafide[i] else f"A0{i % 2}"
        score_text += f"E{i} {scores[i]}\n"
        key_text += f"E{i} {label}\n"
        meta_text += f"E{i} {attack} s{i % 5}\n"
    (tmp_path / "llr.txt").write_text(score_text)
    (tmp_path / "key.txt").write_text(key_text)
    (tmp_path / "meta.txt").write_text(meta_text)
    files = ["--cm", tmp_path / "llr.txt", "--cm_key", tmp_path / "key.txt"]
    return [*files, "--json", tmp_path / "out.json"]


def results(tmp_path) -> dict:
    return json.loads((tmp_path / "out.json").read_text())


def test_the_official_example(monkeypatch, capsys, tmp_path, small):
    run(monkeypatch, evaluate, "--m", "t1", *small, "--txt", tmp_path / "out.txt")
    metrics = results(tmp_path)
    assert (metrics["n_bonafide"], metrics["n_spoof"]) == (2, 3)
    assert (metrics["eer"], metrics["min_dcf"]) == (0, 0)
    assert metrics["cllr"] == pytest.approx(0.54156, abs=5e-6)
    assert metrics["act_dcf"] == pytest.approx(0.66667, abs=5e-6)
    assert metrics["cost"]["name"] == "asvspoof5_track1"
    assert not {"min_tdcf_2019", "min_tdcf_2021", "by", "ci"} & set(metrics)
    printed = capsys.readouterr().out
    assert "cost model: asvspoof5_track1, p_spoof=0.05" in printed and "eer %" in printed
    assert (tmp_path / "out.txt").read_text() == printed


@pytest.mark.parametrize(("name", "case"), load("file_cases.json").items())
def test_every_official_file_case(monkeypatch, capsys, tmp_path, small, name, case):
    (tmp_path / "llr.txt").write_text(case["scores"], newline="")
    (tmp_path / "key.txt").write_text(case["keys"], newline="")
    # The official program refuses scores without a header, and more scores than the key has trials.
    if name in ("ok", "shuffled", "crlf", "no_header", "extra_utt"):
        run(monkeypatch, evaluate, *small)
        case = load("file_cases.json")["ok"]
        assert f"{results(tmp_path)['cllr']:.5f}" in case["official_asvspoof5_stdout"][2]
    else:
        assert f"{tmp_path}/llr.txt" in refused(monkeypatch, capsys, evaluate, *small)


BAD_FILES = {
    "missing": (
        "llr.txt",
        SCORES.replace("E3\t0.7\n", ""),
        "llr.txt: 1 of 5 trials of {}/key.txt have no score: E3",
    ),
    "score twice": ("llr.txt", SCORES + "E5\t5\n", "llr.txt:7: E5 is there twice"),
    "label twice": ("key.txt", KEY + "E5\tspoof\n", "key.txt:7: E5 is there twice"),
    "unknown label": (
        "key.txt",
        KEY.replace("E3\tbonafide", "E3\tmaybe"),
        "key.txt:4: E3: label 'maybe', expected one of spoof, bonafide, genuine, bona-fide",
    ),
    "nan": ("llr.txt", SCORES.replace("0.7", "nan"), "llr.txt:4: E3: NaN, expected a number"),
    "no number": (
        "llr.txt",
        SCORES.replace("0.7", "high"),
        "llr.txt:4: E3: 'high', expected a number",
    ),
    "columns": (
        "llr.txt",
        SCORES.replace("E3\t0.7", "E3\t0.7\t1"),
        "llr.txt:4: 3 columns, expected 2: 'E3",
    ),
    "empty": ("llr.txt", "", "llr.txt: empty"),
    "header only": ("llr.txt", "filename\tcm-score\n", "llr.txt: no line after the header"),
    "key as scores": (
        "llr.txt",
        KEY,
        "llr.txt:1: 'filename cm-label' is of no known format, expected a header with 'cm-score'",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_line_and_leaves_earlier_results(
    monkeypatch, capsys, tmp_path, small, case
):
    name, text, words = BAD_FILES[case]
    (tmp_path / name).write_text(text)
    (tmp_path / "out.json").write_text("earlier")
    message = refused(monkeypatch, capsys, evaluate, *small)
    assert f"{tmp_path}/{words.format(tmp_path)}" in message
    assert (tmp_path / "out.json").read_text() == "earlier"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--cost", "mine"), "--cost: cost model 'mine': no preset 'mine'"),
        (("--asv_rates", "[0.1,0.2,0.3]", "--asv_scores", "x"), "expected one of them"),
        (("--asv_rates", "[1,0,0.5]"), "t-DCF is undefined"),
        (("--by", "attack"), "key.txt:1: header 'filename cm-label' has no column 'attack'"),
        (("--m", "t2_single"), "--sasv is needed"),
    ],
)
def test_bad_options_are_one_line(monkeypatch, capsys, small, words, expected):
    assert expected in refused(monkeypatch, capsys, evaluate, *small, *words)


def test_a_missing_file_and_a_sidecar_of_another_polarity_are_refused(
    monkeypatch, capsys, tmp_path, small
):
    write_sidecar(tmp_path / "llr.txt", Sidecar())
    path = tmp_path / "llr.json"
    path.write_text(path.read_text().replace("higher is bonafide", "higher is spoof"))
    assert "polarity is 'higher is spoof'" in refused(monkeypatch, capsys, evaluate, *small)
    (tmp_path / "key.txt").unlink()
    path.unlink()
    assert "key.txt: No such file" in refused(monkeypatch, capsys, evaluate, *small)


def test_an_utterance_named_na_is_an_utterance(monkeypatch, tmp_path, small):
    for name in ("llr.txt", "key.txt"):
        (tmp_path / name).write_text((tmp_path / name).read_text().replace("E5", "NA"))
    run(monkeypatch, evaluate, *small)
    assert results(tmp_path)["n_spoof"] == 3


def test_infinite_scores_leave_out_what_they_make_undefined(monkeypatch, caplog, tmp_path, small):
    (tmp_path / "llr.txt").write_text(SCORES.replace("0.7", "-inf"))
    run(monkeypatch, evaluate, *small)
    assert results(tmp_path)["eer"] == pytest.approx(7 / 12)
    assert "cllr" not in results(tmp_path)
    assert "infinite scores leave cllr undefined" in caplog.text


def test_a_flipped_polarity_is_warned_of(monkeypatch, caplog, tmp_path, small):
    run(monkeypatch, evaluate, *small)
    assert "polarity" not in caplog.text
    (tmp_path / "key.txt").write_text(
        KEY.replace("bonafide", "x").replace("spoof", "bonafide").replace("x", "spoof")
    )
    run(monkeypatch, evaluate, *small)
    assert "the polarity may be flipped" in caplog.text


def test_ties_are_merged_unless_the_official_number_is_asked_for(monkeypatch, tmp_path, small):
    (tmp_path / "llr.txt").write_text(
        "filename cm-score\n" + "".join(f"E{i} 0\n" for i in range(1, 6))
    )
    run(monkeypatch, evaluate, *small)
    assert results(tmp_path)["eer"] == 0.5
    run(monkeypatch, evaluate, *small, "--tie", "official")
    assert results(tmp_path)["eer"] == 1.0


def test_cost_models_have_their_own_thresholds(monkeypatch, tmp_path, small):
    thresholds = []
    for cost in ("asvspoof5_track1", "asvspoof5_track1:c_fa_spoof=20", "asvspoof2019:p_spoof=0.5"):
        run(monkeypatch, evaluate, *small, "--cost", cost)
        thresholds.append(results(tmp_path)["decisions"]["threshold"])
    assert thresholds == pytest.approx([-np.log(1.9), -np.log(0.95), np.log(10)])


def test_each_attack_is_measured_against_all_bona_fide(monkeypatch, capsys, tmp_path, medium):
    run(monkeypatch, evaluate, *medium, "--meta", tmp_path / "meta.txt", "--by", "attack")
    by = results(tmp_path)["by"]
    assert list(by) == ["A00", "A01"]
    assert [by[attack]["n_bonafide"] for attack in by] == [100, 100]
    assert [by[attack]["n_spoof"] for attack in by] == [100, 100]
    assert results(tmp_path)["auc"] == pytest.approx(np.mean([by[attack]["auc"] for attack in by]))
    assert "A01" in capsys.readouterr().out


def test_a_table_without_column_names_does_not_serve_as_two_conditions(
    monkeypatch, capsys, tmp_path, medium
):
    rows = [line.split() for line in (tmp_path / "meta.txt").read_text().splitlines()[1:]]
    (tmp_path / "utt2attack").write_text("".join(f"{utt} {attack}\n" for utt, attack, _ in rows))
    (tmp_path / "utt2spk").write_text("".join(f"{utt} {speaker}\n" for utt, _, speaker in rows))
    words = [*medium, "--by", "attack", "--cluster", "speaker", "--bootstrap", 5, "--meta"]
    message = refused(monkeypatch, capsys, evaluate, *words, tmp_path / "utt2attack")
    assert "attack and speaker are the same column" in message
    run(monkeypatch, evaluate, *words, f"{tmp_path}/utt2attack,{tmp_path}/utt2spk")
    apart = results(tmp_path)
    run(monkeypatch, evaluate, *words, tmp_path / "meta.txt")
    assert results(tmp_path) == apart


def test_decisions_add_up(monkeypatch, tmp_path, medium):
    run(monkeypatch, evaluate, *medium)
    metrics = results(tmp_path)
    (right_spoof, accepted), (missed, right_bonafide) = metrics["decisions"]["confusion"]
    assert right_spoof + accepted == metrics["n_spoof"]
    assert metrics["decisions"]["accuracy"] == (right_spoof + right_bonafide) / 300
    act_dcf = (0.95 * missed / metrics["n_bonafide"] + 0.5 * accepted / metrics["n_spoof"]) / 0.5
    assert metrics["act_dcf"] == pytest.approx(act_dcf)


@pytest.mark.parametrize("cluster", [(), ("--cluster", "speaker")])
def test_intervals_hold_the_values(monkeypatch, tmp_path, medium, cluster):
    meta = "--meta", tmp_path / "meta.txt", "--by", "attack"
    run(monkeypatch, evaluate, *medium, *meta, "--bootstrap", 50, *cluster)
    for metrics in (results(tmp_path), results(tmp_path)["by"]["A00"]):
        assert {"eer", "eer_rocch", "min_dcf", "act_dcf", "cllr", "min_cllr", "auc"} <= set(
            metrics["ci"]
        )
        for name in ("eer", "cllr", "auc"):
            low, high = metrics["ci"][name]
            assert low <= metrics[name] <= high
            assert high - low > 0.005


@needs_scores("cm_small_2000", ASV)
def test_tdcf_with_measured_asv_rates_equals_the_reference(monkeypatch, tmp_path, small):
    rows = lines("cm_small_2000.txt")
    for file, column, index in (("llr.txt", "cm-score", 3), ("key.txt", "cm-label", 2)):
        text = "".join(f"{row[0]}\t{row[index]}\n" for row in rows)
        (tmp_path / file).write_text(f"filename\t{column}\n{text}")
    asv = lines(EXPECTED[ASV]["file"])
    (tmp_path / "asv.txt").write_text("".join(f"{' '.join(row)}\n" for row in asv))
    (tmp_path / "utt2attack").write_text("".join(f"{row[0]} {row[1]}\n" for row in rows))
    meta = "--meta", tmp_path / "utt2attack", "--by", "attack"
    asv = "--asv_scores", tmp_path / "asv.txt", "--cost", "asvspoof2019"
    run(monkeypatch, evaluate, *small, *asv, *meta)
    expected = EXPECTED["cm_small_2000"]["metrics"]["as_is"]
    metrics = results(tmp_path)
    for name, reference, tolerance in (
        ("eer", "eer_distinct_thresholds_argmin", 1e-12),
        ("min_dcf", "minDCF_official", 1e-12),
        ("act_dcf", "actDCF_official", 1e-12),
        ("min_tdcf_2019", "min_tDCF_2019_legacy", 1e-12),
        ("min_tdcf_2021", "min_tDCF_2021", 1e-12),
        ("cllr", "cllr_pyllr", 1e-9),
        ("min_cllr", "minCllr_exact", 1e-9),
        ("eer_rocch", "eer_rocch_pyllr", 1e-8),
        ("auc", "auc_sklearn", 1e-12),
    ):
        assert metrics[name] == pytest.approx(expected[reference], abs=tolerance, rel=0), name
    assert metrics["asv_rates"]["fa_spoof"] == EXPECTED[ASV]["metrics"]["Pfa_spoof_asv"]
    trials, spoofs = read_asv_scores(tmp_path / "asv.txt")
    # The t-DCF of an attack has the ASV system's error on that attack, as in ASVspoof 2021.
    bonafide = [float(row[3]) for row in rows if row[2] == "bonafide"]
    for attack, values in metrics["by"].items():
        spoof = [float(row[3]) for row in rows if row[1] == attack]
        asv = measure_asv_rates(trials["target"], trials["nontarget"], spoofs[attack])
        tdcf = min_tdcf(SortedScores(bonafide, spoof), asv, cost_model("asvspoof2019"))
        assert {name: values[name] for name in tdcf} == pytest.approx(tdcf, abs=1e-12)


def test_a_condition_without_asv_spoofs_has_no_tdcf(monkeypatch, tmp_path, small):
    (tmp_path / "asv.txt").write_text("bonafide target 2\nbonafide nontarget 0\nA07 spoof 3\n")
    (tmp_path / "meta.tsv").write_text(
        "filename\tcodec\n" + "".join(f"E{number}\talaw\n" for number in range(1, 6))
    )
    meta = "--meta", tmp_path / "meta.tsv", "--by", "codec"
    run(monkeypatch, evaluate, *small, "--asv_scores", tmp_path / "asv.txt", *meta)
    assert "min_tdcf_2019" in results(tmp_path)
    assert "min_tdcf_2019" not in results(tmp_path)["by"]["alaw"]


def test_both_restricts_the_bona_fide_trials_too(monkeypatch, tmp_path, small):
    (tmp_path / "meta.tsv").write_text(
        "filename\tcodec\nE1\talaw\nE2\talaw\nE3\topus\nE4\topus\nE5\topus\n"
    )
    meta = "--meta", tmp_path / "meta.tsv", "--by", "codec"
    run(monkeypatch, evaluate, *small, *meta)
    alone = results(tmp_path)
    assert alone["by"]["alaw"]["n_bonafide"] == alone["n_bonafide"]
    run(monkeypatch, evaluate, *small, *meta, "--both")
    metrics = results(tmp_path)
    for count in ("n_bonafide", "n_spoof"):
        assert sum(row[count] for row in metrics["by"].values()) == metrics[count]


@pytest.fixture
def verification(tmp_path):
    """Options of 300 trials of a verifier and a detector; an utterance serves two speakers."""
    rng = np.random.default_rng(0)
    classes = np.array(["target", "nontarget", "spoof"] * 100)
    asv = rng.normal(size=300) + 3 * (classes != "nontarget")
    cm = rng.normal(size=300) + 3 * (classes != "spoof")
    score_text = "spk filename cm-score asv-score sasv-score\n"
    key_text = "spk filename cm-label asv-label\n"
    for i, asv_label in enumerate(classes):
        trial = f"s{i % 2} E{i // 2}"
        cm_label = "spoof" if asv_label == "spoof" else "bonafide"
        score_text += f"{trial} {cm[i]} {asv[i]} {asv[i] + cm[i]}\n"
        key_text += f"{trial} {cm_label} {asv_label}\n"
    (tmp_path / "sasv.txt").write_text(score_text)
    (tmp_path / "key.txt").write_text(key_text)
    files = ["--sasv", tmp_path / "sasv.txt", "--sasv_key", tmp_path / "key.txt"]
    return [*files, "--json", tmp_path / "out.json"]


def test_track_2_in_tandem_and_single(monkeypatch, tmp_path, verification):
    run(monkeypatch, evaluate, "--m", "t2_single", *verification)
    single = results(tmp_path)
    assert {"min_adcf", "sasv_eer", "n_target", "n_nontarget", "n_spoof"} <= set(single)
    assert "teer" not in single
    run(monkeypatch, evaluate, "--m", "t2_tandem", *verification, "--bootstrap", 10)
    tandem = results(tmp_path)
    assert tandem["min_adcf"] == single["min_adcf"]
    assert 0 < tandem["teer"] < 0.5
    assert tandem["ci"]["teer"][0] <= tandem["teer"] <= tandem["ci"]["teer"][1]
    measured = tandem["min_tdcf_2021"]
    run(monkeypatch, evaluate, "--m", "t2_tandem", *verification, "--asv_rates", "[0.02,0.02,0.46]")
    assert results(tmp_path)["min_tdcf_2021"] != measured


def test_labels_of_a_trial_that_contradict_are_refused(monkeypatch, capsys, tmp_path, verification):
    path = tmp_path / "key.txt"
    path.write_text(path.read_text().replace("s1 E0 bonafide nontarget", "s1 E0 spoof nontarget"))
    message = refused(monkeypatch, capsys, evaluate, "--m", "t2_tandem", *verification)
    assert "key.txt: s1 E0 is spoof by cm-label and nontarget by asv-label" in message


def test_a_system_is_compared_on_the_same_trials(monkeypatch, capsys, tmp_path, medium):
    rows = [line.split() for line in (tmp_path / "llr.txt").read_text().splitlines()[1:]]
    for name, noise in (("same.txt", 0), ("worse.txt", 5)):
        rng = np.random.default_rng(1)
        text = "".join(f"{utt} {float(score) + noise * rng.normal()}\n" for utt, score in rows)
        (tmp_path / name).write_text("filename cm-score\n" + text)
    words = ["--cm_key", tmp_path / "key.txt", "--bootstrap", 100, "--json", tmp_path / "out.json"]
    run(monkeypatch, compare, tmp_path / "llr.txt", tmp_path / "worse.txt", *words, positional=True)
    eer = results(tmp_path)["eer"]
    assert eer["difference"] == pytest.approx(eer["a"] - eer["b"])
    assert eer["ci"][1] < 0 and eer["p_value"] < 0.05
    run(monkeypatch, compare, tmp_path / "llr.txt", tmp_path / "same.txt", *words, positional=True)
    assert results(tmp_path)["eer"]["ci"] == [0, 0] and results(tmp_path)["eer"]["p_value"] == 1
    cluster = "--meta", tmp_path / "meta.txt", "--cluster", "speaker"
    words = [tmp_path / "llr.txt", tmp_path / "worse.txt", *words, *cluster]
    run(monkeypatch, compare, *words, positional=True)
    assert "cost model" in capsys.readouterr().out
    message = refused(
        monkeypatch, capsys, compare, tmp_path / "llr.txt", tmp_path / "llr.txt", positional=True
    )
    assert "--cm_key is needed" in message


def write_systems(folder, prefix: str, seed: int) -> None:
    """Two systems with independent errors, and their key."""
    rng = np.random.default_rng(seed)
    labels = np.array(["bonafide", "spoof", "spoof"] * 200)
    for system in ("a", "b"):
        scores = rng.normal(size=600) + 2 * (labels == "bonafide")
        text = "".join(f"{prefix}{i} {score}\n" for i, score in enumerate(scores))
        (folder / f"{prefix}_{system}.txt").write_text("filename cm-score\n" + text)
    text = "".join(f"{prefix}{i} {label}\n" for i, label in enumerate(labels))
    (folder / f"{prefix}_key.txt").write_text("filename cm-label\n" + text)


def test_fusion_is_fitted_on_one_set_and_better_on_another(monkeypatch, capsys, tmp_path):
    write_systems(tmp_path, "dev", 0)
    write_systems(tmp_path, "eval", 1)
    files = {name: f"{tmp_path}/{name}_a.txt,{tmp_path}/{name}_b.txt" for name in ("dev", "eval")}
    held_out = "--cal_cm", files["dev"], "--cal_key", tmp_path / "dev_key.txt"
    run(monkeypatch, fuse, "--cm", files["eval"], *held_out, "--out", tmp_path / "fused/llr.txt")
    eer = {}
    for name in ("eval_a.txt", "fused/llr.txt"):
        words = ["--cm", tmp_path / name, "--cm_key", tmp_path / "eval_key.txt"]
        run(monkeypatch, evaluate, *words, "--json", tmp_path / "out.json")
        eer[name] = results(tmp_path)["eer"]
    assert eer["fused/llr.txt"] < 0.8 * eer["eval_a.txt"]
    assert results(tmp_path)["cllr"] < 1.25 * results(tmp_path)["min_cllr"]
    assert read_sidecar(tmp_path / "fused/llr.txt").polarity == "higher is bonafide"
    assert len(json.loads((tmp_path / "fused/calibration.json").read_text())["scale"]) == 2
    words = "--cm", files["dev"], *held_out, "--out", tmp_path / "no.txt"
    assert "dev0 is in the calibration set too" in refused(monkeypatch, capsys, fuse, *words)
    words = "--cm", f"{tmp_path}/eval_a.txt", *held_out, "--out", tmp_path / "no.txt"
    assert "1 systems and --cal_cm 2" in refused(monkeypatch, capsys, fuse, *words)


def test_localization_equals_the_reference(monkeypatch, capsys, tmp_path):
    ends = {name: float(end) for name, end in lines("range_reco2dur.txt")}
    with open(tmp_path / "frames.txt", "w") as file:
        for name, index, score in lines("range_scores_20ms.txt"):
            start = int(index) * 0.02
            file.write(f"{name} {start:.4f} {min(0.02, ends[name] - start):.4f} {score}\n")
    words = "--frame_scores", tmp_path / "frames.txt", "--rttm", FOLDER / "range_ref.rttm"
    more = "--resolutions", "0.02,0.160", "--bootstrap", 5, "--json", tmp_path / "out.json"
    run(monkeypatch, evaluate_localization, *words, *more)
    expected = EXPECTED["range_segment"]["metrics"]
    metrics = results(tmp_path)
    assert list(metrics["segment_eer"]) == ["0.02", "0.160"]
    for typed, name in (("0.02", "20ms"), ("0.160", "160ms")):
        official = expected["segment_eer_official_min"][name]["eer"]
        assert metrics["segment_eer"][typed] == pytest.approx(official, abs=1e-12)
    assert metrics["range_eer"] == pytest.approx(expected["range_eer_exact_argmin"], abs=1e-9)
    assert "range EER" in capsys.readouterr().out
    for low, high in (metrics["ci"]["range_eer"], metrics["ci"]["segment_eer"]["0.02"]):
        assert 0.01 < low < high < 0.06
    for resolutions, message in (
        ("0.03", "whole number"),
        ("x", "--resolutions: 'x', expected seconds above 0"),
        ("0", "--resolutions: '0', expected seconds above 0"),
        ("inf", "--resolutions: 'inf', expected seconds above 0"),
        ("0.02,1_0", "--resolutions: '1_0', expected seconds above 0"),
    ):
        assert message in refused(
            monkeypatch, capsys, evaluate_localization, *words, "--resolutions", resolutions
        )


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ("a 0 0.5 1\n", "ref.rttm:2: b is not in"),
        ("a 0 2 1\nb 0 0.5 1\n", "ref.rttm: no bonafide time"),
        ("a 0 0.5 1\na 0.5 0.1 1\nb 0 0.5 1\n", "a ends at 0.6 s, at 2 s in"),
    ],
)
def test_frames_and_segments_must_match(monkeypatch, capsys, tmp_path, frames, message):
    (tmp_path / "frames.txt").write_text(frames)
    segment = "SPEAKER {} 1 0 {} <NA> <NA> spoof <NA> <NA>\n"
    (tmp_path / "ref.rttm").write_text(segment.format("a", 2) + segment.format("b", 0.5))
    words = "--frame_scores", tmp_path / "frames.txt", "--rttm", tmp_path / "ref.rttm"
    assert message in refused(monkeypatch, capsys, evaluate_localization, *words)
