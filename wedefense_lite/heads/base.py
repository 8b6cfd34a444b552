"""Contract of heads.

Letters: B utterances, E embedding size, C classes, [spoof, bonafide] but for source tracing.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from wedefense_lite.files import InputError

Weights = tuple[float, float] | None


class Head(nn.Module, ABC):
    """Embeddings to logits ``[spoof, bonafide]``, and the loss that trains them.

    The first constructor argument is the size of the embedding.

    Args:
        class_weights: positive weights ``[spoof, bonafide]`` of the utterances in the loss; None
            for 1. The weighted sum is divided by the sum of the weights, as in PyTorch. Weights
            shift the prior that the logits hold; the LLR stage divides the shifted prior out.
        num_classes: classes (C): 2, or for source tracing the number of sources.

    Attributes:
        has_posterior: true where the softmax of the logits is a posterior under the class prior of
            the loss. Scores of other heads need affine calibration before they are LLRs.

    Raises:
        InputError: a class weight that is not positive, or weights of two classes with more.
    """

    has_posterior: bool

    def __init__(self, class_weights: Weights = None, num_classes: int = 2):
        super().__init__()
        self.num_classes = num_classes
        if class_weights is not None and num_classes != 2:
            raise InputError(f"class_weights are of two classes, but num_classes is {num_classes}")
        if class_weights is not None and not all(weight > 0 for weight in class_weights):
            raise InputError(f"class_weights are {list(class_weights)}, expected positive numbers")
        weights = None
        if class_weights is not None:
            weights = torch.tensor(class_weights, dtype=torch.float32)
        # Not persistent: the configuration has them, and official checkpoints don't.
        self.register_buffer("class_weights", weights, persistent=False)

    @abstractmethod
    def forward(self, embedding_BE: Tensor) -> Tensor:
        """``logits_BC``, without labels and so without a margin."""

    @abstractmethod
    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of a batch.

        Args:
            embedding_BE: embeddings.
            labels_B: 0 for spoof, 1 for bona fide.

        Returns:
            the scalar loss, and the ``logits_BC`` of ``forward``.
        """

    def weights(self, labels_B: Tensor) -> Tensor:
        """``weights_B``: weight of the class of each utterance; 1 without class weights."""
        if self.class_weights is None:
            return torch.ones_like(labels_B, dtype=torch.float32)
        return self.class_weights[labels_B]

    def weighted_mean(self, values_B: Tensor, labels_B: Tensor) -> Tensor:
        """Mean of the losses of the utterances, each with the weight of its class."""
        weights_B = self.weights(labels_B)
        return (weights_B * values_B).sum() / weights_B.sum()

    def seen_prior(self, sampled_prior: list[float]) -> list[float]:
        """Class prior ``[p_spoof, p_bonafide]`` of the loss.

        Args:
            sampled_prior: shares ``[spoof, bonafide]`` of the utterances that training draws.
        """
        if self.class_weights is None:
            return sampled_prior
        spoof_weight, bonafide_weight = self.class_weights.tolist()
        spoof_share = sampled_prior[0] * spoof_weight
        bonafide_share = sampled_prior[1] * bonafide_weight
        total_share = spoof_share + bonafide_share
        return [spoof_share / total_share, bonafide_share / total_share]
