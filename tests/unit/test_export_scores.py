"""Files for the leaderboards, and the numbers that they recompute."""

import hashlib

import numpy as np
import pytest
import yaml
from commands import refused, run

from wedefense_lite.bin.export_scores import export_scores
from wedefense_lite.metrics.arenas import interpolated_eer
from wedefense_lite.scoring.scores import read_trials

SYSTEM = {
    "--name": "ResNet18 small",
    "--slug": "resnet18-small",
    "--code": "https://example.org/code",
    "--checkpoint": "https://example.org/weights",
    "--dataset": "Org/Set",
    "--revision": "abc123",
    "--repository": "me/model",
    "--username": "me",
    "--contact": "me@example.org",
    "--submitted_at": "2026-05-21",
}


@pytest.fixture
def files(tmp_path):
    """Options of five trials with scores of more trials, and a folder."""
    (tmp_path / "llr.txt").write_text("E9 3\nE2 -0.5\nE1 1.5\nE3 0.1\nE4 0.3\n")
    (tmp_path / "key").write_text("E1 bonafide\nE2 spoof\nE3 bonafide\nE4 spoof\n")
    words = ["--cm", tmp_path / "llr.txt", "--cm_key", tmp_path / "key"]
    return [*words, "--out_dir", tmp_path / "out"]


def options(**changes) -> list[str]:
    words = []
    for option, value in (SYSTEM | changes).items():
        words += [option, value]
    return words


def test_a_submission_has_the_hash_of_the_scores(monkeypatch, caplog, tmp_path, files):
    run(monkeypatch, export_scores, *files, *options())
    text = (tmp_path / "out/scores.txt").read_bytes()
    assert text == b"E1 1.5\nE2 -0.5\nE3 0.1\nE4 0.3\n"
    submission = yaml.safe_load((tmp_path / "out/resnet18-small.yaml").read_text())
    assert submission == {
        "schema_version": 5,
        "system": {
            "name": "ResNet18 small",
            "slug": "resnet18-small",
            "description": "",
            "code": "https://example.org/code",
            "checkpoint": "https://example.org/weights",
        },
        "dataset": {"id": "Org/Set", "revision": "abc123", "split": "test"},
        "scores": {"eer_percent": 50.0, "n_trials": 4, "n_skipped": 0},
        "artifact": {
            "scores_url": "https://huggingface.co/me/model/resolve/COMMIT/.eval_results/Org/Set/"
            "scores.txt",
            "scores_sha256": hashlib.sha256(text).hexdigest(),
            "bench_version": "speech-spoof-bench==0.3.4",
        },
        "submitter": {"hf_username": "me", "contact": "me@example.org"},
        "submitted_at": "2026-05-21",
        "notes": "",
    }
    assert "is not complete: upload" in caplog.text
    caplog.clear()
    paper = ["--arxiv_id", "1911.01601", "--bibtex", "@misc{x}"]
    run(monkeypatch, export_scores, *files, *options(), *paper, "--commit", "0123abc")
    assert not caplog.text.count("not complete")
    submission = yaml.safe_load((tmp_path / "out/resnet18-small.yaml").read_text())
    assert "/resolve/0123abc/" in submission["artifact"]["scores_url"]
    assert submission["system"]["paper"]["arxiv_id"] == "1911.01601"
    assert submission["system"]["paper"]["url"] == "https://arxiv.org/abs/1911.01601"


