"""Light CNN with max-feature-map activations."""

from functools import partial

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeInt
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from wedefense_lite.files import InputError
from wedefense_lite.models.base import Backbone, FrameBackbone
from wedefense_lite.models.pooling import as_maps, halved, mean_over_time, statistics_pooling


class MaxFeatureMap(nn.Module):
    """The larger of two halves of the channels (Wu et al., IEEE TIFS 2018, equation 2)."""

    def forward(self, maps_BC: Tensor) -> Tensor:
        first, second = maps_BC.chunk(2, dim=1)
        return torch.maximum(first, second)


def mfm_conv(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    """A convolution of twice ``channels`` maps, of which the max-feature-map keeps half."""
    conv = nn.Conv2d(in_channels, 2 * channels, kernel, padding=kernel // 2)
    return nn.Sequential(conv, MaxFeatureMap())


def lcnn_layers(
    channels: int, affine: bool = True, ceil_mode: bool = True, time_halvings: int = 4
) -> nn.Sequential:
    """Nine convolutions, with four poolings that halve time and frequency (STC's table 3).

    Args:
        channels: maps after the first activation and after the last; the others are in proportion.
        affine: whether batch norms scale and shift.
        ceil_mode: whether halves are rounded up.
        time_halvings: poolings that halve time too, the first ones.
    """
    narrow, middle, wide = channels, channels * 3 // 2, channels * 2
    norm = partial(nn.BatchNorm2d, affine=affine)
    pools = [
        nn.MaxPool2d((2, 1 + (number < time_halvings)), ceil_mode=ceil_mode) for number in range(4)
    ]
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

    def __init__(
        self, input_dim: int, channels: int = 32, embed_dim: int = 80, dropout: float = 0.75
    ):
        super().__init__()
        self.embed_dim = embed_dim
        self.layers = lcnn_layers(channels)
        self.halvings = 4
        self.embed = nn.Sequential(
            nn.Linear(2 * channels * halved(input_dim, self.halvings), 2 * embed_dim),
            MaxFeatureMap(),
            nn.Dropout(dropout),
            nn.BatchNorm1d(embed_dim),
        )

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps = self.layers(as_maps(frames_BFD))
        return self.embed(statistics_pooling(maps, halved(frame_lengths_B, self.halvings)))


class LCNNLSTM(Backbone):
    """LCNN, two bidirectional LSTM layers with a shortcut around both, mean over time.

    The LCNN-LSTM-sum of NII's baselines (Wang and Yamagishi, Interspeech 2021,
    https://arxiv.org/abs/2103.11326): batch norms without scale and shift, halves rounded down, dropout
    before the LSTM. On 60 LFCC 0.270 M parameters. Published EER on ASVspoof 2019 LA eval: 1.92 %, the
    best of several seeds, with P2SGrad on a 64-dimensional embedding; seeds differ a lot.

    LSTMs see valid frames only. Fewer than 16 frames are filled up with zeros.

    Args:
        input_dim: features of a frame, at least 16.
        channels: maps after the first activation; the embedding has ``channels`` x (``input_dim`` // 16).
        dropout: probability before the LSTM.

    Raises:
        InputError: frames that four halvings leave nothing of.
    """

    shrinking = 16

    def __init__(self, input_dim: int, channels: int = 32, dropout: float = 0.7):
        super().__init__()
        if input_dim < self.shrinking:
            raise InputError(
                f"LCNNLSTM got frames of {input_dim} features, expected {self.shrinking} or more"
            )
        self.embed_dim = channels * (input_dim // self.shrinking)
        self.layers = nn.Sequential(
            lcnn_layers(channels, affine=False, ceil_mode=False), nn.Dropout(dropout)
        )
        self.lstm = nn.LSTM(
            self.embed_dim, self.embed_dim // 2, 2, batch_first=True, bidirectional=True
        )

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        filled_BFD = F.pad(frames_BFD, (0, 0, 0, max(0, self.shrinking - frames_BFD.shape[1])))
        hidden_BFE = self.layers(as_maps(filled_BFD)).flatten(1, 2).transpose(1, 2)
        lengths_B = (frame_lengths_B // self.shrinking).clamp_min(1)
        return mean_over_time(
            with_recurrence(self.lstm, hidden_BFE, lengths_B).transpose(1, 2), lengths_B
        )


class FrameLCNN(FrameBackbone):
    """LCNN that keeps time, and two bidirectional LSTM layers with a shortcut around both.

    The segment-level LCNN-LSTM of Zhang et al., "An initial investigation for detecting partially spoofed
    audio" (Interspeech 2021, https://arxiv.org/abs/2104.02518), but time is halved only in the first poolings,
    for finer frames than their 160 ms; halves are rounded up.

    Args:
        input_dim: features of a frame.
        channels: maps after the first activation; the embedding has ``channels`` x (``input_dim`` / 16).
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
        self.time_halvings = min(time_halvings, 4)
        self.stride, self.embed_dim = 2**self.time_halvings, channels * halved(input_dim, 4)
        layers = lcnn_layers(channels, affine=False, time_halvings=time_halvings)
        self.layers = nn.Sequential(layers, nn.Dropout(dropout))
        self.lstm = nn.LSTM(
            self.embed_dim, self.embed_dim // 2, 2, batch_first=True, bidirectional=True
        )

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        hidden_BGE = self.layers(as_maps(frames_BFD)).flatten(1, 2).transpose(1, 2)
        lengths_B = halved(frame_lengths_B, self.time_halvings)
        return with_recurrence(self.lstm, hidden_BGE, lengths_B), lengths_B


def with_recurrence(lstm: nn.LSTM, hidden_BFE: Tensor, lengths_B: Tensor) -> Tensor:
    """``hidden_BFE`` plus what an LSTM, which sees valid frames only, makes of it."""
    packed = pack_padded_sequence(
        hidden_BFE, lengths_B.cpu(), batch_first=True, enforce_sorted=False
    )
    recurrent = lstm(packed)[0]
    return (
        hidden_BFE
        + pad_packed_sequence(recurrent, batch_first=True, total_length=hidden_BFE.shape[1])[0]
    )
