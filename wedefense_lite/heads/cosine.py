"""Heads that look at the angle between an embedding and a vector of each class.

Their logits are cosines, times a scale: no posterior, and scores need calibration.
"""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from wedefense_lite.heads.base import Head, Weights
from wedefense_lite.labels import BONAFIDE


class CosineHead(Head):
    """Logits are ``scale`` times the cosines between the embedding and the vectors of the classes.

    Args:
        embed_dim: size of the embedding.
        scale: of the logits.
        class_weights: weights ``[spoof, bonafide]`` of the loss.

    Attributes:
        num_vectors: learned vectors, one for each class or only one.
    """

    has_posterior = False
    num_vectors = 2

    def __init__(self, embed_dim: int, scale: float = 1.0, class_weights: Weights = None):
        super().__init__(class_weights)
        self.scale = scale
        self.weight = nn.Parameter(
            nn.init.xavier_uniform_(torch.empty(self.num_vectors, embed_dim))
        )

    def cosines(self, embedding_BE: Tensor) -> Tensor:
        """``cosine_BC``; float32 under autocast too, as no matrix product is used."""
        return F.cosine_similarity(embedding_BE.float().unsqueeze(-2), self.weight, dim=-1)

    def magnitude(self, embedding_BE: Tensor) -> Tensor | float:
        """What the cosines are multiplied with."""
        return self.scale

    def forward(self, embedding_BE: Tensor) -> Tensor:
        return self.magnitude(embedding_BE) * self.cosines(embedding_BE)


class MarginHead(CosineHead):
    """Cross-entropy that asks the cosine of the true class for a margin, in the loss only.

    Args:
        embed_dim: size of the embedding.
        margin: what :meth:`harder` asks for.
        scale: of the logits.
        warmup_steps: training batches in which the margin grows from 0, linearly, to its full size.
        options: of :class:`CosineHead`.

    Attributes:
        steps: training batches so far; a buffer, so that a resumed training goes on with its margin.
    """

    def __init__(
        self,
        embed_dim: int,
        margin: float,
        scale: float = 1.0,
        warmup_steps: NonNegativeInt = 0,
        **options,
    ):
        super().__init__(embed_dim, scale, **options)
        self.final_margin, self.warmup_steps = margin, warmup_steps
        self.register_buffer("steps", torch.tensor(0))

    @property
    def margin(self) -> Tensor:
        """The margin of this step."""
        return self.final_margin * ((self.steps + 1) / (self.warmup_steps + 1)).clamp(max=1)

    @abstractmethod
    def harder(self, cosine_BC: Tensor) -> Tensor:
        """What stands for the cosine of the true class in the loss."""

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        cosine_BC, magnitude = self.cosines(embedding_BE), self.magnitude(embedding_BE)
        is_true_BC = F.one_hot(labels_B, cosine_BC.shape[-1]).bool()
        asked_BC = torch.where(is_true_BC, self.harder(cosine_BC), cosine_BC)
        if self.training:
            self.steps += 1
        return F.cross_entropy(
            magnitude * asked_BC, labels_B, self.class_weights
        ), magnitude * cosine_BC


class AMSoftmax(MarginHead):
    """Additive margin softmax: ``scale * (cos(theta) - margin)`` for the true class.

    Wang et al., "Additive margin softmax for face verification", 2018, equation 6. Defaults are those
    that Zhang et al. compare with OC-softmax (2021); speaker recognition (WeSpeaker) has a scale of 32
    and a margin of 0.2. With a margin of 0 it is the normalised softmax.

    Args:
        embed_dim: size of the embedding.
        margin: taken off the cosine of the true class.
        scale: of the logits.
        options: of :class:`MarginHead`.
    """

    def __init__(
        self, embed_dim: int, margin: NonNegativeFloat = 0.9, scale: PositiveFloat = 20.0, **options
    ):
        super().__init__(embed_dim, margin, scale, **options)

    def harder(self, cosine_BC: Tensor) -> Tensor:
        return cosine_BC - self.margin


class AAM(MarginHead):
    """Additive angular margin softmax (ArcFace): ``scale * cos(theta + margin)`` for the true class.

    Deng et al., CVPR 2019, equation 3. For angles beyond ``pi - margin`` it goes on falling, without a jump,
    as in WeSpeaker.

    Args:
        embed_dim: size of the embedding.
        margin: added to the angle of the true class, in radians.
        scale: of the logits.
        options: of :class:`MarginHead`.
    """

    def __init__(
        self, embed_dim: int, margin: NonNegativeFloat = 0.2, scale: PositiveFloat = 32.0, **options
    ):
        super().__init__(embed_dim, margin, scale, **options)

    def harder(self, cosine_BC: Tensor) -> Tensor:
        margin = self.margin
        # Kept off zero, where the root has no finite slope.
        sine_BC = (1 - cosine_BC.square()).clamp(min=1e-6).sqrt()
        is_beyond_BC = cosine_BC <= -margin.cos()
        turned_BC = cosine_BC * margin.cos() - sine_BC * margin.sin()
        return torch.where(is_beyond_BC, cosine_BC - 1 + margin.cos(), turned_BC)


