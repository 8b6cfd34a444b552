"""Heads on the angle between an embedding and a vector of each class.

Their logits are cosines times a scale. The softmax of these is no posterior, so scores need
calibration.

Letters: B utterances, E embedding size, C classes [spoof, bonafide].
"""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from wedefense_lite.heads.base import Head, Weights
from wedefense_lite.labels import BONAFIDE


class CosineHead(Head):
    """Head whose logits are ``scale`` times the cosines to the vectors of the classes.

    Args:
        embed_dim: size of the embedding.
        scale: factor of the cosines.
        class_weights: weights ``[spoof, bonafide]`` of the loss.
        num_classes: classes; other than 2 for source tracing.

    Attributes:
        num_vectors: number of learned vectors, where it isn't one a class.
    """

    has_posterior = False
    num_vectors: int | None = None

    def __init__(
        self,
        embed_dim: int,
        scale: float = 1.0,
        class_weights: Weights = None,
        num_classes: PositiveInt = 2,
    ):
        super().__init__(class_weights, num_classes)
        self.scale = scale
        rows = self.num_vectors or num_classes
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, embed_dim)))

    def cosines(self, embedding_BE: Tensor) -> Tensor:
        """``cosine_BC`` in float32, under autocast too, because no matrix product is used."""
        return F.cosine_similarity(embedding_BE.float().unsqueeze(-2), self.weight, dim=-1)

    def magnitude(self, embedding_BE: Tensor) -> Tensor | float:
        """Factor of the cosines: a number, or ``B1``."""
        return self.scale

    def forward(self, embedding_BE: Tensor) -> Tensor:
        return self.magnitude(embedding_BE) * self.cosines(embedding_BE)


