"""What every backbone promises."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Frames to one embedding an utterance. The first constructor argument is the frame dimension.

    Attributes:
        embed_dim: size of the embedding (E).
    """

    embed_dim: int

    @abstractmethod
    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        """``embedding_BE``.

        Args:
            frames_BFD: batch, frames, features; zeros after each utterance's end.
            frame_lengths_B: frames of each utterance.
        """
