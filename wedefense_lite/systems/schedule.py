"""Learning rate over the course of training."""

import math
from collections.abc import Iterable, Sequence
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
            optimizer's rate at the end of the warm-up. ``stalling_root`` does the same, and counts
            each step twice as often after ``patience`` validations without a lower dev loss, which
            are then counted anew, as the official code of SE-Res2Net50 does by accuracy.
            ``plateau`` multiplies by ``step_ratio`` after ``patience`` such validations.
        final_ratio: rate at the last step over the optimizer's, of ``linear``, ``cosine`` and
            ``exponential``.
        warmup_steps: steps of the warm-up, in place of its epochs.
        decay_in_warmup: run an exponential decay from the first step on, times the warm-up from 0,
            as WeSpeaker and WeDefense do; ``final_ratio`` is then that of the step behind the last.
        step_epochs: epochs of ``step``.
        step_ratio: factor of ``step`` and ``plateau``.
        patience: validations of ``plateau`` and ``stalling_root``.
    """

    warmup_epochs: Epochs = 0.0
    decay: Literal[
        "constant",
        "linear",
        "cosine",
        "exponential",
        "step",
        "inverse_root",
        "stalling_root",
        "plateau",
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

    @property
    def waits(self) -> bool:
        """Whether the rate depends on the dev loss."""
        return self.decay in ("plateau", "stalling_root")

    def factor(
        self,
        step: int,
        steps_per_epoch: int,
        num_epochs: int,
        reductions: Sequence[int] = (),
    ) -> float:
        """Share of the optimizer's rate at a step, counted from 0.

        Args:
            step: step of the optimizer.
            steps_per_epoch: steps of an epoch.
            num_epochs: epochs of the training.
            reductions: steps before each of the reductions so far, as ``reductions`` gives them.
        """
        if self.decay == "stalling_root":
            step = _counted(step, reductions)
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
            "stalling_root": math.sqrt(max(1.0, warmup) / (step + 1)),
            "plateau": self.step_ratio ** len(reductions),
        }
        return left[self.decay]

    def reductions(self, validations: Iterable[tuple[int, float]]) -> list[int]:
        """Steps before each reduction of a rate that waits on the dev loss.

        Args:
            validations: steps before each validation and its dev loss, in order; NaN is no lower
                one.
        """
        lowest = math.inf
        waited = 0
        reductions = []
        for step, loss in validations:
            waited += 1
            if loss < lowest:
                lowest = loss
                waited = 0
            if waited == self.patience:
                reductions.append(step)
                waited = 0
        return reductions


def _counted(step: int, doublings: Sequence[int]) -> int:
    """Steps before a step, each of those after a doubling counted twice as often.

    It is the count of the step itself less 1, so that ``+ 1`` gives the count with the step.
    """
    count = 0
    weight = 1
    start = 0
    for doubling in doublings:
        if doubling > step:
            break
        count += weight * (doubling - start)
        weight *= 2
        start = doubling
    return count + weight * (step - start + 1) - 1
