"""What every head promises."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Head(nn.Module, ABC):
    """Embeddings to logits ``[spoof, bonafide]``, and the loss that trains them.

    The first constructor argument is the size of the embedding.

    Attributes:
        has_posterior: the softmax of the logits is a posterior probability under the class prior
            the loss saw. Where it isn't, scores need affine calibration before they are LLRs.
    """

    has_posterior: bool

    @abstractmethod
    def forward(self, embedding_BE: Tensor) -> Tensor:
        """``logits_BC``, no label needed and no margin applied."""

    @abstractmethod
    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """The scalar loss and the ``logits_BC`` of :meth:`forward`.

        Args:
            embedding_BE: embeddings.
            labels_B: 0 for spoof, 1 for bona fide.
        """

    def seen_prior(self, sampled_prior: list[float]) -> list[float]:
        """Class prior that the loss saw, given the shares ``[spoof, bonafide]`` of the samples."""
        return sampled_prior