class MarginHead(CosineHead):
    """Cross-entropy with a margin on the cosine of the true class. Scores have no margin.

    Args:
        embed_dim: size of the embedding.
        margin: size of the margin, in the unit of the head.
        scale: factor of the cosines.
        warmup_steps: training batches in which the margin grows linearly from 0.
        options: options of ``CosineHead``.

    Attributes:
        steps: training batches so far. It is a buffer, so that a resumed training keeps its margin.
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
        self.final_margin = margin
        self.warmup_steps = warmup_steps
        self.register_buffer("steps", torch.tensor(0))

    @property
    def margin(self) -> Tensor:
        """Margin of the present step."""
        return self.final_margin * ((self.steps + 1) / (self.warmup_steps + 1)).clamp(max=1)

    @abstractmethod
    def harder(self, cosine_BC: Tensor) -> Tensor:
        """Cosine that the loss takes in place of the cosine of the true class."""

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        cosine_BC = self.cosines(embedding_BE)
        magnitude = self.magnitude(embedding_BE)
        is_true_BC = F.one_hot(labels_B, cosine_BC.shape[-1]).bool()
        margin_BC = torch.where(is_true_BC, self.harder(cosine_BC), cosine_BC)
        if self.training:
            self.steps += 1
        loss = F.cross_entropy(magnitude * margin_BC, labels_B, self.class_weights)
        return loss, magnitude * cosine_BC


class AMSoftmax(MarginHead):
    """Additive margin softmax: ``scale * (cos(theta) - margin)`` for the true class.

    With a margin of 0 it is the normalised softmax. The defaults are those of Zhang et al. (2021),
    in their comparison with OC-softmax; speaker recognition (WeSpeaker) has a scale of 32 and a
    margin of 0.2.

    Source: Wang et al., "Additive margin softmax for face verification", 2018, equation 6.

    Args:
        embed_dim: size of the embedding.
        margin: difference of cosines, 0 or more.
        scale: factor of the cosines.
        options: options of ``MarginHead``.
    """

    def __init__(
        self, embed_dim: int, margin: NonNegativeFloat = 0.9, scale: PositiveFloat = 20.0, **options
    ):
        super().__init__(embed_dim, margin, scale, **options)

    def harder(self, cosine_BC: Tensor) -> Tensor:
        return cosine_BC - self.margin


class AAM(MarginHead):
    """Additive angular margin softmax (ArcFace): ``scale * cos(theta + margin)`` for the true
    class.

    Beyond an angle of ``pi - margin`` it keeps falling without a jump, as in WeSpeaker.

    Source: Deng et al., "ArcFace", CVPR 2019, equation 3.

    Args:
        embed_dim: size of the embedding.
        margin: angle in radians, 0 or more, that is added to the angle of the true class.
        scale: factor of the cosines.
        options: options of ``MarginHead``.
    """

    def __init__(
        self, embed_dim: int, margin: NonNegativeFloat = 0.2, scale: PositiveFloat = 32.0, **options
    ):
        super().__init__(embed_dim, margin, scale, **options)

    def harder(self, cosine_BC: Tensor) -> Tensor:
        margin = self.margin
        # At zero the root has no finite slope.
        sine_BC = (1 - cosine_BC.square()).clamp(min=1e-6).sqrt()
        is_beyond_BC = cosine_BC <= -margin.cos()
        turned_BC = cosine_BC * margin.cos() - sine_BC * margin.sin()
        return torch.where(is_beyond_BC, cosine_BC - 1 + margin.cos(), turned_BC)


class ASoftmax(MarginHead):
    """Angular softmax (SphereFace): ``|x| psi(theta)`` for the true class, ``|x| cos(theta)`` for
    others.

    ``psi(theta) = (-1)^k cos(margin theta) - 2 k`` for ``theta`` between ``k pi / margin`` and
    ``(k + 1) pi / margin``. Early training mixes it with the cosine: ``psi`` has the weight
    ``1 / (1 + lambda)`` and the cosine ``lambda / (1 + lambda)``, and lambda falls as
    ``max(5, 1000 / (1 + 0.12 step))``, where steps count from 1.

    Source: Liu et al., "SphereFace", CVPR 2017, equation 7; lambda as in the code of the authors
    and of WeSpeaker.

    Args:
        embed_dim: size of the embedding.
        margin: whole number, 1 or more, that multiplies the angle of the true class.
        class_weights: weights ``[spoof, bonafide]`` of the loss.
    """

    def __init__(self, embed_dim: int, margin: PositiveInt = 4, class_weights: Weights = None):
        super().__init__(embed_dim, margin, class_weights=class_weights)

    def magnitude(self, embedding_BE: Tensor) -> Tensor:
        return embedding_BE.float().norm(dim=-1, keepdim=True)

    def harder(self, cosine_BC: Tensor) -> Tensor:
        # cos((n + 1) t) = 2 cos(t) cos(n t) - cos((n - 1) t), from cos(0) and cos(t) on.
        before_BC = torch.ones_like(cosine_BC)
        multiple_BC = cosine_BC
        for _ in range(self.final_margin - 1):
            after_BC = 2 * cosine_BC * multiple_BC - before_BC
            before_BC = multiple_BC
            multiple_BC = after_BC
        angle_BC = cosine_BC.detach().clamp(-1, 1).acos()
        turns_BC = (self.final_margin * angle_BC / torch.pi).floor()
        sign_BC = 1 - 2 * (turns_BC % 2)
        psi_BC = sign_BC * multiple_BC - 2 * turns_BC
        easing = (1000 / (1 + 0.12 * (self.steps + 1))).clamp(min=5)
        return (psi_BC + easing * cosine_BC) / (1 + easing)


class P2SGrad(CosineHead):
    """Mean squared error between the cosines and the one-hot label. It has no options.

    The authors score by the cosine to the bona fide vector alone; here the cosine to the spoof
    vector is a logit too.

    Source: Zhang et al., "P2SGrad: refined gradients for optimizing deep face models", CVPR 2019,
    in the form of a loss by Wang and Yamagishi, "A comparative study on recent neural spoofing
    countermeasures", 2021. Their LFCC-LCNN-LSTM with this loss has an EER of 1.92 % on ASVspoof
    2019 LA.

    Args:
        embed_dim: size of the embedding.
    """

    def __init__(self, embed_dim: int):
        super().__init__(embed_dim)

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        logits_BC = self(embedding_BE)
        target_BC = F.one_hot(labels_B, 2).to(logits_BC.dtype)
        return F.mse_loss(logits_BC, target_BC), logits_BC


class OCSoftmax(CosineHead):
    """One-class softmax: bona fide speech is near one direction, and all else is far from it.

    The loss is ``softplus(alpha (m_bona - cos))`` for bona fide utterances and
    ``softplus(alpha (cos - m_spoof))`` for spoofed ones, where cos is the cosine to the single
    vector. The logits are ``[-cos / 2, cos / 2]``, so their difference is the score of the authors.
    Label 0 is bona fide in their code, and spoof here.

    Source: Zhang, Jiang and Duan, "One-class learning towards synthetic voice spoofing detection",
    IEEE Signal Processing Letters 2021, and their code. Their ResNet18 on LFCC has an
    EER of 2.19 % on ASVspoof 2019 LA.

    Args:
        embed_dim: size of the embedding.
        m_bona: lower bound that bona fide cosines are trained for, -1 to 1.
        m_spoof: upper bound that spoofed cosines are trained for; 0.2 is the default of the
            authors' command line, 0.5 that of their class.
        alpha: scale of the differences.
    """

    num_vectors = 1

    def __init__(
        self, embed_dim: int, m_bona: float = 0.9, m_spoof: float = 0.2, alpha: PositiveFloat = 20.0
    ):
        super().__init__(embed_dim)
        self.m_bona = m_bona
        self.m_spoof = m_spoof
        self.alpha = alpha

    def forward(self, embedding_BE: Tensor) -> Tensor:
        cosine_B1 = self.cosines(embedding_BE)
        return torch.cat([-cosine_B1, cosine_B1], dim=-1) / 2

    def loss(self, embedding_BE: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        cosine_B = self.cosines(embedding_BE).squeeze(-1)
        is_bonafide_B = labels_B == BONAFIDE
        distance_B = torch.where(is_bonafide_B, self.m_bona - cosine_B, cosine_B - self.m_spoof)
        return F.softplus(self.alpha * distance_B).mean(), self(embedding_BE)
