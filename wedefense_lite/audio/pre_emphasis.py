"""Pre-emphasis: a first-order high-pass that lifts the weak high frequencies of speech."""

import torch.nn.functional as F
from torch import Tensor


def pre_emphasise(wav: Tensor, coefficient: float) -> Tensor:
    """Samples ``y[t] = x[t] - a x[t-1]``, where the sample before the first one is 0.

    Args:
        wav: ``(..., T)``, floats.
        coefficient: a, usually 0.97; 0 changes nothing.
    """
    previous = F.pad(wav, (1, 0))[..., :-1]
    return wav - coefficient * previous