class ASoftmax(MarginHead):
    """Angular softmax (SphereFace): ``|x| psi(theta)`` for the true class, ``|x| cos(theta)`` for others.

    Liu et al., CVPR 2017, equation 7: ``psi(theta) = (-1)^k cos(margin theta) - 2 k`` for ``theta`` between
    ``k pi / margin`` and ``(k + 1) pi / margin``. It is too hard to begin with, so ``psi`` stands in with a
    weight of ``1 / (1 + lambda)`` beside the cosine's ``lambda / (1 + lambda)``, and lambda falls as
    ``max(5, 1000 / (1 + 0.12 step))``, steps counting from 1 (the authors' and WeSpeaker's constants).

    Args:
        embed_dim: size of the embedding.
        margin: whole number that multiplies the angle of the true class.
        class_weights: weights ``[spoof, bonafide]`` of the loss.
    """

    def __init__(self, embed_dim: int, margin: PositiveInt = 4, class_weights: Weights = None):
        super().__init__(embed_dim, margin, class_weights=class_weights)

    def magnitude(self, embedding_BE: Tensor) -> Tensor:
        return embedding_BE.float().norm(dim=-1, keepdim=True)

    def harder(self, cosine_BC: Tensor) -> Tensor:
        before_BC, multiple_BC = torch.ones_like(cosine_BC), cosine_BC
        for _ in range(
            self.final_margin - 1
        ):  # cos((n + 1) t) = 2 cos(t) cos(n t) - cos((n - 1) t)
            before_BC, multiple_BC = multiple_BC, 2 * cosine_BC * multiple_BC - before_BC
        angle_BC = cosine_BC.detach().clamp(-1, 1).acos()
        turns_BC = (self.final_margin * angle_BC / torch.pi).floor()
        psi_BC = (1 - 2 * (turns_BC % 2)) * multiple_BC - 2 * turns_BC
        easing = (1000 / (1 + 0.12 * (self.steps + 1))).clamp(min=5)
        return (psi_BC + easing * cosine_BC) / (1 + easing)


class P2SGrad(CosineHead):
    """Mean squared error between the cosines and the one-hot label; nothing to choose.

    Zhang et al., "P2SGrad: refined gradients for optimizing deep face models", CVPR 2019, written as a loss by
    Wang and Yamagishi, "A comparative study on recent neural spoofing countermeasures", 2021. Their best
    single system, LFCC-LCNN-LSTM with this loss, has an EER of 1.92 % on ASVspoof 2019 LA. They score by the
    cosine to the bona fide vector alone; here the cosine to the spoof vector is a logit as well.

    Args:
        embed_dim: size of the embedding.
    """

    def __init__(self, embed_dim: int):
        super().__init__(embed_dim)

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        logits_BC = self(embedding_BE)
        return F.mse_loss(logits_BC, F.one_hot(labels_B, 2).to(logits_BC.dtype)), logits_BC


class OCSoftmax(CosineHead):
    """One-class softmax: bona fide speech lies near one direction, everything else far from it.

    Zhang, Jiang and Duan, "One-class learning towards synthetic voice spoofing detection", IEEE Signal
    Processing Letters 2021, and the authors' code: ``softplus(alpha (m_bona - cos))`` for bona fide utterances and
    ``softplus(alpha (cos - m_spoof))`` for spoofed ones. Their ResNet18 on LFCC has an EER of 2.19 % on
    ASVspoof 2019 LA. Label 0 is bona fide in the authors' code, not here. With ``cos`` to the only vector
    there is, the logits are ``[-cos / 2, cos / 2]``, so that their difference is the authors' score.

    Args:
        embed_dim: size of the embedding.
        m_bona: bona fide cosines shall be above.
        m_spoof: spoofed cosines shall be below; 0.2 is the default of the authors' command line, 0.5
            that of their class.
        alpha: scale.
    """

    num_vectors = 1

    def __init__(
        self, embed_dim: int, m_bona: float = 0.9, m_spoof: float = 0.2, alpha: PositiveFloat = 20.0
    ):
        super().__init__(embed_dim)
        self.m_bona, self.m_spoof, self.alpha = m_bona, m_spoof, alpha

    def forward(self, embedding_BE: Tensor) -> Tensor:
        cosine_B1 = self.cosines(embedding_BE)
        return torch.cat([-cosine_B1, cosine_B1], dim=-1) / 2

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        cosine_B = self.cosines(embedding_BE).squeeze(-1)
        missing_B = torch.where(
            labels_B == BONAFIDE, self.m_bona - cosine_B, cosine_B - self.m_spoof
        )
        return F.softplus(self.alpha * missing_B).mean(), self(embedding_BE)
