"""Source tracing: metrics by hand, and a system from training to its evaluation."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import tiny
from refvectors import ROOT

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.bin.average_model import average_model
from wedefense_lite.bin.evaluate_tracing import evaluate_tracing
from wedefense_lite.bin.extract import extract
from wedefense_lite.bin.infer import infer
from wedefense_lite.bin.logits_to_llr import logits_to_llr
from wedefense_lite.bin.train import train
from wedefense_lite.files import InputError, read_json, write_table
from wedefense_lite.scoring.archives import read_archive
from wedefense_lite.scoring.sidecar import read_sidecar
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.tracing.metrics import UNKNOWN, cosines, fingerprints, tracing_metrics
from wedefense_lite.tracing.sources import with_sources
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.order import epoch_order

CLASSES = ("low", "middle", "high")
PITCH = {"low": 400, "middle": 1600, "high": 4000, "other": 7000}


def test_metrics_by_hand():
    score_NC = np.array([[3.0, 1, 0], [2, 1, 0], [0, 3, 1], [2, 0, 1], [0.5, 0.4, 0]])
    class_N = np.array([0, 1, 1, 0, UNKNOWN])
    metrics = tracing_metrics(score_NC, class_N, CLASSES)
    assert (metrics["n"], metrics["n_known"], metrics["n_unknown"]) == (5, 4, 1)
    assert metrics["top1"] == 0.75
    # Class 0: two of three predictions, all of two; class 1: one of one, one of two. No other.
    assert metrics["f1"] == pytest.approx({"low": 0.8, "middle": 2 / 3})
    assert metrics["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert metrics["confusion"] == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert metrics["open_set_eer"] == 0
    # Targets 3, 1, 3, 2; others up to 2; unknown up to 0.5.
    assert 0.1 < metrics["trial_eer"] < 0.4
    assert metrics["trial_eer_unknown"] == 0


def test_what_nothing_defines_is_none():
    metrics = tracing_metrics(np.zeros((2, 3)), np.array([UNKNOWN, UNKNOWN]), CLASSES)
    for name in ("top1", "macro_f1", "open_set_eer", "trial_eer", "trial_eer_unknown"):
        assert metrics[name] is None


def test_fingerprints_are_means_and_distances_are_angles():
    embedding_NE = np.array([[2.0, 0], [4, 0], [0, 1]])
    fingerprint_CE = fingerprints(embedding_NE, np.array([0, 0, 1]), 2)
    assert fingerprint_CE.tolist() == [[3, 0], [0, 1]]
    np.testing.assert_allclose(
        cosines(np.array([[5.0, 0], [1, 1], [0, 0]]), fingerprint_CE),
        [[1, 0], [0.5**0.5, 0.5**0.5], [0, 0]],
    )


def tones(folder: Path, count: int, names: tuple[str, ...]) -> list[Utterance]:
    """A data directory of tones in noise, one pitch a source, and of noise without a source."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(folder.name))
    rows = []
    sources = {}
    for number in range(count):
        source = (*names, "-")[number % (len(names) + 1)]
        wav = rng.standard_normal(tiny.SAMPLES) * 0.02
        if source != "-":
            pitch = PITCH[source] * rng.uniform(0.95, 1.05)
            wav += 0.3 * np.sin(2 * np.pi * pitch / tiny.RATE * np.arange(tiny.SAMPLES))
        key = f"{folder.name}{number:02d}"
        sf.write(folder / f"{key}.wav", wav, tiny.RATE)
        label = "bonafide" if source == "-" else "spoof"
        rows.append(Utterance(key, str(folder / f"{key}.wav"), 0, 0, tiny.SAMPLES, label))
        sources[key] = source
    tiny.write_lists(folder, rows)
    write_table(folder / "utt2attack", sources)
    return rows


def settings(folder: Path, head: dict, classes=CLASSES) -> str:
    """A configuration of the tiny system that traces sources."""
    path = tiny.write_config(
        folder,
        {"head": head, "classes": list(classes)},
        {"balance_classes": True},
        num_epochs=6,
        num_avg=2,
        validate_interval=3,
    )
    path.write_text(path.read_text().replace("class_path: Detection", "class_path: Tracing"))
    return str(path)


