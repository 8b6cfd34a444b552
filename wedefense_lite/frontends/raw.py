"""Waveforms as frames, as they are and through a bank of fixed band-pass filters.

A frame is one sample. Letters: B utterances, T samples, F frames, D features of a frame, W samples
of a filter.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeInt
from torch import Tensor

from wedefense_lite.audio.pre_emphasis import pre_emphasise
from wedefense_lite.frontends.base import Frontend, length_range, valid_mask


class Raw(Frontend):
    """Waveform, one value a frame.

    Args:
        pre_emphasis: coefficient a of y[t] = x[t] - a x[t-1]; 0 disables it.
        sample_rate: Hz.
    """

    def __init__(self, pre_emphasis: float = 0.0, sample_rate: int = 16000):
        super().__init__()
        self.dim = 1
        self.hop_seconds = 1 / sample_rate
        self.sample_rate = sample_rate
        self.pre_emphasis = pre_emphasis

    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        if self.pre_emphasis:
            emphasised_BT = pre_emphasise(wav_BT, self.pre_emphasis)
            wav_BT = emphasised_BT * valid_mask(lengths_B, wav_BT.shape[1])
        return wav_BT[..., None], lengths_B


class Sinc(Frontend):
    """Outputs of fixed band-pass filters with edges at equal distances in mel.

    A filter is the difference of two ideal low-passes under a Hamming window; nothing of it is
    learned. Frames are computed in float32, whatever the precision of the model behind them. They
    are a view of ``BDF``, so a model that transposes them copies nothing.

    The authors switch off up to 20 neighbouring filters in training, if asked; ``SpecAugment`` with
    ``time_masks: 0`` and ``max_bins: 20`` does that for each utterance by itself.

    Source: AASIST (https://github.com/clovaai/aasist), whose defaults these are: its configuration
    has a kernel of 128, which its code makes odd. The RawNet2 baseline of ASVspoof 2021
    (https://github.com/asvspoof-challenge/2021, LA/Baseline-RawNet2) has 20 filters of 1025
    samples. RawNet2 as published (https://github.com/eurecom-asp/rawnet2-antispoofing) has 128 of
    129 samples, and room for two more above them.

    Args:
        num_filters: number of filters between 0 Hz and half the sample rate.
        kernel_size: samples of a filter; an utterance loses as many less one.
        sample_rate: Hz.
        spare_filters: filters that would fit between the last one and half the sample rate.
    """

    def __init__(
        self,
        num_filters: int = 70,
        kernel_size: int = 129,
        sample_rate: int = 16000,
        spare_filters: NonNegativeInt = 0,
    ):
        super().__init__()
        self.dim = num_filters
        self.hop_seconds = 1 / sample_rate
        self.kernel_size = kernel_size
        self.sample_rate = sample_rate
        filters_DW = sinc_filters(num_filters + spare_filters, kernel_size, sample_rate)
        filters_D1W = torch.from_numpy(filters_DW[:num_filters, None]).float()
        self.register_buffer("filters_D1W", filters_D1W, persistent=False)

    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        shortest, _ = length_range(lengths_B, wav_BT.shape[1])
        if shortest < self.kernel_size:
            raise ValueError(f"{shortest} samples are too short for a filter of {self.kernel_size}")
        with torch.autocast(wav_BT.device.type, enabled=False):
            bands_BDF = F.conv1d(wav_BT[:, None].float(), self.filters_D1W)
        frame_lengths_B = lengths_B - self.kernel_size + 1
        if shortest < wav_BT.shape[1]:
            bands_BDF = bands_BDF * valid_mask(frame_lengths_B, bands_BDF.shape[2])[:, None]
        return bands_BDF.transpose(1, 2), frame_lengths_B


def sinc_filters(num_filters: int, kernel_size: int, sample_rate: int) -> np.ndarray:
    """``filters_DW``: windowed ideal band-passes, with mel(f) = 2595 log10(1 + f / 700).

    Kaldi's mel scale has other constants, which round differently, so the two banks share no code.
    """
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, num_filters + 1) / 2595) - 1)
    bandwidth = 2 * edges[:, None] / sample_rate
    time_W = np.arange(kernel_size) - (kernel_size - 1) / 2
    low_passes = bandwidth * np.sinc(bandwidth * time_W)
    return np.hamming(kernel_size) * np.diff(low_passes, axis=0)
