"""One convention everywhere: a score at or above the threshold is bona fide."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wedefense_lite.audio.segments import Segments
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.bin.diarize_spoof import score_talker
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.localization.decoding import Decoder, choose_decoder
from wedefense_lite.localization.frames import FrameScores
from wedefense_lite.localization.metrics import range_eer, segment_eer
from wedefense_lite.metrics.costs import DEFAULT, CostModel
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.tandem import measure_asv_rates, min_adcf
from wedefense_lite.mixtures.metrics import best_threshold, mixture_metrics
from wedefense_lite.scoring.bundle import Detector
from wedefense_lite.scoring.detector import Recording
from wedefense_lite.scoring.facts import BundleFacts
from wedefense_lite.scoring.recordings import Span

# Few distinct values make ties common, between classes and within them.
tied_scores = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=15)
any_scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=15)
trials = st.one_of(st.tuples(tied_scores, tied_scores), st.tuples(any_scores, any_scores))


def errors(bonafide, spoof, threshold: float) -> tuple[float, float]:
    """Miss and false alarm rate by counting."""
    return (np.array(bonafide) < threshold).mean(), (np.array(spoof) >= threshold).mean()


class OneScore(Detector):
    """Detector whose evidence is a number that it is given."""

    def __init__(self, score: float, threshold: float):
        self.facts = BundleFacts(
            decide_on="bonafide_logit", threshold=threshold, thresholds={"EER": threshold}
        )
        self.data = SimpleNamespace(sample_rate=16000)
        self.task = SimpleNamespace(logits=None)
        self.score_of_audio = score

    def _open(self, audio, channel) -> Recording:
        return Recording(Utterance("x", "x.wav", samples=16000, rate=16000), self.data, "")

    def _compute(self, recording, *_) -> tuple[np.ndarray, list[Span]]:
        return np.array([[0.0, self.score_of_audio]]), [Span(0, 16000)]


def decide_by_bundle(score: float, threshold: float) -> bool:
    return OneScore(score, threshold).classify("x.wav") == "bonafide"


def decide_by_bundle_with_a_threshold(score: float, threshold: float) -> bool:
    return OneScore(score, 1e9).classify("x.wav", threshold=threshold) == "bonafide"


def decide_talker(score: float, threshold: float) -> bool:
    detector = OneScore(score, threshold)
    talker = score_talker(detector, np.ones(16000), [(0.0, 1.0)], 16000)
    return talker["decision"] == LABELS[BONAFIDE]


def decide_frame(score: float, threshold: float) -> bool:
    return bool(Decoder(1, threshold, 1)(np.array([score]))[0] == BONAFIDE)


def decide_stream(score: float, threshold: float) -> bool:
    metrics = mixture_metrics([[score]], [[BONAFIDE]], [[0]], threshold)
    return metrics["accuracy"] == 1


def decide_by_errors(score: float, threshold: float) -> bool:
    miss, _ = SortedScores([score], [score]).errors_at(threshold)
    return miss == 0


DECISIONS = {
    "bundle": decide_by_bundle,
    "bundle, threshold given": decide_by_bundle_with_a_threshold,
    "talker": decide_talker,
    "frame": decide_frame,
    "stream": decide_stream,
    "error rates": decide_by_errors,
}


@pytest.mark.parametrize("decide", DECISIONS.values(), ids=DECISIONS)
@given(st.sampled_from([-1.5, 0.0, 0.1, 3.0]), st.sampled_from([-1.5, 0.0, 0.1, 3.0]))
def test_a_score_at_the_threshold_is_bona_fide(decide, score, threshold):
    assert decide(score, threshold) == (score >= threshold)
    assert decide(threshold, threshold)
    assert not decide(float(np.nextafter(threshold, -np.inf)), threshold)


@given(trials)
def test_the_threshold_of_an_eer_has_the_error_rates_of_that_eer(drawn):
    bonafide, spoof = drawn
    scores = SortedScores(bonafide, spoof)
    point = scores.eer()
    assert scores.errors_at(point.threshold) == errors(bonafide, spoof, point.threshold)
    assert sum(scores.errors_at(point.threshold)) / 2 == point.value


@given(trials)
def test_every_point_of_the_curve_has_the_error_rates_of_its_threshold(drawn):
    scores = SortedScores(*drawn)
    for threshold, miss, false_alarm in zip(*scores.curve):
        assert scores.errors_at(threshold) == (miss, false_alarm)
        assert errors(*drawn, threshold) == (miss, false_alarm)


@given(trials)
def test_the_threshold_of_a_minimum_cost_has_that_cost(drawn):
    scores = SortedScores(*drawn)
    point = scores.min_dcf()
    miss, false_alarm = scores.errors_at(point.threshold)
    cost = DEFAULT.miss_weight * miss + DEFAULT.fa_weight * false_alarm
    assert cost / min(DEFAULT.miss_weight, DEFAULT.fa_weight) == pytest.approx(point.value)


@given(trials, st.integers(-4, 4))
def test_the_actual_cost_accepts_scores_at_the_bayes_threshold(drawn, log_ratio):
    model = CostModel("even", p_spoof=0.5, p_nontarget=0, c_miss=1, c_fa_spoof=float(2**log_ratio))
    miss, false_alarm = errors(*drawn, model.threshold)
    cost = (model.miss_weight * miss + model.fa_weight * false_alarm) / min(
        model.miss_weight, model.fa_weight
    )
    assert SortedScores(*drawn).act_dcf(model) == pytest.approx(cost)


@given(trials, tied_scores)
def test_the_threshold_of_an_a_dcf_accepts_its_target(drawn, nontarget):
    target, spoof = drawn
    point = min_adcf(target, nontarget, spoof, DEFAULT)
    miss, false_alarm = errors(target, spoof, point.threshold)
    _, fa_nontarget = errors(target, nontarget, point.threshold)
    target_cost = DEFAULT.p_target * DEFAULT.c_miss
    nontarget_cost = DEFAULT.p_nontarget * DEFAULT.c_fa_nontarget
    cost = target_cost * miss + nontarget_cost * fa_nontarget + DEFAULT.fa_weight * false_alarm
    default_cost = min(target_cost, nontarget_cost + DEFAULT.fa_weight)
    assert cost / default_cost == pytest.approx(point.value)


@given(trials, tied_scores)
def test_asv_rates_stay_those_of_the_official_threshold(drawn, spoof):
    """The official packages accept the highest score that their EER rejects."""
    target, nontarget = drawn
    rates = measure_asv_rates(target, nontarget, spoof)
    threshold = SortedScores(target, nontarget).eer().threshold
    rejected = [score for score in [*target, *nontarget] if score < threshold]
    official = max(rejected) if rejected else threshold
    assert rates.miss == (np.array(target) < official).mean()
    assert rates.fa_nontarget == (np.array(nontarget) >= official).mean()
    assert rates.fa_spoof == (np.array(spoof) >= official).mean()


def framed(bonafide, spoof) -> list[tuple[FrameScores, Segments]]:
    """An utterance of frames of 20 ms, the bona fide ones first."""
    scores = np.array([*bonafide, *spoof])
    boundary = 0.02 * len(bonafide)
    end = 0.02 * len(scores)
    segments = Segments(
        np.array([0.0, boundary]), np.array([boundary, end]), np.array([BONAFIDE, SPOOF])
    )
    return [(FrameScores(0.02 * np.arange(len(scores) + 1), scores), segments)]


@given(trials)
def test_thresholds_of_frames_have_the_error_rates_of_their_eer(drawn):
    bonafide, spoof = drawn
    by_segment = segment_eer(framed(bonafide, spoof), 0.02, 0.02)
    assert sum(errors(bonafide, spoof, by_segment.threshold)) / 2 == by_segment.value
    by_time = range_eer(framed(bonafide, spoof))
    assert sum(errors(bonafide, spoof, by_time.threshold)) / 2 == pytest.approx(by_time.value)


def test_a_decoder_accepts_the_frame_above_its_threshold_and_rejects_the_one_below():
    decoder, f1 = choose_decoder(framed([1.0] * 20, [-1.0] * 20), 0.02)
    assert f1 == pytest.approx(1)
    assert -1 < decoder.threshold <= 1


def test_the_best_threshold_of_streams_accepts_its_own_score():
    scores = [[2.0, -1.0], [2.0, 2.0], [-1.0, -1.0]]
    labels = [[BONAFIDE, SPOOF], [BONAFIDE, BONAFIDE], [SPOOF, SPOOF]]
    threshold, f1 = best_threshold(scores, labels)
    assert (threshold, f1) == (2.0, 1.0)
    assert mixture_metrics(scores, labels, None, threshold)["accuracy"] == 1
