"""Equal scores by both rules, and sets that lack a class, in every command that has a number."""

import json
import logging

import numpy as np
import pytest
from commands import refused, run
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st

from wedefense_lite.audio.segments import Segments, write_rttm
from wedefense_lite.audio.tracks import by_overlap, make_track
from wedefense_lite.bin.compare import compare
from wedefense_lite.bin.cross_table import cross_table
from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.bin.evaluate_localization import evaluate_localization
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.localization.frame_scores import write_frames
from wedefense_lite.localization.frames import FrameScores
from wedefense_lite.localization.metrics import frame_labels, segment_eer
from wedefense_lite.metrics.bootstrap import Resampler, replicates
from wedefense_lite.metrics.detection import SortedScores, UndefinedMetric
from wedefense_lite.metrics.summary import DetectionMeasure, MetricOptions
from wedefense_lite.metrics.tandem import concurrent_teer

tied_scores = st.lists(st.integers(-3, 3), min_size=1, max_size=8)
tied_pairs = st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=6)


def official_curves(*classes):
    """Share of each class that is rejected after each trial, stepping through equal scores."""
    order = []
    for label, scores in enumerate(classes):
        order += [(score, label) for score in scores]
    order.sort()
    curves = np.zeros((len(classes), len(order) + 1))
    for step, (_, label) in enumerate(order, 1):
        curves[:, step] = curves[:, step - 1]
        curves[label, step] += 1
    return curves / np.array([len(scores) for scores in classes])[:, None]


def official_teer(cm_bonafide, cm_spoof, target, nontarget, spoof):
    """Concurrent t-EER by the official program's loop.

    Returns:
        the rate, None where no threshold counts; and whether no other one is equally near.
    """
    cm_miss, cm_rejected = official_curves(cm_bonafide, cm_spoof)
    cm_fa = 1 - cm_rejected
    asv = official_curves(target, nontarget, spoof)
    candidates = []
    is_alone = True
    for miss, nontargets_rejected, spoofs_rejected in asv.T:
        fa_nontarget = 1 - nontargets_rejected
        fa_spoof = 1 - spoofs_rejected
        if not miss < (fa_nontarget + fa_spoof) / 2 or fa_spoof < 1e-9:
            continue
        tandem_miss = cm_miss + (1 - cm_miss) * miss
        tandem_fa = ((1 - cm_miss) * fa_nontarget + cm_fa * fa_spoof) / 2
        gaps = np.abs(tandem_miss - tandem_fa)
        point = int(np.argmin(gaps))
        is_alone &= np.sum(gaps < gaps[point] + 1e-9) == 1
        passed = max(1 - cm_miss[point], 1e-300)
        criterion = abs(fa_nontarget / fa_spoof - cm_fa[point] / passed)
        candidates.append((criterion, fa_spoof * cm_fa[point]))
    if not candidates:
        return None, is_alone
    best_criterion, rate = min(candidates)
    nearest = [rate for criterion, rate in candidates if criterion < best_criterion + 1e-9]
    return rate, is_alone and np.ptp(nearest) < 1e-9


def test_the_teer_of_tied_scores_by_hand():
    """(asv, cm) of four trials a class. The official program has 25 %, merged ties have 50 %."""
    target = np.array([(2, 1), (2, 1), (1, 2), (3, 2)])
    nontarget = np.array([(-2, 0), (-2, 1), (-4, 1), (-2, 0)])
    spoof = np.array([(0, -1), (1, 0), (1, 0), (0, -1)])
    bonafide = np.concatenate([target[:, 1], nontarget[:, 1]])
    trials = bonafide, spoof[:, 1], target[:, 0], nontarget[:, 0], spoof[:, 0]
    assert concurrent_teer(*trials, merge_ties=False) == 0.25
    assert concurrent_teer(*trials) == 0.5
    assert official_teer(*trials)[0] == 0.25


