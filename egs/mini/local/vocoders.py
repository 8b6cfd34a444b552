"""Spoofs made from human speech: analysis and synthesis, conversion, concatenation.

Every method takes a waveform at 16 kHz, a random stream, and other waveforms of the speaker (which
only concatenation uses), and returns a waveform of the same length.
"""

from functools import cache

import numpy as np
import pyworld
from neutralise import RATE
from scipy.signal import lfilter, stft


def world(wave: np.ndarray, rng: np.random.Generator, pool=()) -> np.ndarray:
    """Conversion to another voice with WORLD: pitch scaled, spectral envelope stretched.

    Source: Morise et al., "WORLD: a vocoder-based high-quality speech synthesis system", 2016.
    """
    step = 10.0  # ms between frames; takes half of the time that the usual 5 ms take
    pitch, times = pyworld.dio(wave, RATE, frame_period=step, speed=4)
    pitch = pyworld.stonemask(wave, pitch, times, RATE)
    envelope = pyworld.cheaptrick(wave, pitch, times, RATE)
    aperiodicity = pyworld.d4c(wave, pitch, times, RATE)
    bins = np.arange(envelope.shape[1])
    # A formant at bin b of the result was at bin b * factor: another length of the vocal tract.
    source_bins = np.minimum(bins * rng.uniform(0.85, 1.18), bins[-1])
    stretched = np.exp([np.interp(source_bins, bins, frame) for frame in np.log(envelope)])
    pitch = pitch * rng.uniform(0.8, 1.25)
    voice = pyworld.synthesize(pitch, stretched, aperiodicity, RATE, step)
    return _to_length(voice, len(wave))


def griffin_lim(
    wave: np.ndarray, rng: np.random.Generator, pool=(), iterations: int = 16
) -> np.ndarray:
    """A 40-band mel spectrogram, made audible with phases that are found by iteration.

    Source: Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984.
    """
    import torch  # its transforms take a fifth of the time of scipy's; slow to import

    setup = {"n_fft": 1024, "hop_length": 256, "window": torch.hann_window(1024)}
    bank = torch.from_numpy(mel_bank(40, 1024)).float()
    spectrum = torch.stft(torch.from_numpy(wave).float(), **setup, return_complex=True).abs()
    # The least-squares spectrum of these mel bands, which may be negative.
    magnitude = (torch.linalg.pinv(bank) @ (bank @ spectrum)).clamp_min(1e-8)
    phase = torch.from_numpy(2 * np.pi * rng.random(magnitude.shape)).float()
    for _ in range(iterations):
        voice = torch.istft(torch.polar(magnitude, phase), **setup)
        phase = torch.stft(voice, **setup, return_complex=True).angle()
    return _to_length(voice.double().numpy(), len(wave))


def lpc(wave: np.ndarray, rng: np.random.Generator, pool=(), order: int = 20) -> np.ndarray:
    """Linear prediction: an all-pole filter, excited by pulses where voiced and by noise elsewhere.

    Source: Atal and Hanauer, "Speech analysis and synthesis by linear prediction", 1971.
    """
    frame = 480  # samples, 30 ms
    hop = 160  # samples, 10 ms
    window = np.hanning(frame)
    count = len(wave) // hop
    # The excitation. A pulse where the phase of the pitch completes a turn; its height keeps the
    # power of the pulses at 1, that of the noise, at any pitch.
    pitch = np.repeat(pyworld.dio(wave, RATE, frame_period=10.0, speed=4)[0][:count], hop)
    turns = np.floor(np.cumsum(pitch / RATE))
    pulses = np.diff(turns, prepend=0) * np.sqrt(RATE / np.maximum(pitch, 40))
    excitation = np.where(pitch > 0, pulses, rng.standard_normal(len(pitch)))
    padding = frame // 2 + hop
    padded = np.pad(wave, padding)
    excitation = np.pad(excitation, padding)
    # The filters: the normal equations of each frame from its autocorrelation, which is the
    # transform of the power spectrum.
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop] * window
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 1024)) ** 2)[:, : order + 1]
    # A little white noise keeps silent and periodic frames solvable.
    correlation[:, 0] = correlation[:, 0] * 1.0005 + 1e-7
    lag = np.abs(np.subtract.outer(np.arange(order), np.arange(order)))
    filters = np.linalg.solve(correlation[:, lag], correlation[:, 1:, None])[..., 0]
    residual_power = correlation[:, 0] - (filters * correlation[:, 1:]).sum(1)
    gains = np.sqrt(np.maximum(residual_power, 1e-9) / (window**2).sum())
    # The synthesis, frames added where they overlap.
    voice = np.zeros(len(padded) + frame)
    starts = range(0, count * hop + hop, hop)
    for start, coefficients, gain in zip(starts, filters, gains):
        denominator = np.concatenate([[1], -coefficients])
        synthesis = lfilter([gain], denominator, excitation[start : start + frame])
        voice[start : start + frame] += synthesis * window * 2 * hop / frame
    return voice[padding:][: len(wave)]


