"""The main recipe and its sister, whole, on a part of their corpus with two processes."""

import json
import re
import shutil

import numpy as np
import pytest
import soundfile
from conftest import UNTRAINED, typist


@pytest.fixture(scope="module")
def folder(mini_corpus, tmp_path_factory):
    """A root-like folder in which the recipe ran on a twentieth of the corpus."""
    folder = tmp_path_factory.mktemp("mini")
    (folder / "corpus").symlink_to(mini_corpus)
    words = "bash egs/mini/run.sh --scale 0.05 --nproc 2 --data_type raw --bootstrap 20 --num_avg 2"
    words = words.split() + "--corpus_dir corpus --data_dir data --exp_dir exp".split()
    words += ["--train_options", "--num_epochs 2 --batch_size 4 --validate_interval 1", *UNTRAINED]
    typist(folder)(words)
    return folder


def test_every_file_has_a_licence_and_every_speaker_one_set(folder):
    manifest = (folder / "corpus/manifest.tsv").read_text().splitlines()
    licences = [line.split("\t")[manifest[0].split("\t").index("licence")] for line in manifest[1:]]
    assert len(licences) > 40 and all(licences)
    speakers = [
        set((folder / f"data/{name}/spk2utt").read_text().split("\n")[:-1])
        for name in ("train", "dev", "eval")
    ]
    names = [{line.split()[0] for line in lines} for lines in speakers]
    assert not (names[0] & names[1] | names[0] & names[2] | names[1] & names[2])


def test_all_stages_end_in_results_and_a_report(folder):
    for name in ("dev", "eval", "eval_calibrated"):
        results = json.loads((folder / f"exp/results_{name}.json").read_text())
        assert (
            0 <= results["eer"] <= 1
            and {"min_dcf", "act_dcf", "cllr", "by", "ci"} <= results.keys()
        )
    report = (folder / "exp/report.html").read_text()
    assert not re.search(r"(src|href)=.https?:", report) and "data:image/svg" in report


def test_the_bona_fide_logit_has_results_of_its_own(folder):
    typed = typist(folder)
    command = (
        "bash egs/mini/run.sh --corpus_dir corpus --data_dir data --exp_dir exp --data_type raw "
        "--bootstrap 20 --stage 5 --score bonafide_logit"
    )
    before = (folder / "exp/results_eval.json").read_text()
    lines = typed(command).splitlines()
    assert "== stage 7: evaluate" in lines
    assert not any(line.startswith(("== stage 6", "== stage 8")) for line in lines)
    results = json.loads((folder / "exp/bonafide_logit/results_eval.json").read_text())
    assert 0 <= results["eer"] <= 1 and "cllr" not in results
    assert (folder / "exp/results_eval.json").read_text() == before
    error = typed(f"{command} --score logit", status=2)
    assert "--score is difference or bonafide_logit" in error


@pytest.mark.turns("recipes")
def test_sources_are_traced(folder):
    typed = typist(folder)
    command = (
        "bash egs/mini/run.sh --task tracing --corpus_dir corpus --data_dir data --data_type raw "
        "--exp_dir exp_tracing --num_avg 1 --stage 3"
    )
    options = ["--train_options", "--num_epochs 1 --batch_size 4 --validate_interval 1"]
    lines = typed([*command.split(), *options, "--nproc", "1"]).splitlines()
    assert "== stage 7: evaluate sources" in lines
    results = json.loads((folder / "exp_tracing/results_tracing_eval.json").read_text())
    assert results["classes"] == ["A01", "A02", "A03", "A04", "A05"]
    assert results["unknown"] == ["A07", "A08", "A09"]
    for way in ("logits", "distance"):
        assert 0 <= results[way]["top1"] <= 1 and 0 <= results[way]["open_set_eer"] <= 1


@pytest.mark.turns("recipes")
def test_copies_of_human_speech_are_explained(folder):
    """Stage 9: each bona fide utterance of eval, in a copy of the same length, against its mask."""
    pytest.importorskip("captum", reason="the extra explain isn't installed")
    command = (
        "bash egs/mini/run.sh --corpus_dir corpus --data_dir data --exp_dir exp --data_type raw "
        "--nproc 1 --stage 9 --stop_stage 9"
    )
    options = "--curves false --methods input_x_gradient,grad_cam --pictures 1"
    typist(folder)([*command.split(), "--explain_options", options])
    labels = dict(line.split() for line in (folder / "data/eval/utt2lab").read_text().splitlines())
    bonafide = [key for key, label in labels.items() if label == "bonafide"]
    pairs = dict(
        line.split() for line in (folder / "data/pairs/fake2real").read_text().splitlines()
    )
    assert sorted(pairs.values()) == sorted(bonafide)[:12]
    wavs = dict(line.split() for line in (folder / "data/pairs/wav.scp").read_text().splitlines())
    for copy, original in pairs.items():
        copy_T, rate = soundfile.read(wavs[copy])
        original_T, _ = soundfile.read(folder / wavs[original])
        assert rate == 16000 and len(copy_T) == len(original_T)
        # The same words at the same time: loud where the original is loud.
        envelopes = [
            [abs(part).mean() for part in np.array_split(wav_T, 40)]
            for wav_T in (copy_T, original_T)
        ]
        assert np.corrcoef(envelopes)[0, 1] > 0.9
        assert not np.array_equal(copy_T, original_T)
    content = json.loads((folder / "exp/explanations/explanations.json").read_text())
    assert set(content["recordings"]) == set(pairs)
    for measures in content["recordings"].values():
        assert set(measures) >= {"input_x_gradient", "grad_cam", "random"}
        for values in measures.values():
            assert 0 <= values["iou"] <= 1 and 0 <= values["precision"] <= 1
    # A mask is 5 % of the cells, and so are the cells that chance takes.
    assert 0.02 < content["summary"]["random"]["precision"]["mean"] < 0.08
    assert (folder / "exp/explanations/001.png").is_file()
    assert not (folder / "exp/explanations/002.png").exists()


@pytest.mark.turns("recipes")
@pytest.mark.parametrize("task", ["localization", "detection"])
def test_partialspoof_runs_whole_with_one_process_and_with_two(folder, task):
    typed, exp = typist(folder), folder / "exp_ps" / task
    command = (
        f"bash egs/partialspoof/run.sh --mini true --scale 0.05 --task {task} --mini_corpus corpus --data_dir data_ps "
        f"--corpus_dir corpus_ps --data_type raw --bootstrap 20 --num_avg 1 --config conf/CONFIG.yaml --exp_dir {exp}"
    ).replace("CONFIG", "localization_small" if task == "localization" else "resnet18_small")
    options = ["--train_options", "--num_epochs 1 --batch_size 4", *UNTRAINED]
    typed([*command.split(), *options, "--nproc", "2"])
    results = [f"results_{name}.json" for name in ("dev", "eval")]
    if task == "localization":
        results += [f"results_localization_{name}.json" for name in ("dev", "eval")]
        assert list(exp.glob("segments/eval/*.json")) and list(exp.glob("pictures/eval/*.svg"))
        assert (exp / "segments/eval/segments.rttm").is_file() and "false alarms" in (
            exp / "results_localization_eval.txt"
        ).read_text()
    assert all((exp / name).is_file() for name in [*results, "report.html"])
    shutil.rmtree(exp)
    typed([*command.split(), *options, "--nproc", "1", "--stage", "3", "--stop_stage", "4"])
    assert list(exp.glob("*/eval/*.scp"))
