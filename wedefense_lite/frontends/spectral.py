"""Spectral front ends: Kaldi log-mel filterbanks, LFCC and the log-power spectrogram.

All give float32, whatever the precision of the model behind them: in bfloat16 a log-mel value moves
by up to 0.07. In scoring, the transform itself is of float64.

Letters: B utterances, P utterances of a part, T samples, F frames, D features of a frame, W samples
of a window, Q frequency bins of a spectrum.
"""

import math
from abc import abstractmethod
from typing import Literal

import scipy  # imports its parts where they are used, some of which take a second
import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeFloat
from torch import Tensor

from wedefense_lite.audio.pre_emphasis import pre_emphasise
from wedefense_lite.files import InputError
from wedefense_lite.frontends.base import Frontend, is_exporting, length_range, valid_mask

# Samples that a CPU works on at a time: their windows and spectra, many times as large, stay in its
# caches.
SAMPLES_OF_PART = 2**18


class Spectral(Frontend):
    """Short-time spectra. All front ends of this module have its options.

    Args:
        dim: features of a frame.
        sample_rate: Hz.
        frame_ms: length of a window.
        hop_ms: step from a window to the next.
        mean_norm: subtract the mean of the utterance over its frames.
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
        """Number of frames of utterances, from their numbers of samples."""
        return 1 + (lengths_B - self.window_samples) // self.hop_samples

    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        shortest, _ = length_range(lengths_B, wav_BT.shape[1])
        if shortest < self.window_samples:
            raise ValueError(
                f"{shortest} samples are too short for a frame of {self.window_samples}"
            )
        with torch.autocast(wav_BT.device.type, enabled=False):
            frames_BFD = self._features_of_parts(wav_BT.float(), lengths_B)
        frame_lengths_B = self.frame_lengths(lengths_B)
        if self.mean_norm:
            mask_BF1 = valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
            mean_B1D = (frames_BFD * mask_BF1).sum(1, keepdim=True) / frame_lengths_B[:, None, None]
            frames_BFD = (frames_BFD - mean_B1D) * mask_BF1
        elif shortest < wav_BT.shape[1]:
            frames_BFD = frames_BFD * valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
        return frames_BFD, frame_lengths_B

    def _features_of_parts(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """``frames_BFD`` of a batch, of which a CPU works on a few utterances at a time.

        That takes a third of the time. The values are those of the whole batch to the last bit;
        only a dither draws other noise.
        """
        if wav_BT.device.type != "cpu" or is_exporting() or torch.compiler.is_compiling():
            return self.features(wav_BT, lengths_B)
        size = max(1, SAMPLES_OF_PART // wav_BT.shape[1])
        parts = []
        for wav_PT, lengths_P in zip(wav_BT.split(size), lengths_B.split(size)):
            parts.append(self.features(wav_PT, lengths_P))
        return torch.cat(parts)


def squared_spectrum(windows_BFW: Tensor, fft_size: int, is_training: bool) -> Tensor:
    """``power_BFQ`` of windows, filled up with zeros to the points of the transform.

    In scoring, the transform is of float64. One of float32 rounds each bin by a share of the
    loudest one, and so moves the logarithms of soft bins: LLRs of different engines then differ by
    up to 4e-4. Training takes float32, which is faster.

    A graph for other engines has no complex numbers: there it is two products with the matrices of
    the transform.
    """
    if not is_exporting():
        samples_BFW = windows_BFW if is_training else windows_BFW.double()
        spectrum_BFQ = torch.fft.rfft(samples_BFW, fft_size)
        # Not by abs(), which takes five times as long.
        power_BFQ = spectrum_BFQ.real.square() + spectrum_BFQ.imag.square()
        return power_BFQ.to(windows_BFW.dtype)
    time_W1 = torch.arange(windows_BFW.shape[2])[:, None]
    bin_Q = torch.arange(fft_size // 2 + 1)
    # The angle of a whole turn is 0: so small angles keep all digits.
    angle_WQ = 2 * math.pi * (time_W1 * bin_Q % fft_size).double() / fft_size
    real_BFQ = windows_BFW.double() @ angle_WQ.cos()
    imaginary_BFQ = windows_BFW.double() @ angle_WQ.sin()
    return (real_BFQ.square() + imaginary_BFQ.square()).float()


class Fbank(Spectral):
    """Log-mel filterbank energies of Kaldi.

    Source: Kaldi's ``compute-fbank-feats`` (Povey window, ``snip_edges``), with which it agrees
    within the rounding of float32, as does ``torchaudio.compliance.kaldi.fbank``. WeSpeaker and
    WeDefense have the Hamming window, and in training a dither of 1.

    Args:
        num_mels: number of filters between 20 Hz and half the sample rate.
        window: shape of the window; ``povey`` is Kaldi's own, named after its author.
        dither: standard deviation of the noise that is added to the samples of each window in
            training, in steps of 16 bits.
        options: options of ``Spectral``.
    """

    def __init__(
        self,
        num_mels: int = 80,
        window: Literal["povey", "hamming"] = "povey",
        dither: NonNegativeFloat = 0.0,
        **options,
    ):
        super().__init__(num_mels, **options)
        self.fft_size = 2 ** math.ceil(math.log2(self.window_samples))
        self.dither = dither
        window_W = torch.hamming_window(self.window_samples, periodic=False)
        if window == "povey":
            window_W = torch.hann_window(self.window_samples, periodic=False) ** 0.85
        self.register_buffer("window", window_W, persistent=False)
        # WeSpeaker takes its filters from torchaudio, which rounds in float32 on the way: log
        # energies differ by up to 3e-4.
        dtype = torch.float32 if window == "hamming" else torch.float64
        filters_QD = kaldi_mel_filters(num_mels, self.fft_size, self.sample_rate, dtype)
        self.register_buffer("filters_QD", filters_QD, persistent=False)

    def features(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        # Kaldi works on 16-bit amplitudes; with DC removal this only shifts the log.
        windows_BFW = (wav_BT * 32768).unfold(1, self.window_samples, self.hop_samples)
        if self.training and self.dither:
            windows_BFW = windows_BFW + self.dither * torch.randn_like(windows_BFW)
        windows_BFW = windows_BFW - windows_BFW.mean(2, keepdim=True)
        # Pre-emphasis within each window; its first sample is its own predecessor.
        previous_BFW = torch.cat((windows_BFW[..., :1], windows_BFW[..., :-1]), 2)
        windowed_BFW = (windows_BFW - 0.97 * previous_BFW) * self.window
        power_BFQ = squared_spectrum(windowed_BFW, self.fft_size, self.training)
        return (power_BFQ @ self.filters_QD).clamp_min(torch.finfo(torch.float32).eps).log()


def kaldi_mel_filters(
    num_mels: int, fft_size: int, sample_rate: int, dtype: torch.dtype = torch.float64
) -> Tensor:
    """``filters_QD``: triangles of Kaldi, between 20 Hz and half the rate.

    Their sides are straight in mel, with mel(f) = 1127 ln(1 + f / 700), and not in hertz. The bin
    at half the rate has no weight. ``dtype`` is that of the computation.
    """

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * (1.0 + hertz / 700.0).log()

    low, high = mel(torch.tensor([20.0, sample_rate / 2], dtype=torch.float64))
    step = (high - low) / (num_mels + 1)
    edges = (low + torch.arange(num_mels + 2, dtype=dtype) * step).to(dtype)
    hertz_Q = torch.arange(fft_size // 2, dtype=dtype) * sample_rate / fft_size
    mel_Q1 = mel(hertz_Q)[:, None]
    rising_QD = (mel_Q1 - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling_QD = (edges[2:] - mel_Q1) / (edges[2:] - edges[1:-1])
    triangles_QD = torch.minimum(rising_QD, falling_QD).clamp_min(0)
    return F.pad(triangles_QD, (0, 0, 0, 1)).float()


class CentredStft(Spectral):
    """Power spectra of Hamming windows that are centred on multiples of the hop.

    The audio has zeros before its start and behind its end.

    Args:
        dim: features of a frame.
        fft_size: points of the transform.
        pre_emphasis: coefficient a of y[t] = x[t] - a x[t-1]; 0 disables it.
        options: options of ``Spectral``.

    Raises:
        InputError: a window is longer than the transform.
    """

    def __init__(self, dim: int, fft_size: int = 512, pre_emphasis: float = 0.97, **options):
        super().__init__(dim, **options)
        if self.window_samples > fft_size:
            raise InputError(
                f"{type(self).__name__}: windows of {self.window_samples} samples, expected at "
                f"most fft_size, {fft_size}"
            )
        self.fft_size = fft_size
        self.pre_emphasis = pre_emphasis
        self.register_buffer("window", torch.hamming_window(self.window_samples), persistent=False)

    def frame_lengths(self, lengths_B: Tensor) -> Tensor:
        return 1 + lengths_B // self.hop_samples

    def power(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """``power_BFQ`` with fft_size / 2 + 1 bins."""
        emphasised_BT = pre_emphasise(wav_BT, self.pre_emphasis)
        # The first padded sample would hold a part of the last sample of the utterance.
        emphasised_BT = emphasised_BT * valid_mask(lengths_B, wav_BT.shape[1])
        # The window is in the middle of the transform's samples.
        spare = self.fft_size - self.window_samples
        window_W = F.pad(self.window, (spare // 2, spare - spare // 2))
        centred_BT = F.pad(emphasised_BT, (self.fft_size // 2, self.fft_size // 2))
        # As squared_spectrum: float64 in scoring.
        dtype = torch.float32 if self.training or is_exporting() else torch.float64
        windows_BFW = centred_BT.to(dtype).unfold(1, self.fft_size, self.hop_samples)
        windows_BFW = windows_BFW * window_W.to(dtype)
        power_BFQ = squared_spectrum(windows_BFW, self.fft_size, self.training)
        return power_BFQ.to(self.window.dtype)


class LFCC(CentredStft):
    """Linear-frequency cepstra with deltas, of the NII baselines of ASVspoof.

    Pre-emphasis 0.97, triangular filters on a linear frequency axis, log10, orthonormal DCT-II, log
    energy in place of the first coefficient, and two differences ``x[t+1] - x[t-1]`` with repeated
    ends.

    Source: Wang and Yamagishi, Interspeech 2021, https://arxiv.org/abs/2103.11326, and their code
    (sandbox/util_frontend.py of
    https://github.com/nii-yamagishilab/project-NN-Pytorch-scripts), with which it agrees.

    Args:
        num_filters: number of filters and of static coefficients; a frame has three times as many.
        max_frequency: upper band edge as a share of half the sample rate (0.5 in the 2021
            baseline); the energy is that of the band too.
        frame_ms: length of a window.
        mean_norm: subtract the mean of the utterance over its frames.
        energy: log energy in place of the first coefficient.
        options: options of ``CentredStft``; ``fft_size`` is 512 in the 2019 baseline and 1024 in
            the 2021 one.
    """

    # Under the logarithms.
    floor = torch.finfo(torch.float32).eps

    def __init__(
        self,
        num_filters: int = 20,
        max_frequency: float = 1.0,
        frame_ms: float = 20.0,
        mean_norm: bool = False,
        energy: bool = True,
        **options,
    ):
        super().__init__(3 * num_filters, frame_ms=frame_ms, mean_norm=mean_norm, **options)
        self.energy = energy
        # As in the code of the 2021 baseline, the bins that are left are spread over the whole
        # band, though the last of them lies below its edge.
        self.num_bins = int((self.fft_size // 2 + 1) * max_frequency)
        bins_Q1 = torch.linspace(0, 1, self.num_bins)[:, None]
        edges = torch.linspace(0, 1, num_filters + 2)
        width = edges[1]
        filters_QD = (1 - (bins_Q1 - edges[1:-1]).abs() / width).clamp_min(0)
        self.register_buffer("filters_QD", filters_QD, persistent=False)
        dct_DD = scipy.fft.dct(torch.eye(num_filters).numpy(), norm="ortho")
        self.register_buffer("dct_DD", torch.from_numpy(dct_DD), persistent=False)

    def features(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        power_BFQ = self.power(wav_BT, lengths_B)[..., : self.num_bins]
        static_BFD = torch.log10(power_BFQ @ self.filters_QD + self.floor) @ self.dct_DD
        if self.energy:
            power_BF1 = power_BFQ.sum(2, keepdim=True) / self.fft_size
            energy_BF1 = torch.log10(power_BF1 + self.floor)
            static_BFD = torch.cat((energy_BF1, static_BFD[..., 1:]), 2)
        frame_lengths_B = self.frame_lengths(lengths_B)
        first_BFD = _difference(static_BFD, frame_lengths_B)
        second_BFD = _difference(first_BFD, frame_lengths_B)
        return torch.cat((static_BFD, first_BFD, second_BFD), 2)


def _difference(frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
    """``x[t+1] - x[t-1]``, where the first frame and the last one of each utterance are
    repeated.
    """
    time_F = torch.arange(frames_BFD.shape[1], device=frames_BFD.device)
    after_BF1 = torch.minimum(time_F + 1, frame_lengths_B[:, None] - 1)[..., None]
    after_BFD = frames_BFD.gather(1, after_BF1.expand_as(frames_BFD))
    before_BFD = frames_BFD[:, (time_F - 1).clamp_min(0)]
    return after_BFD - before_BFD


class MatlabLFCC(LFCC):
    """Linear-frequency cepstra of the MATLAB baseline of ASVspoof 2019.

    They differ from ``LFCC`` in four points: the first coefficient is a cepstral one, a window
    begins at each multiple of the hop, the last is filled up with zeros, and windows are symmetric.
    SE-Res2Net50, EABN and AIR-ASVspoof take them.

    Source: extract_lfcc.m and deltas.m of https://github.com/yzyouzhang/AIR-ASVspoof, with which
    it agrees.

    Args:
        num_filters: number of filters and of static coefficients; a frame has three times as many.
        options: options of ``LFCC``.
    """

    floor = torch.finfo(torch.float64).eps

    def __init__(self, num_filters: int = 20, **options):
        super().__init__(num_filters, energy=False, **options)
        window_W = torch.hamming_window(self.window_samples, periodic=False)
        self.register_buffer("window", window_W, persistent=False)

    def frame_lengths(self, lengths_B: Tensor | int) -> Tensor | int:
        # Frames until the last one that begins a window which is not within the one before.
        overlap = self.window_samples - self.hop_samples
        # Without negative numbers, whose quotients ONNX rounds to the other side.
        return (lengths_B - overlap + self.hop_samples - 1) // self.hop_samples

    def power(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        emphasised_BT = pre_emphasise(wav_BT, self.pre_emphasis)
        # The first padded sample would hold a part of the last sample of the utterance.
        emphasised_BT = emphasised_BT * valid_mask(lengths_B, wav_BT.shape[1])
        frames = self.frame_lengths(wav_BT.shape[1])
        # The last window ends less than a hop behind the last sample.
        emphasised_BT = F.pad(emphasised_BT, (0, self.hop_samples))
        windows_BFW = emphasised_BT.unfold(1, self.window_samples, self.hop_samples)[:, :frames]
        return squared_spectrum(windows_BFW * self.window, self.fft_size, self.training)


class LogSpectrogram(CentredStft):
    """Log-power spectrogram, log(|X|^2 + 1e-10).

    Source: "FFT" systems of STC (Lavrentyeva et al., Interspeech 2019, section 3.1); their window
    and transform are longer.

    Args:
        fft_size: points of the transform; a frame has fft_size / 2 + 1 values.
        options: options of ``CentredStft``.
    """

    def __init__(self, fft_size: int = 512, **options):
        super().__init__(fft_size // 2 + 1, fft_size, **options)

    def features(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        return (self.power(wav_BT, lengths_B) + 1e-10).log()
