"""RawNet2 for spoof detection."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone


class PooledResidual(nn.Module):
    """Convolution, norm, activation and convolution, a shortcut, and pooling: of RawNet2 and AASIST.

    Their official code normalises the input of a block, too, and then convolves what was not
    normalised, so those layers (``bn1``) reach no output and no gradient; here they are left out.
    """

    def __init__(self, conv1, bn2, activation, conv2, shortcut, pool: nn.Module):
        super().__init__()
        self.conv1, self.bn2, self.activation, self.conv2 = conv1, bn2, activation, conv2
        self.shortcut, self.pool = shortcut, pool

    def forward(self, maps: Tensor) -> Tensor:
        hidden = self.conv2(self.activation(self.bn2(self.conv1(maps))))
        hidden += self.shortcut(maps)  # maps of samples are long: no copy
        return self.pool(hidden)


class FeatureMapScaling(nn.Module):
    """``x s + s`` with a scale in (0, 1) for each channel, from its mean over time."""

    def __init__(self, channels: int):
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, maps_BCF: Tensor) -> Tensor:
        scale_BC1 = self.linear(maps_BCF.mean(2)).sigmoid()[..., None]
        return torch.addcmul(scale_BC1, maps_BCF, scale_BC1)


def scaled_block(in_channels: int, channels: int) -> nn.Sequential:
    """A residual block that keeps a third of the frames, and its feature map scaling."""
    block = PooledResidual(
        nn.Conv1d(in_channels, channels, 3, padding=1),
        nn.BatchNorm1d(channels),
        nn.LeakyReLU(0.3, inplace=True),
        nn.Conv1d(channels, channels, 3, padding=1),
        nn.Identity() if in_channels == channels else nn.Conv1d(in_channels, channels, 1),
        nn.MaxPool1d(3),
    )
    return nn.Sequential(block, FeatureMapScaling(channels))


class RawNet2(Backbone):
    """Residual convolutions over band-passed samples, three GRUs and a linear layer.

    Tak et al., "End-to-end anti-spoofing with RawNet2" (ICASSP 2021), in the form of the official
    baseline of ASVspoof 2021 (https://github.com/asvspoof-challenge/2021, LA/Baseline-RawNet2): with
    the head 17.62 M parameters, of which 848 are of the unused layers left out here. The official
    baseline has 22.38 % EER on ASVspoof 2021 DF.

    Args:
        input_dim: filters of the front end, also the channels of the first two blocks.
        channels: channels of the last four blocks.
        embed_dim: width of the GRUs, and size of the embedding.
        gru_layers: how many GRUs.
    """

    min_frames = 3**7

    def __init__(
        self, input_dim: int, channels: int = 128, embed_dim: int = 1024, gru_layers: int = 3
    ):
        super().__init__()
        self.embed_dim = embed_dim
        widths = [input_dim] * 3 + [channels] * 4
        self.first_bn = nn.BatchNorm1d(input_dim)
        self.blocks = nn.Sequential(*map(scaled_block, widths, widths[1:]))
        self.bn_before_gru = nn.BatchNorm1d(channels)
        self.gru = nn.GRU(channels, embed_dim, gru_layers, batch_first=True)
        self.embed = nn.Linear(embed_dim, embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps_BDF = F.max_pool1d(frames_BFD.transpose(1, 2).abs(), 3)
        maps_BCF = self.blocks(F.selu(self.first_bn(maps_BDF), inplace=True))
        states_BFE, _ = self.gru(F.selu(self.bn_before_gru(maps_BCF)).transpose(1, 2))
        last_B = (frame_lengths_B // self.min_frames - 1).clamp_min(0)
        return self.embed(states_BFE[torch.arange(len(last_B), device=last_B.device), last_B])
