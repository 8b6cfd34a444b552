"""RawNet2 for spoof detection.

Letters: B utterances, F frames, D filters of the front end, P channels, E embedding size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone


class PooledResidual(nn.Module):
    """Residual block of RawNet2 and AASIST: convolution, norm, activation, convolution; pooling at
    its end.

    The official code of both also normalises the input of a block, and then convolves the input
    that is not normalised. That layer, ``bn1``, has no output and no gradient, and is left out
    here.
    """

    def __init__(self, conv1, bn2, activation, conv2, shortcut, pool: nn.Module):
        super().__init__()
        self.conv1 = conv1
        self.bn2 = bn2
        self.activation = activation
        self.conv2 = conv2
        self.shortcut = shortcut
        self.pool = pool

    def forward(self, maps: Tensor) -> Tensor:
        hidden = self.conv2(self.activation(self.bn2(self.conv1(maps))))
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


def scaled_block(in_channels: int, channels: int) -> nn.Sequential:
    """Residual block that keeps a third of the frames, and its feature map scaling."""
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

    With the head it has 17.62 M parameters; the official code has 848 more in unused layers. The
    official baseline has an EER of 22.38 % on ASVspoof 2021 DF.

    Source: Tak et al., "End-to-end anti-spoofing with RawNet2" (ICASSP 2021), in the form of the
    official baseline of ASVspoof 2021 (https://github.com/asvspoof-challenge/2021,
    LA/Baseline-RawNet2).

    Args:
        input_dim: filters of the front end, and channels of the first two blocks.
        channels: channels of the last four blocks.
        embed_dim: width of the GRUs, and size of the embedding.
        gru_layers: number of GRUs.
    """

    min_frames = 3**7  # one pooling by three, and six blocks

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
        maps_BPF = self.blocks(F.selu(self.first_bn(maps_BDF), inplace=True))
        states_BFE, _ = self.gru(F.selu(self.bn_before_gru(maps_BPF)).transpose(1, 2))
        # The state at the last frame of each utterance, not of the batch.
        last_B = (frame_lengths_B // self.min_frames - 1).clamp_min(0)
        row_B = torch.arange(len(last_B), device=last_B.device)
        return self.embed(states_BFE[row_B, last_B])
