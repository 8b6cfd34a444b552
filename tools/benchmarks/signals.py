"""Signals: augmentation and front ends."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import scipy
import torch
from torch import Tensor, nn

from benchmarks.work import RATE, Bench, Comparison
from wedefense_lite.augment.base import add_noise
from wedefense_lite.augment.noise import reverberate
from wedefense_lite.augment.rawboost import RawBoost
from wedefense_lite.augment.signal import LowPass, PitchShift, Speed
from wedefense_lite.frontends import LFCC, Fbank, LogSpectrogram

WINDOW = 400  # samples of a frame
HOP = 160
FFT = 512


def augmenting(bench: Bench) -> Iterator[Comparison]:
    """Steps of augmentation on one waveform, beside filters and sums of the same lengths."""
    samples = round(bench.size.seconds * RATE)
    rng = np.random.default_rng(0)
    wav = (0.1 * rng.standard_normal(samples)).astype(np.float32)
    other = (0.1 * rng.standard_normal(samples)).astype(np.float32)
    response = rng.standard_normal(RATE // 4).astype(np.float32)
    taps = rng.standard_normal((5, 500)).astype(np.float32)
    sections = scipy.signal.butter(4, 0.5, output="sos")

    def convolutions() -> None:
        for filter_taps in taps:
            scipy.signal.oaconvolve(wav, filter_taps)

    def noisy() -> np.ndarray:
        gain = np.sqrt(wav.dot(wav) / other.dot(other) / 10)
        return wav + gain * other

    resampled = partial(scipy.signal.resample_poly, wav, 10, 9)
    steps = {
        "RawBoost 5": (RawBoost(1.0, 5).apply, convolutions, "five convolutions"),
        "LowPass": (LowPass(1.0).apply, partial(scipy.signal.sosfilt, sections, wav), "sosfilt"),
        "Speed": (Speed(1.0).apply, resampled, "resample_poly"),
        "PitchShift": (PitchShift(1.0).apply, resampled, "resample_poly"),
    }
    count = bench.size.utterances
    for name, (apply, floor, floor_name) in steps.items():
        yield Comparison(
            name,
            partial(_repeat, count, partial(apply, wav, rng)),
            partial(_repeat, count, floor),
            floor_name,
            count=count,
        )
    rooms = partial(reverberate, wav, response)
    convolution = partial(scipy.signal.fftconvolve, wav, response)
    yield Comparison(
        "rooms",
        partial(_repeat, count, rooms),
        partial(_repeat, count, convolution),
        "fftconvolve",
        count=count,
    )
    yield Comparison(
        "noise",
        partial(_repeat, count, partial(add_noise, wav, other, 10.0)),
        partial(_repeat, count, noisy),
        "sum of two waveforms",
        count=count,
    )


def _repeat(count: int, function: Callable[[], object]) -> None:
    for _ in range(count):
        function()


def features(bench: Bench) -> Iterator[Comparison]:
    """Front ends, beside a spectrogram of the same frames and products of the same sizes."""
    wav_BT = 0.1 * torch.randn(min(32, bench.size.utterances), round(bench.size.seconds * RATE))
    floors = {
        "Fbank": (Fbank(80), [torch.rand(80, FFT // 2 + 1)], "stft, mel, log"),
        "LFCC": (LFCC(20), [torch.rand(20, FFT // 2 + 1), torch.randn(20, 20)], "stft, mel, DCT"),
        "LogSpectrogram": (LogSpectrogram(FFT), [], "stft, log"),
    }
    batches = bench.size.batches
    for name, (frontend, matrices, floor_name) in floors.items():
        yield Comparison(
            name,
            partial(_run_frontend, frontend.eval(), wav_BT, batches),
            partial(_plain_features, wav_BT, matrices, batches),
            floor_name,
            count=batches * len(wav_BT),
        )


@torch.no_grad()
def _run_frontend(frontend: nn.Module, wav_BT: Tensor, batches: int) -> None:
    lengths_B = torch.full((len(wav_BT),), wav_BT.shape[1])
    for _ in range(batches):
        frontend(wav_BT, lengths_B)


@torch.no_grad()
def _plain_features(wav_BT: Tensor, matrices: list[Tensor], batches: int) -> None:
    """Power spectra, through a filterbank, to logarithms, through a cosine transform."""
    window_W = torch.hann_window(WINDOW)
    for _ in range(batches):
        spectra_BFT = torch.stft(
            wav_BT, FFT, HOP, WINDOW, window_W, center=False, return_complex=True
        )
        power_BFT = spectra_BFT.abs().square()
        if matrices:
            power_BFT = matrices[0] @ power_BFT
        log_BFT = power_BFT.clamp_min(1e-10).log()
        for cosines in matrices[1:]:
            log_BFT = cosines @ log_BFT
