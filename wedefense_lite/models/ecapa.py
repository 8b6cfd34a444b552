"""ECAPA-TDNN."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.blocks import Res2, SqueezeExcitation
from wedefense_lite.models.pooling import AttentiveStatistics


def tdnn(in_channels: int, channels: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution over time that keeps the number of frames, ReLU, then batch norm."""
    conv = nn.Conv1d(
        in_channels, channels, kernel, padding=dilation * (kernel // 2), dilation=dilation
    )
    return nn.Sequential(conv, nn.ReLU(), nn.BatchNorm1d(channels))


def hierarchy(channels: int, dilation: int, scale: int) -> Res2:
    """``scale`` groups of channels, of which each but the last is convolved with the one before it added.

    Raises:
        InputError: channels that don't make so many groups.
    """
    if channels % scale:
        raise InputError(f"{channels} channels, expected a multiple of the scale, {scale}")
    width = channels // scale
    return Res2([tdnn(width, width, 3, dilation) for _ in range(scale - 1)], nn.Identity())


class SERes2Block(nn.Module):
    """Two layers around a hierarchy of groups, squeeze-and-excitation, shortcut (section 3.2)."""

    def __init__(self, channels: int, groups: nn.Module, hidden: int = 128):
        super().__init__()
        gates = SqueezeExcitation(channels, hidden)
        self.layers = nn.Sequential(
            tdnn(channels, channels), groups, tdnn(channels, channels), gates
        )

    def forward(self, frames_BCF: Tensor) -> Tensor:
        return frames_BCF + self.layers(frames_BCF)


class ECAPA(Backbone):
    """ECAPA-TDNN (Desplanques et al., Interspeech 2020, https://arxiv.org/abs/2005.07143).

    In the form WeSpeaker gave it: each block sees the block before it, not the sum of all. On 80
    filterbanks 6.19 M parameters, 5.80 M without global context. No EER on ASVspoof 2019 LA is
    published for it.

    Args:
        input_dim: features of a frame.
        channels: of the blocks; the three blocks together give three times as many to the pooling.
        embed_dim: size of the embedding.
        scale: groups of a block.
        global_context: attention sees mean and deviation of the utterance beside the frame.

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
    ):
        super().__init__()
        self.embed_dim = embed_dim
        self.first = tdnn(input_dim, channels, 5)
        self.blocks = nn.ModuleList(
            SERes2Block(channels, hierarchy(channels, n, scale)) for n in (2, 3, 4)
        )
        self.join = nn.Conv1d(3 * channels, 3 * channels, 1)
        self.pool = AttentiveStatistics(3 * channels, global_context=global_context)
        self.embed = nn.Sequential(nn.BatchNorm1d(6 * channels), nn.Linear(6 * channels, embed_dim))

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        found = [self.first(frames_BFD.transpose(1, 2))]
        for block in self.blocks:
            found.append(block(found[-1]))
        joined_BCF = F.relu(self.join(torch.cat(found[1:], 1)))
        return self.embed(self.pool(joined_BCF, frame_lengths_B))
