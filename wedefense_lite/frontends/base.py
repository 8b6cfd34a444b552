"""Contract of front ends.

Letters: B utterances, T samples, F frames, D features of a frame.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn


class Frontend(nn.Module, ABC):
    """Waveforms to frames, in batches, on the device of the model.

    Attributes:
        dim: features of a frame (D).
        hop_seconds: seconds from one frame to the next.
        sample_rate: rate of the audio, Hz.
        has_adapters: true where matrices stand beside weights, which ``merge_adapters`` joins.
        resolved: options that building determined, by name; the experiment keeps them.
    """

    dim: int
    hop_seconds: float
    sample_rate: int
    has_adapters: bool = False
    resolved: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Frames of a batch.

        Args:
            wav_BT: float32 in [-1, 1], zeros behind the end of each utterance.
            lengths_B: samples of each utterance.

        Returns:
            ``frames_BFD`` and ``frame_lengths_B``; frames behind the end of an utterance are zero.

        Raises:
            ValueError: an utterance too short for one frame.
        """

    def load_pretrained(self) -> None:  # noqa: B027  most have nothing to load
        """Load published weights, if the front end starts from any. Training calls it first."""

    def blocks(self) -> list[nn.Module]:
        """Large modules that are computed one after another, such as the layers of an encoder."""
        return []

    def merge_adapters(self) -> dict[str, Any]:
        """Add what was trained beside weights to these.

        Returns:
            options of the front end that are other ones now, by name; none without adapters.
        """
        return {}

    def rate_factors(self) -> dict[nn.Parameter, float]:
        """Factors of the learning rate, of the parameters whose factor is not 1."""
        return {}


def is_exporting() -> bool:
    """Whether a graph is being written, of utterances of one length; no number of a tensor can be
    read then. Versions of PyTorch that can't tell write none.
    """
    function = getattr(torch.compiler, "is_exporting", None)
    return function is not None and function()


def length_range(lengths_B: Tensor, size: int) -> tuple[int, int]:
    """Shortest and longest of the lengths of a batch whose rows have ``size`` samples."""
    if is_exporting():
        return size, size
    return int(lengths_B.min()), int(lengths_B.max())


def valid_mask(lengths_B: Tensor, size: int) -> Tensor:
    """``mask_BF``: true for positions below the length of each row."""
    return torch.arange(size, device=lengths_B.device) < lengths_B[:, None]
