"""What every front end promises."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Frontend(nn.Module, ABC):
    """Waveforms to frames, batched, on the model's device.

    Attributes:
        dim: features of a frame (F).
        hop_seconds: time from one frame to the next.
        sample_rate: of the audio, in Hz.
    """

    dim: int
    hop_seconds: float
    sample_rate: int

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


def valid_mask(lengths_B: Tensor, size: int) -> Tensor:
    """``mask_BF``: True at positions before each length."""
    return torch.arange(size, device=lengths_B.device) < lengths_B[:, None]
