"""Doubt: a hand-worked range of scores, and recordings that are unlike the dev set."""

import numpy as np
import pytest
import tiny

from wedefense_lite.files import InputError
from wedefense_lite.metrics.doubt import doubtful_range
from wedefense_lite.scoring.bundle import Detector
from wedefense_lite.scoring.facts import DONT_KNOW, BundleFacts
from wedefense_lite.scoring.traits import dev_ranges, measure_traits, unlike

SPOOF = [0.0, 1.0, 3.0, 4.0]
BONAFIDE = [2.0, 5.0, 6.0, 7.0]


def test_a_range_worked_by_hand():
    """Scores 2 to 4 are bona fide, spoof, spoof: pooled, a third is bona fide."""
    assert doubtful_range(BONAFIDE, SPOOF, 4.5, 0.3) == (2.0, 4.5)
    assert doubtful_range(BONAFIDE, SPOOF, 4.5, 0.34) is None
    # At a threshold of 2 the other two thirds of these decisions are wrong.
    assert doubtful_range(BONAFIDE, SPOOF, 2.0, 0.5) == (2.0, 4.0)
    assert doubtful_range(BONAFIDE, SPOOF, 2.0, 0.67) is None


def test_classes_count_half_whatever_their_trials_are():
    """Ten times the spoofed trials are the same distribution."""
    assert doubtful_range(BONAFIDE, SPOOF * 10, 4.5, 0.3) == (2.0, 4.5)
    with pytest.raises(ValueError, match="both classes"):
        doubtful_range([], SPOOF, 0.0, 0.3)


def test_equal_scores_are_one_point():
    """One bona fide trial of two and all spoofed trials have the score 1: a third is bona fide."""
    assert doubtful_range([1.0, 2.0], [1.0, 1.0], 1.5, 0.3) == (1.0, 1.5)
    assert doubtful_range([1.0, 2.0], [1.0, 1.0], 1.5, 0.34) is None


def tone(hertz: float, amplitude: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * tiny.RATE)) / tiny.RATE
    return amplitude * np.sin(2 * np.pi * hertz * time)


def test_traits_of_a_tone():
    traits = measure_traits(tone(3000, 0.1), tiny.RATE)
    assert traits["level"] == pytest.approx(20 * np.log10(0.1 / np.sqrt(2)), abs=0.01)
    assert traits["seconds"] == 1.0
    # The window spreads a tone over some bins of 31 Hz.
    assert 3000 <= traits["bandwidth"] <= 3300
    noise = np.random.default_rng(0).standard_normal(tiny.RATE)
    assert measure_traits(noise, tiny.RATE)["bandwidth"] == tiny.RATE / 2
    assert measure_traits(np.zeros(100), tiny.RATE)["level"] < -200


def test_what_is_unlike_dev_is_said_with_the_range_of_dev():
    rows = []
    for amplitude in (0.1, 0.2, 0.4):
        rows.append(measure_traits(tone(3000, amplitude), tiny.RATE))
    ranges = dev_ranges(rows)
    assert unlike(measure_traits(tone(3000, 0.2), tiny.RATE), ranges) == ""
    note = unlike(measure_traits(tone(1000, 0.001, seconds=3), tiny.RATE), ranges)
    assert note.startswith("unlike dev: level -63.0 dB (dev -23.0 to -11.0)")
    assert "bandwidth 1" in note and "3.00 s (dev 1.00 to 1.00)" in note


@pytest.mark.parametrize("decide_on", ["llr", "bonafide_logit"])
def test_a_decision_in_the_range_is_dont_know(tmp_path, decide_on):
    folder = tiny.bundle(
        tmp_path / "bundle",
        class_prior=(0.5, 0.5),
        decide_on=decide_on,
        threshold=0.0,
        thresholds={"EER": 0.0, "FAR 0.01": 4.0},
        doubt_share=0.3,
        doubt={"EER": (-1.0, 2.0)},
    )
    detector = Detector(folder)
    decisions = [
        detector.facts.decide(evidence, 0.0, "EER") for evidence in (-1.1, -1.0, 0, 2.0, 2.1)
    ]
    assert decisions == ["spoof", DONT_KNOW, DONT_KNOW, DONT_KNOW, "bonafide"]
    # A threshold without a range has two decisions.
    assert detector.facts.decide(0.0, 4.0, "FAR 0.01") == "spoof"
    assert detector.facts.decide(0.0, 0.0) == "bonafide"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"doubt": {"EER": (1.0,)}}, "doubt of EER is .*expected two rising numbers"),
        ({"doubt": {"EER": (2.0, 1.0)}}, "doubt of EER is .*expected two rising numbers"),
        ({"doubt": {"FAR": (1.0, 2.0)}}, "doubt of 'FAR', which is no threshold"),
        ({"doubt_share": 1.5}, "doubt_share is 1.5, expected 0 to 1"),
        ({"dev_ranges": {"colour": (0.0, 1.0)}}, "dev_ranges of 'colour', expected"),
        ({"dev_ranges": {"level": (3.0, 1.0)}}, "dev_ranges of level is .*two rising"),
    ],
)
def test_facts_that_can_not_be_right_are_refused(facts, said):
    with pytest.raises(ValueError, match=said):
        BundleFacts(thresholds={"EER": 0.0}, **facts)


def test_an_answer_says_how_a_recording_is_unlike_dev(tmp_path):
    ranges = {"level": (-40.0, -10.0), "bandwidth": (7000.0, 8000.0), "seconds": (5.0, 9.0)}
    folder = tiny.bundle(tmp_path / "bundle", class_prior=(0.5, 0.5), dev_ranges=ranges)
    detector = Detector(folder)
    answer = detector.answer(tiny.talking(2.0))
    assert answer.llr is not None
    assert (
        answer.note == "unlike dev: bandwidth 3156 Hz (dev 7000 to 8000), 2.00 s (dev 5.00 to 9.00)"
    )
    with pytest.raises(InputError):
        detector.score(np.zeros(16000))
