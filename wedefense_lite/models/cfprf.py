"""The frame detection network of CFPRF.

Letters: B utterances, F frames, D features of a frame, E features within, P channels of a map.
"""

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.heads import SquaredError
from wedefense_lite.labels import NO_LABEL
from wedefense_lite.models.aasist import block
from wedefense_lite.models.base import FrameBackbone, masked_loss
from wedefense_lite.models.gmlp import SpatialMLP
from wedefense_lite.models.tcm import sinusoids

ATTENTION_DIM = 64
DROPOUT = 0.5


class TinyAttention(nn.Module):
    """A share of time for each frame, by the product of its query and its own key.

    In the official code the softmax has no axis, which is that of time for its frames x signals x
    signals, and the signals of a batch are mixed. This is what it gives for one signal alone.

    Args:
        in_dim: features of the input.
        dim: features of the output.
    """

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.query_key_value = nn.Linear(in_dim, 3 * ATTENTION_DIM)
        self.project = nn.Linear(ATTENTION_DIM, dim)

    def forward(self, frames_BFE: Tensor, mask_BF1: Tensor) -> Tensor:
        query, key, value_BFE = self.query_key_value(frames_BFE).chunk(3, 2)
        scores_BF1 = (query * key).sum(2, keepdim=True) / ATTENTION_DIM**0.5
        shares_BF1 = scores_BF1.masked_fill(~mask_BF1, -torch.inf).softmax(1)
        return self.project(shares_BF1 * value_BFE)


class CFPRF(FrameBackbone):
    """Residual blocks over frames and features, and two gated branches: boundaries, and decisions
    that attend to the boundaries' features.

    Source: the first stage of Wu et al., "Coarse-to-fine proposal refinement framework for audio
    temporal forgery detection and localization" (ACM Multimedia 2024,
    https://arxiv.org/abs/2407.16554), agreeing with https://github.com/ItzJuny/CFPRF,
    models/FDN.py, for one signal at a time, on the 1024 features of XLS-R. Its contrastive loss and
    its second stage, the refinement of proposals, are not here. Published: 7.41 % segment EER at 20
    ms on PartialSpoof eval.

    The gates are matrices over time, so that there are at most ``max_frames`` frames.

    Args:
        input_dim: features of a frame.
        embed_dim: features within, and of an embedding.
        max_frames: frames of the gates.
        weight: weight of the loss of the boundaries.
    """

    def __init__(
        self,
        input_dim: int,
        embed_dim: int = 128,
        max_frames: PositiveInt = 1070,
        weight: NonNegativeFloat = 0.1,
    ):
        super().__init__()
        self.embed_dim = embed_dim
        self.weight = weight
        narrow = max(1, embed_dim // 4)
        middle = max(1, embed_dim // 2)
        widths = [1, narrow, narrow, middle, middle, embed_dim, embed_dim]
        self.project = nn.Linear(input_dim, embed_dim)
        self.first_bn = nn.BatchNorm2d(1)
        self.encoder = nn.Sequential()
        for in_width, width in zip(widths, widths[1:]):
            self.encoder.append(block(in_width, width, 1))
        self.norm = nn.LayerNorm(embed_dim)
        self.attention = nn.Sequential(
            nn.Conv2d(embed_dim, middle, 1),
            nn.SELU(inplace=True),
            nn.BatchNorm2d(middle),
            nn.Conv2d(middle, embed_dim, 1),
        )
        self.boundary_mlp = SpatialMLP(embed_dim, max_frames, TinyAttention)
        self.segment_mlp = SpatialMLP(embed_dim, max_frames, TinyAttention)
        self.query = nn.Linear(embed_dim, embed_dim, bias=False)
        self.key = nn.Linear(embed_dim, embed_dim, bias=False)
        self.value = nn.Linear(embed_dim, embed_dim, bias=False)
        self.feed_forward = nn.Sequential(
            nn.Linear(embed_dim, embed_dim), nn.ReLU(), nn.Linear(embed_dim, embed_dim)
        )
        self.boundary = SquaredError(embed_dim)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        embedding_BFE, _ = self.embed(frames_BFD, frame_lengths_B)
        return embedding_BFE, frame_lengths_B

    def embed(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings, and the features of the boundaries, both ``BFE``."""
        mask_BF1 = valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
        maps_B1FE = F.selu(self.first_bn(self.project(frames_BFD)[:, None]))
        maps_BPFE = F.selu(self.norm(self.encoder(maps_B1FE)))
        # One map of scores, two softmaxes: over the features, and over the channels.
        scores_BPFE = self.attention(maps_BPFE)
        channels_BFP = (maps_BPFE * scores_BPFE.softmax(3)).sum(3).transpose(1, 2)
        features_BFE = (maps_BPFE * scores_BPFE.softmax(1)).sum(1)
        positions_FE = sinusoids(frames_BFD.shape[1], self.embed_dim, frames_BFD.device)
        joined_BFE = channels_BFP + features_BFE + positions_FE
        boundary_BFE = self.drop(self.boundary_mlp(joined_BFE, mask_BF1))
        # As in the official code, values are made of the keys.
        key_BFE = self.key(boundary_BFE)
        attended_BFE = F.scaled_dot_product_attention(
            self.query(joined_BFE), key_BFE, self.value(key_BFE), mask_BF1.transpose(1, 2)
        )
        mixed_BFE = self.norm(self.feed_forward(attended_BFE) + joined_BFE)
        return self.drop(self.segment_mlp(mixed_BFE, mask_BF1)), boundary_BFE

    def embed_with_loss(
        self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels_BF: Tensor
    ) -> tuple:
        embedding_BFE, boundary_BFE = self.embed(frames_BFD, frame_lengths_B)
        previous_BF = torch.cat((labels_BF[:, :1], labels_BF[:, :-1]), 1)
        has_label_BF = (labels_BF != NO_LABEL) & (previous_BF != NO_LABEL)
        begins_BF = (labels_BF != previous_BF).long().masked_fill(~has_label_BF, NO_LABEL)
        loss = embedding_BFE.new_zeros(())
        if has_label_BF.any():
            loss, *_ = masked_loss(self.boundary, boundary_BFE, begins_BF)
        return (embedding_BFE, frame_lengths_B), self.weight * loss
