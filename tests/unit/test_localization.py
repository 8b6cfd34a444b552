"""Decisions for frames: training, windows of long audio, and the way from logits to metrics."""

import copy
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import tiny
import torch
import torch.nn.functional as F
import yaml
from commands import refused, run
from torch import nn

from wedefense_lite.audio.segments import Segments, read_rttm, write_rttm
from wedefense_lite.audio.tracks import with_segments
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.bin.draw_localization import draw_localization
from wedefense_lite.bin.evaluate_localization import evaluate_localization
from wedefense_lite.bin.extract import extract
from wedefense_lite.bin.logits_to_llr import logits_to_llr
from wedefense_lite.bin.segments import segments as decide
from wedefense_lite.bin.train import train
from wedefense_lite.files import InputError, read_json, write_lines, write_table
from wedefense_lite.frontends import LFCC, Fbank
from wedefense_lite.frontends.base import Frontend
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.localization.decisions import (
    at_resolution,
    at_splices,
    by_fraction,
    by_length,
    time_metrics,
)
from wedefense_lite.localization.decoding import Decoder, choose_decoder
from wedefense_lite.localization.frame_scores import match_frames, read_frames
from wedefense_lite.localization.frames import FrameScores
from wedefense_lite.localization.metrics import (
    confusion,
    decision_rates,
    segment_eer,
    spoofed_seconds,
)
from wedefense_lite.localization.tasks import Localization
from wedefense_lite.models import ResNet
from wedefense_lite.models.base import Frames as Identity
from wedefense_lite.models.boundary import BoundaryAware
from wedefense_lite.models.gmlp import GMLP
from wedefense_lite.scoring.archives import read_archive
from wedefense_lite.scoring.llr import utterance_llr
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.scoring.sidecar import read_sidecar
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.systems.tasks import Detection
from wedefense_lite.training.validation import validate

RATE, FRAME = 16000, 320


def segments_of(*rows) -> Segments:
    return Segments(*map(np.array, zip(*rows)))


class Means(Frontend):
    """Means of 160 samples, which know nothing of their neighbours."""

    def __init__(self):
        super().__init__()
        self.dim, self.hop_seconds, self.sample_rate = 1, 0.01, RATE

    def forward(self, wav_BT, lengths_B):
        whole_BF1 = (
            wav_BT[:, : wav_BT.shape[1] // 160 * 160].unflatten(1, (-1, 160)).mean(2)[..., None]
        )
        return whole_BF1, lengths_B // 160


def batch_of(wav_BT: torch.Tensor, lengths=None, track_BT=None) -> Batch:
    lengths_B = (
        torch.full((len(wav_BT),), wav_BT.shape[1]) if lengths is None else torch.tensor(lengths)
    )
    return Batch(
        [str(n) for n in range(len(wav_BT))],
        wav_BT,
        lengths_B,
        torch.zeros(len(wav_BT)).long(),
        track_BT,
    )


# What is trained


def test_only_frames_with_audio_and_a_label_are_trained_on():
    task = Localization(Means(), Identity, CrossEntropy)
    wav, track = torch.randn(2, 1600), torch.ones(2, 1600, dtype=torch.int8)
    track[0, 500], track[1, 800:], track[0, 1120:1280] = 0, -1, -1
    wav[1, 800:] = 0
    loss, logits, labels = task(batch_of(wav, [1600, 800], track))
    assert labels.tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1] + [1] * 5
    frames = Means()(wav, torch.tensor([1600, 800]))[0]
    expected = task.head(torch.cat((frames[0, [0, 1, 2, 3, 4, 5, 6, 8, 9]], frames[1, :5])))
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(loss, F.cross_entropy(expected, labels))
    changed = wav.clone()
    changed[0, 1120:1280] = 9.0
    torch.testing.assert_close(task(batch_of(changed, [1600, 800], track))[0], loss)


@pytest.mark.parametrize("frontend", [Fbank(8), LFCC(4)], ids=["fewer frames", "one more frame"])
def test_there_are_as_many_scores_as_the_audio_has_frames_rounded(frontend):
    task = Localization(frontend, Identity, CrossEntropy).eval()
    for samples, frames in ((480, 3), (1600, 10), (1679, 10), (1680, 10), (1681, 11), (1840, 12)):
        batch = batch_of(torch.randn(2, samples), track_BT=torch.ones(2, samples, dtype=torch.int8))
        assert task.logits(batch).shape == (2, frames, 2)
        assert task.targets(batch).shape == (2, frames)
        assert frames - 3 <= len(task(batch)[2]) / 2 <= frames


