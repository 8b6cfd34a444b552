"""Segment and range EER: PartialSpoof's values, and the definition by counting milliseconds."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refvectors import EXPECTED, lines

from wedefense_lite.audio.segments import Segments
from wedefense_lite.localization.frames import FrameScores
from wedefense_lite.localization.metrics import range_eer, segment_eer, segment_scores
from wedefense_lite.metrics.detection import SortedScores

HOP = 0.02


def segments(*rows) -> Segments:
    return Segments(*map(np.array, zip(*rows)))


def reference_set() -> list[tuple[FrameScores, Segments]]:
    rows = {}
    scores = {}
    for row in lines("range_ref.rttm"):
        start, duration = float(row[3]), float(row[4])
        rows.setdefault(row[1], []).append((start, start + duration, int(row[7] == "bonafide")))
    for name, _, score in lines("range_scores_20ms.txt"):
        scores.setdefault(name, []).append(float(score))
    ends = {name: float(end) for name, end in lines("range_reco2dur.txt")}
    pairs = []
    for name, values in scores.items():
        edges = np.append(np.arange(len(values)) * HOP, ends[name])
        pairs.append((FrameScores(edges, np.array(values)), segments(*rows[name])))
    return pairs


@pytest.mark.parametrize("ms", [20, 40, 80, 160, 320, 640])
def test_segment_eer_equals_the_official_value(ms):
    expected = EXPECTED["range_segment"]["metrics"]["segment_eer_official_min"][f"{ms}ms"]["eer"]
    assert segment_eer(reference_set(), HOP, ms / 1000).value == pytest.approx(expected, abs=1e-12)


def test_range_eer_is_exact_and_ends_where_the_official_program_does_not():
    expected, utterances = EXPECTED["range_segment"]["metrics"], reference_set()
    start = time.process_time()
    eer = range_eer(utterances)
    assert time.process_time() - start < 2  # the official search was killed after 240 s
    assert eer.value == pytest.approx(expected["range_eer_exact_argmin"], abs=1e-9)
    assert eer.value == pytest.approx(
        expected["range_eer_official_PartialSpoof"]["value"], abs=2e-5
    )
    assert eer.threshold == pytest.approx(expected["threshold"])


def test_a_segment_has_the_lowest_score_and_is_spoof_if_any_frame_is():
    frames = FrameScores(np.arange(6) * HOP, np.array([5.0, 4.0, 3.0, 2.0, 1.0]))
    scores, labels = segment_scores(
        frames, segments((0, 0.06, 1), (0.06, 0.08, 0), (0.08, 0.1, 1)), HOP, 0.04
    )
    assert scores.tolist() == [4, 2, 1]
    assert labels.tolist() == [1, 0, 1]


def test_what_the_reference_leaves_out_is_spoof():
    frames = FrameScores(np.arange(4) * HOP, np.zeros(3))
    assert segment_scores(frames, segments((0.02, 0.04, 1)), HOP, HOP)[1].tolist() == [0, 1, 0]


@pytest.mark.parametrize("resolution", [0.01, 0.03, 0.001])
def test_a_resolution_that_is_no_whole_number_of_frames_is_refused(resolution):
    frames = FrameScores(np.arange(3) * HOP, np.zeros(2))
    with pytest.raises(ValueError, match="whole number of frames"):
        segment_scores(frames, segments((0, 0.04, 1)), HOP, resolution)


def test_a_reference_of_one_class_is_refused():
    frames = FrameScores(np.array([0.0, 0.02]), np.array([1.0]))
    with pytest.raises(ValueError, match="no spoof time"):
        range_eer([(frames, segments((0, 0.02, 1)))])


@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from([0, 1, None])), min_size=2, max_size=8),
)
def test_range_eer_equals_counting_milliseconds(scores, parts):
    ends = np.cumsum([length for length, _ in parts])
    rows = [
        ((end - length) / 1000, end / 1000, kind)
        for end, (length, kind) in zip(ends, parts)
        if kind is not None
    ]
    frames = FrameScores(np.arange(len(scores) + 1) * HOP, np.array(scores, dtype=float))
    kinds = np.full(len(scores) * 20 + 1000, -1)
    for start, end, kind in rows:
        kinds[round(start * 1000) : round(end * 1000)] = kind
    each = np.repeat(frames.score, 20)
    kinds = kinds[: len(each)]
    if not (kinds == 0).any() or not (kinds == 1).any():
        return
    counted = SortedScores(each[kinds == 1], each[kinds == 0]).eer()
    gaps = np.sort(np.abs(np.subtract(*SortedScores(each[kinds == 1], each[kinds == 0]).curve[1:])))
    if len(gaps) > 1 and gaps[1] - gaps[0] < 1e-9:
        return  # two thresholds are equally good
    assert range_eer([(frames, segments(*rows))]).value == pytest.approx(counted.value, abs=1e-9)
