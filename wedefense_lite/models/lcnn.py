"""Light CNN with max-feature-map activations."""

import torch
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.pooling import as_maps, halved, statistics_pooling


class MaxFeatureMap(nn.Module):
    """The larger of two halves of the channels (Wu et al., IEEE TIFS 2018, equation 2)."""

    def forward(self, maps_BC: Tensor) -> Tensor:
        first, second = maps_BC.chunk(2, dim=1)
        return torch.maximum(first, second)


def mfm_conv(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    """A convolution of twice ``channels`` maps, of which the max-feature-map keeps half."""
    conv = nn.Conv2d(in_channels, 2 * channels, kernel, padding=kernel // 2)
    return nn.Sequential(conv, MaxFeatureMap())


class LCNN(Backbone):
    """The LCNN of the STC systems, with statistics over time so that any length fits.

    Layers and widths are those of Lavrentyeva et al., "STC Antispoofing Systems for the ASVspoof2019
    Challenge" (Interspeech 2019, table 3), dropout before the last batch norm included; their
    fixed-size flattening is replaced by mean and standard deviation over time. STC's fused
    submission has 1.86 % EER on ASVspoof 2019 LA eval; no EER is published for this form.

    Args:
        input_dim: features of a frame.
        channels: maps after the first activation; the other layers are in proportion (32 as published).
        embed_dim: size of the embedding.
        dropout: probability before the last batch norm.
    """

    def __init__(self, input_dim: int, channels: int = 32, embed_dim: int = 80, dropout: float = 0.75):
        super().__init__()
        self.embed_dim = embed_dim
        narrow, middle, wide = channels, channels * 3 // 2, channels * 2
        pool = nn.MaxPool2d(2, ceil_mode=True)
        self.layers = nn.Sequential(
            mfm_conv(1, narrow, 5),
            pool,
            mfm_conv(narrow, narrow, 1),
            nn.BatchNorm2d(narrow),
            mfm_conv(narrow, middle, 3),
            pool,
            nn.BatchNorm2d(middle),
            mfm_conv(middle, middle, 1),
            nn.BatchNorm2d(middle),
            mfm_conv(middle, wide, 3),
            pool,
            mfm_conv(wide, wide, 1),
            nn.BatchNorm2d(wide),
            mfm_conv(wide, narrow, 3),
            nn.BatchNorm2d(narrow),
            mfm_conv(narrow, narrow, 1),
            nn.BatchNorm2d(narrow),
            mfm_conv(narrow, narrow, 3),
            pool,
        )
        self.halvings = 4
        self.embed = nn.Sequential(
            nn.Linear(2 * narrow * halved(input_dim, self.halvings), 2 * embed_dim),
            MaxFeatureMap(),
            nn.Dropout(dropout),
            nn.BatchNorm1d(embed_dim),
        )

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps = self.layers(as_maps(frames_BFD))
        return self.embed(statistics_pooling(maps, halved(frame_lengths_B, self.halvings)))
