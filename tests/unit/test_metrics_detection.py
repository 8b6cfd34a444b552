"""Detection metrics: the official values where they are right, the definition where they are
not.
"""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from refvectors import EXPECTED, NASTY, PUBLISHED, big_scores, cm_scores, needs_scores
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from wedefense_lite.metrics.costs import DEFAULT, PRESETS, CostModel, cost_model
from wedefense_lite.metrics.detection import SortedScores


def highest_rejected(scores, threshold):
    """Threshold as the ASVspoof packages give it: the highest rejected score, if there is one."""
    pooled = np.concatenate([scores.bonafide, scores.spoof])
    rejected = pooled[pooled < threshold]
    return rejected.max() if rejected.size else threshold


# Our value of each reference, and how close it has to be.
VALUES = {
    "eer_distinct_thresholds_argmin": (lambda s: s.eer().value, 1e-12),
    "eer_plain_official": (lambda s: s.eer(merge_ties=False).value, 1e-12),
    "eer_threshold_official": (lambda s: highest_rejected(s, s.eer(merge_ties=False).threshold), 0),
    "minDCF_official": (lambda s: s.min_dcf().value, 1e-12),
    "minDCF_threshold_official": (lambda s: highest_rejected(s, s.min_dcf().threshold), 0),
    "actDCF_official": (lambda s: s.act_dcf(), 1e-12),
    "cllr_pyllr": (lambda s: s.cllr(), 1e-9),
    "minCllr_pyllr": (lambda s: s.min_cllr(), 1e-9),
    "minCllr_exact": (lambda s: s.min_cllr(), 1e-9),
    "eer_rocch_pyllr": (lambda s: s.eer_rocch(), 1e-8),
    "eer_rocch_exact": (lambda s: s.eer_rocch(), 1e-12),
    "auc_sklearn": (lambda s: s.auc(), 1e-12),
}


def assert_equals_reference(scores: SortedScores, expected: dict) -> None:
    names = [name for name in VALUES if name in expected]
    assert len(names) >= 10
    for name in names:
        ours, tolerance = VALUES[name]
        assert ours(scores) == pytest.approx(expected[name], abs=tolerance, rel=0), name


@pytest.mark.parametrize("name", [name for name in NASTY if name != "nan_in_spoof"])
def test_nasty_sets_equal_the_reference(name):
    case = NASTY[name]
    assert_equals_reference(SortedScores(case["bonafide"], case["spoof"]), case["expected"])


@needs_scores(*PUBLISHED)
@pytest.mark.parametrize("name", PUBLISHED)
def test_real_scores_equal_the_reference(name):
    bonafide, spoof, _ = cm_scores(name)
    for variant, expected in EXPECTED[name]["metrics"].items():
        if variant in ("as_is", "negated"):
            sign = -1 if variant == "negated" else 1
            assert_equals_reference(SortedScores(sign * bonafide, sign * spoof), expected)


@pytest.mark.parametrize("name", ["big_smooth", "big_rounded2"])
def test_sets_of_680774_trials_equal_the_reference(name):
    assert_equals_reference(SortedScores(*big_scores(name)), EXPECTED[name]["metrics"]["as_is"])


@needs_scores("cm_AIR_ocsoftmax")
def test_each_attack_against_all_bona_fide_equals_the_reference():
    bonafide, spoof, attacks = cm_scores("cm_AIR_ocsoftmax")
    for attack, expected in EXPECTED["cm_AIR_ocsoftmax"]["metrics"][
        "per_attack_eer_official"
    ].items():
        scores = SortedScores(-bonafide, -spoof[attacks == attack])
        assert scores.eer(merge_ties=False).value == pytest.approx(expected, abs=1e-12), attack


def test_equal_scores_are_chance_and_not_always_wrong():
    scores = SortedScores([0.0] * 3, [0.0] * 5)
    assert scores.eer().value == scores.eer_rocch() == scores.auc() == 0.5
    assert scores.eer(merge_ties=False).value == 1.0


def test_a_flipped_polarity_shows_in_the_eer_and_hides_in_that_of_the_hull():
    scores = SortedScores([-1, 0, 1], [2, 3, 4])
    assert (scores.eer().value, scores.eer_rocch()) == (1.0, 0.5)