def concatenation(wave: np.ndarray, rng: np.random.Generator, pool=()) -> np.ndarray:
    """The utterance rebuilt from 100 ms units of the speaker's other recordings.

    Each unit is the nearest in log-mel spectrum; joints are cross-faded over 20 ms where the waves
    agree best.
    """
    unit = 1600  # samples, 100 ms
    hop = 1280  # samples from unit to unit of the result
    fade = 320  # samples in which two units overlap, 20 ms
    step = 400  # samples from unit to unit of the stock
    shift = 160  # samples by which a unit may be moved, so that it joins well
    stock = np.concatenate(pool)
    features = _unit_features(stock, step, unit)
    target = _unit_features(np.pad(wave, (0, 2 * unit)), hop, unit)
    # Without the mean, the voice and the channel that all units share.
    mean = features.mean(0)
    features = features - mean
    target = target - mean
    # Squared distances, but for a term that is the same for all units of the stock.
    distance = (features**2).sum(1) - 2 * target @ features.T
    voice = np.zeros(len(wave) + 3 * unit)
    rise = np.linspace(0, 1, fade)
    for begin, nearest in zip(range(0, len(wave), hop), distance.argmin(1)):
        end_of_last = voice[begin : begin + fade]
        middle = nearest * step
        starts = np.arange(max(0, middle - shift), min(len(stock) - unit, middle + shift), 8)
        agreement = [end_of_last @ stock[start : start + fade] for start in starts]
        best_start = starts[int(np.argmax(agreement))]
        samples = stock[best_start:][:unit]
        voice[begin : begin + fade] = end_of_last * (1 - rise) + samples[:fade] * rise
        voice[begin + fade : begin + unit] = samples[fade:]
    return voice[: len(wave)]


def _unit_features(wave: np.ndarray, step: int, unit: int) -> np.ndarray:
    """Log-mel spectra of seven windows of each unit; units start at multiples of ``step``."""
    spectrum = np.abs(stft(wave, nperseg=400, noverlap=200, nfft=512, boundary=None)[2]) ** 2
    frames = np.log(mel_bank(32, 512) @ spectrum + 1e-10).T
    starts = np.arange(0, len(wave) - unit - 320, step) // 200
    return np.hstack([frames[starts + offset] for offset in range(7)])


@cache
def mel_bank(bands: int, size: int) -> np.ndarray:
    """Triangular mel filters of unit area.

    Args:
        bands: number of filters.
        size: points of the spectrum.

    Returns:
        ``(bands, size // 2 + 1)``.
    """
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / RATE)
    low = edges[:bands, None]
    middle = edges[1 : bands + 1, None]
    high = edges[2:, None]
    rise = (bins - low) / (middle - low)
    fall = (high - bins) / (high - middle)
    return np.maximum(0, np.minimum(rise, fall)) * 2 / (high - low)


def _to_length(wave: np.ndarray, length: int) -> np.ndarray:
    """``wave`` cut, or followed by zeros."""
    return np.pad(wave[:length], (0, max(0, length - len(wave))))


VOCODERS = {"world": world, "griffin_lim": griffin_lim, "lpc": lpc, "concatenation": concatenation}
