"""Contracts of models.

Letters: B utterances, F frames, D features of a frame, G frames with an embedding, E embedding
size, N rows with a label, C classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from wedefense_lite.heads import Head
from wedefense_lite.labels import NO_LABEL


class Embedder(nn.Module, ABC):
    """Model that turns frames into embeddings. Its first constructor argument is the frame
    dimension.

    Attributes:
        embed_dim: size of an embedding (E).
        min_frames: number of frames that an utterance needs at least.
    """

    embed_dim: int
    min_frames: int = 1

    def embed_with_loss(self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels: Tensor) -> tuple:
        """Output of ``forward``, and an auxiliary loss that training adds to the loss of the head.

        Args:
            frames_BFD: frames, as for ``forward``.
            frame_lengths_B: frames of each utterance.
            labels: ``B``, or ``BG`` for a ``FrameBackbone``; 0 spoof, 1 bona fide,
                ``NO_LABEL`` for rows without a label.

        Returns:
            the output, and a scalar, which is 0 for a model without a loss of its own.
        """
        return self(frames_BFD, frame_lengths_B), frames_BFD.new_zeros(())


class Backbone(Embedder):
    """Model with one embedding an utterance."""

    @abstractmethod
    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        """``embedding_BE``.

        Args:
            frames_BFD: frames, zeros behind the end of each utterance.
            frame_lengths_B: frames of each utterance.
        """


class FrameBackbone(Embedder):
    """Model with an embedding for every ``stride`` frames; the last one may stand for fewer.

    Attributes:
        stride: frames of the front end from one embedding to the next.
    """

    stride: int = 1

    @abstractmethod
    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of frames.

        Args:
            frames_BFD: frames, zeros behind the end of each utterance.
            frame_lengths_B: frames of each utterance.

        Returns:
            ``embedding_BGE`` and ``lengths_B``, the number of embeddings of each utterance: frames
            by ``stride``, rounded up.
        """


Encoder = Callable[[int], FrameBackbone]


class Frames(FrameBackbone):
    """Frames as embeddings, for an encoder that is the front end, or for a head without a model.

    Args:
        input_dim: features of a frame.
    """

    def __init__(self, input_dim: int):
        super().__init__()
        self.embed_dim = input_dim

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        return frames_BFD, frame_lengths_B


def masked_loss(head: Head, embedding: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of a head over the rows that have a label.

    Args:
        head: head for embeddings ``NE``.
        embedding: ``BE``, or ``BGE``.
        labels: ``B``, or ``BG``, ``NO_LABEL`` for rows without a label.

    Returns:
        the loss, ``logits_NC`` and ``labels_N`` of these rows.
    """
    has_label = labels != NO_LABEL
    labels_N = labels[has_label]
    loss, logits_NC = head.loss(embedding[has_label], labels_N)
    return loss, logits_NC, labels_N