@pytest.mark.parametrize(("bonafide", "spoof"), [([], [1.0]), ([1.0], [])])
def test_an_empty_class_is_refused(bonafide, spoof):
    with pytest.raises(ValueError, match="no (bonafide|spoof) scores"):
        SortedScores(bonafide, spoof)


def test_nan_is_refused_and_not_ranked():
    with pytest.raises(ValueError, match="1 of 3 spoof scores are NaN"):
        SortedScores([1, 2, 3], [-1, math.nan, 0])


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_cllr_is_finite_for_huge_llrs_on_the_wrong_side(size):
    bits = size / math.log(2)
    assert SortedScores([-size], [size]).cllr() == pytest.approx(bits, rel=1e-12)
    assert SortedScores([size], [-size]).cllr() == 0


def test_infinite_scores_are_ranked_and_only_wrong_ones_make_cllr_infinite():
    assert SortedScores([math.inf, 1], [-math.inf, -1]).cllr() < 1
    wrong = SortedScores([-math.inf, 1], [0, -1])
    assert wrong.cllr() == math.inf
    assert wrong.eer().value == 0.5
    assert math.isfinite(wrong.min_cllr())
    assert math.isfinite(wrong.act_dcf())


@pytest.mark.filterwarnings("error")
def test_an_infinite_score_that_a_sample_leaves_out_does_not_count():
    sample = SortedScores([-math.inf, 1], [0]).weighted([0, 2], [1])
    assert sample.cllr() == SortedScores([1, 1], [0]).cllr()
    assert SortedScores([-math.inf, 1], [0]).weighted([1, 1], [1]).cllr() == math.inf


def test_the_decision_at_the_bayes_threshold_accepts_the_threshold_itself():
    even = CostModel("even", p_spoof=0.5, p_nontarget=0, c_miss=1, c_fa_spoof=1)
    assert even.threshold == 0
    assert SortedScores([0.0], [-1.0]).act_dcf(even) == 0
    assert SortedScores([1.0], [0.0]).act_dcf(even) == 1


def test_two_cost_models_have_two_thresholds_and_two_actual_costs():
    scores = SortedScores([0.0, 1.0], [-2.0, -1.0])
    names = "asvspoof2019 asvspoof2021 asvspoof5_track1 asvspoof5_track2 a_dcf"
    assert set(PRESETS) == set(names.split())
    assert DEFAULT.threshold == pytest.approx(-math.log(1.9))
    strict = cost_model("asvspoof5_track1:p_spoof=0.5")
    assert strict.threshold == pytest.approx(math.log(10))
    assert scores.act_dcf() == 0
    assert scores.act_dcf(strict) == 1


@pytest.mark.parametrize(
    "text", ["asvspoof", "asvspoof2019:p=1", "asvspoof2019:p_spoof=2", "asvspoof2019:c_miss=x"]
)
def test_a_cost_model_that_is_none_is_refused(text):
    with pytest.raises(ValueError):
        cost_model(text)


def test_weights_are_checked():
    scores = SortedScores([1.0, 2.0], [0.0])
    with pytest.raises(ValueError, match="number of weights"):
        scores.weighted([1.0], [1.0])
    with pytest.raises(ValueError, match="sum to zero"):
        scores.weighted([0, 0], [1])


# Few distinct values make ties common.
tied_scores = st.lists(st.integers(-6, 6), min_size=1, max_size=25)
METRICS = ["eer", "eer_rocch", "min_dcf", "act_dcf", "cllr", "min_cllr", "auc"]


def rates(bonafide, spoof, threshold):
    """Miss and false alarm rate where scores at the threshold are accepted, by counting."""
    return (np.asarray(bonafide) < threshold).mean(), (np.asarray(spoof) >= threshold).mean()


