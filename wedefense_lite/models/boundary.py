"""Attention that does not cross the boundaries between segments.

Tensor suffixes: B utterances of a batch, F frames of the front end, D features of a frame, G rows
with a decision each (frames of an utterance; twice where rows meet rows), E features of a row,
N rows in a loss.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.labels import NO_LABEL
from wedefense_lite.models.base import Encoder, FrameBackbone, Frames


class SegmentAttention(nn.Module):
    """A projection of each row plus one of the rows that it attends to, layer norm, and SELU.

    Args:
        dim: features of a row.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.query_key = nn.Linear(dim, 2 * dim)
        self.attended = nn.Linear(dim, dim)
        self.own = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, frames_BGE: Tensor, allowed_BGG: Tensor) -> Tensor:
        """Rows after attention, ``BGE``.

        Args:
            frames_BGE: rows.
            allowed_BGG: whether a row (first G) attends to a row (second G).
        """
        query_BGE, key_BGE = self.query_key(frames_BGE).chunk(2, -1)
        context_BGE = F.scaled_dot_product_attention(query_BGE, key_BGE, frames_BGE, allowed_BGG)
        return F.selu(self.norm(self.attended(context_BGE) + self.own(frames_BGE)))


class BoundaryAware(FrameBackbone):
    """Frames that attend to frames of the same segment, with a branch that learns the boundaries.

    Source: BAM (Zhong, Li and Yi, "Enhancing partially spoofed audio localization with
    boundary-aware attention mechanism", Interspeech 2024, https://arxiv.org/abs/2407.21611). A
    branch looks at each frame and across frames, and decides which frames begin a segment. The
    boundaries split the utterance, and frames attend to each other within a segment. The features
    of the branch, without gradient, are half of the embedding. The weight of the boundary loss is
    that of the official code, 0.5; as there, the loss counts the hardest frames without a boundary
    only, five for each boundary.

    Simpler than BAM (``wedefense_lite.models.bam.BAM``): attention is that of Vaswani et al.,
    normalisation is by frame, and within a frame two layers stand in for a one-dimensional ResNet.
    Published for BAM itself on WavLM-Large frames pooled to 160 ms: segment EER 3.58 % on
    PartialSpoof eval.

    Args:
        input_dim: features of a frame.
        encoder: layers before this model; by default none.
        layers: layers of attention within segments.
        weight: weight of the boundary loss.
        negatives: frames without a boundary in that loss, for each frame with one.
    """

    def __init__(
        self,
        input_dim: int,
        encoder: Encoder = Frames,
        layers: int = 2,
        weight: float = 0.5,
        negatives: int = 5,
    ):
        super().__init__()
        self.encoder = encoder(input_dim)
        dim = self.encoder.embed_dim
        self.stride = self.encoder.stride
        self.min_frames = self.encoder.min_frames
        self.embed_dim = 2 * dim
        self.across = SegmentAttention(dim)
        self.within = nn.Sequential(nn.Linear(dim, dim), nn.SELU(), nn.Linear(dim, dim))
        self.boundary = nn.Linear(2 * dim, 1)
        self.project = nn.Linear(2 * dim, dim)
        self.layers = nn.ModuleList(SegmentAttention(dim) for _ in range(layers))
        self.weight = weight
        self.negatives = negatives

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        frames_BGE, lengths_B = self.encoder(frames_BFD, frame_lengths_B)
        embedding_BGE, _ = self._embed(frames_BGE, lengths_B)
        return embedding_BGE, lengths_B

    def embed_with_loss(self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels: Tensor) -> tuple:
        encoded, loss = self.encoder.embed_with_loss(frames_BFD, frame_lengths_B, labels)
        frames_BGE, lengths_B = encoded
        embedding_BGE, boundary_BG = self._embed(frames_BGE, lengths_B)
        boundary_loss = self._boundary_loss(boundary_BG, labels)
        return (embedding_BGE, lengths_B), loss + self.weight * boundary_loss

    def _embed(self, frames_BGE: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings, and logits ``boundary_BG`` of rows that begin a segment."""
        size = frames_BGE.shape[1]
        # Every row, a padded one too, attends to itself: a softmax over nothing would be NaN.
        is_self_GG = torch.eye(size, dtype=torch.bool, device=lengths_B.device)
        allowed_BGG = valid_mask(lengths_B, size)[:, None] | is_self_GG
        across_BGE = self.across(frames_BGE, allowed_BGG)
        within_BGE = self.within(frames_BGE)
        branch_BGE = torch.cat((across_BGE, within_BGE), -1)
        boundary_BG = self.boundary(branch_BGE)[..., 0]
        # A logit above 0 is a probability above one half: the number of the segment goes up there.
        segment_BG = (boundary_BG > 0).cumsum(1)
        is_same_BGG = segment_BG[:, :, None] == segment_BG[:, None]
        allowed_BGG = allowed_BGG & is_same_BGG
        for layer in self.layers:
            frames_BGE = layer(frames_BGE, allowed_BGG)
        # Without gradient: the branch learns boundaries from its own loss alone.
        branch_BGE = F.selu(self.project(branch_BGE.detach()))
        return torch.cat((frames_BGE, branch_BGE), -1), boundary_BG

    def _boundary_loss(self, boundary_BG: Tensor, labels_BG: Tensor) -> Tensor:
        """The mean cross entropy of boundaries and of the hardest rows without one, a scalar.

        Args:
            boundary_BG: logits of rows that begin a segment.
            labels_BG: classes of the rows, ``NO_LABEL`` where there is none.
        """
        previous_BG = labels_BG[:, :-1]
        current_BG = labels_BG[:, 1:]
        # The first row has no row before it, and next to an unlabelled row a change says nothing.
        is_labelled_BG = (current_BG != NO_LABEL) & (previous_BG != NO_LABEL)
        begins_N = (current_BG != previous_BG)[is_labelled_BG].float()
        logits_N = boundary_BG[:, 1:][is_labelled_BG].float()
        return hardest_boundary_loss(logits_N, begins_N, self.negatives)


def hardest_boundary_loss(logits_N: Tensor, begins_N: Tensor, negatives: int) -> Tensor:
    """The mean cross entropy of boundaries and of the hardest rows without one, a scalar.

    Args:
        logits_N: logits of rows that begin a segment.
        begins_N: 1 for those that do, and 0.
        negatives: rows without a boundary that count, for each with one.
    """
    losses_N = F.binary_cross_entropy_with_logits(logits_N, begins_N, reduction="none")
    positive_N = losses_N[begins_N == 1]
    negative_N = losses_N[begins_N == 0]
    count = min(negatives * len(positive_N), len(negative_N))
    hardest_N = negative_N.topk(count).values
    # A batch without boundaries has an empty sum, a loss of 0, and no division by 0.
    rows = max(len(positive_N) + count, 1)
    return (positive_N.sum() + hardest_N.sum()) / rows
