"""What every backbone promises."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from wedefense_lite.heads import Head


class Embedder(nn.Module, ABC):
    """What turns frames into embeddings. The first constructor argument is the frame dimension.

    Attributes:
        embed_dim: size of an embedding (E).
        min_frames: the fewest frames that it can make an embedding of.
    """

    embed_dim: int
    min_frames: int = 1

    def embed_with_loss(self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels: Tensor) -> tuple:
        """What :meth:`forward` gives, and a scalar that training adds to the head's loss: 0, or what a model adds.

        Args:
            frames_BFD: as :meth:`forward` takes them.
            frame_lengths_B: frames of each utterance.
            labels: ``B``, or ``BG`` of a :class:`FrameBackbone`; 0 for spoof, 1 for bona fide, -1 where
                there is nothing to learn from.
        """
        return self(frames_BFD, frame_lengths_B), frames_BFD.new_zeros(())


class Backbone(Embedder):
    """Frames to one embedding an utterance."""

    @abstractmethod
    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        """``embedding_BE``.

        Args:
            frames_BFD: batch, frames, features; zeros after each utterance's end.
            frame_lengths_B: frames of each utterance.
        """


class FrameBackbone(Embedder):
    """Frames to an embedding for every ``stride`` of them, those at the end that are fewer included.

    Attributes:
        stride: frames of the front end from one embedding to the next.
    """

    stride: int = 1

    @abstractmethod
    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """``embedding_BGE`` and ``lengths_B``: F and the lengths by ``stride``, rounded up.

        Args:
            frames_BFD: batch, frames, features; zeros after each utterance's end.
            frame_lengths_B: frames of each utterance.
        """


Encoder = Callable[[int], FrameBackbone]


class Frames(FrameBackbone):
    """The frames themselves: of an encoder that is the front end, or for a head that is to stand on its own.

    Args:
        input_dim: features of a frame.
    """

    def __init__(self, input_dim: int):
        super().__init__()
        self.embed_dim = input_dim

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        return frames_BFD, frame_lengths_B


def masked_loss(head: Head, embedding: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A head's loss where labels are known.

    Args:
        head: judges embeddings ``NE``.
        embedding: ``BE``, or ``BGE``.
        labels: ``B``, or ``BG``, -1 where unknown.

    Returns:
        the loss, and logits ``NC`` and labels ``N`` where these are known.
    """
    known = labels >= 0
    loss, logits_NC = head.loss(embedding[known], labels[known])
    return loss, logits_NC, labels[known]