@pytest.mark.parametrize(
    "head",
    [
        {"class_path": "CrossEntropy", "init_args": {"num_classes": 3}},
        {"class_path": "AAM", "init_args": {"num_classes": 3, "scale": 8.0}},
    ],
    ids=["CrossEntropy", "AAM"],
)
def test_sources_are_traced_from_training_to_evaluation(head, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    tones(tmp_path / "train", 32, CLASSES)
    tones(tmp_path / "dev", 16, CLASSES)
    tones(tmp_path / "eval", 20, (*CLASSES, "other"))
    exp_dir = tmp_path / "exp"
    options = {}
    for prefix, name in (("train", "train"), ("val", "dev")):
        options[f"{prefix}_data"] = str(tmp_path / name / "raw.list")
        options[f"{prefix}_label"] = str(tmp_path / name / "utt2lab")
        options[f"{prefix}_sources"] = str(tmp_path / name / "utt2attack")
    config = settings(tmp_path, head)
    train(load_experiment(config), exp_dir, data_type="raw", **options)
    assert "left out, of no class of the system: - (8)" in caplog.text
    lines = (exp_dir / "metrics.csv").read_text().splitlines()
    assert lines[0].endswith("dev_loss,dev_error") and float(lines[-1].rpartition(",")[2]) < 0.2
    model = str(exp_dir / "models/avg_model.pt")
    statistics = {"bn_data": options["train_data"], "bn_sources": options["train_sources"]}
    average_model(model, str(exp_dir / "models"), 2, data_type="raw", **statistics)
    for name in ("train", "eval"):
        extract(
            str(exp_dir / "config.yaml"),
            model,
            str(tmp_path / name / "raw.list"),
            str(exp_dir / f"embeddings/{name}/embedding.ark"),
            "raw",
        )
    embeddings = str(exp_dir / "embeddings/eval/embedding.scp")
    posteriors = exp_dir / "posteriors/eval"
    infer(model, str(exp_dir / "config.yaml"), embeddings, str(posteriors), num_classes=3)
    logits = str(posteriors / "logits.scp")
    assert read_archive(logits)["eval00"].shape == (3,)
    assert tuple(read_sidecar(logits).classes) == CLASSES
    with pytest.raises(InputError, match=r"of 3 sources, expected \[spoof, bonafide\]"):
        logits_to_llr(logits, pi_spoof=0.5)
    with pytest.raises(InputError, match="traces sources, expected no --score"):
        infer(model, str(exp_dir / "config.yaml"), embeddings, "no", score="bonafide_logit")
    sources = tmp_path / "eval/utt2attack"
    text = sources.read_text().replace(" high", " A99")
    sources.write_text(text)
    evaluate_tracing(
        logits,
        embeddings,
        str(sources),
        str(exp_dir / "embeddings/train/embedding.scp"),
        options["train_sources"],
        same="A99=high",
        json=str(tmp_path / "results.json"),
    )
    results = read_json(tmp_path / "results.json")
    assert results["unknown"] == ["other"] and results["n_left_out"] == 4
    for way in ("logits", "distance"):
        assert results[way]["n_known"] == 12 and results[way]["n_unknown"] == 4
        assert results[way]["top1"] >= 0.75 and results[way]["macro_f1"] > 0.7
    assert "without a source: 4" in capsys.readouterr().out


def test_classes_are_drawn_equally_often_and_hashed(tmp_path):
    rows = tones(tmp_path / "train", 12, ("low", "middle"))
    kept = with_sources(rows, str(tmp_path / "train/utt2attack"), "attack", ("low", "middle"))
    assert [row.source for row in kept] == [0, 1] * 4
    data = tiny.DataConfig(crop_seconds=0.2, batch_size=4, balance_classes=True)
    order = epoch_order(kept[:5], data, seed=1, epoch=1, total=12)
    assert [kept[row].source for row in order] == [0, 1] * 6
    loader = TrainLoader(kept, data, seed=1)
    assert loader.class_prior == [0.5, 0.5]
    batch = next(loader.epoch(1))
    assert batch.sources_B.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("head", "classes", "message"),
    [
        ({"class_path": "CrossEntropy"}, CLASSES, "num_classes is 2, expected 3, as Tracing has"),
        (
            {"class_path": "AAM", "init_args": {"num_classes": 3, "class_weights": [0.1, 0.9]}},
            CLASSES,
            "class_weights are of two classes, but num_classes is 3",
        ),
        ({"class_path": "CrossEntropy"}, ("low", "low"), "two or more different names"),
    ],
)
def test_classes_that_do_not_go_together_are_refused(head, classes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_experiment(settings(tmp_path, head, classes))


def test_a_detector_has_two_classes(tmp_path):
    path = tiny.write_config(
        tmp_path, {"head": {"class_path": "CrossEntropy", "init_args": {"num_classes": 3}}}
    )
    with pytest.raises(InputError, match="num_classes is 3, expected 2, as Detection has"):
        load_experiment(path)


def test_sources_and_their_task_go_together(tmp_path):
    rows = tones(tmp_path / "train", 8, CLASSES)
    lists = {
        "train_data": str(tmp_path / "train/raw.list"),
        "train_label": str(tmp_path / "train/utt2lab"),
    }
    traces = load_experiment(
        settings(tmp_path, {"class_path": "AAM", "init_args": {"num_classes": 3}})
    )
    with pytest.raises(InputError, match="--train_sources and --val_sources are not given"):
        train(traces, tmp_path / "exp", data_type="raw", **lists)
    table = str(tmp_path / "train/utt2attack")
    detects = load_experiment(tiny.write_config(tmp_path))
    with pytest.raises(InputError, match="source tracing needs them, nothing else takes them"):
        train(detects, tmp_path / "exp", data_type="raw", train_sources=table, **lists)
    more = (*CLASSES, "fourth")
    with pytest.raises(InputError, match="no utterance of the sources fourth"):
        with_sources(rows, table, "attack", more)
    assert len(with_sources(rows, table, "attack", more, trains=False)) == 6
    with pytest.raises(InputError, match="no utterance of the sources fourth"):
        with_sources(rows, table, "attack", ("fourth",), trains=False)


def test_the_configuration_of_the_mini_corpus_is_built():
    system = load_experiment(ROOT / "conf/tracing_small.yaml").system
    assert system.classes == ("A01", "A02", "A03", "A04", "A05")
    assert system.head.weight.shape == (5, 64)
