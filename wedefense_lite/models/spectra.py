"""The ECAPA-TDNN of Spectra-0."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.ecapa import SERes2Block, hierarchy, tdnn
from wedefense_lite.models.pooling import AttentiveStatistics


class Spectra(Backbone):
    """Two linear layers, and an ECAPA-TDNN of four blocks, each of which sees the sum of all before it.

    What Spectra-0 (https://huggingface.co/lab260/spectra_0) puts on the last layer of XLS-R; its attention has
    ReLU and batch norm before the tanh. With the head 2.89 M parameters on 1024 features. Its model card has
    0.18 % EER on ASVspoof 2019 LA and 1.03 % on In-the-Wild; neither training data nor recipe are published.

    Args:
        input_dim: features of a frame.
        channels: of the two linear layers and the blocks.
        joined_channels: what the blocks together are given to the pooling as; the embedding is twice as large.
        scale: groups of a block.

    Raises:
        InputError: channels that don't make ``scale`` groups.
    """

    def __init__(
        self, input_dim: int, channels: int = 128, joined_channels: int = 1536, scale: int = 8
    ):
        super().__init__()
        self.embed_dim = 2 * joined_channels
        first, second = nn.Linear(input_dim, channels), nn.Linear(channels, channels)
        self.project = nn.Sequential(first, nn.SELU(), nn.Dropout(0.1), second, nn.Dropout(0.1))
        self.first = tdnn(channels, channels, 5)
        blocks = [
            SERes2Block(channels, hierarchy(channels, dilation, scale)) for dilation in (2, 3, 4, 5)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.join = nn.Conv1d(4 * channels, joined_channels, 1)
        between = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(256), nn.Tanh())
        self.pool = AttentiveStatistics(joined_channels, 256, between=between)
        self.norm = nn.BatchNorm1d(self.embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        seen_BCF = self.first(self.project(frames_BFD).transpose(1, 2))
        found = []
        for block in self.blocks:
            found.append(block(seen_BCF))
            seen_BCF = seen_BCF + found[-1]
        joined_BCF = F.relu(self.join(torch.cat(found, 1)))
        return self.norm(self.pool(joined_BCF, frame_lengths_B))
