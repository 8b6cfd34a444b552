"""What every head promises."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from wedefense_lite.files import InputError

Weights = tuple[float, float] | None


class Head(nn.Module, ABC):
    """Embeddings to logits ``[spoof, bonafide]``, and the loss that trains them.

    The first constructor argument is the size of the embedding.

    Args:
        class_weights: weights ``[spoof, bonafide]`` of the utterances in the loss; the weighted sum is
            divided by the sum of the weights, as PyTorch does. They shift the prior that the logits
            hold, and the LLR stage is told so.

    Attributes:
        has_posterior: the softmax of the logits is a posterior probability under the class prior
            the loss saw. Where it isn't, scores need affine calibration before they are LLRs.

    Raises:
        InputError: a class weight that is not positive, which no prior can be read from.
    """

    has_posterior: bool

    def __init__(self, class_weights: Weights = None):
        super().__init__()
        if class_weights is not None and not all(weight > 0 for weight in class_weights):
            raise InputError(f"class_weights are {list(class_weights)}, expected positive numbers")
        weights = (
            None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        )
        self.register_buffer("class_weights", weights, persistent=False)

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

    def weights(self, labels_B: Tensor) -> Tensor:
        """The weight of each utterance's class, ``B``; 1 without class weights."""
        if self.class_weights is None:
            return torch.ones_like(labels_B, dtype=torch.float32)
        return self.class_weights[labels_B]

    def weighted_mean(self, values_B: Tensor, labels_B: Tensor) -> Tensor:
        """Mean of the utterances' losses, each with the weight of its class."""
        weights_B = self.weights(labels_B)
        return (weights_B * values_B).sum() / weights_B.sum()

    def seen_prior(self, sampled_prior: list[float]) -> list[float]:
        """Class prior that the loss saw, given the shares ``[spoof, bonafide]`` of the samples."""
        if self.class_weights is None:
            return sampled_prior
        shares = [
            share * weight for share, weight in zip(sampled_prior, self.class_weights.tolist())
        ]
        return [share / sum(shares) for share in shares]
