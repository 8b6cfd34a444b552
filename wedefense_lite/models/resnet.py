"""ResNet over time and frequency with statistics pooling.

Letters: B utterances, F frames, D features of a frame, P channels, G frames with an embedding.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch.nn.functional as F
from jsonargparse.typing import NonNegativeInt
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone, FrameBackbone
from wedefense_lite.models.blocks import SqueezeExcitation, conv_norm
from wedefense_lite.models.pooling import as_maps, halved, statistics_pooling


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al., CVPR 2016, figure 5, left).

    ``se_ratio`` adds squeeze-and-excitation of that ratio before the sum (Hu et al., CVPR 2018).
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int | tuple[int, int], se_ratio: int = 0
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.gates = nn.Identity()
        if se_ratio:
            self.gates = SqueezeExcitation(channels, max(1, channels // se_ratio))
        self.strides = (stride, stride) if isinstance(stride, int) else stride
        self.shortcut = nn.Sequential()
        if self.strides != (1, 1) or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, maps_BPDF: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(maps_BPDF)))
        hidden = self.gates(self.bn2(self.conv2(hidden)))
        # The stride is outside of the 1 x 1 convolution: inside of it, with fewer than 16 channels,
        # the gradient on CPUs is wrong or overwrites memory
        # (https://github.com/uxlfoundation/oneDNN/issues/6035).
        strided_BPDF = maps_BPDF[..., :: self.strides[0], :: self.strides[1]]
        return F.relu(hidden + self.shortcut(strided_BPDF))


def stacked(
    block: Callable[[int, int, int | tuple[int, int]], nn.Module],
    in_channels: int,
    channels: int,
    blocks: tuple[int, ...],
    expansion: int = 1,
    time_halvings: int | None = None,
) -> nn.Sequential:
    """Stages of blocks. Each stage but the first doubles the channels and halves time and
    frequency.

    Args:
        block: function of the channels of its input, its own channels, and its stride.
        in_channels: channels of the input of the first block.
        channels: channels of the first stage.
        blocks: number of blocks of each stage.
        expansion: channels of the output of a block, over its own.
        time_halvings: number of stages that halve time too, from the first one that halves; None:
            all.
    """
    layers = []
    for stage, count in enumerate(blocks):
        stage_channels = channels * 2**stage
        halves_time = time_halvings is None or stage <= time_halvings
        for number in range(count):
            stride = 1
            if stage > 0 and number == 0:
                stride = 2 if halves_time else (2, 1)
            layers.append(block(in_channels, stage_channels, stride))
            in_channels = stage_channels * expansion
    return nn.Sequential(*layers)


class ResNet(Backbone):
    """ResNet in the form of WeSpeaker: no first pooling, statistics over time, one linear layer.

    With ``norm_statistics: false`` the other defaults are its ResNet18, with 4.1 M parameters on 80
    filterbanks. No EER on ASVspoof 2019 LA is published for it.

    Source: Wang et al., ICASSP 2023, https://arxiv.org/abs/2210.17016, agreeing with
    https://github.com/wenet-e2e/wespeaker, wespeaker/models/resnet.py, and WeDefense.

    Args:
        input_dim: features of a frame.
        channels: channels of the first stage; each further stage doubles them.
        blocks: residual blocks of each stage; each stage but the first halves time and frequency.
        embed_dim: size of the embedding.
        stem_stride: 2 halves time and frequency in the first layer, for a quarter of the work;
            WeSpeaker has 1.
        se_ratio: ratio of squeeze-and-excitation in every block; 0 disables it, and 16 is that of
            Hu et al. (CVPR 2018), with 4.13 M parameters.
        norm_statistics: batch norm between the statistics and the linear layer, without parameters;
            WeSpeaker has none. With it, a small corpus is learned in fewer steps.
    """

    def __init__(
        self,
        input_dim: int,
        channels: int = 32,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        embed_dim: int = 256,
        stem_stride: Literal[1, 2] = 1,
        se_ratio: int = 0,
        norm_statistics: bool = True,
    ):
        super().__init__()
        self.embed_dim = embed_dim
        self.conv1 = nn.Conv2d(1, channels, 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.stages = stacked(partial(BasicBlock, se_ratio=se_ratio), channels, channels, blocks)
        self.halvings = len(blocks) - 1 + (stem_stride == 2)
        statistics = 2 * channels * 2 ** (len(blocks) - 1) * halved(input_dim, self.halvings)
        # Means and deviations differ in scale by orders of magnitude: the norm puts them on one.
        self.scale = nn.Identity()
        if norm_statistics:
            self.scale = nn.BatchNorm1d(statistics, affine=False)
        self.embed = nn.Linear(statistics, embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps_BPDF = self.stages(F.relu(self.bn1(self.conv1(as_maps(frames_BFD)))))
        lengths_B = halved(frame_lengths_B, self.halvings)
        statistics = statistics_pooling(maps_BPDF, lengths_B)
        return self.embed(self.scale(statistics))


class FrameResNet(FrameBackbone):
    """``ResNet`` with an embedding for every two frames of the front end, or another power of two.

    Frequency is halved as there. Time is halved in the first layers only. No EER is published for
    this form.

    Args:
        input_dim: features of a frame.
        channels: channels of the first stage; each further stage doubles them.
        blocks: residual blocks of each stage.
        embed_dim: size of the embedding.
        stem_stride: 2 halves frequency in the first layer, and time if it is halved at all.
        time_halvings: number of halvings of time, at most that of frequency.
        se_ratio: ratio of squeeze-and-excitation, as in ``ResNet``.
    """

    def __init__(
        self,
        input_dim: int,
        channels: int = 32,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        embed_dim: int = 256,
        stem_stride: Literal[1, 2] = 1,
        time_halvings: NonNegativeInt = 1,
        se_ratio: int = 0,
    ):
        super().__init__()
        halvings = stem_stride // 2 + len(blocks) - 1
        self.embed_dim = embed_dim
        self.time_halvings = min(time_halvings, halvings)
        self.stride = 2**self.time_halvings
        stem_time_stride = min(stem_stride, self.stride)
        stage_time_halvings = time_halvings - stem_time_stride // 2
        self.layers = nn.Sequential(
            conv_norm(1, channels, 3, (stem_stride, stem_time_stride)),
            stacked(
                partial(BasicBlock, se_ratio=se_ratio),
                channels,
                channels,
                blocks,
                time_halvings=stage_time_halvings,
            ),
        )
        last_channels = channels * 2 ** (len(blocks) - 1)
        self.embed = nn.Linear(last_channels * halved(input_dim, halvings), embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        maps_BPDF = self.layers(as_maps(frames_BFD))
        embedding_BGE = self.embed(maps_BPDF.flatten(1, 2).transpose(1, 2))
        return embedding_BGE, halved(frame_lengths_B, self.time_halvings)
