"""Tandem metrics: the official values, and the definitions by brute force."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from refvectors import (
    ASV,
    EXPECTED,
    NASTY,
    PUBLISHED,
    SASV,
    big_scores,
    cm_scores,
    lines,
    needs_scores,
    sasv_scores,
)

from wedefense_lite.metrics.costs import PRESETS, cost_model
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.tandem import (
    AsvRates,
    concurrent_teer,
    measure_asv_rates,
    min_adcf,
    min_tdcf,
    tandem_costs,
)

COST = PRESETS["asvspoof2021"]
# The defaults of the a-DCF paper.
SHIM = cost_model("asvspoof5_track2:p_nontarget=0.05,c_fa_spoof=20")
# ASVspoof 5 track 2 uses these rates of its own ASV system, whatever ASV scores are submitted.
ASVSPOOF5_ASV = AsvRates(0.01880141010575793, 0.01881016557566423, 0.4607082907604729)


def assert_tdcf(scores: SortedScores, asv: AsvRates, expected: dict) -> None:
    tdcf = min_tdcf(scores, asv, COST)
    assert tdcf["min_tdcf_2019"] == pytest.approx(expected["min_tDCF_2019_legacy"], abs=1e-12)
    assert tdcf["min_tdcf_2021"] == pytest.approx(expected["min_tDCF_2021"], abs=1e-12)
    for ours, name in zip(tandem_costs(asv, COST), ("C0", "C1", "C2")):
        assert ours == pytest.approx(expected.get(name, ours), abs=1e-12)
    if "min_tDCF_asvspoof5_fixedASV" in expected:
        fixed = min_tdcf(scores, ASVSPOOF5_ASV, PRESETS["asvspoof5_track2"])["min_tdcf_2021"]
        assert fixed == pytest.approx(expected["min_tDCF_asvspoof5_fixedASV"], abs=1e-12)


def reference_rates(values: dict) -> AsvRates:
    assert values["Pmiss_spoof_asv"] == pytest.approx(1 - values["Pfa_spoof_asv"])
    return AsvRates(values["Pmiss_asv"], values["Pfa_asv"], values["Pfa_spoof_asv"])


@needs_scores(ASV)
def test_asv_rates_are_measured_as_officially():
    rows = lines(EXPECTED[ASV]["file"])
    keys = np.array([row[1] for row in rows])
    scores = np.array([float(row[2]) for row in rows])
    measured = measure_asv_rates(
        scores[keys == "target"], scores[keys == "nontarget"], scores[keys == "spoof"]
    )
    assert measured == reference_rates(EXPECTED[ASV]["metrics"])


def test_accepted_spoofs_count_and_not_rejected_ones():
    # All spoofs but one beat the threshold.
    assert measure_asv_rates([2, 3, 4], [-1, 0, 1], [5, 6, 7, -9]).fa_spoof == 0.75


@pytest.mark.parametrize("name", [n for n in NASTY if n not in ("nan_in_spoof", "all_equal")])
def test_nasty_sets_equal_the_reference(name):
    case = NASTY[name]
    asv = reference_rates(case["expected"]["asv_rates_used"])
    assert_tdcf(SortedScores(case["bonafide"], case["spoof"]), asv, case["expected"])


@needs_scores(*PUBLISHED)
@pytest.mark.parametrize("name", PUBLISHED)
def test_real_scores_equal_the_reference(name):
    bonafide, spoof, _ = cm_scores(name)
    asv = EXPECTED[name].get("asv_rates") or EXPECTED[ASV]["metrics"]
    for variant, expected in EXPECTED[name]["metrics"].items():
        if variant in ("as_is", "negated"):
            sign = -1 if variant == "negated" else 1
            assert_tdcf(SortedScores(sign * bonafide, sign * spoof), reference_rates(asv), expected)


@pytest.mark.parametrize("name", ["big_smooth", "big_rounded2"])
def test_sets_of_680774_trials_equal_the_reference(name):
    asv = reference_rates(EXPECTED[ASV]["metrics"])
    assert_tdcf(SortedScores(*big_scores(name)), asv, EXPECTED[name]["metrics"]["as_is"])


@needs_scores(SASV)
def test_verification_with_spoofs_equals_the_reference():
    expected = EXPECTED[SASV]["metrics"]
    asv, cm, classes = sasv_scores()
    rows = [classes == name for name in ("target", "nontarget", "spoof")]
    target, nontarget, spoof = [asv[row] for row in rows]
    assert SortedScores(target, nontarget).eer().value == pytest.approx(
        expected["sv_eer"], abs=1e-12
    )
    assert SortedScores(target, spoof).eer().value == pytest.approx(expected["spf_eer"], abs=1e-12)
    for name, scores in {"sum": asv + cm, "asv_only": asv, "cm_only": cm}.items():
        split = [scores[row] for row in rows]
        for key, model in {"asvspoof5": PRESETS["asvspoof5_track2"], "shim_default": SHIM}.items():
            ours = min_adcf(*split, model).value
            assert ours == pytest.approx(expected[f"a_dcf_{key}_{name}"], abs=1e-12), (name, key)
        if f"sasv_eer_{name}" in expected:
            eer = SortedScores(split[0], np.concatenate(split[1:])).eer().value
            assert eer == pytest.approx(expected[f"sasv_eer_{name}"], abs=1e-12)
    measured = measure_asv_rates(target, nontarget, spoof)
    assert measured == reference_rates(expected["asv_rates"])
    scores = SortedScores(cm[~rows[2]], cm[rows[2]])
    assert_tdcf(scores, measured, expected["tdcf"])
    assert scores.eer(merge_ties=False).value == pytest.approx(
        expected["cm"]["eer_plain_official"], abs=1e-12
    )
    assert scores.cllr() == pytest.approx(expected["cm"]["cllr_pyllr"], abs=1e-9)
    teer = concurrent_teer(cm[~rows[2]], cm[rows[2]], target, nontarget, spoof)
    assert 100 * teer == pytest.approx(expected["teer_percent_official_accelerated"], abs=1e-12)


tied_scores = st.lists(st.integers(-6, 6), min_size=1, max_size=20)
rate = st.floats(0, 1)


@given(tied_scores, tied_scores, st.builds(AsvRates, rate, rate, rate))
def test_the_forms_of_2019_and_2021_are_one_up_to_the_cost_of_the_asv(bonafide, spoof, asv):
    c0 = 0.9405 * asv.miss + 0.0095 * 10 * asv.fa_nontarget
    c1 = 0.9405 * (1 - asv.miss) - 0.0095 * 10 * asv.fa_nontarget
    c2 = 0.05 * 10 * asv.fa_spoof
    assume(min(c1, c2) > 1e-6)
    scores = SortedScores(bonafide, spoof)
    thresholds = [-np.inf, *{*bonafide, *spoof}]
    points = [((np.array(bonafide) <= t).mean(), (np.array(spoof) > t).mean()) for t in thresholds]
    form_2019 = min(c1 * miss + c2 * fa for miss, fa in points) / min(c1, c2)
    form_2021 = min(c0 + c1 * miss + c2 * fa for miss, fa in points) / (c0 + min(c1, c2))
    assert min_tdcf(scores, asv, COST)["min_tdcf_2019"] == pytest.approx(form_2019, abs=1e-12)
    assert min_tdcf(scores, asv, COST)["min_tdcf_2021"] == pytest.approx(form_2021, abs=1e-12)
    identity = (c0 + min(c1, c2) * form_2019) / (c0 + min(c1, c2))
    assert min_tdcf(scores, asv, COST)["min_tdcf_2021"] == pytest.approx(identity, abs=1e-12)


def test_a_perfect_detector_pays_for_the_asv_in_the_form_of_2021_only():
    scores = SortedScores([1.0], [0.0])
    asv = AsvRates(0.03, 0.02, 0.4)
    c0, _, c2 = tandem_costs(asv, COST)
    assert min_tdcf(scores, asv, COST)["min_tdcf_2019"] == 0
    assert min_tdcf(scores, asv, COST)["min_tdcf_2021"] == pytest.approx(c0 / (c0 + c2))


@pytest.mark.parametrize("asv", [AsvRates(1.0, 0.0, 0.5), AsvRates(0.02, 0.02, 0.0)])
def test_an_asv_without_use_for_a_detector_is_refused(asv):
    with pytest.raises(ValueError, match="undefined"):
        min_tdcf(SortedScores([1.0], [0.0]), asv, COST)


@given(tied_scores, tied_scores, tied_scores)
def test_adcf_equals_a_loop_over_thresholds(target, nontarget, spoof):
    target, nontarget, spoof = map(np.array, (target, nontarget, spoof))

    def cost_at(t):
        rejected_targets = (target < t).mean()
        accepted_nontargets = (nontarget >= t).mean()
        accepted_spoofs = (spoof >= t).mean()
        return 0.9405 * rejected_targets + 0.095 * accepted_nontargets + 0.5 * accepted_spoofs

    least_cost = min(cost_at(t) for t in [*target, *nontarget, *spoof, np.inf])
    point = min_adcf(target, nontarget, spoof, COST)
    assert point.value == pytest.approx(least_cost / 0.595, abs=1e-12)
    assert cost_at(point.threshold) / 0.595 == pytest.approx(point.value, abs=1e-12)


def share_up_to(values, threshold):
    return (np.array(values) <= threshold).mean()


@given(tied_scores, tied_scores, tied_scores, tied_scores, tied_scores)
def test_teer_equals_a_loop_over_pairs_of_thresholds(bonafide, fake, target, nontarget, spoof):
    best = None
    for s in [-np.inf, *sorted({*target, *nontarget, *spoof})]:
        miss = share_up_to(target, s)
        non = 1 - share_up_to(nontarget, s)
        spf = 1 - share_up_to(spoof, s)
        if not (miss < (non + spf) / 2 and spf > 0):
            continue
        pairs = []
        for t in [-np.inf, *sorted({*bonafide, *fake})]:
            cm_miss = share_up_to(bonafide, t)
            cm_fa = 1 - share_up_to(fake, t)
            gap = abs(miss + (1 - miss) * cm_miss - ((1 - cm_miss) * non + cm_fa * spf) / 2)
            pairs.append((gap, cm_miss, cm_fa))
        gaps = sorted(gap for gap, _, _ in pairs)
        assume(len(gaps) == 1 or gaps[1] - gaps[0] > 1e-9)  # which of two equals is taken is open
        _, cm_miss, cm_fa = min(pairs)
        assume(cm_miss < 1)
        apart = abs(non / spf - cm_fa / (1 - cm_miss))
        assume(best is None or abs(apart - best[0]) > 1e-9)
        best = min(best or (np.inf, 0), (apart, spf * cm_fa))
    assume(best is not None)
    teer = concurrent_teer(bonafide, fake, target, nontarget, spoof)
    assert teer == pytest.approx(best[1], abs=1e-12)
