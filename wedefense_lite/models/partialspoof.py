"""The multi-resolution countermeasure of PartialSpoof.

Letters: B utterances, F frames of the front end, D features of a frame, G rows with a decision each
(frames of one resolution), E features of a row.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from wedefense_lite.audio.tracks import by_overlap
from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.heads import Head, P2SGrad
from wedefense_lite.labels import BONAFIDE, NO_LABEL, SPOOF
from wedefense_lite.models.base import FrameBackbone, masked_loss
from wedefense_lite.models.gmlp import SpatialMLP
from wedefense_lite.models.pooling import mean_over_time
from wedefense_lite.models.weighted_sum import LayerSum

DROPOUT = 0.7  # before the branch of the utterance


class Branch(nn.Module):
    """gMLP layers and a linear layer to half the width.

    Args:
        dim: features of a row.
        layers: layers of gMLP.
        max_rows: rows of the gates.
    """

    def __init__(self, dim: int, layers: int, max_rows: int):
        super().__init__()
        self.layers = nn.ModuleList(SpatialMLP(dim, max_rows) for _ in range(layers))
        self.embed = nn.Linear(dim, dim // 2, bias=False)

    def mix(self, frames_BGE: Tensor, lengths_B: Tensor) -> Tensor:
        """Rows behind the layers, ``BGE``."""
        mask_BG1 = valid_mask(lengths_B, frames_BGE.shape[1])[..., None]
        for layer in self.layers:
            frames_BGE = layer(frames_BGE, mask_BG1)
        return frames_BGE

    def forward(self, frames_BGE: Tensor, lengths_B: Tensor) -> Tensor:
        return self.embed(self.mix(frames_BGE, lengths_B))


class Rows(NamedTuple):
    """Rows of one resolution.

    Attributes:
        frames_BGE: rows before the branch.
        lengths_B: rows of each utterance.
    """

    frames_BGE: Tensor
    lengths_B: Tensor


class PartialSpoofGMLP(FrameBackbone):
    """A weighted sum of an encoder's states, and gMLP at resolutions that are half as fine each.

    Source: Zhang et al., "The PartialSpoof database and countermeasures for the detection of short
    fake speech segments embedded in an utterance" (IEEE/ACM TASLP 2023,
    https://arxiv.org/abs/2204.05177), agreeing with
    https://github.com/nii-yamagishilab/PartialSpoof, 03multireso: on the 25 states of wav2vec 2.0
    Large, with P2SGrad. From one resolution to the next there are maxima over two frames and two
    features, and a linear layer; a last frame without a partner is left out, but at the coarsest
    resolution it begins with a frame of its own. The coarser resolutions and the branch of the
    utterance are in the loss of training alone. An utterance is spoofed if any frame is.

    Gates are matrices over time, so that there are at most ``max_frames`` frames.

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: layers: 25 of large encoders, the input of the first included.
        layers: layers of gMLP in a branch.
        coarser: resolutions beside the finest one.
        max_frames: frames of the gates at the finest resolution, halved from each to the next.
        head: head and loss of each coarser resolution; the coarsest decides for the utterance too.

    Raises:
        InputError: features of a frame that are no multiple of the layers.
    """

    def __init__(
        self,
        input_dim: int,
        num_layers: PositiveInt = 25,
        layers: int = 5,
        coarser: NonNegativeInt = 5,
        max_frames: PositiveInt = 2001,
        head: Callable[[int], Head] = P2SGrad,
    ):
        super().__init__()
        self.num_layers = num_layers
        self.sum = LayerSum(input_dim, num_layers)
        dims = [self.sum.dim >> halvings for halvings in range(coarser + 1)]
        self.embed_dim = dims[0] // 2
        self.enter = nn.ModuleList(nn.Linear(dim, dim) for dim in dims[1:])
        self.branches = nn.ModuleList()
        for halvings, dim in enumerate(dims):
            self.branches.append(Branch(dim, layers, max_frames >> halvings))
        self.heads = nn.ModuleList(head(dim // 2) for dim in dims[1:])
        self.drop = nn.Dropout(DROPOUT)
        self.utterance = Branch(dims[-1], layers, max_frames >> coarser) if coarser else None

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        embedding_BGE = self.branches[0](self.sum(frames_BFD), frame_lengths_B)
        return embedding_BGE, frame_lengths_B

    def resolutions(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> list[Rows]:
        """Rows before each branch, from the finest on; short audio has fewer resolutions."""
        rows = [Rows(self.sum(frames_BFD), frame_lengths_B)]
        for number, enter in enumerate(self.enter, 1):
            frames_BGE, lengths_B = rows[-1]
            is_last = number == len(self.enter)
            if int(lengths_B.min()) < 2:
                break
            # A maximum over a row of the utterance and a padded one is that of the former.
            mask_BG1 = valid_mask(lengths_B, frames_BGE.shape[1])[..., None]
            filled_BGE = frames_BGE.masked_fill(~mask_BG1, frames_BGE.detach().min())
            pooled_BGE = F.max_pool2d(filled_BGE, 2, padding=(1, 0) if is_last else 0)
            lengths_B = torch.div(lengths_B, 2, rounding_mode="floor") + int(is_last)
            rows.append(Rows(enter(pooled_BGE), lengths_B))
        return rows

    def embed_utterance(self, coarsest: Rows) -> Tensor:
        """``embedding_BE`` of utterances, from the rows of the coarsest resolution."""
        frames_BGE = self.utterance.mix(self.drop(coarsest.frames_BGE), coarsest.lengths_B)
        mean_BE = mean_over_time(frames_BGE.transpose(1, 2), coarsest.lengths_B)
        return self.utterance.embed(mean_BE)

    def embed_with_loss(
        self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels_BG: Tensor
    ) -> tuple:
        rows = self.resolutions(frames_BFD, frame_lengths_B)
        finest_BGE = self.branches[0](*rows[0])
        utterance_B = _label_utterances(labels_BG)
        loss = frames_BFD.new_zeros(())
        for coarse, branch, head in zip(rows[1:], self.branches[1:], self.heads):
            labels_BG = by_overlap(labels_BG, 2)
            size = coarse.frames_BGE.shape[1]
            fitted_BG = F.pad(labels_BG, (0, size - labels_BG.shape[1]), value=NO_LABEL)
            branch_loss, *_ = masked_loss(head, branch(*coarse), fitted_BG)
            loss = loss + branch_loss
        if self.utterance is not None and len(rows) == len(self.branches):
            embedding_BE = self.embed_utterance(rows[-1])
            utterance_loss, *_ = masked_loss(self.heads[-1], embedding_BE, utterance_B)
            loss = loss + utterance_loss
        return (finest_BGE, frame_lengths_B), loss


def _label_utterances(labels_BG: Tensor) -> Tensor:
    """Spoof where any frame is, and ``NO_LABEL`` where no frame has a label."""
    labels_B = torch.full_like(labels_BG[:, 0], NO_LABEL)
    labels_B = labels_B.masked_fill((labels_BG == BONAFIDE).any(1), BONAFIDE)
    return labels_B.masked_fill((labels_BG == SPOOF).any(1), SPOOF)
