"""ResNet over time and frequency with statistics pooling."""

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

    With ``se_ratio``, squeeze-and-excitation of that ratio before the sum (Hu et al., CVPR 2018).
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int | tuple[int, int], se_ratio: int = 0
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.gates = (
            SqueezeExcitation(channels, max(1, channels // se_ratio)) if se_ratio else nn.Identity()
        )
        self.strides = (stride, stride) if isinstance(stride, int) else stride
        self.shortcut = nn.Sequential()
        if self.strides != (1, 1) or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, maps_BCDF: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(maps_BCDF)))
        # The stride is taken outside the 1 x 1 convolution: inside, its gradient on CPUs is wrong or
        # overwrites memory with fewer than 16 channels (https://github.com/uxlfoundation/oneDNN/issues/6035).
        kept_BCDF = maps_BCDF[..., :: self.strides[0], :: self.strides[1]]
        return F.relu(self.gates(self.bn2(self.conv2(hidden))) + self.shortcut(kept_BCDF))


def stacked(
    block: Callable[[int, int, int | tuple[int, int]], nn.Module],
    in_channels: int,
    channels: int,
    blocks: tuple[int, ...],
    expansion: int = 1,
    time_halvings: int | None = None,
) -> nn.Sequential:
    """Stages of blocks. Every stage but the first has double channels and halves time and frequency.

    Args:
        block: made of the channels of its input, its own, and its stride.
        in_channels: of the first block's input.
        channels: of the first stage.
        blocks: of each stage.
        expansion: channels of a block's output, over its own.
        time_halvings: stages that halve time too, the first ones; all unless given.
    """
    made = []
    for stage, count in enumerate(blocks):
        halving = 2 if time_halvings is None or stage <= time_halvings else (2, 1)
        for number in range(count):
            made.append(
                block(in_channels, channels * 2**stage, halving if stage > 0 and number == 0 else 1)
            )
            in_channels = channels * 2**stage * expansion
    return nn.Sequential(*made)


class ResNet(Backbone):
    """ResNet in the form WeSpeaker gave it: no first pooling, statistics over time, one linear layer.

    The defaults are its ResNet18, 4.1 M parameters on 80 filterbanks (Wang et al., ICASSP 2023,
    https://arxiv.org/abs/2210.17016). No EER on ASVspoof 2019 LA is published for it.

    Args:
        input_dim: features of a frame.
        channels: channels of the first stage, doubled at each further stage.
        blocks: residual blocks of each stage; every stage but the first halves time and frequency.
        embed_dim: size of the embedding.
        stem_stride: 2 halves time and frequency at once, for a quarter of the work; WeSpeaker has 1.
        se_ratio: squeeze-and-excitation in every block, to so many times fewer channels; 0 for none,
            16 in Hu et al. (CVPR 2018), which makes 4.13 M parameters.
    """

    def __init__(
        self,
        input_dim: int,
        channels: int = 32,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        embed_dim: int = 256,
        stem_stride: Literal[1, 2] = 1,
        se_ratio: int = 0,
    ):
        super().__init__()
        self.embed_dim = embed_dim
        self.conv1 = nn.Conv2d(1, channels, 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.stages = stacked(partial(BasicBlock, se_ratio=se_ratio), channels, channels, blocks)
        self.halvings = len(blocks) - 1 + (stem_stride == 2)
        statistics = 2 * channels * 2 ** (len(blocks) - 1) * halved(input_dim, self.halvings)
        # Means and deviations differ in scale by orders of magnitude; brought to one scale, a
        # small corpus is learned from in fewer steps. It has no parameters.
        self.scale = nn.BatchNorm1d(statistics, affine=False)
        self.embed = nn.Linear(statistics, embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps = self.stages(F.relu(self.bn1(self.conv1(as_maps(frames_BFD)))))
        return self.embed(
            self.scale(statistics_pooling(maps, halved(frame_lengths_B, self.halvings)))
        )


class FrameResNet(FrameBackbone):
    """:class:`ResNet` that keeps time: an embedding for every two frames of the front end, or as many as asked for.

    Frequency is halved as there, time only where it is halved first. No EER is published for this form.

    Args:
        input_dim: features of a frame.
        channels: channels of the first stage, doubled at each further stage.
        blocks: residual blocks of each stage.
        embed_dim: size of the embedding.
        stem_stride: 2 halves frequency, and time if it is to be halved, at once.
        time_halvings: how often time is halved, at most as often as frequency.
        se_ratio: as in :class:`ResNet`.
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
        self.embed_dim, self.time_halvings = embed_dim, min(time_halvings, halvings)
        self.stride = 2**self.time_halvings
        first = min(stem_stride, self.stride)
        self.layers = nn.Sequential(
            conv_norm(1, channels, 3, (stem_stride, first)),
            stacked(
                partial(BasicBlock, se_ratio=se_ratio),
                channels,
                channels,
                blocks,
                1,
                time_halvings - first // 2,
            ),
        )
        self.embed = nn.Linear(
            channels * 2 ** (len(blocks) - 1) * halved(input_dim, halvings), embed_dim
        )

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        maps_BCDF = self.layers(as_maps(frames_BFD))
        return self.embed(maps_BCDF.flatten(1, 2).transpose(1, 2)), halved(
            frame_lengths_B, self.time_halvings
        )
