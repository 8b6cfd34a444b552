"""Frame scores and labels as they are published give the numbers of the same data in our format."""

import json
import pickle

import numpy as np
import pytest
from commands import refused, run

from wedefense_lite.audio.segments import runs
from wedefense_lite.bin.evaluate_localization import evaluate_localization
from wedefense_lite.labels import LABELS

HOP = 0.02
FRAMES = 64  # of each utterance: 1.28 s
NAMES = [f"CON_E_{number}" for number in range(6)]


def make_labels() -> dict[str, np.ndarray]:
    """Frame labels of six utterances, changing at multiples of 0.16 s; two are bona fide."""
    rng = np.random.default_rng(4)
    labels = {}
    for position, name in enumerate(NAMES):
        blocks = rng.integers(0, 2, FRAMES // 8)
        blocks[:2] = (0, 1)
        labels[name] = np.repeat(blocks if position >= 2 else np.ones(8, dtype=int), 8)
    return labels


LABELS_BY_NAME = make_labels()
SCORES = {
    name: np.round(labels + np.random.default_rng(len(name)).normal(size=FRAMES), 3)
    for name, labels in LABELS_BY_NAME.items()
}


def timed(name: str) -> list[tuple[float, float, int]]:
    return [(run.begin * HOP, run.end * HOP, run.value) for run in runs(LABELS_BY_NAME[name])]


def rttm_lines(words: tuple[str, str] = LABELS, of: tuple[int, ...] = (0, 1)) -> str:
    lines = []
    for name in NAMES:
        for start, end, label in timed(name):
            if label in of:
                cells = f"{start:.4f} {end - start:.4f} <NA> <NA> {words[label]} <NA> <NA>"
                lines.append(f"SPEAKER {name} 1 {cells}\n")
    return "".join(lines)


def frame_lines(template: str) -> str:
    lines = []
    for name, scores in SCORES.items():
        for position, score in enumerate(scores.tolist()):
            cells = {"name": name, "position": position, "start": f"{position * HOP:.2f}"}
            lines.append(template.format(**cells, score=score, turned=-score) + "\n")
    return "".join(lines)


@pytest.fixture
def ours(tmp_path):
    (tmp_path / "frames.txt").write_text(frame_lines("{name} {start} 0.02 {score}"))
    (tmp_path / "ref.rttm").write_text(rttm_lines())
    return ["--frame_scores", tmp_path / "frames.txt", "--rttm", tmp_path / "ref.rttm"]


def evaluated(monkeypatch, tmp_path, *words) -> dict:
    run(monkeypatch, evaluate_localization, *words, "--json", tmp_path / "out.json")
    return json.loads((tmp_path / "out.json").read_text())


def assert_close(found: dict, expected: dict) -> None:
    assert found["n_utterances"] == expected["n_utterances"] == len(NAMES)
    assert abs(found["range_eer"] - expected["range_eer"]) <= 1e-12
    assert found["segment_eer"].keys() == expected["segment_eer"].keys()
    for resolution, value in expected["segment_eer"].items():
        assert abs(found["segment_eer"][resolution] - value) <= 1e-12, resolution


def write_score_ali(path, classes: bool):
    """Arrays of text, one an utterance, as PartialSpoof's program dumps them."""
    arrays = []
    for name, scores in SCORES.items():
        columns = [np.full(FRAMES, name), (-scores).astype(str), scores.astype(str)]
        if classes:
            columns.append(LABELS_BY_NAME[name].astype(str))
        arrays.append(np.stack(columns, axis=1))
    path.write_bytes(pickle.dumps(arrays))


def write_metrics_lines(path):
    path.write_text(frame_lines("{name} {position} {score} {turned}"))


SCORE_FILES = {
    "eval_score_ali_2_20230101.pkl": lambda path: write_score_ali(path, classes=True),
    "dev_score_ali_2_x.pkl": lambda path: write_score_ali(path, classes=False),
    "unit0.02.score": write_metrics_lines,
    "scores_0.02.npy": lambda path: np.save(path, SCORES),
    "scores_0.02.pkl": lambda path: path.write_bytes(pickle.dumps(SCORES, 2)),
}


@pytest.mark.parametrize("name", SCORE_FILES)
def test_published_frame_scores_give_our_numbers(monkeypatch, capsys, tmp_path, ours, name):
    expected = evaluated(monkeypatch, tmp_path, *ours)
    SCORE_FILES[name](tmp_path / name)
    words = ["--frame_scores", tmp_path / name, *ours[2:]]
    assert_close(evaluated(monkeypatch, tmp_path, *words), expected)
    # The name of the file says the length of a frame, or an option does.
    (tmp_path / name).rename(tmp_path / "scores")
    words[1] = tmp_path / "scores"
    message = refused(monkeypatch, capsys, evaluate_localization, *words)
    assert "frames without times: --hop is their length in seconds" in message
    assert_close(evaluated(monkeypatch, tmp_path, *words, "--hop", 0.02), expected)


def write_seglab(path, seconds: float):
    size = round(seconds / HOP)
    published = {}
    for name, labels in LABELS_BY_NAME.items():
        coarse = np.minimum.reduceat(labels, np.arange(0, FRAMES, size))
        published[name] = coarse.astype(str)
    np.save(path, published)


def llama_lines() -> str:
    lines = []
    for name in NAMES:
        items = [f"{start:.2f}-{end:.2f}-{LABELS[label]}" for start, end, label in timed(name)]
        whole = LABELS[LABELS_BY_NAME[name].min()]
        lines.append(f"{name} {FRAMES * HOP:.2f} {whole} {' '.join(items)}\n")
    return "".join(lines)


def had_lines() -> str:
    lines = []
    for name in NAMES:
        items = [f"{start:.2f}-{end:.2f}-{'FT'[label]}" for start, end, label in timed(name)]
        lines.append(f"{name} {'/'.join(items)} {LABELS_BY_NAME[name].min()}\n")
    return "".join(lines)


def write_pickled_labels(path, protocol: int):
    published = {name: labels.astype(str) for name, labels in LABELS_BY_NAME.items()}
    path.write_bytes(pickle.dumps(published, protocol))


REFERENCES = {
    "eval_seglab_0.02.pkl": lambda path: write_pickled_labels(path, 4),
    "dev_seglab_0.02.pkl": lambda path: write_pickled_labels(path, 0),
    "eval_seglab_0.02.npy": lambda path: write_seglab(path, 0.02),
    "eval_seglab_0.16.npy": lambda path: write_seglab(path, 0.16),
    "spoofed_parts.rttm": lambda path: path.write_text(rttm_lines(of=(0,))),
    "words.rttm": lambda path: path.write_text(";; comment\n" + rttm_lines(("fake", "genuine"))),
    "label_R01TTS.0.a.txt": lambda path: path.write_text(llama_lines()),
    "HAD_test_label.txt": lambda path: path.write_text(had_lines()),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_published_references_give_our_numbers(monkeypatch, tmp_path, ours, name):
    expected = evaluated(monkeypatch, tmp_path, *ours)
    REFERENCES[name](tmp_path / name)
    words = [*ours[:2], "--rttm", tmp_path / name]
    assert_close(evaluated(monkeypatch, tmp_path, *words), expected)


def test_frame_labels_may_end_after_the_scores_by_less_than_a_label(monkeypatch, tmp_path, ours):
    expected = evaluated(monkeypatch, tmp_path, *ours)
    padded = {name: np.append(labels, labels[-1:]) for name, labels in LABELS_BY_NAME.items()}
    np.save(tmp_path / "x_seglab_0.64.npy", {name: row[::32] for name, row in padded.items()})
    words = [*ours[:2], "--rttm", tmp_path / "x_seglab_0.64.npy"]
    found = evaluated(monkeypatch, tmp_path, *words, "--resolutions", "0.64", "--label_hop", 0.63)
    assert found["n_utterances"] == expected["n_utterances"]


def test_resolutions_are_whole_numbers_of_the_frames_that_there_are(
    monkeypatch, capsys, tmp_path, ours
):
    coarse = {name: scores.reshape(8, 8).min(axis=1) for name, scores in SCORES.items()}
    np.save(tmp_path / "scores_0.16.npy", coarse)
    words = ["--frame_scores", tmp_path / "scores_0.16.npy", *ours[2:]]
    found = evaluated(monkeypatch, tmp_path, *words)
    assert list(found["segment_eer"]) == ["0.16", "0.32", "0.64"]
    message = refused(monkeypatch, capsys, evaluate_localization, *words, "--resolutions", "0.02")
    assert "not a whole number of frames" in message


BAD_REFERENCES = {
    "a 1.28 bonafide 0.00-0.64-bonafide 0.64-1.28-spoof\n": "a is bona fide as a whole, but not by",
    "a 1.28 spoof 0.00-0.70-bonafide 0.64-1.28-spoof\n": "a has segments that overlap",
    "a 2.28 spoof 0.00-0.64-bonafide 0.64-1.28-spoof\n": "a has segments to 1.28 s of 2.28",
    "a 1.28 spoof 0.00-0.64-bonafide 0.64:1.28\n": "a has '0.64:1.28', expected start-end-label",
    "a 0.00-0.64-T/0.64-1.28-F 1\n": "a is bona fide as a whole, but not by its segments",
    "a 0.00-0.64-T/0.64-1.28-X 0\n": "a has 'X', expected T or F",
    "a 1.28 spoof 0-1-spoof\n": "a has segments to 1 s of 1.28",
    "a 0.00-0.64-T/0.64-1.28-F 0 0\n": "4 columns, expected 3",
    "a 0.00-0.64-T/0.64-1.28-F 2\n": "a has '2', expected 0 or 1",
}


@pytest.mark.parametrize("text", BAD_REFERENCES)
def test_references_that_can_not_be_are_refused(monkeypatch, capsys, tmp_path, ours, text):
    (tmp_path / "labels.txt").write_text(text)
    words = [*ours[:2], "--rttm", tmp_path / "labels.txt"]
    message = refused(monkeypatch, capsys, evaluate_localization, *words)
    assert f"labels.txt:1: {BAD_REFERENCES[text]}" in message


def test_lines_of_too_few_cells_are_refused(monkeypatch, capsys, tmp_path, ours):
    words = [*ours[:2], "--rttm", tmp_path / "labels.txt"]
    (tmp_path / "labels.txt").write_text("a 1 spoof 0-1-spoof\nb 1 spoof\n")
    message = refused(monkeypatch, capsys, evaluate_localization, *words)
    assert "labels.txt:2: 3 columns, expected at least 4" in message
    for line in ("a 1 spoof 0-1-spoof\n", "a 0-1-F 0\n"):
        (tmp_path / "labels.txt").write_text(line + line)
        message = refused(monkeypatch, capsys, evaluate_localization, *words)
        assert "labels.txt:2: a is there twice" in message


BAD_SCORES = {
    "two columns": ({"a": np.zeros((4, 2))}, "a has scores of shape (4, 2), expected one a frame"),
    "NaN": ({"a": np.array([0.0, np.nan])}, "a: NaN, expected a number"),
    "rows": ([np.zeros((4, 3))], "an array of shape (4, 3), expected rows 'utt score_0 score_1'"),
}


@pytest.mark.parametrize("name", BAD_SCORES)
def test_frame_scores_that_can_not_be_are_refused(monkeypatch, capsys, tmp_path, ours, name):
    value, words = BAD_SCORES[name]
    (tmp_path / "s_0.02.pkl").write_bytes(pickle.dumps(value))
    files = ["--frame_scores", tmp_path / "s_0.02.pkl", *ours[2:]]
    assert words in refused(monkeypatch, capsys, evaluate_localization, *files)


def test_lengths_of_frames_that_have_times_are_not_asked_for(monkeypatch, capsys, tmp_path, ours):
    for option in ("--hop", "--label_hop"):
        message = refused(monkeypatch, capsys, evaluate_localization, *ours, option, 0.02)
        assert f"have times, expected no {option}" in message


def test_a_class_that_a_resolution_lacks_is_no_end_of_the_run(monkeypatch, tmp_path, ours):
    (tmp_path / "ref.rttm").write_text(
        "".join(f"SPEAKER {name} 1 0.5 0.2 <NA> <NA> spoof <NA> <NA>\n" for name in NAMES)
    )
    found = evaluated(monkeypatch, tmp_path, *ours, "--resolutions", "0.02,1.28")
    assert found["segment_eer"]["1.28"] is None and found["segment_eer"]["0.02"] is not None