@given(tied_pairs, tied_pairs, tied_pairs)
def test_the_official_teer_equals_the_official_loop(target, nontarget, spoof):
    target = np.array(target)
    nontarget = np.array(nontarget)
    spoof = np.array(spoof)
    bonafide = np.concatenate([target[:, 1], nontarget[:, 1]])
    trials = bonafide, spoof[:, 1], target[:, 0], nontarget[:, 0], spoof[:, 0]
    expected, is_alone = official_teer(*trials)
    # Rounding chooses between points that are equally near.
    assume(is_alone)
    if expected is None:
        with pytest.raises(UndefinedMetric):
            concurrent_teer(*trials, merge_ties=False)
        return
    assert concurrent_teer(*trials, merge_ties=False) == pytest.approx(expected, abs=1e-9)


def test_a_trial_drawn_twice_is_two_steps_where_equal_scores_are():
    """Bona fide 0, 0 and spoof -1, 0: of the rejected -1, 0 half are left, and half are missed."""
    trials = {
        "bonafide": {"cm-score": np.array([0.0])},
        "spoof": {"cm-score": np.array([-1.0, 0.0])},
    }
    counts = np.array([2]), np.array([1, 1])
    repeated = SortedScores([0, 0], [-1, 0])
    for merge_ties, expected in ((False, 0.5), (True, 0.25)):
        measure = DetectionMeasure(trials, MetricOptions(merge_ties=merge_ties))
        assert measure.resampled_metrics(*counts)["eer"] == pytest.approx(expected)
        assert repeated.eer(merge_ties).value == pytest.approx(expected)


def test_a_sample_without_a_class_is_drawn_again():
    """A class of three trials of which one counts: most samples lack it, none is measured."""
    weights = []

    def share_of_first(count: np.ndarray) -> dict[str, float]:
        if not count[0]:
            raise UndefinedMetric("the first trial isn't there")
        weights.append(count[0])
        return {"share": count[0] / 3}

    values = replicates(share_of_first, Resampler([3]), 40)["share"]
    assert len(values) == len(weights) == 40
    assert values.min() > 0

    def nothing(count: np.ndarray) -> dict[str, float]:
        raise UndefinedMetric("never there")

    with pytest.raises(UndefinedMetric, match="never there"):
        replicates(nothing, Resampler([3]), 2)


def test_a_sample_is_drawn_again_for_the_metric_that_it_does_not_define_only():
    def shares(count: np.ndarray) -> dict[str, float | None]:
        return {"first": float(count[0]), "some": None if count[0] else 1.0}

    values = replicates(shares, Resampler([3]), 200)
    alone = replicates(lambda count: {"first": float(count[0])}, Resampler([3]), 200)
    assert values["first"].tolist() == alone["first"].tolist()
    assert set(values["some"]) == {1.0}


@pytest.fixture
def tied(tmp_path):
    """Two systems of six trials whose scores are all equal, or nearly so."""
    key = "filename cm-label\n"
    for number in range(6):
        key += f"E{number} {'bonafide' if number < 3 else 'spoof'}\n"
    (tmp_path / "key.txt").write_text(key)
    for system, first in (("a", 0), ("b", 1)):
        rows = "".join(f"E{number} {first if number == 0 else 0}\n" for number in range(6))
        (tmp_path / f"{system}.txt").write_text("filename cm-score\n" + rows)
    return tmp_path


def test_the_official_rule_reaches_compare_and_the_cross_table(monkeypatch, capsys, tied):
    words = [tied / "a.txt", tied / "b.txt", "--cm_key", tied / "key.txt", "--bootstrap", 3]
    words += ["--json", tied / "out.json"]
    for tie, eer_a in (("merge", 0.5), ("official", 1.0)):
        run(monkeypatch, compare, *words, "--tie", tie, positional=True)
        results = json.loads((tied / "out.json").read_text())
        assert (results["tie"], results["eer"]["a"]) == (tie, eer_a)
    capsys.readouterr()
    (tied / "x").mkdir()
    words = ["--cm", tied / "a.txt", "--cm_key", tied / "key.txt", "--tie", "official"]
    run(monkeypatch, evaluate, *words, "--json", tied / "x/results_eval.json")
    assert "ties: official" in capsys.readouterr().out
    run(monkeypatch, cross_table, "--exp_dirs", tied / "x", "--json", tied / "table.json")
    assert "ties: official" in capsys.readouterr().out
    assert json.loads((tied / "table.json").read_text())["tie"] == "official"


