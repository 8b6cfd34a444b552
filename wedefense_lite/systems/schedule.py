"""Learning rate over the course of training."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeInt,
    PositiveInt,
    restricted_number_type,
)

# A warm-up that is longer than any training would leave the rate at 0.
Epochs = restricted_number_type("Epochs", float, [(">=", 0), ("<=", 1_000_000)])


@dataclass
class Schedule:
    """Linear warm-up, then a decay.

    Args:
        warmup_epochs: epochs over which the rate rises from 0 to the optimizer's.
        decay: its course after that. ``constant``, ``linear``, ``cosine`` and ``exponential`` end
            at the last step. ``step`` multiplies by ``step_ratio`` after every ``step_epochs``,
            counted from the beginning. ``inverse_root`` falls with the root of the step, and is the
            optimizer's rate at the end of the warm-up. ``plateau`` multiplies by ``step_ratio``
            after ``patience`` validations without a lower dev loss, and then counts anew.
        final_ratio: rate at the last step over the optimizer's, of ``linear``, ``cosine`` and
            ``exponential``.
        warmup_steps: steps of the warm-up, in place of its epochs.
        decay_in_warmup: run an exponential decay from the first step on, times the warm-up from 0,
            as WeSpeaker and WeDefense do; ``final_ratio`` is then that of the step behind the last.
        step_epochs: epochs of ``step``.
        step_ratio: factor of ``step`` and ``plateau``.
        patience: validations of ``plateau``.
    """

    warmup_epochs: Epochs = 0.0
    decay: Literal[
        "constant", "linear", "cosine", "exponential", "step", "inverse_root", "plateau"
    ] = "cosine"
    final_ratio: ClosedUnitInterval = 0.01
    warmup_steps: NonNegativeInt = 0
    decay_in_warmup: bool = False
    step_epochs: PositiveInt = 10
    step_ratio: ClosedUnitInterval = 0.5
    patience: PositiveInt = 3

    def __post_init__(self):
        if self.warmup_steps and self.warmup_epochs:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps} and warmup_epochs {self.warmup_epochs}:"
                " one of them has to be 0"
            )
        if self.decay_in_warmup and self.decay != "exponential":
            raise ValueError(
                f"decay_in_warmup is of an exponential decay, and the decay is {self.decay}"
            )

    def factor(
        self, step: int, steps_per_epoch: int, num_epochs: int, reductions: int = 0
    ) -> float:
        """Share of the optimizer's rate at a step, counted from 0.

        Args:
            step: step of the optimizer.
            steps_per_epoch: steps of an epoch.
            num_epochs: epochs of the training.
            reductions: times that ``plateau`` has multiplied so far, as ``reductions`` counts them.
        """
        warmup = self.warmup_steps or self.warmup_epochs * steps_per_epoch
        steps = num_epochs * steps_per_epoch
        if self.decay_in_warmup:
            risen = min(1.0, step / warmup) if warmup else 1.0
            return risen * self.final_ratio ** (step / steps)
        if step < warmup:
            return (step + 1) / warmup if warmup > 1 else 1.0
        done = min(1.0, (step - warmup) / max(1.0, steps - 1 - warmup))
        half_wave = (1 + math.cos(math.pi * done)) / 2
        left = {
            "constant": 1.0,
            "linear": 1 - done * (1 - self.final_ratio),
            "cosine": self.final_ratio + (1 - self.final_ratio) * half_wave,
            "exponential": self.final_ratio**done,
            "step": self.step_ratio ** (step // steps_per_epoch // self.step_epochs),
            "inverse_root": math.sqrt(max(1.0, warmup) / (step + 1)),
            "plateau": self.step_ratio**reductions,
        }
        return left[self.decay]

    def reductions(self, dev_losses: Iterable[float]) -> int:
        """Number of times that ``plateau`` has multiplied after some validations.

        Args:
            dev_losses: loss of each validation, in order; NaN is no lower one.
        """
        lowest = math.inf
        waited = 0
        reductions = 0
        for loss in dev_losses:
            waited += 1
            if loss < lowest:
                lowest = loss
                waited = 0
            if waited == self.patience:
                reductions += 1
                waited = 0
        return reductions
