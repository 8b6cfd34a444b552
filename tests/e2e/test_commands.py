"""The commands of the field's tutorials, as typed from the repository root."""

import json
import socket

import numpy as np
import pytest
import soundfile as sf
from conftest import TINY, arrays_of, typist

from wedefense_lite.metrics.detection import SortedScores

BIN = "wedefense_lite/bin"


DATA_FILES = (
    "wav.scp utt2lab lab2utt utt2dur utt2spk spk2utt utt2attack lab2num_utts cm_key_file.txt "
    "shard.list"
).split()
TRAINING_FILES = (
    "config.yaml env.json metrics.csv train.log models/model_1.pt models/model_2.pt "
    "models/model_3.pt models/best_model.pt models/last.pt models/avg_model.pt"
).split()
LLR_FILES = ("llr.txt", "llr.json", "calibration.json")
COMPARED_RESULTS = "n_bonafide n_spoof eer min_dcf act_dcf cllr min_cllr auc".split()


def archive_files(name: str) -> list[str]:
    """Files of an archive: arrays, their index, and the sidecar."""
    return [f"{name}.{ending}" for ending in ("ark", "scp", "json")]


def read_results(folder, path: str) -> dict:
    return json.loads((folder / path).read_text())


def read_rows(folder, path: str) -> dict[str, str]:
    """Second column of a table by its first one, without the header."""
    lines = (folder / path).read_text().splitlines()
    return dict(line.split("\t") for line in lines[1:])


