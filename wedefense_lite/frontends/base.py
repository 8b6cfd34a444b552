"""What every front end promises."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn


class Frontend(nn.Module, ABC):
    """Waveforms to frames, batched, on the model's device.

    Attributes:
        dim: features of a frame (F).
        hop_seconds: time from one frame to the next.
        sample_rate: of the audio, in Hz.
        resolved: options that were not given but found while building; they are kept with the experiment.
    """

    dim: int
    hop_seconds: float
    sample_rate: int
    resolved: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Frames of a batch.

        Args:
            wav_BT: float32 in [-1, 1], zeros after each utterance's end.
            lengths_B: samples of each utterance.

        Returns:
            ``frames_BFD`` (batch, frames, dim) and ``frame_lengths_B``; frames at or after an
            utterance's length are zero.

        Raises:
            ValueError: an utterance too short for one frame.
        """

    def load_pretrained(self) -> None:  # noqa: B027  most have nothing to load
        """Take on weights that were trained elsewhere, where there are any. Training starts with this."""

    def rate_factors(self) -> dict[nn.Parameter, float]:
        """By what the learning rate is multiplied for parameters that it isn't 1 for."""
        return {}


def valid_mask(lengths_B: Tensor, size: int) -> Tensor:
    """``mask_BF``: True at positions before each length."""
    return torch.arange(size, device=lengths_B.device) < lengths_B[:, None]