def test_spoofs_alone_are_decided_on_by_the_threshold_of_another_set(
    monkeypatch, capsys, tmp_path, files
):
    (tmp_path / "key").write_text("E1 spoof\nE2 spoof\nE3 spoof\nE4 spoof\n")
    (tmp_path / "cal").write_text("a 1\nb 3\nc -1\nd -3\n")
    (tmp_path / "cal.key").write_text("a bonafide\nb bonafide\nc spoof\nd spoof\n")
    cal = ["--cal_cm", tmp_path / "cal", "--cal_key", tmp_path / "cal.key"]
    message = refused(monkeypatch, capsys, export_scores, *files, *options())
    assert "--cal_cm is needed here" in message
    run(monkeypatch, export_scores, *files, *options(), *cal)
    submission = yaml.safe_load((tmp_path / "out/resnet18-small.yaml").read_text())
    # From -1 to 1 the gap falls from .5 to 0, so the rates cross at 1.
    assert submission["calibration"] == {
        "source_dataset": "SpeechAntiSpoofingBenchmarks/DeepVoice",
        "threshold": 1.0,
    }
    assert submission["scores"]["srr_complement"] == 25.0
    (tmp_path / "key").write_text("E1 bonafide\nE2 spoof\n")
    message = refused(monkeypatch, capsys, export_scores, *files, *options(), *cal)
    assert "--cal_cm is for sets of spoofs" in message


def test_files_of_the_other_arena(monkeypatch, tmp_path, files):
    run(monkeypatch, export_scores, *files, "--arena", "df")
    assert (tmp_path / "out/scores.txt").read_text() == "E1 1.5\nE2 -0.5\nE3 0.1\nE4 0.3\n"
    protocol = (tmp_path / "out/protocol.csv").read_text()
    assert protocol == "file_name,label\nE1,bonafide\nE2,spoof\nE3,bonafide\nE4,spoof\n"
    # Both are formats that are read.
    names, classes, scores = read_trials(tmp_path / "out/scores.txt", tmp_path / "out/protocol.csv")
    assert names == ["E1", "E2", "E3", "E4"] and scores.tolist() == [1.5, -0.5, 0.1, 0.3]
    assert classes.tolist() == ["bonafide", "spoof"] * 2


BAD_OPTIONS = {
    "--slug": ("My System", "--slug is 'My System', expected small letters, digits and dashes"),
    "--dataset": ("Set", "--dataset is 'Set', expected owner/name"),
    "--commit": ("main", "--commit is 'main', expected the commit of the upload"),
    "--name": ("", "--name is needed here"),
    "--paper_url": ("https://example.org", "--paper_url and --bibtex go with --arxiv_id"),
}


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_what_the_arena_refuses_is_refused_here(monkeypatch, capsys, tmp_path, files, option):
    value, words = BAD_OPTIONS[option]
    changed = options(**{option: value})
    assert words in refused(monkeypatch, capsys, export_scores, *files, *changed)
    assert not (tmp_path / "out").exists()


def test_the_rates_are_interpolated_where_they_cross():
    # Thresholds 0, 1, 2, 3: false alarms 1, 2/3, 1/3, 1/3; misses 0, 0, 1/2, 1/2 of two.
    point = interpolated_eer([1.0, 3.0], [0.0, 1.5, 0.5])
    # Gaps at 0, .5, 1, 1.5, 3: 1, 2/3, 1/3, -1/6, -1/2: a share of 2/3 from 1 to 1.5.
    assert point.value == pytest.approx((1 / 3 + 1 / 3) / 2, abs=1e-15)
    assert point.threshold == pytest.approx(1 + 2 / 3 * 0.5, abs=1e-15)
    tied = interpolated_eer([1.0, 1.0], [1.0])
    assert (tied.value, tied.threshold) == (0.5, 1.0)


def test_the_interpolated_rate_by_counting():
    rng = np.random.default_rng(0)
    for _ in range(50):
        bonafide = np.round(rng.normal(0.5, 1, 12), 1)
        spoof = np.round(rng.normal(-0.5, 1, 15), 1)
        thresholds = np.unique([*bonafide, *spoof])
        far = np.array([(spoof >= threshold).mean() for threshold in thresholds])
        frr = np.array([(bonafide < threshold).mean() for threshold in thresholds])
        crossing = next(
            i for i in range(len(far)) if np.sign(far - frr)[i] != np.sign(far - frr)[i + 1]
        )
        gap = far - frr
        share = gap[crossing] / (gap[crossing] - gap[crossing + 1])
        expected = (far + frr)[crossing] / 2 * (1 - share) + (far + frr)[crossing + 1] / 2 * share
        assert interpolated_eer(bonafide, spoof).value == pytest.approx(expected, abs=1e-14)
