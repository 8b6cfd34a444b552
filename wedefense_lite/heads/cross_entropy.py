"""Softmax cross-entropy, plain and focal, and squared error.

Letters: B utterances, E embedding size, C classes [spoof, bonafide].
"""

import torch.nn.functional as F
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from wedefense_lite.heads.base import Head, Weights


class CrossEntropy(Head):
    """Linear layer and the cross-entropy of its softmax.

    Systems on raw waveforms (RawNet2, AASIST) weight the classes by 0.1 and 0.9, since ASVspoof
    2019 LA has nine spoofed utterances for each bona fide one. WeSpeaker and WeDefense
    (``project_type: softmax`` of their ``models/projections.py``) have a batch norm and a ReLU
    before the linear layer.

    Args:
        embed_dim: size of the embedding.
        class_weights: weights ``[spoof, bonafide]`` of the loss.
        norm: batch norm and ReLU before the linear layer.
        selu: SELU on the logits, as SLS has it.
        num_classes: classes; other than 2 for source tracing.
    """

    has_posterior = True

    def __init__(
        self,
        embed_dim: int,
        class_weights: Weights = None,
        norm: bool = False,
        selu: bool = False,
        num_classes: PositiveInt = 2,
    ):
        super().__init__(class_weights, num_classes)
        self.selu = selu
        self.norm = nn.BatchNorm1d(embed_dim) if norm else None
        self.linear = nn.Linear(embed_dim, num_classes)

    def forward(self, embedding_BE: Tensor) -> Tensor:
        if self.norm is not None:
            embedding_BE = F.relu(self.norm(embedding_BE))
        logits_BC = self.linear(embedding_BE)
        return F.selu(logits_BC) if self.selu else logits_BC

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        logits_BC = self(embedding_BE)
        return F.cross_entropy(logits_BC.float(), labels_B, self.class_weights), logits_BC


class Focal(CrossEntropy):
    """Cross-entropy times ``(1 - p)^gamma``, where p is the posterior of the true class.

    With ``gamma`` 0 it is cross-entropy; otherwise its softmax is no posterior.

    Source: Lin et al., "Focal loss for dense object detection", ICCV 2017, equations 4 and 5; their
    alpha are the class weights.

    Args:
        embed_dim: size of the embedding.
        gamma: exponent, 0 or more; 2 is the best one of the paper.
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
        # At zero, a power below one has no finite slope.
        doubt_B = (1 - (-surprise_B).exp()).clamp(min=1e-6)
        return self.weighted_mean(doubt_B**self.gamma * surprise_B, labels_B), logits_BC


class SquaredError(Head):
    """Linear layer and the mean squared error between its outputs and the one-hot label.

    Source: the loss of CFPRF (https://github.com/ItzJuny/CFPRF, libs/loss/p2sgrad.py), which takes
    the outputs of a linear layer where P2SGrad has cosines.

    Args:
        embed_dim: size of the embedding.
    """

    has_posterior = False

    def __init__(self, embed_dim: int):
        super().__init__()
        self.linear = nn.Linear(embed_dim, 2)

    def forward(self, embedding_BE: Tensor) -> Tensor:
        return self.linear(embedding_BE)

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        logits_BC = self(embedding_BE)
        target_BC = F.one_hot(labels_B, 2).float()
        return F.mse_loss(logits_BC.float(), target_BC), logits_BC