def test_segments_are_needed():
    with pytest.raises(InputError, match="localization needs segments"):
        Localization(Means(), Identity, CrossEntropy)(batch_of(torch.randn(1, 1600)))


def test_coarser_resolutions_have_the_lowest_label():
    net, seen = GMLP(4, width=16, layers=1, coarser=2, kernel=3), []
    for head in net.heads:
        head.loss = lambda embedding, labels: (
            seen.append(labels.tolist()) or embedding.sum() * 0,
            None,
        )
    labels = torch.tensor([[1, 1, 1, 0, 1, 1, -1, -1, -1]])
    (finest, lengths), _ = net.embed_with_loss(torch.randn(1, 9, 4), torch.tensor([9]), labels)
    assert seen == [[1, 0, 1], [0, 1]]
    assert finest.shape == (1, 9, 8) and lengths.tolist() == [9]


class Begins(nn.Module):
    """Says that some frames begin a segment."""

    def __init__(self, *places: int, frames: int = 10):
        super().__init__()
        self.logits = torch.full((1, frames, 1), -5.0)
        self.logits[0, list(places)] = 5.0

    def forward(self, branch_BGE):
        return self.logits + 0 * branch_BGE[..., :1]


def test_attention_stays_within_segments():
    net, frames, lengths = BoundaryAware(4).eval(), torch.randn(1, 10, 4), torch.tensor([10])
    net.boundary = Begins(6)
    changed = frames.clone()
    changed[:, 6:] += 1
    before, after = (net(values, lengths)[0][0, :, :4] for values in (frames, changed))
    torch.testing.assert_close(before[:6], after[:6])
    assert (before[6:] != after[6:]).any(1).all()
    net.boundary = Begins()
    assert (net(frames, lengths)[0][0, :6, :4] != net(changed, lengths)[0][0, :6, :4]).any(1).all()


def test_boundaries_are_where_the_label_changes():
    net, labels = BoundaryAware(4), torch.tensor([[1, 1, 0, 0, 0, 1, 1, -1, -1, -1]])
    losses = []
    for places in ((2, 5), (2,), (3, 5), ()):
        net.boundary = Begins(*places)
        losses.append(
            net.embed_with_loss(torch.randn(1, 10, 4), torch.tensor([10]), labels)[1].item()
        )
    right, wrong = F.softplus(torch.tensor([-5.0, 5.0])).tolist()
    # All six comparable frames count: two that begin a segment, and four of at most ten others.
    assert losses == pytest.approx(
        [0.5 * (6 * right - n * right + n * wrong) / 6 for n in (0, 1, 2, 2)], rel=1e-5
    )


def test_a_task_takes_its_own_kind_of_model():
    with pytest.raises(
        InputError, match="Localization takes a model that is a FrameBackbone, ResNet is none"
    ):
        Localization(Means(), ResNet, CrossEntropy)
    with pytest.raises(
        InputError, match="Detection takes a model that is a Backbone, Frames is none"
    ):
        Detection(Means(), Identity, CrossEntropy)


# Windows


def test_windows_overlap_and_each_gives_its_middle():
    task = Localization(Means(), Identity, CrossEntropy, window_seconds=0.4, overlap_seconds=0.1)
    assert list(task._windows(100)) == [(0, 40, 0, 35), (30, 70, 35, 65), (60, 100, 65, 100)]
    assert list(task._windows(75)) == [(0, 40, 0, 35), (30, 70, 35, 52), (35, 75, 52, 75)]
    assert list(task._windows(40)) == [(0, 40, 0, 40)] and list(task._windows(7)) == [(0, 40, 0, 7)]
    with pytest.raises(InputError, match="can't overlap"):
        Localization(Means(), Identity, CrossEntropy, window_seconds=1, overlap_seconds=1)


@pytest.mark.parametrize("samples", [200, 6400, 6481, 12345, 16000, 16079, 16080])
def test_windows_put_together_are_the_whole(samples):
    wav = batch_of(torch.randn(2, samples))
    logits = []
    for seconds in (0.4, 60.0):
        torch.manual_seed(0)
        task = Localization(
            Means(), Identity, CrossEntropy, window_seconds=seconds, overlap_seconds=0.1
        )
        logits.append(task.eval().logits(wav))
    torch.testing.assert_close(*logits)


# The stages