def write_set(folder, scores: dict, segments: dict) -> list:
    """Frame scores of 20 ms and their reference, as words of a command line."""
    write_frames(folder / "frames.txt", {name: np.array(row) for name, row in scores.items()}, 0.02)
    write_rttm(folder / "ref.rttm", segments)
    return ["--frame_scores", folder / "frames.txt", "--rttm", folder / "ref.rttm"]


def measure_frames(monkeypatch, folder, *words) -> dict:
    run(monkeypatch, evaluate_localization, *words, "--json", folder / "out.json")
    return json.loads((folder / "out.json").read_text())


def test_a_resolution_without_a_class_is_not_available(monkeypatch, capsys, caplog, tmp_path):
    """One second, half bona fide and half spoof: one segment of 0.64 s is spoof, the other too."""
    words = write_set(
        tmp_path, {"U": [1.0] * 25 + [-1.0] * 25}, {"U": [(0, 0.5, BONAFIDE), (0.5, 1, SPOOF)]}
    )
    results = measure_frames(monkeypatch, tmp_path, *words, "--txt", tmp_path / "out.txt")
    assert results["segment_eer"]["0.64"] is None
    assert results["segment_eer"]["0.02"] == results["range_eer"] == 0
    assert capsys.readouterr().out.splitlines()[2].split()[-1] == "n/a"
    assert "n/a" in (tmp_path / "out.txt").read_text()
    assert "all: no segments of both classes at 0.64, n/a" in caplog.text


def test_a_bootstrap_sample_that_lacks_a_class_is_drawn_again(monkeypatch, tmp_path):
    """Bona fide segments of 0.64 s are in U0 only, which most samples don't have."""
    segments = {
        "U0": [(0, 1.28, BONAFIDE), (1.28, 1.92, SPOOF)],
        "U1": [(0, 0.5, BONAFIDE), (0.5, 1, SPOOF)],
        "U2": [(0, 0.5, BONAFIDE), (0.5, 1, SPOOF)],
    }
    scores = {
        "U0": [1.0] * 64 + [-1.0] * 32,
        "U1": [1.0] * 25 + [-1.0] * 25,
        "U2": [1.0] * 25 + [-1.0] * 25,
    }
    results = measure_frames(
        monkeypatch, tmp_path, *write_set(tmp_path, scores, segments), "--bootstrap", 20
    )
    assert results["segment_eer"]["0.64"] == 0
    assert results["ci"]["segment_eer"]["0.64"] == [0, 0]


def test_strata_are_utterances_with_the_same_classes_in_them(monkeypatch, tmp_path):
    """Two utterances of both classes, one of which begins with spoof, may stand for each other."""
    segments = {
        "a": [(0, 0.1, BONAFIDE), (0.1, 0.2, SPOOF)],
        "b": [(0, 0.1, SPOOF), (0.1, 0.2, BONAFIDE)],
    }
    # a is all right and b all wrong. By first label, each would be in every sample once.
    scores = {"a": [1.0] * 5 + [-1.0] * 5, "b": [1.0] * 5 + [-1.0] * 5}
    words = write_set(tmp_path, scores, segments)
    low, high = measure_frames(monkeypatch, tmp_path, *words, "--bootstrap", 40)["ci"]["range_eer"]
    assert (low, high) == (0, 1)
    (tmp_path / "utt2spk").write_text("a one\nb one\n")
    words += ["--bootstrap", 10, "--meta", tmp_path / "utt2spk", "--by", "speaker"]
    results = measure_frames(monkeypatch, tmp_path, *words, "--cluster", "speaker")
    assert results["ci"]["range_eer"] == [0.5, 0.5]


