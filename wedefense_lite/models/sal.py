"""Conformer that learns where a frame stands in its segment.

Letters: B utterances, F frames of the front end, D features of a frame, those of all layers one
after the other, L layers of an encoder, G rows with a decision each, E features of a row.
"""

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.labels import BONAFIDE, NO_LABEL
from wedefense_lite.models.base import FrameBackbone
from wedefense_lite.models.conformer import ConvolutionModule, FeedForward
from wedefense_lite.models.weighted_sum import layer_dim

# Of a row in its segment; a bona fide row has one of four more classes.
START, MIDDLE, END, SINGLE = range(4)
POSITIONS = 4
KERNEL = 31
HIDDEN = 256  # size of the layers before the decisions
DROPOUT = 0.1


class SelfAttention(nn.Module):
    """Layer norm and multi-head attention of rows to rows, added to the input.

    Args:
        dim: features of a row.
        heads: attention heads.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.project = nn.Linear(dim, dim)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, frames_BFE: Tensor, mask_BF1: Tensor) -> Tensor:
        normed_BFE = self.norm(frames_BFE)
        parts = []
        for layer in (self.query, self.key, self.value):
            parts.append(layer(normed_BFE).unflatten(2, (self.heads, -1)).transpose(1, 2))
        attended = F.scaled_dot_product_attention(
            *parts,
            attn_mask=mask_BF1[:, None, None, :, 0],
            dropout_p=self.drop.p if self.training else 0.0,
        )
        return frames_BFE + self.drop(self.project(attended.transpose(1, 2).flatten(2)))


class ConformerBlock(nn.Module):
    """Feed-forward, attention, convolution, feed-forward, and a layer norm at the end.

    Args:
        dim: features of a row.
        heads: attention heads.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.first = FeedForward(dim, dim, DROPOUT)
        self.attention = SelfAttention(dim, heads)
        self.convolution = ConvolutionModule(dim, KERNEL, dropout=DROPOUT)
        self.second = FeedForward(dim, dim, DROPOUT)
        self.norm = nn.LayerNorm(dim)

    def forward(self, frames_BFE: Tensor, mask_BF1: Tensor) -> Tensor:
        frames_BFE = self.attention(self.first(frames_BFE), mask_BF1)
        frames_BFE = self.second(self.convolution(frames_BFE, mask_BF1))
        return self.norm(frames_BFE)


class SAL(FrameBackbone):
    """A sum of states with learned factors, a conformer, ReLU, means over eight frames, a layer.

    Beside the decision, training learns where a row stands in its segment: first, within, last or
    alone, for each class. Its loss has a tenth of the weight of the decision's.

    Source: SAL, https://github.com/SentryMao/SAL, with which it agrees
    (``SSL_SeqModel_8Labels_2Loss`` with ``cf``, ``s3prl_weighted`` and mean pooling), on 25 states.
    Published segment EER at 160 ms on PartialSpoof eval: 3.00 % on WavLM-Large, 3.32 % on XLS-R.
    Its augmentation, which mixes segments of utterances, is not here. There, the loss is that of
    the positions plus ten times that of the decisions: ten times the one here.

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: layers: 25 of large encoders, the input of the first included.
        blocks: blocks of the conformer.
        heads: attention heads.
        stride: frames in a row; 8 for 160 ms on frames of 20 ms.
        weight: weight of the loss of the positions.

    Raises:
        InputError: features of a frame that are no multiple of the layers, or features of a layer
            that are no multiple of the heads.
    """

    def __init__(
        self,
        input_dim: int,
        num_layers: PositiveInt = 25,
        blocks: int = 2,
        heads: int = 4,
        stride: PositiveInt = 8,
        weight: NonNegativeFloat = 0.1,
    ):
        super().__init__()
        dim = layer_dim(input_dim, num_layers)
        if dim % heads:
            raise InputError(f"a layer has {dim} features, expected a multiple of {heads} heads")
        self.num_layers = num_layers
        self.stride = stride
        self.weight = weight
        self.embed_dim = HIDDEN
        # Factors, without a softmax.
        self.weights_L = nn.Parameter(torch.full((num_layers,), 1 / num_layers))
        self.blocks = nn.ModuleList(ConformerBlock(dim, heads) for _ in range(blocks))
        self.position = nn.Sequential(
            nn.SELU(), nn.Linear(dim, HIDDEN), nn.SELU(), nn.Linear(HIDDEN, 2 * POSITIONS)
        )
        self.embed = nn.Sequential(nn.SELU(), nn.Linear(dim, HIDDEN), nn.SELU())

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        rows_BGE, lengths_B = self.pool(frames_BFD, frame_lengths_B)
        return self.embed(rows_BGE), lengths_B

    def pool(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Means of the frames of each row behind the conformer, ``rows_BGE``, and ``lengths_B``."""
        layers_BFLE = frames_BFD.unflatten(2, (self.num_layers, -1))
        frames_BFE = self.weights_L @ layers_BFLE
        mask_BF1 = valid_mask(frame_lengths_B, frames_BFE.shape[1])[..., None]
        for block in self.blocks:
            frames_BFE = block(frames_BFE, mask_BF1)
        frames_BFE = F.relu(frames_BFE)
        missing = -frames_BFE.shape[1] % self.stride
        padding = (0, 0, 0, missing)
        summed_BGE = F.pad(frames_BFE * mask_BF1, padding).unflatten(1, (-1, self.stride)).sum(2)
        count_BG1 = F.pad(mask_BF1.long(), padding).unflatten(1, (-1, self.stride)).sum(2)
        lengths_B = torch.div(frame_lengths_B + self.stride - 1, self.stride, rounding_mode="floor")
        return summed_BGE / count_BG1.clamp_min(1), lengths_B

    def embed_with_loss(
        self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels_BG: Tensor
    ) -> tuple:
        rows_BGE, lengths_B = self.pool(frames_BFD, frame_lengths_B)
        logits_BGP = self.position(rows_BGE).float()
        targets_BG = position_targets(labels_BG)
        has_label_BG = targets_BG != NO_LABEL
        losses_N = F.cross_entropy(
            logits_BGP[has_label_BG], targets_BG[has_label_BG], reduction="none"
        )
        # A batch without labels has an empty sum, and no division by 0.
        loss = losses_N.sum() / max(1, len(losses_N))
        return (self.embed(rows_BGE), lengths_B), self.weight * loss


def position_targets(labels_BG: Tensor) -> Tensor:
    """Classes of positions: start, middle, end or alone in a run of one label, bona fide by 4 more.

    Rows without a label have none, and end the run before them.
    """
    others_B1 = torch.full_like(labels_BG[:, :1], NO_LABEL - 1)
    begins_BG = labels_BG != torch.cat((others_B1, labels_BG[:, :-1]), 1)
    ends_BG = labels_BG != torch.cat((labels_BG[:, 1:], others_B1), 1)
    targets_BG = torch.full_like(labels_BG, MIDDLE)
    targets_BG = targets_BG.masked_fill(begins_BG, START).masked_fill(ends_BG, END)
    targets_BG = targets_BG.masked_fill(begins_BG & ends_BG, SINGLE)
    targets_BG = torch.where(labels_BG == BONAFIDE, targets_BG + POSITIONS, targets_BG)
    return targets_BG.masked_fill(labels_BG == NO_LABEL, NO_LABEL)
