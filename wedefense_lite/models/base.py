"""What every backbone promises."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Frames to one embedding an utterance. The first constructor argument is the frame dimension.

    Attributes:
        embed_dim: size of the embedding (E).
        min_frames: the fewest frames that it can make an embedding of.
    """

    embed_dim: int
    min_frames: int = 1

    @abstractmethod
    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        """``embedding_BE``.

        Args:
            frames_BFD: batch, frames, features; zeros after each utterance's end.
            frame_lengths_B: frames of each utterance.
        """

    def embed_with_loss(self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding, and a scalar that training adds to the head's loss: 0, or what a model adds.

        Args:
            frames_BFD: as :meth:`forward` takes them.
            frame_lengths_B: frames of each utterance.
            labels_B: 0 for spoof, 1 for bona fide.
        """
        return self(frames_BFD, frame_lengths_B), frames_BFD.new_zeros(())
