"""BAM: attention that learned boundaries between segments stop.

Letters: B utterances, F frames of the front end, D features of a frame, G rows with a decision each
(twice where rows meet rows), E features of a row, P channels, N rows in a loss.
"""

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.labels import NO_LABEL
from wedefense_lite.models.base import FrameBackbone
from wedefense_lite.models.boundary import hardest_boundary_loss
from wedefense_lite.models.pooling import SelfAttention, halved

BLOCKS = 2  # of each of four stages
EXPANSION = 2  # channels of the output of a block, over its own


class PairAttention(nn.Module):
    """Rows that attend to rows by a layer on their product, batch norm, and SELU.

    Source: graph attention of AASIST, with a temperature of 1 and without dropout.

    Args:
        dim: features of a row.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.pair = nn.Linear(dim, dim)
        self.score_E = nn.Parameter(nn.init.xavier_normal_(torch.empty(dim, 1))[:, 0])
        self.attended = nn.Linear(dim, dim)
        self.own = nn.Linear(dim, dim)
        self.norm = nn.BatchNorm1d(dim)

    def forward(
        self, frames_BGE: Tensor, valid_B1G: Tensor, allowed_BGG: Tensor | None = None
    ) -> Tensor:
        """Rows after attention, ``BGE``.

        Args:
            frames_BGE: rows.
            valid_B1G: false for padded rows, which nothing attends to.
            allowed_BGG: pairs whose score counts; the others have a score of 0, which is a small
                weight and not none, as in the official code. None: all.
        """
        pair_BGGE = frames_BGE[:, :, None] * frames_BGE[:, None]
        scores_BGG = torch.tanh(self.pair(pair_BGGE)) @ self.score_E
        if allowed_BGG is not None:
            scores_BGG = scores_BGG.masked_fill(~allowed_BGG, 0.0)
        # A padded row attends to the rows of its utterance too: a softmax over nothing is NaN.
        shares_BGG = scores_BGG.masked_fill(~valid_B1G, -torch.inf).softmax(2)
        joined_BGE = self.attended(shares_BGG @ frames_BGE) + self.own(frames_BGE)
        return F.selu(self.norm(joined_BGE.transpose(1, 2)).transpose(1, 2))


class Bottleneck(nn.Module):
    """Three convolutions over the features of a row, each with batch norm and ReLU, and a shortcut.

    Args:
        in_channels: channels of the input.
        channels: channels of the first two convolutions; the output has twice as many.
        stride: features of the input for one of the output.
        downsample: a layer in the shortcut.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, downsample: bool):
        super().__init__()
        out_channels = EXPANSION * channels
        self.stride = stride
        self.conv1 = nn.Conv1d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm1d(channels)
        self.conv3 = nn.Conv1d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm1d(out_channels)
        self.downsample = nn.Identity()
        if downsample:
            self.downsample = nn.Conv1d(in_channels, out_channels, 1, bias=False)

    def forward(self, maps_BPE: Tensor) -> Tensor:
        # A stride of a convolution of one feature, before it.
        strided_BPE = maps_BPE[..., :: self.stride]
        hidden_BPE = F.relu(self.bn1(self.conv1(strided_BPE)))
        hidden_BPE = F.relu(self.bn2(self.conv2(hidden_BPE)))
        hidden_BPE = F.relu(self.bn3(self.conv3(hidden_BPE)))
        return F.relu(hidden_BPE + self.downsample(strided_BPE))


