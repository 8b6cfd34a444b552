"""The waveform as it is, and through a bank of fixed band-pass filters. A frame is one sample."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wedefense_lite.audio.pre_emphasis import pre_emphasise
from wedefense_lite.frontends.base import Frontend, valid_mask


class Raw(Frontend):
    """The waveform, one value a frame.

    Args:
        pre_emphasis: coefficient of a first-order high-pass, 0 for none.
        sample_rate: Hz.
    """

    def __init__(self, pre_emphasis: float = 0.0, sample_rate: int = 16000):
        super().__init__()
        self.dim, self.hop_seconds, self.sample_rate = 1, 1 / sample_rate, sample_rate
        self.pre_emphasis = pre_emphasis

    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        if self.pre_emphasis:
            emphasised_BT = pre_emphasise(wav_BT, self.pre_emphasis)
            wav_BT = emphasised_BT * valid_mask(lengths_B, wav_BT.shape[1])
        return wav_BT[..., None], lengths_B


class Sinc(Frontend):
    """The outputs of fixed band-pass filters, whose edges are equally far apart in mel.

    Each filter is the difference of two ideal low-passes under a Hamming window, and nothing of it is
    learned. The defaults are AASIST's, whose configuration says 128 for a kernel that its code makes
    odd (https://github.com/clovaai/aasist); the RawNet2 baseline of ASVspoof 2021 has 20 filters of
    1025 samples, no other edges (https://github.com/asvspoof-challenge/2021, LA/Baseline-RawNet2).
    Both train with up to 20 neighbouring filters switched off where that is asked for: here
    ``SpecAugment`` with ``time_masks: 0`` and ``max_bins: 20``, for each utterance by itself.

    Frames are computed in float32 whatever the precision of the model behind them. They are a view of
    ``BDF``: a model that transposes them copies nothing.

    Args:
        num_filters: filters between 0 Hz and half the sample rate.
        kernel_size: samples of a filter; that many less one are lost at the ends of an utterance.
        sample_rate: Hz.
    """

    def __init__(self, num_filters: int = 70, kernel_size: int = 129, sample_rate: int = 16000):
        super().__init__()
        self.dim, self.hop_seconds, self.kernel_size = num_filters, 1 / sample_rate, kernel_size
        self.sample_rate = sample_rate
        filters_DK = torch.from_numpy(sinc_filters(num_filters, kernel_size, sample_rate))
        self.register_buffer("filters_D1K", filters_DK[:, None].float(), persistent=False)

    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        shortest = int(lengths_B.min())
        if shortest < self.kernel_size:
            raise ValueError(f"{shortest} samples are too short for a filter of {self.kernel_size}")
        with torch.autocast(wav_BT.device.type, enabled=False):
            bands_BDF = F.conv1d(wav_BT[:, None].float(), self.filters_D1K)
        frame_lengths_B = lengths_B - self.kernel_size + 1
        if shortest < wav_BT.shape[1]:
            bands_BDF = bands_BDF * valid_mask(frame_lengths_B, bands_BDF.shape[2])[:, None]
        return bands_BDF.transpose(1, 2), frame_lengths_B


def sinc_filters(num_filters: int, kernel_size: int, sample_rate: int) -> np.ndarray:
    """``filters_DK``: windowed ideal band-passes; mel(f) = 2595 log10(1 + f / 700)."""
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, num_filters + 1) / 2595) - 1)
    widths_E1 = 2 * edges[:, None] / sample_rate
    low_passes_EK = widths_E1 * np.sinc(
        widths_E1 * (np.arange(kernel_size) - (kernel_size - 1) / 2)
    )
    return np.hamming(kernel_size) * np.diff(low_passes_EK, axis=0)
