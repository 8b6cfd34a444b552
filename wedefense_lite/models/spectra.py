"""The ECAPA-TDNN of Spectra-0.

Tensor suffixes: B utterances of a batch, F frames, D features of a frame, P channels over time.
"""

import torch
import torch.nn.functional as F
from jsonargparse.typing import PositiveFloat
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.ecapa import SERes2Block, hierarchy, tdnn
from wedefense_lite.models.pooling import AttentiveStatistics

# Constants of Spectra-0's weights and code, which have no paper.
DILATIONS = (2, 3, 4, 5)
ATTENTION_DIM = 256
DROPOUT = 0.1


class Spectra(Backbone):
    """Two linear layers, and an ECAPA-TDNN of four blocks, each on the sum of all before it.

    Source: the layers that Spectra-0 (https://huggingface.co/lab260/spectra_0) puts on the last
    layer of XLS-R, agreeing with its model.py; its attention has ReLU and batch norm before the
    tanh, and variances of at least 1e-4. With the head there are
    2.89 M parameters on 1024 features. The model card has 0.18 % EER on ASVspoof 2019 LA and 1.03 %
    on In-the-Wild; neither training data nor recipe are published.

    Args:
        input_dim: features of a frame.
        channels: channels of the two linear layers and of the blocks.
        joined_channels: channels that a convolution makes of all blocks, for the pooling; the
            embedding is twice as large.
        scale: groups of a block.
        floor: smallest variance of a channel in the pooling; until version 0.1.0 it was 1e-10, and
            1e-7 was added to those of the global context.

    Raises:
        InputError: channels that don't make ``scale`` groups.
    """

    def __init__(
        self,
        input_dim: int,
        channels: int = 128,
        joined_channels: int = 1536,
        scale: int = 8,
        floor: PositiveFloat = 1e-4,
    ):
        super().__init__()
        self.embed_dim = 2 * joined_channels
        self.project = nn.Sequential(
            nn.Linear(input_dim, channels),
            nn.SELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(channels, channels),
            nn.Dropout(DROPOUT),
        )
        self.first = tdnn(channels, channels, 5)
        self.blocks = nn.ModuleList()
        for dilation in DILATIONS:
            self.blocks.append(SERes2Block(channels, hierarchy(channels, dilation, scale)))
        self.join = nn.Conv1d(len(DILATIONS) * channels, joined_channels, 1)
        between = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(ATTENTION_DIM), nn.Tanh())
        self.pool = AttentiveStatistics(
            joined_channels, ATTENTION_DIM, between=between, floor=floor, context_floor=floor
        )
        self.norm = nn.BatchNorm1d(self.embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        sum_BPF = self.first(self.project(frames_BFD).transpose(1, 2))
        outputs = []
        for block in self.blocks:
            output_BPF = block(sum_BPF)
            outputs.append(output_BPF)
            sum_BPF = sum_BPF + output_BPF
        joined_BPF = F.relu(self.join(torch.cat(outputs, 1)))
        return self.norm(self.pool(joined_BPF, frame_lengths_B))
