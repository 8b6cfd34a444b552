"""The commands of the field's tutorials, as typed from the repository root."""

import json
import socket

import numpy as np
import pytest
from conftest import TINY, arrays_of, typist

from wedefense_lite.metrics.detection import SortedScores

EVALUATE = "python wedefense_lite/bin/evaluate.py --m t1 --cm {0}/posteriors/{1}/llr.txt --cm_key data/{1}/cm_key_file.txt --json {0}/results_{1}.json"


def torchrun(processes: int) -> str:
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
        f"python egs/asvspoof2019_la/local/prepare_data.py --corpus_dir {la_corpus} --data_dir data --expect_counts false"
    )
    for name in ("train", "dev", "eval"):
        typed(
            "python tools/make_shard_list.py --num_utts_per_shard 1000 --num_threads 8 --prefix shards --shuffle "
            f"data/{name}/wav.scp data/{name}/utt2lab data/{name}/shards data/{name}/shard.list"
        )
        typed(
            f"python tools/make_raw_list.py data/{name}/wav.scp data/{name}/utt2lab data/{name}/raw.list"
        )
    typed(
        f"{torchrun(1)} wedefense_lite/bin/train.py --config conf/resnet18.yaml --exp_dir exp/r --gpus [0] "
        "--num_avg 2 --data_type shard --train_data data/train/shard.list --train_label data/train/utt2lab "
        "--val_data data/dev/shard.list --val_label data/dev/utt2lab --save_epoch_interval 1 "
        f"--early_stop_patience -1 --validate_interval 1 --num_epochs 3 {' '.join(TINY)}"
    )
    typed(
        "python wedefense_lite/bin/average_model.py --dst_model exp/r/models/avg_model.pt "
        "--src_path exp/r/models --num 2 --bn_data data/train/shard.list"
    )
    for name in ("dev", "eval"):
        typed(
            f"{torchrun(1)} wedefense_lite/bin/extract.py --config exp/r/config.yaml "
            f"--model_path exp/r/models/avg_model.pt --data_type shard --data_list data/{name}/shard.list "
            f"--embed_ark exp/r/embeddings/{name}/embedding.ark"
        )
        typed(
            "python wedefense_lite/bin/infer.py --model_path exp/r/models/avg_model.pt "
            "--config exp/r/config.yaml --num_classes 2 --embedding_scp_path "
            f"exp/r/embeddings/{name}/embedding.scp --out_path exp/r/posteriors/{name}"
        )
        typed(
            f"python wedefense_lite/bin/logits_to_llr.py --logits_scp_path exp/r/posteriors/{name}/logits.scp "
            "--training_counts data/train/lab2num_utts --train_label data/train/utt2lab --pi_spoof 0.05"
        )
        typed(EVALUATE.format("exp/r", name))
    typed("python wedefense_lite/bin/report.py --exp_dir exp/r --data_dir data")
    return folder, typed


def test_they_write_the_files_of_the_design(tutorial):
    folder, _ = tutorial
    data = "wav.scp utt2lab lab2utt utt2dur utt2spk spk2utt utt2attack lab2num_utts cm_key_file.txt shard.list"
    files = [f"data/{name}/{file}" for name in ("train", "dev", "eval") for file in data.split()]
    files += ["data/train/shards/shards_000000000.tar"]
    files += [f"exp/r/{file}" for file in ("config.yaml", "env.json", "metrics.csv", "train.log")]
    files += [
        f"exp/r/models/{m}.pt"
        for m in ("model_1", "model_2", "model_3", "best_model", "last", "avg_model")
    ]
    for name in ("dev", "eval"):
        files += [f"exp/r/embeddings/{name}/embedding.{end}" for end in ("ark", "scp", "json")]
        files += [f"exp/r/posteriors/{name}/logits.{end}" for end in ("ark", "scp", "json")]
        files += [f"exp/r/posteriors/{name}/posteriors.{end}" for end in ("ark", "scp", "json")]
        files += [
            f"exp/r/posteriors/{name}/{file}"
            for file in ("llr.txt", "llr.json", "calibration.json")
        ]
        files += [f"exp/r/results_{name}.json"]
    missing = [file for file in [*files, "exp/r/report.html"] if not (folder / file).is_file()]
    assert missing == []
    leftover = [
        path
        for path in (folder / "exp").rglob("*")
        if ".part" in path.name or path.name.startswith(".")
    ]
    assert leftover == []
    assert len((folder / "data/eval/utt2lab").read_text().splitlines()) == 16  # no enrolment files


def test_their_numbers_are_those_of_run_sh(tutorial, la_corpus):
    folder, typed = tutorial
    typed(
        [
            *"bash egs/asvspoof2019_la/run.sh --expect_counts false --data_dir data_run --exp_dir exp/run".split(),
            *["--corpus_dir", la_corpus, "--num_avg", "2", "--bootstrap", "20"],
            *["--train_options", f"--num_epochs 3 {' '.join(TINY)}"],
        ]
    )
    for name in ("dev", "eval"):
        by_hand = json.loads((folder / f"exp/r/results_{name}.json").read_text())
        by_script = json.loads((folder / f"exp/run/results_{name}.json").read_text())
        for key in (
            "n_bonafide",
            "n_spoof",
            "eer",
            "min_dcf",
            "act_dcf",
            "cllr",
            "min_cllr",
            "auc",
        ):
            assert by_script[key] == pytest.approx(by_hand[key], abs=1e-9), key
        assert set(by_script["by"]) == {"A01", "A02", "A03"}
    assert (folder / "exp/run/results_eval_calibrated.json").is_file()


