"""Learning rate over the course of training."""

import math
from dataclasses import dataclass
from typing import Literal

from jsonargparse.typing import ClosedUnitInterval, restricted_number_type

# A warm-up that is longer than any training would leave the rate at 0.
Epochs = restricted_number_type("Epochs", float, [(">=", 0), ("<=", 1_000_000)])


@dataclass
class Schedule:
    """Linear warm-up, then a decay to the last step.

    Args:
        warmup_epochs: epochs over which the rate rises from 0 to the optimizer's.
        decay: its course after that.
        final_ratio: rate at the last step over the optimizer's; a constant course has none.
    """

    warmup_epochs: Epochs = 0.0
    decay: Literal["constant", "linear", "cosine", "exponential"] = "cosine"
    final_ratio: ClosedUnitInterval = 0.01

    def factor(self, step: int, steps_per_epoch: int, num_epochs: int) -> float:
        """Share of the optimizer's rate at a step, counted from 0."""
        warmup_steps = self.warmup_epochs * steps_per_epoch
        if step < warmup_steps:
            return (step + 1) / warmup_steps if warmup_steps > 1 else 1.0
        decay_steps = max(1.0, num_epochs * steps_per_epoch - 1 - warmup_steps)
        done = min(1.0, (step - warmup_steps) / decay_steps)
        left = {
            "constant": 1.0,
            "linear": 1 - done * (1 - self.final_ratio),
            "cosine": self.final_ratio
            + (1 - self.final_ratio) * (1 + math.cos(math.pi * done)) / 2,
            "exponential": self.final_ratio**done,
        }
        return left[self.decay]