def test_the_official_rule_reaches_segments(monkeypatch, capsys, tmp_path):
    """All scores equal: chance if ties are merged, 100 % if each is a step."""
    words = write_set(tmp_path, {"U": [0.0] * 10}, {"U": [(0, 0.1, BONAFIDE), (0.1, 0.2, SPOOF)]})
    words += ["--resolutions", "0.02"]
    assert measure_frames(monkeypatch, tmp_path, *words)["segment_eer"]["0.02"] == 0.5
    results = measure_frames(monkeypatch, tmp_path, *words, "--tie", "official")
    assert (results["segment_eer"]["0.02"], results["range_eer"]) == (1.0, 0.5)
    assert "frame labels: rounded, ties: official" in capsys.readouterr().out


def test_frame_labels_by_both_definitions_by_hand(monkeypatch, capsys, tmp_path):
    """Spoof begins at 25 ms, inside the second frame of 20 ms: 1.25 frames are rounded to 1."""
    segments = Segments(np.array([0.0, 0.029]), np.array([0.029, 0.06]), np.array([1, 0]))
    assert frame_labels(segments, 3, 0.02).tolist() == [1, 0, 0]
    assert frame_labels(segments, 3, 0.02, "any_spoofed_sample").tolist() == [1, 0, 0]
    later = Segments(np.array([0.0, 0.031]), np.array([0.031, 0.06]), np.array([1, 0]))
    assert frame_labels(later, 3, 0.02).tolist() == [1, 1, 0]
    assert frame_labels(later, 3, 0.02, "any_spoofed_sample").tolist() == [1, 0, 0]
    words = write_set(
        tmp_path, {"U": [1.0, -1.0, -1.0]}, {"U": [(0, 0.031, BONAFIDE), (0.031, 0.06, SPOOF)]}
    )
    words += ["--resolutions", "0.02"]
    for rule, eer in (("rounded", 0.25), ("any_spoofed_sample", 0.0)):
        results = measure_frames(monkeypatch, tmp_path, *words, "--frame_labels", rule)
        assert (results["frame_labels"], results["segment_eer"]["0.02"]) == (rule, eer)
        assert f"frame labels: {rule}" in capsys.readouterr().out


@given(st.lists(st.tuples(st.integers(1, 900), st.sampled_from([0, 1])), min_size=1, max_size=8))
def test_any_spoofed_sample_is_the_rule_of_training(parts):
    """Boundaries at any sample of 16 kHz, frames of 20 ms."""
    import torch

    ends = np.cumsum([samples for samples, _ in parts])
    starts = ends - [samples for samples, _ in parts]
    labels = np.array([label for _, label in parts])
    segments = Segments(starts / 16000, ends / 16000, labels)
    track = torch.as_tensor(make_track(segments, 0, int(ends[-1]), 16000))[None]
    expected = by_overlap(track, 320)[0]
    ours = frame_labels(segments, len(expected), 0.02, "any_spoofed_sample")
    assert ours.tolist() == expected.tolist()