@given(tied_scores, tied_scores)
def test_eer_and_min_dcf_equal_a_loop_over_thresholds(bonafide, spoof):
    thresholds = [*sorted({*bonafide, *spoof}), math.inf]
    points = [rates(bonafide, spoof, threshold) for threshold in thresholds]
    gaps = [abs(miss - fa) for miss, fa in points]
    scores = SortedScores(bonafide, spoof)
    assert scores.eer().value == pytest.approx(sum(points[int(np.argmin(gaps))]) / 2, abs=1e-15)
    costs = [0.95 * miss + 0.5 * fa for miss, fa in points]
    assert scores.min_dcf().value == pytest.approx(min(costs) / 0.5, abs=1e-12)
    assert rates(bonafide, spoof, scores.eer().threshold) == points[int(np.argmin(gaps))]


@given(tied_scores, tied_scores)
def test_min_cllr_and_auc_equal_scikit_learn(bonafide, spoof):
    scores = np.array(bonafide + spoof)
    labels = np.repeat([1, 0], [len(bonafide), len(spoof)])
    weights = np.where(labels == 1, 0.5 / len(bonafide), 0.5 / len(spoof))
    posterior = IsotonicRegression().fit(scores, labels, weights).predict(scores)
    right = np.where(labels == 1, posterior, 1 - posterior)
    ours = SortedScores(bonafide, spoof)
    assert ours.min_cllr() == pytest.approx(-(weights * np.log2(right)).sum(), abs=1e-9)
    assert ours.auc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(tied_scores, tied_scores, st.randoms(use_true_random=False))
def test_the_order_of_trials_never_matters(bonafide, spoof, random):
    before = SortedScores(bonafide, spoof)
    after = SortedScores(random.sample(bonafide, len(bonafide)), random.sample(spoof, len(spoof)))
    for metric in METRICS:
        assert getattr(before, metric)() == getattr(after, metric)(), metric


@given(tied_scores, tied_scores, st.lists(st.floats(0.01, 10), min_size=13, max_size=13))
def test_an_increasing_map_of_the_scores_changes_no_rank_metric(bonafide, spoof, steps):
    grow = np.cumsum(steps)
    before = SortedScores(bonafide, spoof)
    after = SortedScores(grow[np.add(bonafide, 6)], grow[np.add(spoof, 6)])
    for metric in ("eer_rocch", "min_cllr", "auc"):
        assert getattr(before, metric)() == getattr(after, metric)(), metric
    for merge in (True, False):
        assert before.eer(merge).value == after.eer(merge).value
    assert before.min_dcf().value == after.min_dcf().value


@given(tied_scores, tied_scores)
def test_swapping_labels_and_sign_gives_the_same_eer(bonafide, spoof):
    scores = SortedScores(bonafide, spoof)
    swapped = SortedScores(-np.array(spoof), -np.array(bonafide))
    assert scores.eer_rocch() == pytest.approx(swapped.eer_rocch(), abs=1e-12)
    assert scores.auc() == pytest.approx(swapped.auc(), abs=1e-12)
    # Where two thresholds are equally good, "the first from below" is another one seen from above.
    gaps = np.sort(np.abs(scores.curve.miss - scores.curve.false_alarm))
    assume(len(gaps) == 1 or gaps[1] - gaps[0] > 1e-9)
    assert scores.eer().value == pytest.approx(swapped.eer().value, abs=1e-12)


@given(tied_scores, tied_scores, st.data())
def test_a_weight_is_that_many_trials(bonafide, spoof, data):
    counts = []
    for scores in (bonafide, spoof):
        size = len(scores)
        counts.append(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    assume(sum(counts[0]) and sum(counts[1]))
    weighted = SortedScores(bonafide, spoof).weighted(*counts)
    repeated = SortedScores(np.repeat(bonafide, counts[0]), np.repeat(spoof, counts[1]))
    for metric in ("eer_rocch", "act_dcf", "cllr", "min_cllr", "auc"):
        expected = getattr(repeated, metric)()
        assert getattr(weighted, metric)() == pytest.approx(expected, abs=1e-12), metric
    assert weighted.eer().value == pytest.approx(repeated.eer().value, abs=1e-15)
    # Copies of a trial are steps of their own where equal scores are.
    official = repeated.eer(merge_ties=False)
    assert weighted.eer(merge_ties=False).value == pytest.approx(official.value, abs=1e-12)
    assert weighted.min_dcf().value == pytest.approx(repeated.min_dcf().value, abs=1e-12)