def write_corpus(folder: Path, count: int, seed: int) -> dict[str, Segments]:
    """Noise, with a tone of half a second (spoof) in two thirds of the utterances; its segments."""
    rng = np.random.default_rng(seed)
    truth = {}
    wavs = {}
    folder.mkdir(parents=True)
    for number in range(count):
        key, samples = f"{folder.name}{number}", 24000 + 160 * number
        wav = rng.standard_normal(samples) * 0.05
        first = 320 * int(rng.integers(5, 30))
        rows = [(0.0, samples / RATE, BONAFIDE)]
        if number % 3:
            wav[first : first + 8000] += 0.2 * np.sin(0.5 * np.arange(8000))
            times = [0.0, first / RATE, (first + 8000) / RATE, samples / RATE]
            rows = list(zip(times, times[1:], (BONAFIDE, SPOOF, BONAFIDE)))
        sf.write(folder / f"{key}.wav", wav, RATE)
        truth[key] = segments_of(*rows)
        wavs[key] = str(folder / f"{key}.wav")
    write_rttm(folder / "segments.rttm", {key: zip(*segments) for key, segments in truth.items()})
    write_table(folder / "wav.scp", wavs)
    write_table(
        folder / "utt2attack",
        {key: f"A{len(key) % 2}" if SPOOF in truth[key].label else "-" for key in truth},
    )
    rows = [
        Utterance(key, wav, samples=sf.info(wav).frames, label=LABELS[min(truth[key].label)])
        for key, wav in wavs.items()
    ]
    tiny.write_lists(folder, rows)
    return truth


def write_config(folder: Path, **data) -> Path:
    config = copy.deepcopy(tiny.CONFIG)
    model = {
        "class_path": "FrameResNet",
        "init_args": {"channels": 4, "blocks": [1, 1], "embed_dim": 6, "stem_stride": 2},
    }
    config["system"]["class_path"], config["system"]["init_args"]["model"] = "Localization", model
    config["data"] |= {"crop_seconds": 0.8} | data
    config["training"] |= {"num_epochs": 8}
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    return folder / "c.yaml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder (corpus, trained system, frame scores), true segments by set, training options."""
    folder = tmp_path_factory.mktemp("localization")
    truth = {
        name: write_corpus(folder / name, 12, seed)
        for seed, name in enumerate(("train", "dev", "eval"))
    }
    options = {}
    for option, name in {"train": "train", "val": "dev"}.items():
        values = {"data": "raw.list", "label": "utt2lab", "segments": "segments.rttm"}
        options |= {f"{option}_{what}": str(folder / name / file) for what, file in values.items()}
    train(load_experiment(write_config(folder)), folder / "exp", **options, data_type="raw")
    for name in ("dev", "eval"):
        score(folder, name)
    return folder, truth, options


def score(folder: Path, name: str, config: str = "exp/config.yaml", output: str = "logits") -> None:
    ark = folder / "exp" / name / "logits.ark"
    common = {
        "model_path": str(folder / "exp/models/best_model.pt"),
        "data_type": "raw",
        "output": output,
    }
    extract(
        str(folder / config),
        data_list=str(folder / name / "raw.list"),
        embed_ark=str(ark),
        **common,
    )
    logits_to_llr(str(ark.with_suffix(".scp")), 0.5)


def test_training_finds_what_is_spoofed_and_dev_is_judged_by_segments(trained):
    folder, truth, options = trained
    history = np.genfromtxt(folder / "exp/metrics.csv", delimiter=",", names=True)
    frames, hop = read_frames(folder / "exp/dev/frame_llr.txt")
    pairs = match_frames(frames, truth["dev"], hop, "scores", "reference")
    assert hop == 0.02
    assert history["dev_eer"].min() < 0.1 < history["train_accuracy"].min()
    # Segments begin and end at frames, so labels by overlap and by rounding are the same.
    assert segment_eer(pairs, hop, hop).value == pytest.approx(history["dev_eer"].min(), abs=1e-9)
    spoofed = np.mean(
        [
            ((end - start) * (1 - label)).sum() / end[-1]
            for start, end, label in truth["train"].values()
        ]
    )
    assert read_json(folder / "exp/env.json")["class_prior"] == pytest.approx(
        [spoofed, 1 - spoofed]
    )


def test_batches_of_dev_change_nothing(trained):
    folder, _, options = trained
    exp = load_experiment(folder / "exp/config.yaml")
    rows = with_segments(tiny_rows(folder / "dev"), options["val_segments"], RATE)
    rows = [row for row in rows for _ in range(2)]
    copies = [
        Utterance(
            f"{row.key}-{n}", row.path, samples=row.samples, label=row.label, segments=row.segments
        )
        for n, row in enumerate(rows)
    ]
    single = validate(exp.system, EvalLoader(copies, exp.data, batch_size=1), tiny.ALONE)
    pairs = validate(exp.system, EvalLoader(copies, exp.data, batch_size=2), tiny.ALONE)
    assert single == pytest.approx(pairs)