class WithinFrame(nn.Module):
    """ResNet over the features of a row, as if they were a signal, and a linear layer.

    Args:
        dim: features of a row.
        channels: channels of the first stage; each further stage doubles them.
    """

    def __init__(self, dim: int, channels: int):
        super().__init__()
        in_channels = channels // 2
        self.conv1 = nn.Conv1d(1, in_channels, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm1d(in_channels)
        self.pool = nn.MaxPool1d(3, 2, ceil_mode=True)
        self.stages = nn.Sequential()
        for stage in range(4):
            width = channels * 2**stage
            for block in range(BLOCKS):
                stride = 2 if stage > 0 and block == 0 else 1
                self.stages.append(Bottleneck(in_channels, width, stride, block == 0))
                in_channels = EXPANSION * width
        pooled = -(-(halved(dim, 1) - 3) // 2) + 1
        self.project = nn.Linear(in_channels * halved(pooled, 3), dim)

    def forward(self, frames_BGE: Tensor) -> Tensor:
        signals_N1E = frames_BGE.flatten(0, 1)[:, None]
        maps_NPE = self.pool(F.relu(self.bn1(self.conv1(signals_N1E))))
        rows_NE = self.project(self.stages(maps_NPE).flatten(1))
        return rows_NE.unflatten(0, frames_BGE.shape[:2])


class BAM(FrameBackbone):
    """Rows that attend to rows of their segment, between boundaries that a branch learns.

    Frames are pooled to rows of 160 ms by attention. The branch looks across rows and within each,
    and decides which rows are boundaries. A boundary stands alone: no row attends across it or to
    it. The features of the branch, without gradient, are half of the embedding. The loss of the
    boundaries counts the hardest rows without one only, five for each boundary.

    Source: Zhong, Li and Yi, "Enhancing partially spoofed audio localization with boundary-aware
    attention mechanism" (Interspeech 2024, https://arxiv.org/abs/2407.21611), agreeing with
    https://github.com/media-sec-lab/BAM, models/bam.py, on features of 1024. Published on
    WavLM-Large: segment EER 3.58 % at 160 ms on PartialSpoof eval.

    Args:
        input_dim: features of a frame.
        layers: layers of attention within segments.
        channels: channels of the first stage of the ResNet within a row.
        stride: frames in a row; 8 for 160 ms on frames of 20 ms.
        weight: weight of the boundary loss.
        negatives: rows without a boundary in that loss, for each row with one.
    """

    def __init__(
        self,
        input_dim: int,
        layers: int = 2,
        channels: int = 64,
        stride: PositiveInt = 8,
        weight: NonNegativeFloat = 0.5,
        negatives: PositiveInt = 5,
    ):
        super().__init__()
        self.stride = stride
        self.embed_dim = 2 * input_dim
        self.weight = weight
        self.negatives = negatives
        self.pool = SelfAttention(input_dim)
        self.across = PairAttention(input_dim)
        self.within = WithinFrame(input_dim, channels)
        self.boundary = nn.Linear(2 * input_dim, 1)
        self.layers = nn.ModuleList(PairAttention(input_dim) for _ in range(layers))
        self.project = nn.Linear(2 * input_dim, input_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        embedding_BGE, _, lengths_B = self.embed(frames_BFD, frame_lengths_B)
        return embedding_BGE, lengths_B

    def embed(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings, logits ``boundary_BG`` of boundaries, and ``lengths_B``."""
        missing = -frames_BFD.shape[1] % self.stride
        groups = F.pad(frames_BFD, (0, 0, 0, missing)).unflatten(1, (-1, self.stride))
        size = groups.shape[1]
        first_G = self.stride * torch.arange(size, device=frames_BFD.device)
        # Of a row behind the end of its utterance, one padded frame is taken.
        counts_BG = (frame_lengths_B[:, None] - first_G).clamp(1, self.stride)
        rows_NE = self.pool(groups.flatten(0, 1), counts_BG.flatten())
        rows_BGE = rows_NE.unflatten(0, (-1, size))
        lengths_B = torch.div(frame_lengths_B + self.stride - 1, self.stride, rounding_mode="floor")
        valid_B1G = valid_mask(lengths_B, size)[:, None]
        branch_BGE = torch.cat((self.across(rows_BGE, valid_B1G), self.within(rows_BGE)), -1)
        boundary_BG = self.boundary(branch_BGE)[..., 0]
        # A logit above 0 is a probability above one half.
        allowed_BGG = within_segments(boundary_BG > 0)
        for layer in self.layers:
            rows_BGE = layer(rows_BGE, valid_B1G, allowed_BGG)
        # Without gradient: the branch learns boundaries from its own loss alone.
        branch_BGE = F.selu(self.project(branch_BGE.detach()))
        return torch.cat((rows_BGE, branch_BGE), -1), boundary_BG, lengths_B

    def embed_with_loss(
        self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels_BG: Tensor
    ) -> tuple:
        embedding_BGE, boundary_BG, lengths_B = self.embed(frames_BFD, frame_lengths_B)
        # The first row is none, as in the official code.
        previous_BG = torch.cat((labels_BG[:, :1], labels_BG[:, :-1]), 1)
        has_label_BG = (labels_BG != NO_LABEL) & (previous_BG != NO_LABEL)
        begins_N = (labels_BG != previous_BG)[has_label_BG]
        logits_N = boundary_BG[has_label_BG].float()
        loss = hardest_boundary_loss(logits_N, begins_N.float(), self.negatives)
        return (embedding_BGE, lengths_B), self.weight * loss


def within_segments(is_boundary_BG: Tensor) -> Tensor:
    """Pairs of rows without a boundary from the one to the other, ends included, and each row with
    itself, ``allowed_BGG``.
    """
    count_BG = is_boundary_BG.cumsum(1)
    before_BG = count_BG - is_boundary_BG.long()
    # From the earlier row (first G) to the later one.
    is_free_BGG = (count_BG[:, None] == before_BG[:, :, None]).triu(1)
    is_self_GG = torch.eye(count_BG.shape[1], dtype=torch.bool, device=count_BG.device)
    return is_free_BGG | is_free_BGG.transpose(1, 2) | is_self_GG
