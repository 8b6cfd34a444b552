"""Learning rates at points worked out by hand."""

import math

import pytest
import yaml
from conftest import ROOT

from wedefense_lite.systems.schedule import Schedule

# 10 steps an epoch, 5 epochs: steps 0 to 49.
POINTS = [
    (Schedule(decay="constant"), {0: 1, 25: 1, 49: 1}),
    (Schedule(decay="linear", final_ratio=0.0), {0: 1, 7: 6 / 7, 28: 3 / 7, 49: 0}),
    (Schedule(decay="linear", final_ratio=0.3), {0: 1, 49: 0.3}),
    (Schedule(decay="cosine", final_ratio=0.0), {0: 1, 49: 0}),
    (Schedule(decay="exponential", final_ratio=0.01), {0: 1, 24: 0.01 ** (24 / 49), 49: 0.01}),
    # Warm-up of 2 epochs: 20 steps up to the full rate, then 29 steps of decay.
    (Schedule(2, "constant"), {0: 1 / 20, 9: 10 / 20, 19: 1, 20: 1, 49: 1}),
    (Schedule(2, "linear", 0.0), {0: 1 / 20, 19: 1, 20: 1, 49: 0}),
    (Schedule(0.5, "cosine", 0.1), {0: 1 / 5, 4: 1, 5: 1, 27: 0.1 + 0.9 / 2, 49: 0.1}),
    (Schedule(2, "exponential", 0.5), {20: 1, 49: 0.5}),
    (Schedule(5, "cosine"), {0: 1 / 50, 49: 1}),
    # As a wedefense run of five epochs with one of warm-up: the peak is where the warm-up ends.
    (
        Schedule(1, "exponential", 0.5, decay_in_warmup=True),
        {0: 0, 1: 0.1 * 0.5**0.02, 5: 0.5 * 0.5**0.1, 10: 0.5**0.2, 25: 0.5**0.5, 49: 0.5**0.98},
    ),
    (Schedule(0, "exponential", 0.5, decay_in_warmup=True), {0: 1, 25: 0.5**0.5}),
    # Epochs of 10 steps, two of them a step of the rate.
    (
        Schedule(decay="step", step_epochs=2, step_ratio=0.1),
        {0: 1, 19: 1, 20: 0.1, 39: 0.1, 40: 0.01, 49: 0.01},
    ),
    (Schedule(1, "step", step_epochs=3), {4: 0.5, 9: 1, 29: 1, 30: 0.5}),
    # "Attention is all you need": n^-0.5 against n times W^-1.5, both over W^-0.5, n from 1.
    (
        Schedule(decay="inverse_root", warmup_steps=4),
        {0: 1 / 4, 1: 2 / 4, 3: 1, 4: math.sqrt(4 / 5), 15: 1 / 2, 35: 1 / 3},
    ),
    (Schedule(0.4, "inverse_root"), {0: 1 / 4, 3: 1, 15: 1 / 2}),
    (Schedule(decay="inverse_root"), {0: 1, 3: 1 / 2, 24: 1 / 5}),
    (Schedule(decay="constant", warmup_steps=5), {0: 1 / 5, 4: 1, 5: 1}),
]


@pytest.mark.parametrize(("schedule", "points"), POINTS)
def test_points(schedule, points):
    found = {step: schedule.factor(step, steps_per_epoch=10, num_epochs=5) for step in points}
    assert found == pytest.approx(points)


@pytest.mark.parametrize("decay", ["linear", "cosine", "exponential"])
def test_it_rises_then_falls_and_is_never_negative(decay):
    schedule = Schedule(1, decay, 0.01)
    rates = [schedule.factor(step, 10, 5) for step in range(50)]
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert min(rates) > 0 and max(rates) == 1


def test_one_step_of_training_has_the_full_rate():
    assert Schedule().factor(0, steps_per_epoch=1, num_epochs=1) == 1


def test_warm_up_shorter_than_a_step_is_none():
    assert Schedule(0.05, "constant").factor(0, steps_per_epoch=10, num_epochs=5) == 1


