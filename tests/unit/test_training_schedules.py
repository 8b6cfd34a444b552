"""Learning rates at points worked out by hand."""

import pytest

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
