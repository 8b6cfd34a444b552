"""Spectral front ends: Kaldi log-mel filterbanks, LFCC and the log-power spectrogram.

All run in float32 whatever the precision of the model behind them: under bfloat16 a log-mel value
moves by up to 0.07.
"""

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from scipy.fft import dct
from torch import Tensor

from wedefense_lite.audio.pre_emphasis import pre_emphasise
from wedefense_lite.frontends.base import Frontend, valid_mask


class Spectral(Frontend):
    """Short-time spectra; its options are those of every front end below.

    Args:
        dim: features of a frame.
        sample_rate: Hz.
        frame_ms: window length.
        hop_ms: step between windows.
        mean_norm: subtract each utterance's mean over its frames.
    """

    def __init__(
        self,
        dim: int,
        sample_rate: int = 16000,
        frame_ms: float = 25.0,
        hop_ms: float = 10.0,
        mean_norm: bool = True,
    ):
        super().__init__()
        self.dim = dim
        self.sample_rate = sample_rate
        self.window_samples = round(sample_rate * frame_ms / 1000)
        self.hop_samples = round(sample_rate * hop_ms / 1000)
        self.hop_seconds = self.hop_samples / sample_rate
        self.mean_norm = mean_norm

    @abstractmethod
    def features(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """``frames_BFD`` of a float32 batch."""

    def frame_lengths(self, lengths_B: Tensor) -> Tensor:
        """Frames of utterances of so many samples."""
        return 1 + (lengths_B - self.window_samples) // self.hop_samples

    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        shortest = int(lengths_B.min())
        if shortest < self.window_samples:
            raise ValueError(
                f"{shortest} samples are too short for a frame of {self.window_samples}"
            )
        with torch.autocast(wav_BT.device.type, enabled=False):
            frames_BFD = self.features(wav_BT.float(), lengths_B)
        frame_lengths_B = self.frame_lengths(lengths_B)
        if self.mean_norm:
            mask_BF1 = valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
            mean_B1D = (frames_BFD * mask_BF1).sum(1, keepdim=True) / frame_lengths_B[:, None, None]
            frames_BFD = (frames_BFD - mean_B1D) * mask_BF1
        elif shortest < wav_BT.shape[1]:
            frames_BFD = frames_BFD * valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
        return frames_BFD, frame_lengths_B


class Fbank(Spectral):
    """Log-mel filterbank energies as Kaldi computes them.

    Agrees with Kaldi's ``compute-fbank-feats`` and so with ``torchaudio.compliance.kaldi.fbank``
    (dither 0, Povey window, ``snip_edges``) within float tolerance, in one batched call.

    Args:
        num_mels: filters between 20 Hz and half the sample rate.
        options: of :class:`Spectral`.
    """

    def __init__(self, num_mels: int = 80, **options):
        super().__init__(num_mels, **options)
        self.fft_size = 2 ** math.ceil(math.log2(self.window_samples))
        povey = torch.hann_window(self.window_samples, periodic=False) ** 0.85
        self.register_buffer("window", povey, persistent=False)
        mel_KM = kaldi_mel_filters(num_mels, self.fft_size, self.sample_rate)
        self.register_buffer("mel_KM", mel_KM, persistent=False)

    def features(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        # Kaldi works on 16-bit amplitudes; with DC removal this only shifts the log.
        frames_BFN = (wav_BT * 32768).unfold(1, self.window_samples, self.hop_samples)
        frames_BFN = frames_BFN - frames_BFN.mean(2, keepdim=True)
        previous_BFN = torch.cat((frames_BFN[..., :1], frames_BFN[..., :-1]), 2)
        windowed_BFN = (frames_BFN - 0.97 * previous_BFN) * self.window
        power_BFK = torch.fft.rfft(windowed_BFN, self.fft_size).abs().square()
        return (power_BFK @ self.mel_KM).clamp_min(torch.finfo(torch.float32).eps).log()


def kaldi_mel_filters(num_mels: int, fft_size: int, sample_rate: int) -> Tensor:
    """``mel_KM``: Kaldi's triangles between 20 Hz and half the rate, straight in mel, not in hertz.

    mel(f) = 1127 ln(1 + f / 700); the Nyquist bin has no weight.
    """

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    low, high = mel(torch.tensor([20.0, sample_rate / 2], dtype=torch.float64))
    edges = torch.linspace(low, high, num_mels + 2, dtype=torch.float64)
    bins_K1 = mel(torch.arange(fft_size // 2, dtype=torch.float64) * sample_rate / fft_size)[
        :, None
    ]
    rising_KM = (bins_K1 - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling_KM = (edges[2:] - bins_K1) / (edges[2:] - edges[1:-1])
    return F.pad(torch.minimum(rising_KM, falling_KM).clamp_min(0), (0, 0, 0, 1)).float()


class CentredStft(Spectral):
    """Power spectra of Hamming windows centred on multiples of the hop, zeros beyond the ends.

    Args:
        dim: features of a frame.
        fft_size: points of the transform.
        pre_emphasis: coefficient of the first-order high-pass before the transform, 0 for none.
        options: of :class:`Spectral`.
    """

    def __init__(self, dim: int, fft_size: int = 512, pre_emphasis: float = 0.97, **options):
        super().__init__(dim, **options)
        self.fft_size = fft_size
        self.pre_emphasis = pre_emphasis
        self.register_buffer("window", torch.hamming_window(self.window_samples), persistent=False)

    def frame_lengths(self, lengths_B: Tensor) -> Tensor:
        return 1 + lengths_B // self.hop_samples

    def power(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """``power_BFK`` with K = fft_size / 2 + 1."""
        emphasised_BT = pre_emphasise(wav_BT, self.pre_emphasis)
        # Without the mask the first padded sample would hold the end of the utterance.
        emphasised_BT = emphasised_BT * valid_mask(lengths_B, wav_BT.shape[1])
        spectrum_BKF = torch.stft(
            emphasised_BT,
            self.fft_size,
            self.hop_samples,
            self.window_samples,
            self.window,
            pad_mode="constant",
            return_complex=True,
        )
        return spectrum_BKF.abs().square().transpose(1, 2)


class LFCC(CentredStft):
    """Linear-frequency cepstra with deltas, as the NII baselines of ASVspoof define them.

    Pre-emphasis 0.97, triangular filters on a linear frequency axis, log10, orthonormal DCT-II, the
    first coefficient replaced by log energy, and two differences ``x[t+1] - x[t-1]`` with repeated
    ends (Wang and Yamagishi, Interspeech 2021, https://arxiv.org/abs/2103.11326).

    Args:
        num_filters: filters, and static coefficients; a frame has three times as many.
        max_frequency: upper band edge as a share of half the sample rate (0.5 in the 2021 baseline).
        frame_ms: window length.
        mean_norm: subtract each utterance's mean over its frames.
        options: of :class:`CentredStft`; ``fft_size`` is 512 in the 2019 baseline, 1024 in the 2021 one.
    """

    def __init__(
        self,
        num_filters: int = 20,
        max_frequency: float = 1.0,
        frame_ms: float = 20.0,
        mean_norm: bool = False,
        **options,
    ):
        super().__init__(3 * num_filters, frame_ms=frame_ms, mean_norm=mean_norm, **options)
        bins_K = torch.linspace(0, 1, self.fft_size // 2 + 1)[:, None]
        edges = torch.linspace(0, max_frequency, num_filters + 2)
        width = edges[1]
        filters_KM = (1 - (bins_K - edges[1:-1]).abs() / width).clamp_min(0)
        self.register_buffer("filters_KM", filters_KM, persistent=False)
        dct_MM = dct(torch.eye(num_filters).numpy(), norm="ortho")
        self.register_buffer("dct_MM", torch.from_numpy(dct_MM), persistent=False)

    def features(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        eps = torch.finfo(torch.float32).eps
        power_BFK = self.power(wav_BT, lengths_B)
        cepstra_BFM = torch.log10(power_BFK @ self.filters_KM + eps) @ self.dct_MM
        energy_BF1 = torch.log10(power_BFK.sum(2, keepdim=True) / self.fft_size + eps)
        static_BFM = torch.cat((energy_BF1, cepstra_BFM[..., 1:]), 2)
        frame_lengths_B = self.frame_lengths(lengths_B)
        first_BFM = _difference(static_BFM, frame_lengths_B)
        return torch.cat((static_BFM, first_BFM, _difference(first_BFM, frame_lengths_B)), 2)


def _difference(frames_BFM: Tensor, frame_lengths_B: Tensor) -> Tensor:
    """``x[t+1] - x[t-1]`` with the first and each utterance's own last frame repeated."""
    time_F = torch.arange(frames_BFM.shape[1], device=frames_BFM.device)
    after_BF1 = torch.minimum(time_F + 1, frame_lengths_B[:, None] - 1)[..., None]
    after_BFM = frames_BFM.gather(1, after_BF1.expand_as(frames_BFM))
    return after_BFM - frames_BFM[:, (time_F - 1).clamp_min(0)]


class LogSpectrogram(CentredStft):
    """Log-power spectrogram, log(|X|^2 + 1e-10).

    As in the "FFT" systems of STC (Lavrentyeva et al., Interspeech 2019, section 3.1), whose window and
    transform are longer.

    Args:
        fft_size: points of the transform; a frame has fft_size / 2 + 1 values.
        options: of :class:`CentredStft`.
    """

    def __init__(self, fft_size: int = 512, **options):
        super().__init__(fft_size // 2 + 1, fft_size, **options)

    def features(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        return (self.power(wav_BT, lengths_B) + 1e-10).log()