def test_segments_longer_than_any_number_are_the_whole_utterance():
    frames = FrameScores(0.02 * np.arange(4), np.array([1.0, 2.0, 3.0]))
    spoofed = FrameScores(0.02 * np.arange(4), np.array([-1.0, 0.0, 0.0]))
    pairs = [
        (frames, Segments(np.array([0.0]), np.array([0.06]), np.array([BONAFIDE]))),
        (spoofed, Segments(np.array([0.0]), np.array([0.06]), np.array([SPOOF]))),
    ]
    assert segment_eer(pairs, 0.02, 0.02 * 2**70).value == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 0.1, BONAFIDE)], "U is not decided, or beyond its end, at 0.1 s"),
        ([(0.1, 0.2, SPOOF)], "at 0 s, expected segments of both classes from 0 to 0.2 s"),
        ([(0, 0.05, BONAFIDE), (0.1, 0.2, SPOOF)], "at 0.05 s"),
        ([(0, 0.1, BONAFIDE), (0.1, 0.9, SPOOF)], "at 0.9 s"),
    ],
)
def test_decisions_that_leave_out_a_part_are_refused(monkeypatch, capsys, tmp_path, rows, message):
    """A gap would count as the class of the segment before it."""
    words = write_set(
        tmp_path, {"U": [1.0] * 5 + [-1.0] * 5}, {"U": [(0, 0.1, BONAFIDE), (0.1, 0.2, SPOOF)]}
    )
    write_rttm(tmp_path / "decided.rttm", {"U": rows})
    words += ["--resolutions", "0.02", "--segments", tmp_path / "decided.rttm"]
    assert message in refused(monkeypatch, capsys, evaluate_localization, *words)
    write_rttm(tmp_path / "decided.rttm", {"U": [(0, 0.2, BONAFIDE)]})
    (tmp_path / "joints").write_text("U 0.3\n")
    words += ["--splices", tmp_path / "joints"]
    message = refused(monkeypatch, capsys, evaluate_localization, *words)
    assert "joints:1: U ends at 0.2 s, expected a joint before it" in message


def test_frames_of_no_length_are_refused(monkeypatch, capsys, tmp_path):
    words = write_set(tmp_path, {"U": [1.0]}, {"U": [(0, 0.02, BONAFIDE)]})
    (tmp_path / "frames.txt").write_text("U 0 1e-300 1\n")
    message = refused(monkeypatch, capsys, evaluate_localization, *words)
    assert "frames.txt: frames of 0 s, expected longer ones than 0.001 s" in message


def test_flipped_frame_scores_are_warned_of(monkeypatch, caplog, tmp_path):
    words = write_set(
        tmp_path, {"U": [-1.0] * 10 + [1.0] * 10}, {"U": [(0, 0.2, BONAFIDE), (0.2, 0.4, SPOOF)]}
    )
    with caplog.at_level(logging.WARNING):
        measure_frames(monkeypatch, tmp_path, *words, "--resolutions", "0.02")
    assert "all: range EER above 50 %, the polarity may be flipped" in caplog.text


@examples(30)
@given(tied_scores, tied_scores, st.data())
def test_official_eers_of_samples_are_those_of_repeated_trials(bonafide, spoof, data):
    counts = []
    for scores in (bonafide, spoof):
        size = len(scores)
        counts.append(data.draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)))
    assume(sum(counts[0]) and sum(counts[1]))
    trials = {
        "bonafide": {"cm-score": np.array(bonafide)},
        "spoof": {"cm-score": np.array(spoof)},
    }
    measure = DetectionMeasure(trials, MetricOptions(merge_ties=False))
    repeated = SortedScores(np.repeat(bonafide, counts[0]), np.repeat(spoof, counts[1]))
    eer = measure.resampled_metrics(*map(np.array, counts))["eer"]
    assert eer == repeated.eer(merge_ties=False).value


def test_rates_of_an_asv_system_are_shares(monkeypatch, capsys, tied):
    words = ["--cm", tied / "b.txt", "--cm_key", tied / "key.txt", "--asv_rates"]
    for rates, message in (
        ("[-0.1,0.02,0.5]", "--asv_rates: miss is -0.1, expected a share between 0 and 1"),
        ("[0.02,0.02,1.5]", "--asv_rates: fa_spoof is 1.5, expected a share between 0 and 1"),
        ("[0.02,2,0.5]", "--asv_rates: fa_nontarget is 2, expected a share between 0 and 1"),
        ("[nan,0.1,0.1]", "nan"),
    ):
        assert message in refused(monkeypatch, capsys, evaluate, *words, rates)
