"""RawNet2 for spoof detection.

Letters: B utterances, F frames, D filters of the front end, P channels, E embedding size.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone


class PooledResidual(nn.Module):
    """Residual block of RawNet2 and AASIST: convolution, norm, activation, convolution; pooling at
    its end.

    The official code of AASIST and of the RawNet2 of ASVspoof 2021 also normalises the input of a
    block, and then convolves the input that is not normalised. That layer, ``bn1``, has no output
    and no gradient, and is left out here. In other forms of RawNet2 it is in use.

    Args:
        bn1: norm of the input, with the activation behind it, before the first convolution; None
            for none. The shortcut is around it.
    """

    def __init__(
        self,
        conv1: nn.Module,
        bn2: nn.Module,
        activation: nn.Module,
        conv2: nn.Module,
        shortcut: nn.Module,
        pool: nn.Module,
        bn1: nn.Module | None = None,
    ):
        super().__init__()
        self.bn1 = bn1
        self.conv1 = conv1
        self.bn2 = bn2
        self.activation = activation
        self.conv2 = conv2
        self.shortcut = shortcut
        self.pool = pool

    def forward(self, maps: Tensor) -> Tensor:
        hidden = maps
        if self.bn1 is not None:
            hidden = self.activation(self.bn1(maps))
        hidden = self.conv2(self.activation(self.bn2(self.conv1(hidden))))
        # In place: maps of samples are long.
        hidden += self.shortcut(maps)
        return self.pool(hidden)


class FeatureMapScaling(nn.Module):
    """``x s + s`` with a scale s in (0, 1) for each channel, from its mean over time."""

    def __init__(self, channels: int):
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, maps_BPF: Tensor) -> Tensor:
        scale_BP1 = self.linear(maps_BPF.mean(2)).sigmoid()[..., None]
        return torch.addcmul(scale_BP1, maps_BPF, scale_BP1)


def scaled_block(in_channels: int, channels: int, norm_first: bool) -> nn.Sequential:
    """Residual block that keeps a third of the frames, and its feature map scaling.

    ``norm_first`` normalises the input before the first convolution.
    """
    block = PooledResidual(
        nn.Conv1d(in_channels, channels, 3, padding=1),
        nn.BatchNorm1d(channels),
        nn.LeakyReLU(0.3, inplace=True),
        nn.Conv1d(channels, channels, 3, padding=1),
        nn.Identity() if in_channels == channels else nn.Conv1d(in_channels, channels, 1),
        nn.MaxPool1d(3),
        nn.BatchNorm1d(in_channels) if norm_first else None,
    )
    return nn.Sequential(block, FeatureMapScaling(channels))


class RawNet2(Backbone):
    """Residual convolutions over band-passed samples, three GRUs and a linear layer.

    The defaults are the official baseline of ASVspoof 2021, on 20 filters of 1025 samples: with the
    head 17.62 M parameters, and 848 more in unused layers of the official code. It has an EER of
    22.38 % on ASVspoof 2021 DF. The baseline of ASVspoof 5 has the same sizes and ``norm_first``.
    The system of the paper has ``norm_first``, 128 filters of 129 samples and 512 channels.

    Source: Tak et al., "End-to-end anti-spoofing with RawNet2" (ICASSP 2021,
    https://github.com/eurecom-asp/rawnet2-antispoofing), with
    https://github.com/asvspoof-challenge/2021, LA/Baseline-RawNet2, and
    https://github.com/asvspoof-challenge/asvspoof5, Baseline-RawNet2. All three agree with their
    code.

    Args:
        input_dim: filters of the front end, and channels of the first two blocks.
        channels: channels of the last four blocks.
        embed_dim: width of the GRUs, and size of the embedding.
        gru_layers: number of GRUs.
        norm_first: blocks but the first normalise their input before the first convolution. The
            baseline of ASVspoof 2021 computes that norm and doesn't use it.
    """

    min_frames = 3**7  # one pooling by three, and six blocks

    def __init__(
        self,
        input_dim: int,
        channels: int = 128,
        embed_dim: int = 1024,
        gru_layers: int = 3,
        norm_first: bool = False,
    ):
        super().__init__()
        self.embed_dim = embed_dim
        widths = [input_dim] * 3 + [channels] * 4
        self.first_bn = nn.BatchNorm1d(input_dim)
        self.blocks = nn.Sequential()
        for number, (in_width, width) in enumerate(pairwise(widths)):
            # The first block's input is normalised already.
            self.blocks.append(scaled_block(in_width, width, norm_first and number > 0))
        self.bn_before_gru = nn.BatchNorm1d(channels)
        self.gru = nn.GRU(channels, embed_dim, gru_layers, batch_first=True)
        self.embed = nn.Linear(embed_dim, embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps_BDF = F.max_pool1d(frames_BFD.transpose(1, 2).abs(), 3)
        maps_BPF = self.blocks(F.selu(self.first_bn(maps_BDF), inplace=True))
        states_BFE, _ = self.gru(F.selu(self.bn_before_gru(maps_BPF)).transpose(1, 2))
        # The state at the last frame of each utterance, not of the batch.
        last_B = (frame_lengths_B // self.min_frames - 1).clamp_min(0)
        row_B = torch.arange(len(last_B), device=last_B.device)
        return self.embed(states_BFE[row_B, last_B])