@pytest.mark.parametrize(
    ("dev_losses", "reductions"),
    [
        ([], []),
        ([3.0, 3.0], []),
        ([3.0, 3.0, 3.1], [12]),
        ([3.0, 2.0, 2.5, 1.9, 2.0], []),
        # Two waits of two validations each, the second one after the first lowered the rate.
        ([3.0, 3.5, 3.5, 3.4, 3.3, 2.9], [12, 20]),
        ([math.nan, math.nan, 3.0], [8]),
    ],
)
def test_a_plateau_is_counted_in_validations_without_a_lower_loss(dev_losses, reductions):
    schedule = Schedule(2, "plateau", step_ratio=0.3, patience=2)
    # Validations after every four steps.
    validations = [(4 * number, loss) for number, loss in enumerate(dev_losses, 1)]
    assert schedule.reductions(validations) == reductions
    assert schedule.factor(30, 10, 5, reductions) == pytest.approx(0.3 ** len(reductions))
    assert schedule.factor(9, 10, 5, reductions) == pytest.approx(10 / 20)


def test_steps_after_a_stall_count_twice():
    """As in the official code of SE-Res2Net50: its count of steps grows by 1, then 2, then 4."""
    schedule = Schedule(decay="stalling_root", warmup_steps=4, patience=4)
    count = 0
    for step in range(30):
        count += 1 if step < 12 else 2 if step < 20 else 4
        expected = min(count**-0.5, 4**-1.5 * count) / 4**-0.5
        assert schedule.factor(step, 10, 5, [12, 20]) == pytest.approx(expected), step
    assert schedule.reductions([(4, 1.0), (8, 1.1), (12, 1.2), (16, 1.1), (20, 1.0)]) == [20]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup_steps": 4, "warmup_epochs": 1.0}, "warmup_steps is 4 and warmup_epochs 1.0"),
        ({"decay_in_warmup": True}, "the decay is cosine"),
    ],
)
def test_options_that_contradict_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**options)


# Rates of the authors' code: at its highest, and at a later step. Steps of an epoch, step, rate.
RATES = {
    "wavlm_base_frozen": [(10, 20, 0.2 * 5e-3**0.1), (10, 199, 0.2 * 5e-3**0.995)],
    "wavlm_large_mhfa": [(10, 10, 2.5e-5 * 0.5**0.2), (10, 25, 2.5e-5 * 0.5**0.5)],
    "xlsr_mhfa": [(10, 10, 2.5e-5 * 0.05**0.2), (10, 5, 2.5e-5 * 0.05**0.1 / 2)],
    "resnet18_se": [(10, 60, 0.2 * 5e-4**0.06), (10, 500, 0.2 * 5e-4**0.5)],
    "ecapa": [(10, 60, 0.2 * 5e-4**0.04), (10, 750, 0.2 * 5e-4**0.5)],
    "se_res2net50": [(793, 999, 64**-0.5 * 1000**-0.5), (793, 15859, 64**-0.5 * 15860**-0.5)],
    "eabn": [(198, 499, 64**-0.5 * 1000**-1.5 * 500), (198, 11879, 64**-0.5 * 11880**-0.5)],
    "eabn_efficientnet": [(10, 399, 64**-0.5 * 1000**-1.5 * 400)],
    "lfcc_lcnn_lstm": [(10, 99, 3e-4), (10, 100, 1.5e-4), (10, 999, 3e-4 / 2**9)],
    "lfcc_lcnn_lstm_p2sgrad": [(10, 999, 3e-4 / 2**9)],
    "resnet18_oc": [(10, 999, 3e-4 / 2**9)],
    "localization_wav2vec2_gmlp": [(10, 999, 1e-5 / 2**9)],
    "localization_bam": [(10, 99, 1e-5), (10, 499, 1e-9)],
}


@pytest.mark.parametrize("name", RATES)
def test_rates_of_configurations_are_the_authors(name):
    training = yaml.safe_load((ROOT / f"conf/{name}.yaml").read_text())["training"]
    schedule = Schedule(**training["schedule"])
    rate = training["optimizer"]["init_args"]["lr"]
    for steps_per_epoch, step, expected in RATES[name]:
        factor = schedule.factor(step, steps_per_epoch, training["num_epochs"])
        assert rate * factor == pytest.approx(expected, rel=1e-4)