def test_one_command_scores_another_corpus(tutorial, la_corpus):
    folder, typed = tutorial
    corpus = folder / "DB"
    lines = (
        (la_corpus / "LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.eval.trl.txt")
        .read_text()
        .splitlines()
    )
    rows = [line.split() for line in lines]
    keys = [
        f"{speaker} {key} {('alaw', 'none')[number // 2 % 2]} loc_tx {attack} {label} notrim eval\n"
        for number, (speaker, key, _, attack, label) in enumerate(rows)
    ]
    (corpus / "keys/LA/CM").mkdir(parents=True)
    (corpus / "keys/LA/CM/trial_metadata.txt").write_text("".join(keys))
    (corpus / "ASVspoof2021_LA_eval").symlink_to(la_corpus / "LA/ASVspoof2019_LA_eval")
    typed(
        "python egs/asvspoof2021/local/prepare_data.py --corpus_dir DB --task LA --phase eval --expect_counts false"
    )
    typed(
        "tools/score.sh --exp_dir exp/r --data_dir data/asvspoof2021_la_eval --dev_dir data/dev --by codec --both true "
        "--bootstrap 20"
    )
    found, known = (
        json.loads((folder / f"exp/r/results_{name}.json").read_text())
        for name in ("asvspoof2021_la_eval", "eval")
    )
    for key in ("n_bonafide", "n_spoof", "eer", "min_dcf", "cllr"):
        assert found[key] == pytest.approx(known[key], abs=1e-9), (
            key
        )  # the same audio under other names
    assert set(found["by"]) == {"alaw", "none"} and "ci" in found
    assert sum(row["n_bonafide"] for row in found["by"].values()) == found["n_bonafide"]
    calibrated = json.loads(
        (folder / "exp/r/results_asvspoof2021_la_eval_calibrated.json").read_text()
    )
    assert calibrated["eer"] == found["eer"] and calibrated["cllr"] != found["cllr"]
    said = typed(
        "python wedefense_lite/bin/cross_table.py --exp_dirs exp/r --sets eval,asvspoof2021_la_eval"
    )
    assert "asvspoof2021_la_eval EER %" in said
    said = typed("tools/score.sh --exp_dir exp/no --data_dir data/eval", status=2)
    assert said.count("\n") == 1 and "--exp_dir is the folder of a trained system" in said
    assert "unknown option --seed" in typed(
        "tools/score.sh --exp_dir exp/r --data_dir data/eval --seed 2", status=2
    )


def test_the_llr_is_the_difference_of_logits_less_the_prior_log_odds(tutorial):
    folder, _ = tutorial
    lines = (folder / "exp/r/posteriors/eval/llr.txt").read_text().splitlines()
    assert lines[0] == "filename\tcm-score"
    logits = {
        key: value.astype(np.float64)
        for key, value in archive(folder, "posteriors/eval/logits").items()
    }
    for key, score in (line.split("\t") for line in lines[1:]):
        assert float(score) == pytest.approx(
            logits[key][1] - logits[key][0], abs=1e-6
        )  # equal counts


def test_posteriors_are_the_softmax_of_the_logits_of_the_same_key(tutorial):
    folder, _ = tutorial
    logits, posteriors = (
        archive(folder, f"posteriors/eval/{name}") for name in ("logits", "posteriors")
    )
    assert list(logits) == list(posteriors) == sorted(logits)
    for key in logits:
        odds = np.exp(logits[key].astype(np.float64))
        np.testing.assert_allclose(posteriors[key], odds / odds.sum(), atol=1e-6)


def test_evaluate_equals_the_metrics_of_the_scores(tutorial):
    folder, _ = tutorial
    scores = dict(
        line.split("\t")
        for line in (folder / "exp/r/posteriors/eval/llr.txt").read_text().splitlines()[1:]
    )
    keys = dict(
        line.split("\t")
        for line in (folder / "data/eval/cm_key_file.txt").read_text().splitlines()[1:]
    )
    by_label = [
        [float(scores[k]) for k, lab in keys.items() if lab == label]
        for label in ("bonafide", "spoof")
    ]
    expected = SortedScores(*by_label).eer().value
    assert json.loads((folder / "exp/r/results_eval.json").read_text())["eer"] == expected


def archive(folder, name: str) -> dict[str, np.ndarray]:
    return arrays_of(folder, f"exp/r/{name}.ark")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "train.py --config conf/resnet18.yaml --exp_dir x --train_data no.list --train_label data/train/utt2lab",
            "no.list",
        ),
        (
            "train.py --config conf/no.yaml --exp_dir x --train_data a --train_label b",
            "conf/no.yaml",
        ),
        (
            "train.py --config conf/resnet18.yaml --exp_dir x --train_data a --train_label b --data.crop 3",
            "crop",
        ),
        (
            "average_model.py --dst_model x.pt --src_path exp/r/models --num 9",
            "9 epochs to average, but found 1 2 3",
        ),
        (
            "infer.py --model_path exp/r/models/best_model.pt --config exp/r/config.yaml --embedding_scp_path exp/r/embeddings/eval/embedding.scp --out_path x",
            "model_hash",
        ),
        (
            "infer.py --model_path exp/r/models/avg_model.pt --config exp/r/config.yaml --num_classes 3 --embedding_scp_path exp/r/embeddings/eval/embedding.scp --out_path x",
            "--num_classes 3",
        ),
        (
            "extract.py --model_path exp/r/models/no.pt --config exp/r/config.yaml --data_list data/eval/shard.list --embed_ark x.ark",
            "exp/r/models/no.pt",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tutorial, command, said):
    folder, typed = tutorial
    lines = typed(f"python wedefense_lite/bin/{command}", status=2).strip().splitlines()
    assert said in lines[-1]
    assert not any(line.startswith("Traceback") for line in lines)
    assert not (folder / "x").exists()