def torchrun(processes: int) -> str:
    """Beginning of a command with a rendezvous at a free port."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    return (
        f"torchrun --rdzv_backend=c10d --rdzv_endpoint={socket.gethostname()}:{port} "
        f"--nnodes=1 --nproc_per_node={processes}"
    )


@pytest.fixture(scope="module")
def tutorial(la_corpus, tmp_path_factory):
    """All eight stages by hand."""
    folder = tmp_path_factory.mktemp("tutorial")
    typed = typist(folder)
    typed(
        "python egs/asvspoof2019_la/local/prepare_data.py "
        f"--corpus_dir {la_corpus} --data_dir data --expect_counts false"
    )
    for name in ("train", "dev", "eval"):
        data = f"data/{name}"
        typed(
            "python tools/make_shard_list.py --num_utts_per_shard 1000 --num_threads 8 "
            "--prefix shards --shuffle "
            f"{data}/wav.scp {data}/utt2lab {data}/shards {data}/shard.list"
        )
        typed(f"python tools/make_raw_list.py {data}/wav.scp {data}/utt2lab {data}/raw.list")
    typed(
        f"{torchrun(1)} {BIN}/train.py --config conf/resnet18.yaml --exp_dir exp/r --gpus [0] "
        "--num_avg 2 --data_type shard "
        "--train_data data/train/shard.list --train_label data/train/utt2lab "
        "--val_data data/dev/shard.list --val_label data/dev/utt2lab --save_epoch_interval 1 "
        f"--early_stop_patience -1 --validate_interval 1 --num_epochs 3 {' '.join(TINY)}",
        fresh=True,
    )
    typed(
        f"python {BIN}/average_model.py --dst_model exp/r/models/avg_model.pt "
        "--src_path exp/r/models --num 2 --bn_data data/train/shard.list"
    )
    for name in ("dev", "eval"):
        embeddings = f"exp/r/embeddings/{name}"
        posteriors = f"exp/r/posteriors/{name}"
        typed(
            f"{torchrun(1)} {BIN}/extract.py --config exp/r/config.yaml "
            "--model_path exp/r/models/avg_model.pt --data_type shard "
            f"--data_list data/{name}/shard.list --embed_ark {embeddings}/embedding.ark"
        )
        typed(
            f"python {BIN}/infer.py --model_path exp/r/models/avg_model.pt "
            "--config exp/r/config.yaml --num_classes 2 "
            f"--embedding_scp_path {embeddings}/embedding.scp --out_path {posteriors}"
        )
        typed(
            f"python {BIN}/logits_to_llr.py --logits_scp_path {posteriors}/logits.scp "
            "--training_counts data/train/lab2num_utts --train_label data/train/utt2lab "
            "--pi_spoof 0.05"
        )
        typed(
            f"python {BIN}/evaluate.py --m t1 --cm {posteriors}/llr.txt "
            f"--cm_key data/{name}/cm_key_file.txt --json exp/r/results_{name}.json"
        )
    typed(f"python {BIN}/report.py --exp_dir exp/r --data_dir data", fresh=True)
    return folder, typed


def test_they_write_the_files_of_the_design(tutorial):
    folder, _ = tutorial
    files = ["data/train/shards/shards_000000000.tar", "exp/r/report.html"]
    for name in ("train", "dev", "eval"):
        files += [f"data/{name}/{file}" for file in DATA_FILES]
    files += [f"exp/r/{file}" for file in TRAINING_FILES]
    for name in ("dev", "eval"):
        files += [f"exp/r/embeddings/{name}/{file}" for file in archive_files("embedding")]
        files += [f"exp/r/posteriors/{name}/{file}" for file in archive_files("logits")]
        files += [f"exp/r/posteriors/{name}/{file}" for file in archive_files("posteriors")]
        files += [f"exp/r/posteriors/{name}/{file}" for file in LLR_FILES]
        files.append(f"exp/r/results_{name}.json")
    missing = [file for file in files if not (folder / file).is_file()]
    assert missing == []
    temporary = []
    for path in (folder / "exp").rglob("*"):
        if ".part" in path.name or path.name.startswith("."):
            temporary.append(path)
    assert temporary == []
    # The flac folder also holds enrolment files, which are no trials.
    assert len((folder / "data/eval/utt2lab").read_text().splitlines()) == 16


@pytest.mark.turns("recipes")
def test_their_numbers_are_those_of_run_sh(tutorial, la_corpus):
    folder, typed = tutorial
    words = "bash egs/asvspoof2019_la/run.sh --expect_counts false --data_dir data_run".split()
    words += ["--exp_dir", "exp/run", "--corpus_dir", la_corpus]
    words += ["--num_avg", "2", "--bootstrap", "20"]
    words += ["--train_options", f"--num_epochs 3 {' '.join(TINY)}"]
    typed(words)
    for name in ("dev", "eval"):
        by_hand = read_results(folder, f"exp/r/results_{name}.json")
        by_script = read_results(folder, f"exp/run/results_{name}.json")
        for key in COMPARED_RESULTS:
            assert by_script[key] == pytest.approx(by_hand[key], abs=1e-9), key
        assert set(by_script["by"]) == {"A01", "A02", "A03"}
    assert (folder / "exp/run/results_eval_calibrated.json").is_file()


def write_2021(corpus, la_corpus):
    """Write the eval set of a corpus in the layout of ASVspoof 2021 LA: other keys, same audio."""
    protocols = la_corpus / "LA/ASVspoof2019_LA_cm_protocols"
    keys = []
    lines = (protocols / "ASVspoof2019.LA.cm.eval.trl.txt").read_text().splitlines()
    for number, line in enumerate(lines):
        speaker, key, _, attack, label = line.split()
        # Neighbours are of both classes, so each codec has both.
        codec = ("alaw", "none")[number // 2 % 2]
        keys.append(f"{speaker} {key} {codec} loc_tx {attack} {label} notrim eval\n")
    (corpus / "keys/LA/CM").mkdir(parents=True)
    (corpus / "keys/LA/CM/trial_metadata.txt").write_text("".join(keys))
    (corpus / "ASVspoof2021_LA_eval").symlink_to(la_corpus / "LA/ASVspoof2019_LA_eval")


def test_one_command_scores_another_corpus(tutorial, la_corpus):
    folder, typed = tutorial
    write_2021(folder / "DB", la_corpus)
    typed(
        "python egs/asvspoof2021/local/prepare_data.py --corpus_dir DB --task LA --phase eval "
        "--expect_counts false"
    )
    typed(
        "tools/score.sh --exp_dir exp/r --data_dir data/asvspoof2021_la_eval --dev_dir data/dev "
        "--by codec --both true --bootstrap 20"
    )
    results = read_results(folder, "exp/r/results_asvspoof2021_la_eval.json")
    results_2019 = read_results(folder, "exp/r/results_eval.json")
    for key in ("n_bonafide", "n_spoof", "eer", "min_dcf", "cllr"):
        assert results[key] == pytest.approx(results_2019[key], abs=1e-9), key
    assert set(results["by"]) == {"alaw", "none"}
    assert "ci" in results
    assert sum(row["n_bonafide"] for row in results["by"].values()) == results["n_bonafide"]
    calibrated = read_results(folder, "exp/r/results_asvspoof2021_la_eval_calibrated.json")
    assert calibrated["eer"] == results["eer"]
    assert calibrated["cllr"] != results["cllr"]
    table = typed(f"python {BIN}/cross_table.py --exp_dirs exp/r --sets eval,asvspoof2021_la_eval")
    assert "asvspoof2021_la_eval EER %" in table


def test_a_set_of_spoofs_alone_is_scored_at_the_threshold_of_dev(tutorial):
    folder, typed = tutorial
    typed("python tools/subset_data_dir.py data/eval data/spoofs --label spoof")
    text = typed("tools/score.sh --exp_dir exp/r --data_dir data/spoofs --bootstrap 0")
    assert "model: exp/r/models/avg_model.pt" in text
    results = read_results(folder, "exp/r/results_spoofs.json")
    threshold = read_results(folder, "exp/r/results_dev.json")["eer_threshold"]
    labels = dict(line.split() for line in (folder / "data/eval/utt2lab").read_text().splitlines())
    scores = read_rows(folder, "exp/r/posteriors/eval/llr.txt")
    spoofs = [float(score) for key, score in scores.items() if labels[key] == "spoof"]
    assert (results["eer"], results["n_spoof"]) == (None, len(spoofs))
    assert results["threshold"] == threshold
    assert results["fa"] == np.mean(np.array(spoofs) >= threshold)
    assert set(results["by"]) == {"A01", "A02", "A03"}


def test_a_stream_without_labels_is_scored_by_the_best_model_where_there_is_no_average(tutorial):
    folder, typed = tutorial
    (folder / "exp/best/models").mkdir(parents=True)
    for file in ("config.yaml", "models/best_model.pt"):
        (folder / "exp/best" / file).write_bytes((folder / "exp/r" / file).read_bytes())
    (folder / "data/field").mkdir()
    shards = (folder / "data/eval/shard.list").read_text().split()
    urls = [f"file:{(folder / shard).resolve()}\n" for shard in shards]
    (folder / "data/field/shard.list").write_text("".join(urls))
    text = typed("tools/score.sh --exp_dir exp/best --data_dir data/field --labels none")
    assert "model: exp/best/models/best_model.pt" in text
    assert "no labels: EER n/a" in text
    results = read_results(folder, "exp/best/results_field.json")
    scores = read_rows(folder, "exp/best/posteriors/field/llr.txt")
    assert scores.keys() == read_rows(folder, "exp/r/posteriors/eval/llr.txt").keys()
    assert results["n_unlabelled"] == len(scores)


# Corpora of spoofed speech alone: names of their files as published.
SPOOFS = {
    "mlaad": "fake/{}/bark/x.wav",
    "wavefake": "generated_audio/ljspeech_{}/LJ001-0001_gen.wav",
    "codecfake_wu": "encodec_24khz+p272_{}.wav",
}


@pytest.mark.turns
@pytest.mark.parametrize("corpus", SPOOFS)
def test_one_command_scores_spoofed_speech_alone(tutorial, corpus):
    folder, typed = tutorial
    generator = np.random.default_rng(0)
    for number in range(3):
        path = folder / corpus / SPOOFS[corpus].format(f"m{number}")
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, 0.1 * generator.standard_normal(16000), 16000)
    script = f"egs/{corpus}/local/prepare_data.py"
    typed(f"python {script} --corpus_dir {corpus} --data_dir prepared")
    typed(f"tools/score.sh --exp_dir exp/r --data_dir prepared/{corpus} --bootstrap 0")
    results = read_results(folder, f"exp/r/results_{corpus}.json")
    assert (results["n_bonafide"], results["n_spoof"], results["eer"]) == (0, 3, None)
    assert 0 <= results["fa"] <= 1
    table = typed(f"python {BIN}/cross_table.py --exp_dirs exp/r --sets eval,{corpus}")
    assert f"{corpus} EER %" in table and table.splitlines()[-1].split()[-2:] == ["n/a", "n/a"]


def test_the_command_for_another_corpus_refuses_what_it_can_not_use(tutorial):
    folder, typed = tutorial
    error = typed("tools/score.sh --exp_dir exp/no --data_dir data/eval", status=2)
    assert error.count("\n") == 1
    assert "--exp_dir is the folder of a trained system" in error
    (folder / "exp/empty").mkdir()
    (folder / "exp/empty/config.yaml").write_text("")
    error = typed("tools/score.sh --exp_dir exp/empty --data_dir data/eval --name x", status=2)
    assert "exp/empty/models has no avg_model.pt and no best_model.pt" in error
    # It trains nothing, so options of a training are not its own.
    error = typed("tools/score.sh --exp_dir exp/r --data_dir data/eval --seed 2", status=2)
    assert "unknown option --seed" in error


def test_the_llr_is_the_difference_of_logits_less_the_prior_log_odds(tutorial):
    folder, _ = tutorial
    path = "exp/r/posteriors/eval/llr.txt"
    assert (folder / path).read_text().startswith("filename\tcm-score\n")
    logits = archive(folder, "posteriors/eval/logits")
    for key, score in read_rows(folder, path).items():
        spoof, bonafide = logits[key].astype(np.float64)
        # The classes have equal counts in training, so the log odds of the prior are 0.
        assert float(score) == pytest.approx(bonafide - spoof, abs=1e-6)


def test_posteriors_are_the_softmax_of_the_logits_of_the_same_key(tutorial):
    folder, _ = tutorial
    logits = archive(folder, "posteriors/eval/logits")
    posteriors = archive(folder, "posteriors/eval/posteriors")
    assert list(logits) == list(posteriors) == sorted(logits)
    for key in logits:
        odds = np.exp(logits[key].astype(np.float64))
        np.testing.assert_allclose(posteriors[key], odds / odds.sum(), atol=1e-6)


def test_evaluate_equals_the_metrics_of_the_scores(tutorial):
    folder, _ = tutorial
    scores = read_rows(folder, "exp/r/posteriors/eval/llr.txt")
    labels = read_rows(folder, "data/eval/cm_key_file.txt")
    by_label = {"bonafide": [], "spoof": []}
    for key, label in labels.items():
        by_label[label].append(float(scores[key]))
    expected = SortedScores(by_label["bonafide"], by_label["spoof"]).eer().value
    assert read_results(folder, "exp/r/results_eval.json")["eer"] == expected


def archive(folder, name: str) -> dict[str, np.ndarray]:
    """Arrays of an archive of the experiment, by utterance."""
    return arrays_of(folder, f"exp/r/{name}.ark")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "train.py --config conf/resnet18.yaml --exp_dir x "
            "--train_data no.list --train_label data/train/utt2lab",
            "no.list",
        ),
        (
            "train.py --config conf/no.yaml --exp_dir x --train_data a --train_label b",
            "conf/no.yaml",
        ),
        (
            "train.py --config conf/resnet18.yaml --exp_dir x --train_data a --train_label b "
            "--data.crop 3",
            "crop",
        ),
        (
            "average_model.py --dst_model x.pt --src_path exp/r/models --num 9",
            "9 epochs to average, but found 1 2 3",
        ),
        (
            "infer.py --model_path exp/r/models/best_model.pt --config exp/r/config.yaml "
            "--embedding_scp_path exp/r/embeddings/eval/embedding.scp --out_path x",
            "model_hash",
        ),
        (
            "infer.py --model_path exp/r/models/avg_model.pt --config exp/r/config.yaml "
            "--num_classes 3 "
            "--embedding_scp_path exp/r/embeddings/eval/embedding.scp --out_path x",
            "--num_classes 3",
        ),
        (
            "extract.py --model_path exp/r/models/no.pt --config exp/r/config.yaml "
            "--data_list data/eval/shard.list --embed_ark x.ark",
            "exp/r/models/no.pt",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tutorial, command, message):
    folder, typed = tutorial
    lines = typed(f"python {BIN}/{command}", status=2).strip().splitlines()
    assert message in lines[-1]
    assert not any(line.startswith("Traceback") for line in lines)
    assert not (folder / "x").exists()
