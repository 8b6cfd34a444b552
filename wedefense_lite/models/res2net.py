"""Res2Net with squeeze-and-excitation.

Letters: B utterances, F frames, D features of a frame, P channels.
"""

from functools import partial

import torch.nn.functional as F
from jsonargparse.typing import NonNegativeInt
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.blocks import Res2, SqueezeExcitation, conv_norm
from wedefense_lite.models.pooling import as_maps, halved, mean_over_time
from wedefense_lite.models.resnet import stacked
from wedefense_lite.models.slices import embed_slices

EXPANSION = 2  # channels of the output of a block, over its own


class Res2Block(nn.Module):
    """Bottleneck with a hierarchy of groups for its 3 x 3 convolution, and squeeze-and-excitation.

    In the first block of a stage, whose channels change, the groups don't feed each other, and
    average pooling strides the last group and the shortcut.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, base_width: int, scale: int):
        super().__init__()
        out_channels = EXPANSION * channels
        width = channels * base_width // 64
        first = in_channels != out_channels
        groups = [conv_norm(width, width, 3, stride) for _ in range(scale - 1)]
        last_group = nn.AvgPool2d(3, stride, 1) if first else nn.Identity()
        self.layers = nn.Sequential(
            conv_norm(in_channels, width * scale),
            Res2(groups, last_group, cascade=not first),
            conv_norm(width * scale, out_channels, activation=nn.Identity),
            SqueezeExcitation(out_channels, max(1, out_channels // 16), bias=False),
        )
        self.shortcut = nn.Sequential()
        if first:
            pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
            self.shortcut = nn.Sequential(
                pool, conv_norm(in_channels, out_channels, activation=nn.Identity)
            )

    def forward(self, maps_BPDF: Tensor) -> Tensor:
        return F.relu(self.layers(maps_BPDF) + self.shortcut(maps_BPDF))


class SERes2Net(Backbone):
    """SE-Res2Net50, 0.92 M parameters.

    As the trunk of an attention branch network on LFCC (``EABN``) it has a published EER of 1.89 %
    on ASVspoof 2019 LA eval.

    Source: Li et al., "Replay and Synthetic Speech Detection with Res2Net Architecture" (ICASSP
    2021, https://arxiv.org/abs/2010.15006), in the form of its official code ("v1b", 26w4s).

    Args:
        input_dim: features of a frame.
        channels: channels of the inner layers of the first stage; each further stage doubles them.
        blocks: blocks of each stage; each stage but the first halves time and frequency.
        base_width: channels of a group in a stage of 64 channels.
        scale: groups of a block.
        embed_dim: size of a linear layer on the pooled channels; 0: the embedding is these 256
            channels.
        kaiming: draw weights of convolutions from a normal distribution after He et al., by their
            outputs, as the official code does; else PyTorch's initial weights.
        slice_frames: in scoring, the embedding is the mean of those of slices of so many frames,
            which overlap by half, as the official code has 400; 0: it is that of all frames.
    """

    def __init__(
        self,
        input_dim: int,
        channels: int = 16,
        blocks: tuple[int, ...] = (3, 4, 6, 3),
        base_width: int = 26,
        scale: int = 4,
        embed_dim: int = 0,
        kaiming: bool = False,
        slice_frames: NonNegativeInt = 0,
    ):
        super().__init__()
        self.slice_frames = slice_frames
        pairs = [(1, channels), (channels, channels), (channels, channels)]
        self.stem = nn.Sequential(*(conv_norm(*pair, kernel=3) for pair in pairs))
        block = partial(Res2Block, base_width=base_width, scale=scale)
        self.stages = stacked(block, channels, channels, blocks, EXPANSION)
        self.halvings = len(blocks) - 1
        pooled = EXPANSION * channels * 2**self.halvings
        self.embed = nn.Linear(pooled, embed_dim) if embed_dim else nn.Identity()
        self.embed_dim = embed_dim or pooled
        if kaiming:
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        if self.slice_frames and not self.training:
            return embed_slices(self._embed, frames_BFD, frame_lengths_B, self.slice_frames)
        return self._embed(frames_BFD, frame_lengths_B)

    def _embed(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps_BPDF = self.stages(self.stem(as_maps(frames_BFD)))
        lengths_B = halved(frame_lengths_B, self.halvings)
        return self.embed(mean_over_time(maps_BPDF.mean(2), lengths_B))
