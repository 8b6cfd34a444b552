"""Spoofs made from human speech: analysis and synthesis, conversion, concatenation."""

from functools import cache

import numpy as np
import pyworld
from neutralise import RATE
from scipy.signal import lfilter, stft

# Every method: f(wave at 16 kHz, random stream, other waves of the speaker) -> wave of equal length.


def world(wave: np.ndarray, rng: np.random.Generator, pool=()) -> np.ndarray:
    """Conversion to another voice with WORLD: pitch scaled, spectral envelope stretched.

    Source: Morise et al., "WORLD: a vocoder-based high-quality speech synthesis system", 2016.
    """
    step = 10.0  # ms; half of the time that 5 ms take
    pitch, times = pyworld.dio(wave, RATE, frame_period=step, speed=4)
    pitch = pyworld.stonemask(wave, pitch, times, RATE)
    envelope = pyworld.cheaptrick(wave, pitch, times, RATE)
    aperiodicity = pyworld.d4c(wave, pitch, times, RATE)
    bins = np.arange(envelope.shape[1])
    source = np.minimum(bins * rng.uniform(0.85, 1.18), bins[-1])
    stretched = np.exp([np.interp(source, bins, frame) for frame in np.log(envelope)])
    voice = pyworld.synthesize(pitch * rng.uniform(0.8, 1.25), stretched, aperiodicity, RATE, step)
    return _fit(voice, len(wave))


def griffin_lim(
    wave: np.ndarray, rng: np.random.Generator, pool=(), iterations: int = 16
) -> np.ndarray:
    """A 40-band mel spectrogram made audible with phases found by iteration.

    Source: Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984.
    """
    import torch  # its transforms take a fifth of the time of scipy's

    setup = {"n_fft": 1024, "hop_length": 256, "window": torch.hann_window(1024)}
    bank = torch.from_numpy(mel_bank(40, 1024)).float()
    spectrum = torch.stft(torch.from_numpy(wave).float(), **setup, return_complex=True).abs()
    magnitude = (torch.linalg.pinv(bank) @ (bank @ spectrum)).clamp_min(1e-8)
    phase = torch.from_numpy(2 * np.pi * rng.random(magnitude.shape)).float()
    for _ in range(iterations):
        voice = torch.istft(torch.polar(magnitude, phase), **setup)
        phase = torch.stft(voice, **setup, return_complex=True).angle()
    return _fit(voice.double().numpy(), len(wave))


def lpc(wave: np.ndarray, rng: np.random.Generator, pool=(), order: int = 20) -> np.ndarray:
    """Linear prediction: an all-pole filter, excited by pulses where voiced and by noise elsewhere.

    Source: Atal and Hanauer, "Speech analysis and synthesis by linear prediction", 1971.
    """
    frame, hop = 480, 160
    window = np.hanning(frame)
    count = len(wave) // hop
    pitch = np.repeat(pyworld.dio(wave, RATE, frame_period=10.0, speed=4)[0][:count], hop)
    turns = np.floor(np.cumsum(pitch / RATE))
    pulses = np.diff(turns, prepend=0) * np.sqrt(RATE / np.maximum(pitch, 40))
    excitation = np.where(pitch > 0, pulses, rng.standard_normal(len(pitch)))
    padded, excitation = (np.pad(signal, frame // 2 + hop) for signal in (wave, excitation))
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop] * window
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 1024)) ** 2)[:, : order + 1]
    correlation[:, 0] = correlation[:, 0] * 1.0005 + 1e-7
    lag = np.abs(np.subtract.outer(np.arange(order), np.arange(order)))
    filters = np.linalg.solve(correlation[:, lag], correlation[:, 1:, None])[..., 0]
    power = correlation[:, 0] - (filters * correlation[:, 1:]).sum(1)
    gains = np.sqrt(np.maximum(power, 1e-9) / (window**2).sum())
    voice = np.zeros(len(padded) + frame)
    for start, filter_, gain in zip(range(0, count * hop + hop, hop), filters, gains):
        spoken = lfilter([gain], np.r_[1, -filter_], excitation[start : start + frame])
        voice[start : start + frame] += spoken * window * 2 * hop / frame
    return voice[frame // 2 + hop :][: len(wave)]


def concatenation(wave: np.ndarray, rng: np.random.Generator, pool=()) -> np.ndarray:
    """The utterance rebuilt from 100 ms units of the speaker's other recordings.

    Each unit is the nearest in log-mel spectrum; joints are cross-faded over 20 ms where the waves
    agree best.
    """
    unit, hop, fade = 1600, 1280, 320
    stock = np.concatenate(pool)
    features, target = (
        _unit_features(stock, 400, unit),
        _unit_features(np.pad(wave, (0, 2 * unit)), hop, unit),
    )
    mean = features.mean(0)
    features, target = features - mean, target - mean
    distance = (features**2).sum(1) - 2 * target @ features.T
    voice = np.zeros(len(wave) + 3 * unit)
    rise = np.linspace(0, 1, fade)
    for place, best in zip(range(0, len(wave), hop), distance.argmin(1)):
        end = voice[place : place + fade]
        starts = np.arange(max(0, best * 400 - 160), min(len(stock) - unit, best * 400 + 160), 8)
        agreement = [end @ stock[start : start + fade] for start in starts]
        chosen = stock[starts[int(np.argmax(agreement))] :][:unit]
        voice[place : place + fade] = end * (1 - rise) + chosen[:fade] * rise
        voice[place + fade : place + unit] = chosen[fade:]
    return voice[: len(wave)]


def _unit_features(wave: np.ndarray, step: int, unit: int) -> np.ndarray:
    """Log-mel spectra of seven windows of every unit that starts at a multiple of ``step``."""
    spectrum = np.abs(stft(wave, nperseg=400, noverlap=200, nfft=512, boundary=None)[2]) ** 2
    frames = np.log(mel_bank(32, 512) @ spectrum + 1e-10).T
    starts = np.arange(0, len(wave) - unit - 320, step) // 200
    return np.hstack([frames[starts + offset] for offset in range(7)])


@cache
def mel_bank(bands: int, size: int) -> np.ndarray:
    """Triangular mel filters of unit area (bands x bins of a ``size`` point spectrum)."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / RATE)
    low, middle, high = (edges[i : bands + i, None] for i in range(3))
    rise, fall = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.maximum(0, np.minimum(rise, fall)) * 2 / (high - low)


def _fit(wave: np.ndarray, length: int) -> np.ndarray:
    return np.pad(wave[:length], (0, max(0, length - len(wave))))


VOCODERS = {"world": world, "griffin_lim": griffin_lim, "lpc": lpc, "concatenation": concatenation}