def tiny_rows(folder: Path) -> list[Utterance]:
    from wedefense_lite.audio.index import read_index

    return read_index(str(folder / "raw.list"), "raw")


def test_logits_are_matrices_and_become_llrs_of_frames_and_utterances(trained):
    folder, truth, _ = trained
    logits = read_archive(folder / "exp/eval/logits.scp")
    sidecar = read_sidecar(folder / "exp/eval/logits.scp")
    assert sidecar.frame_seconds == 0.02
    prior = np.log(sidecar.class_prior[1] / sidecar.class_prior[0])
    frames, _ = read_frames(folder / "exp/eval/frame_llr.txt")
    scores = dict(line.split() for line in (folder / "exp/eval/llr.txt").read_text().splitlines())
    for key, segments in truth["eval"].items():
        assert logits[key].shape == (round(segments.end[-1] * RATE / FRAME), 2)
        llr = logits[key][:, 1] - logits[key][:, 0] - prior
        np.testing.assert_allclose(frames[key].score, llr, rtol=1e-4, atol=1e-4)
        assert frames[key].edges[[0, -1]] == pytest.approx([0, 0.02 * len(llr)])
        means = [llr[start : start + 10].mean() for start in range(len(llr) - 9)]
        assert float(scores[key]) == pytest.approx(min(means), rel=1e-3, abs=1e-3)


def test_the_lowest_mean_of_a_fifth_of_a_second_is_the_utterances():
    llr = np.array([4.0, 1, -2, 1, 4, 4])
    assert utterance_llr(llr, 0.1) == pytest.approx(-0.5)
    assert utterance_llr(llr, 0.5) == -2 and utterance_llr(llr[:1], 0.02) == 4
    assert utterance_llr(llr[:2], 0.05) == 2.5 and utterance_llr(np.array([7.0]), None) == 7


def test_stages_refuse_what_frames_have_no_use_for(trained, tmp_path):
    folder, _, options = trained
    with pytest.raises(InputError, match="--output logits"):
        score(folder, "dev", output="embeddings")
    for option in ("train_segments", "val_segments"):
        with pytest.raises(InputError, match="are not given"):
            train(
                load_experiment(write_config(tmp_path)),
                tmp_path,
                **options | {option: None},
                data_type="raw",
            )
    with pytest.raises(InputError, match="nothing else takes them"):
        train(tiny.experiment(), tmp_path, **options, data_type="raw")


def test_segments_are_written_and_evaluated(trained, monkeypatch, capsys, tmp_path):
    folder, truth, _ = trained
    dev, scores = folder / "exp/dev/frame_llr.txt", folder / "exp/eval/frame_llr.txt"
    dev_words = "--dev_frame_scores", dev, "--dev_rttm", folder / "dev/segments.rttm"
    run(monkeypatch, decide, "--frame_scores", scores, *dev_words, "--out_dir", tmp_path)
    written = read_rttm(tmp_path / "segments.rttm")
    assert set(written) == set(truth["eval"])
    for key, segments in written.items():
        lines = (tmp_path / f"labels/{key}.txt").read_text().splitlines()
        spoofed = [
            f"{start:.4f}\t{end:.4f}\tspoof"
            for start, end, label in zip(*segments)
            if label == SPOOF
        ]
        assert lines == spoofed
        shown = [
            (part["start"], part["end"], part["label"])
            for part in read_json(tmp_path / "segments.json")[key]
        ]
        assert shown == [
            (pytest.approx(start), pytest.approx(end), LABELS[label])
            for start, end, label in zip(*segments)
        ]
    write_lines(
        tmp_path / "splices.txt",
        [f"{key} 0.5" for key, segments in truth["eval"].items() if len(segments.label) == 1],
    )
    words = (
        "--frame_scores",
        scores,
        "--rttm",
        folder / "eval/segments.rttm",
        "--json",
        tmp_path / "r.json",
    )
    decided = "--segments", tmp_path / "segments.rttm", "--splices", tmp_path / "splices.txt"
    run(monkeypatch, evaluate_localization, *words, *decided, "--meta", folder / "eval/utt2attack")
    results = read_json(tmp_path / "r.json")
    assert set(results["by"]) == {"A0", "A1"}
    assert results["decisions"]["time"]["all"]["f1"] > 0.8
    assert results["decisions"]["false alarms"]["bona fide joints"]["at_splices"] <= 0.5
    assert "spoofed share" in capsys.readouterr().out
    assert "--splices needs --segments" in refused(
        monkeypatch, capsys, evaluate_localization, *words, "--splices", tmp_path / "splices.txt"
    )
    words = (
        "--frame_scores",
        scores,
        "--rttm",
        folder / "eval/segments.rttm",
        *decided[:2],
        "--count",
        2,
    )
    run(
        monkeypatch,
        draw_localization,
        "--wav_scp",
        folder / "eval/wav.scp",
        *words,
        "--out_dir",
        tmp_path / "pictures",
    )
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert len(pictures) == 2
    picture = pictures[0].read_text()
    assert "<svg" in picture and "decided" in picture


