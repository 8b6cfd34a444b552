"""Light CNN with max-feature-map activations.

Tensor suffixes: B utterances of a batch, F frames of the front end, D features of a frame, P
channels of a feature map, G rows with a decision each (frames of an utterance), E features of a
row or of an embedding.
"""

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeInt
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.frontends.base import is_exporting
from wedefense_lite.models.base import Backbone, FrameBackbone
from wedefense_lite.models.pooling import as_maps, halved, mean_over_time, statistics_pooling
from wedefense_lite.models.recurrence import add_recurrence, shortcut_lstm

POOLINGS = 4  # of STC's table 3; each halves the frequencies, and in the table time too


class MaxFeatureMap(nn.Module):
    """The larger of two halves of the channels (Wu et al., IEEE TIFS 2018, equation 2)."""

    def forward(self, maps_BP: Tensor) -> Tensor:
        first, second = maps_BP.chunk(2, dim=1)
        return torch.maximum(first, second)


def mfm_conv(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    """A convolution of twice ``channels`` maps, of which the max-feature-map keeps half."""
    conv = nn.Conv2d(in_channels, 2 * channels, kernel, padding=kernel // 2)
    return nn.Sequential(conv, MaxFeatureMap())


def lcnn_layers(
    channels: int, affine: bool = True, ceil_mode: bool = True, time_halvings: int = POOLINGS
) -> nn.Sequential:
    """Nine convolutions, with four poolings that halve time and frequency (STC's table 3).

    Args:
        channels: maps after the first activation and after the last; the others are in proportion.
        affine: whether batch norms scale and shift.
        ceil_mode: whether halves are rounded up.
        time_halvings: poolings that halve time too, the first ones.
    """
    narrow = channels
    middle = channels * 3 // 2
    wide = channels * 2
    norm = partial(nn.BatchNorm2d, affine=affine)
    pools = []
    for number in range(POOLINGS):
        time_stride = 2 if number < time_halvings else 1
        pools.append(nn.MaxPool2d((2, time_stride), ceil_mode=ceil_mode))
    # Line by line as in the table, from Conv_1 to MaxPool_28.
    return nn.Sequential(
        mfm_conv(1, narrow, 5),
        pools[0],
        mfm_conv(narrow, narrow, 1),
        norm(narrow),
        mfm_conv(narrow, middle, 3),
        pools[1],
        norm(middle),
        mfm_conv(middle, middle, 1),
        norm(middle),
        mfm_conv(middle, wide, 3),
        pools[2],
        mfm_conv(wide, wide, 1),
        norm(wide),
        mfm_conv(wide, narrow, 3),
        norm(narrow),
        mfm_conv(narrow, narrow, 1),
        norm(narrow),
        mfm_conv(narrow, narrow, 3),
        pools[3],
    )


class LCNN(Backbone):
    """The LCNN of the STC systems, with statistics over time, so that any length fits.

    Source: Lavrentyeva et al., "STC Antispoofing Systems for the ASVspoof2019 Challenge"
    (Interspeech 2019), table 3: layers, widths, and dropout before the last batch norm. Mean and
    standard deviation over time replace the flattening of a fixed size there. STC's fused
    submission has 1.86 % EER on ASVspoof 2019 LA eval; no EER is published for this form.

    Args:
        input_dim: features of a frame.
        channels: maps after the first activation; the other layers are in proportion (32 as
            published).
        embed_dim: size of the embedding.
        dropout: probability before the last batch norm.
    """

    def __init__(
        self, input_dim: int, channels: int = 32, embed_dim: int = 80, dropout: float = 0.75
    ):
        super().__init__()
        self.embed_dim = embed_dim
        self.layers = lcnn_layers(channels)
        self.halvings = POOLINGS
        bands = halved(input_dim, self.halvings)
        statistics = 2 * channels * bands
        # Twice the size of the embedding, of which the max-feature-map keeps half.
        self.embed = nn.Sequential(
            nn.Linear(statistics, 2 * embed_dim),
            MaxFeatureMap(),
            nn.Dropout(dropout),
            nn.BatchNorm1d(embed_dim),
        )

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps_BPDF = self.layers(as_maps(frames_BFD))
        lengths_B = halved(frame_lengths_B, self.halvings)
        return self.embed(statistics_pooling(maps_BPDF, lengths_B))


class LCNNLSTM(Backbone):
    """LCNN, two bidirectional LSTM layers with a shortcut around both, and pooling over time.

    Source: the LCNN-LSTM-sum of NII's baselines (Wang and Yamagishi, "A comparative study on recent
    neural spoofing countermeasures for synthetic speech detection", Interspeech 2021,
    https://arxiv.org/abs/2103.11326). Unlike in LCNN, batch norms have no scale and shift, halves
    are rounded down, and dropout is before the LSTM. On 60 LFCC there are 0.270 M parameters. It
    agrees with project/03-asvspoof-mega of
    https://github.com/nii-yamagishilab/project-NN-Pytorch-scripts: lfcc-lcnn-lstmsum-sig with the
    defaults, which has the mean over time in spite of its name, and lfcc-lcnn-lstmsum-p2s with the
    sum and an ``embed_dim`` of 64. Published EER on ASVspoof 2019 LA eval: 1.92 %, the best of
    several seeds, of the latter; seeds differ a lot.

    LSTMs read valid frames only. Zeros fill fewer than 16 frames up.

    Args:
        input_dim: features of a frame, at least 16.
        channels: maps after the first activation; frames behind the LSTM have ``channels`` x
            (``input_dim`` // 16) features.
        dropout: probability before the LSTM.
        pooling: mean or sum over time.
        embed_dim: size of a linear layer behind the pooling; 0 for none, where the embedding is as
            large as a frame.

    Raises:
        InputError: frames of so few features that four halvings leave none.
    """

    shrinking = 2**POOLINGS

    def __init__(
        self,
        input_dim: int,
        channels: int = 32,
        dropout: float = 0.7,
        pooling: Literal["mean", "sum"] = "mean",
        embed_dim: NonNegativeInt = 0,
    ):
        super().__init__()
        if input_dim < self.shrinking:
            raise InputError(
                f"LCNNLSTM got frames of {input_dim} features, expected {self.shrinking} or more"
            )
        dim = channels * (input_dim // self.shrinking)
        layers = lcnn_layers(channels, affine=False, ceil_mode=False)
        self.layers = nn.Sequential(layers, nn.Dropout(dropout))
        self.lstm = shortcut_lstm(dim)
        self.pooling = pooling
        self.embed = nn.Linear(dim, embed_dim) if embed_dim else nn.Identity()
        self.embed_dim = embed_dim or dim

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        # Rounded down, fewer frames than one pooled frame would leave none. A graph takes no fewer.
        filled_BFD = frames_BFD
        if not is_exporting():
            missing = max(0, self.shrinking - frames_BFD.shape[1])
            filled_BFD = F.pad(frames_BFD, (0, 0, 0, missing))
        maps_BPDF = self.layers(as_maps(filled_BFD))
        hidden_BFE = maps_BPDF.flatten(1, 2).transpose(1, 2)
        lengths_B = (frame_lengths_B // self.shrinking).clamp_min(1)
        hidden_BFE = add_recurrence(self.lstm, hidden_BFE, lengths_B)
        pooled_BE = mean_over_time(hidden_BFE.transpose(1, 2), lengths_B)
        if self.pooling == "sum":
            pooled_BE = pooled_BE * lengths_B[:, None]
        return self.embed(pooled_BE)


class FrameLCNN(FrameBackbone):
    """LCNN that keeps time, and two bidirectional LSTM layers with a shortcut around both.

    Source: the segment-level LCNN-LSTM of Zhang et al., "An initial investigation for detecting
    partially spoofed audio" (Interspeech 2021, https://arxiv.org/abs/2104.02518). Here the first
    poolings alone halve time, for finer frames than the 160 ms there, and halves are rounded up.

    Args:
        input_dim: features of a frame.
        channels: maps after the first activation; the embedding has ``channels`` x
            (``input_dim`` / 16, rounded up).
        dropout: probability before the LSTM.
        time_halvings: poolings, of four, that halve time too: 1 for 20 ms on frames of 10 ms.
    """

    def __init__(
        self,
        input_dim: int,
        channels: int = 32,
        dropout: float = 0.7,
        time_halvings: NonNegativeInt = 1,
    ):
        super().__init__()
        self.time_halvings = min(time_halvings, POOLINGS)
        self.stride = 2**self.time_halvings
        self.embed_dim = channels * halved(input_dim, POOLINGS)
        layers = lcnn_layers(channels, affine=False, time_halvings=self.time_halvings)
        self.layers = nn.Sequential(layers, nn.Dropout(dropout))
        self.lstm = shortcut_lstm(self.embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        maps_BPDG = self.layers(as_maps(frames_BFD))
        hidden_BGE = maps_BPDG.flatten(1, 2).transpose(1, 2)
        lengths_B = halved(frame_lengths_B, self.time_halvings)
        return add_recurrence(self.lstm, hidden_BGE, lengths_B), lengths_B
