"""Softmax cross-entropy."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.heads.base import Head


class CrossEntropy(Head):
    """One linear layer and the cross-entropy of its softmax.

    Args:
        embed_dim: size of the embedding.
        class_weights: weights ``[spoof, bonafide]`` of the loss; the weighted sum is divided by the
            sum of the weights, as PyTorch does. They shift the prior that the logits hold, and the
            LLR stage is told so.

    Raises:
        InputError: a class weight that is not positive, which no prior can be read from.
    """

    has_posterior = True

    def __init__(self, embed_dim: int, class_weights: tuple[float, float] | None = None):
        super().__init__()
        self.linear = nn.Linear(embed_dim, 2)
        if class_weights is not None and not all(weight > 0 for weight in class_weights):
            raise InputError(f"class_weights are {list(class_weights)}, expected positive numbers")
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, embedding_BE: Tensor) -> Tensor:
        return self.linear(embedding_BE)

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        logits_BC = self(embedding_BE)
        return F.cross_entropy(logits_BC.float(), labels_B, self.class_weights), logits_BC

    def seen_prior(self, sampled_prior: list[float]) -> list[float]:
        if self.class_weights is None:
            return sampled_prior
        shares = [share * weight for share, weight in zip(sampled_prior, self.class_weights.tolist())]
        return [share / sum(shares) for share in shares]