# Decisions by hand


def test_short_bona_fide_parts_go_first_then_short_spoofed_ones():
    llr = np.array([1.0, -1, -1, 1, -1, 1, 1, 1, -1, 1, 1])
    assert Decoder(1, 0.0, 1)(llr).tolist() == (llr > 0).astype(int).tolist()
    assert Decoder(1, 0.0, 2)(llr).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert Decoder(3, 0.0, 1)(llr).tolist() == [1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]
    segments = Decoder(1, 0.0, 1).segments(FrameScores(np.arange(12) * 0.5, llr))
    assert segments.start.tolist() == [0, 0.5, 1.5, 2, 2.5, 4, 4.5] and segments.end[-1] == 5.5
    assert segments.label.tolist() == [1, 0, 1, 0, 1, 0, 1]


def test_the_decoder_is_the_best_on_dev():
    """One frame is wrong at any good threshold; a shortest segment of three frames mends it."""
    llr = np.array([2.0] * 10 + [-2] * 5 + [2] * 5 + [-3] + [2] * 9)
    truth = segments_of((0, 0.2, 1), (0.2, 0.3, 0), (0.3, 0.6, 1))
    decoder, f1 = choose_decoder([(FrameScores(np.arange(31) * 0.02, llr), truth)], 0.02)
    assert f1 == pytest.approx(1)
    assert decoder.threshold == np.nextafter(-2, np.inf)
    assert max(decoder.smooth, decoder.shortest) >= 3
    assert decoder.segments(FrameScores(np.arange(31) * 0.02, llr)).label.tolist() == [1, 0, 1]


DECIDED = segments_of((0, 1, 1), (1, 3, 0), (3, 10, 1))
TRUTH = segments_of((0, 2, 1), (2, 4, 0), (4, 9, 1), (9, 10, 0))


def test_decisions_are_counted_in_seconds():
    seconds = confusion(DECIDED, TRUTH)
    np.testing.assert_allclose(seconds, [[1, 2], [1, 6]])
    expected = {"precision": 1 / 2, "recall": 1 / 3, "f1": 0.4, "iou": 1 / 4}
    assert decision_rates(seconds) == pytest.approx(expected)
    hourly = {"hours": 10 / 3600, "missed_seconds_an_hour": 720, "false_seconds_an_hour": 360}
    assert time_metrics(seconds) == pytest.approx(expected | hourly)
    assert decision_rates(np.array([[0, 0], [0, 5]])) == dict.fromkeys(expected)
    np.testing.assert_allclose(spoofed_seconds(DECIDED, TRUTH), [1, 1, 0, 0])


def test_decisions_by_share_length_and_resolution():
    real = segments_of((0, 10, 1))
    pairs = [(DECIDED, TRUTH), (segments_of((0, 9, 1), (9, 10, 0)), real)]
    shares = by_fraction(pairs)
    assert list(shares) == ["none", "25 to 50 %"]
    assert (
        shares["none"]["false_seconds_an_hour"] == pytest.approx(360)
        and shares["none"]["recall"] is None
    )
    lengths = by_length(pairs)
    assert lengths == {
        "0.5 to 1 s": {"segments": 1, "recall": 0.0, "half_found": 0.0},
        "over 1 s": {"segments": 1, "recall": 0.5, "half_found": 1.0},
    }
    # Segments of 2 s: the reference is spoof in 2 to 4 and 8 to 10 s, the decisions in 0 to 4 s.
    assert at_resolution(pairs[:1], 1.0, 2.0) == pytest.approx(
        {"precision": 0.5, "recall": 0.5, "f1": 0.5, "iou": 1 / 3}
    )


def test_false_alarms_at_joints_are_compared_with_places_between_them():
    decided = {
        "a": segments_of((0, 1.95, 1), (1.95, 2.05, 0), (2.05, 10, 1)),
        "b": segments_of((0, 4, 1)),
    }
    assert at_splices(decided, {"a": [2.0, 6.0], "b": [2.0]}) == {
        "at_splices": 1 / 3,
        "between": 0.0,
    }
