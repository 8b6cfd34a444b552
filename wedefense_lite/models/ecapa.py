"""ECAPA-TDNN.

Tensor suffixes: B utterances of a batch, F frames, D features of a frame, P channels over time.
"""

import torch
import torch.nn.functional as F
from jsonargparse.typing import PositiveFloat
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.blocks import Res2, SqueezeExcitation
from wedefense_lite.models.pooling import AttentiveStatistics

DILATIONS = (2, 3, 4)  # of the three blocks (figure 2 of the paper)


def tdnn(in_channels: int, channels: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution over time that keeps the number of frames, ReLU, then batch norm."""
    conv = nn.Conv1d(
        in_channels, channels, kernel, padding=dilation * (kernel // 2), dilation=dilation
    )
    return nn.Sequential(conv, nn.ReLU(), nn.BatchNorm1d(channels))


def hierarchy(channels: int, dilation: int, scale: int) -> Res2:
    """Groups of channels, each but the last convolved after the result before it was added.

    Args:
        channels: channels of all groups together.
        dilation: dilation of the convolutions over time.
        scale: groups.

    Raises:
        InputError: channels that don't make so many groups.
    """
    if channels % scale:
        raise InputError(f"{channels} channels, expected a multiple of the scale, {scale}")
    width = channels // scale
    branches = [tdnn(width, width, 3, dilation) for _ in range(scale - 1)]
    return Res2(branches, nn.Identity())


class SERes2Block(nn.Module):
    """Two layers around a hierarchy of groups, squeeze-and-excitation, shortcut (section 3.2).

    Args:
        channels: channels of input and output.
        groups: the hierarchy, as ``hierarchy`` makes it.
        hidden: size between the two layers of squeeze-and-excitation, 128 as published.
    """

    def __init__(self, channels: int, groups: nn.Module, hidden: int = 128):
        super().__init__()
        gates = SqueezeExcitation(channels, hidden)
        self.layers = nn.Sequential(
            tdnn(channels, channels), groups, tdnn(channels, channels), gates
        )

    def forward(self, frames_BPF: Tensor) -> Tensor:
        return frames_BPF + self.layers(frames_BPF)


class ECAPA(Backbone):
    """ECAPA-TDNN, in the form of WeSpeaker.

    Source: Desplanques et al., "ECAPA-TDNN: Emphasized channel attention, propagation and
    aggregation in TDNN based speaker verification" (Interspeech 2020,
    https://arxiv.org/abs/2005.07143), agreeing with https://github.com/wenet-e2e/wespeaker,
    wespeaker/models/ecapa_tdnn.py. There, each block reads the block before it, not the sum of all,
    and silent channels have a variance of at least 1e-7. On 80 filterbanks there are 6.19 M
    parameters, 5.80 M without global context. No EER on ASVspoof 2019 LA is published for it.

    Args:
        input_dim: features of a frame.
        channels: channels of a block; the pooling reads those of all three blocks.
        embed_dim: size of the embedding.
        scale: groups of a block.
        global_context: whether the attention of the pooling reads mean and deviation of the
            utterance beside the frame.
        floor: smallest variance of a channel in the pooling; until version 0.1.0 it was 1e-10.

    Raises:
        InputError: channels that don't make ``scale`` groups.
    """

    def __init__(
        self,
        input_dim: int,
        channels: int = 512,
        embed_dim: int = 192,
        scale: int = 8,
        global_context: bool = True,
        floor: PositiveFloat = 1e-7,
    ):
        super().__init__()
        self.embed_dim = embed_dim
        self.first = tdnn(input_dim, channels, 5)
        self.blocks = nn.ModuleList()
        for dilation in DILATIONS:
            self.blocks.append(SERes2Block(channels, hierarchy(channels, dilation, scale)))
        joined = len(DILATIONS) * channels
        self.join = nn.Conv1d(joined, joined, 1)
        self.pool = AttentiveStatistics(joined, global_context=global_context, floor=floor)
        # A mean and a standard deviation of each channel.
        self.embed = nn.Sequential(nn.BatchNorm1d(2 * joined), nn.Linear(2 * joined, embed_dim))

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        hidden_BPF = self.first(frames_BFD.transpose(1, 2))
        outputs = []
        for block in self.blocks:
            hidden_BPF = block(hidden_BPF)
            outputs.append(hidden_BPF)
        joined_BPF = F.relu(self.join(torch.cat(outputs, 1)))
        return self.embed(self.pool(joined_BPF, frame_lengths_B))
