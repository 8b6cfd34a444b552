"""Softmax cross-entropy, plain and focal."""

import torch.nn.functional as F
from jsonargparse.typing import NonNegativeFloat
from torch import Tensor, nn

from wedefense_lite.heads.base import Head, Weights


class CrossEntropy(Head):
    """One linear layer and the cross-entropy of its softmax.

    ASVspoof systems with raw waveforms (RawNet2, AASIST) weight the classes by 0.1 and 0.9, as LA 2019
    has nine spoofed utterances for a bona fide one.

    Args:
        embed_dim: size of the embedding.
        class_weights: weights ``[spoof, bonafide]`` of the loss.
    """

    has_posterior = True

    def __init__(self, embed_dim: int, class_weights: Weights = None):
        super().__init__(class_weights)
        self.linear = nn.Linear(embed_dim, 2)

    def forward(self, embedding_BE: Tensor) -> Tensor:
        return self.linear(embedding_BE)

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        logits_BC = self(embedding_BE)
        return F.cross_entropy(logits_BC.float(), labels_B, self.class_weights), logits_BC


class Focal(CrossEntropy):
    """Cross-entropy that counts an utterance less the surer it is: ``(1 - p)^gamma`` times as much.

    Lin et al., "Focal loss for dense object detection", ICCV 2017, equations 4 and 5, where the class
    weights are called alpha. With ``gamma`` 0 it is cross-entropy.

    Args:
        embed_dim: size of the embedding.
        gamma: exponent; the paper's best is 2.
        class_weights: weights ``[spoof, bonafide]`` of the loss.
    """

    def __init__(
        self, embed_dim: int, gamma: NonNegativeFloat = 2.0, class_weights: Weights = None
    ):
        super().__init__(embed_dim, class_weights)
        self.gamma = gamma
        self.has_posterior = gamma == 0

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        logits_BC = self(embedding_BE)
        surprise_B = F.cross_entropy(logits_BC.float(), labels_B, reduction="none")
        # Kept off zero, where a power below one has no finite slope.
        doubt_B = (1 - (-surprise_B).exp()).clamp(min=1e-6)
        return self.weighted_mean(doubt_B**self.gamma * surprise_B, labels_B), logits_BC
