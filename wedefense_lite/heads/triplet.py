"""Triplet term beside another loss.

Letters: B utterances, E embedding size, C classes [spoof, bonafide].
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.heads.base import Head
from wedefense_lite.heads.cross_entropy import CrossEntropy

Builder = Callable[[int], Head]


class WithTriplet(Head):
    """Loss of another head plus a triplet loss of the embeddings with learned class centres.

    The term of an utterance is ``max(0, margin + d(own centre) - d(other centre))`` with Euclidean
    distances d, times the weight of its class in the other head. The logits are the other head's;
    the centres don't enter them.

    Source: binary triplet centre loss of Rostami et al., "Efficient attention branch network with
    combined loss function", 2021, as in their code, with its defaults. There it stands beside a
    focal loss with class weights.

    Args:
        embed_dim: size of the embedding.
        head: the other head, built for the size of the embedding.
        weight: factor of the triplet term.
        margin: margin of the triplet term, in units of the embedding.
    """

    def __init__(
        self,
        embed_dim: int,
        head: Builder = CrossEntropy,
        weight: float = 0.005,
        margin: float = 32.0,
    ):
        super().__init__()
        self.head = head(embed_dim)
        self.weight = weight
        self.margin = margin
        self.centers = nn.Parameter(torch.randn(2, embed_dim))
        self.has_posterior = self.head.has_posterior

    def forward(self, embedding_BE: Tensor) -> Tensor:
        return self.head(embedding_BE)

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        loss, logits_BC = self.head.loss(embedding_BE, labels_B)
        distance_BC = (embedding_BE.float().unsqueeze(1) - self.centers).norm(dim=-1)
        is_own_BC = F.one_hot(labels_B, 2).bool()
        triplet_B = F.relu(self.margin + distance_BC[is_own_BC] - distance_BC[~is_own_BC])
        return loss + self.weight * (self.head.weights(labels_B) * triplet_B).mean(), logits_BC

    def seen_prior(self, sampled_prior: list[float]) -> list[float]:
        return self.head.seen_prior(sampled_prior)
