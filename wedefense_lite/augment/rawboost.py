"""RawBoost: noise as telephone channels make it, from nothing but the utterance."""

from typing import Literal

import numpy as np
import scipy  # imports its parts where they are used, some of which take a second
from jsonargparse.typing import ClosedUnitInterval

from wedefense_lite.augment.base import Augment, add_noise

# Noises that an algorithm adds in series; algorithm 8 adds two in parallel.
SERIES = {1: "1", 2: "2", 3: "3", 4: "123", 5: "12", 6: "13", 7: "23"}
# Points of the circle on which the largest gain of a filter is looked for, as in scipy's freqz.
GAIN_POINTS = 1024


class RawBoost(Augment):
    """RawBoost (Tak et al., ICASSP 2022), with the numbers and defaults of the authors' code.

    There are three noises. 1, convolutive: powers of the samples, each through its own band-stop
    filters. 2, impulsive and dependent on the signal: some samples change by a random share of
    themselves. 3, stationary and independent: filtered white noise. Algorithms 1 to 3 are these; 4
    is 1, 2 and 3 in series, 5 is 1 and 2 in series, 6 is 1 and 3, 7 is 2 and 3, and 8 is 1 and 2 in
    parallel. Filters keep the utterance in time; those of the authors come one sample early. The
    authors augment every utterance, ``p: 1.0``.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        algorithm: 1 to 8.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, algorithm: Literal[1, 2, 3, 4, 5, 6, 7, 8] = 5):
        super().__init__(p)
        self.algorithm = algorithm

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.algorithm == 8:
            in_parallel = self.convolutive(wav, rng) + self.impulsive(wav, rng)
            return limit_peak(in_parallel).astype(np.float32)
        noises = {"1": self.convolutive, "2": self.impulsive, "3": self.stationary}
        for name in SERIES[self.algorithm]:
            wav = noises[name](wav, rng)
        return wav.astype(np.float32)

    def convolutive(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Noise 1: the samples and their powers up to the fifth, which are 5 to 20 dB lower."""
        filters = [self.band_stops(rng)]
        for _ in range(2, 6):
            gain = 10 ** (rng.uniform(-20, -5) / 20)
            filters.append(gain * self.band_stops(rng))
        powers = [wav]
        for _ in filters[1:]:
            powers.append(powers[-1] * wav)
        filtered = filter_and_add(powers, filters)
        return limit_peak(filtered - filtered.mean())

    def impulsive(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Noise 2: a tenth of the samples, or fewer, change by up to twice themselves."""
        count = int(len(wav) * rng.uniform(0, 0.1))
        positions = rng.choice(len(wav), count, replace=False)
        changed = wav.copy()
        changed[positions] *= 1 + 2 * rng.uniform(-1, 1, count) * rng.uniform(-1, 1, count)
        return limit_peak(changed)

    def stationary(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Noise 3, at a ratio of mean powers between 10 and 40 dB."""
        white = rng.standard_normal(len(wav)).astype(np.float32)
        noise = filter_and_add([white], [self.band_stops(rng)])
        return add_noise(wav, noise, rng.uniform(10, 40))

    def band_stops(self, rng: np.random.Generator) -> np.ndarray:
        """Taps of a filter that stops five random bands; odd in number, the largest gain is 1."""
        taps = np.ones(1)
        nyquist = self.sample_rate / 2
        for _ in range(5):
            center = rng.uniform(20, min(8000, nyquist))
            half_width = rng.uniform(100, 1000) / 2
            # Band edges have to lie inside of 0 and the Nyquist frequency.
            band = np.clip([center - half_width, center + half_width], 1e-3, nyquist - 1e-3)
            count = int(rng.uniform(10, 100)) // 2 * 2 + 1
            taps = np.convolve(taps, band_stop(count, band / nyquist))
        response = scipy.fft.rfft(taps, GAIN_POINTS)[: GAIN_POINTS // 2]
        return taps / np.abs(response).max()


def band_stop(count: int, band: np.ndarray) -> np.ndarray:
    """Taps of a filter that stops one band: the window method with a Hamming window, gain 1 at 0.

    The same taps as ``scipy.signal.firwin(count, band)``, in a tenth of its time; an utterance has
    up to thirty of these filters.

    Args:
        count: number of taps, odd.
        band: lower and upper edge as shares of the Nyquist frequency.
    """
    low, high = band
    distance = np.arange(count) - (count - 1) / 2
    ideal = np.sinc(distance) - high * np.sinc(high * distance) + low * np.sinc(low * distance)
    taps = ideal * np.hamming(count)
    return taps / taps.sum()


def filter_and_add(wavs: list[np.ndarray], filters: list[np.ndarray]) -> np.ndarray:
    """Sum of waveforms, each through its own filter, as long as they are and in time with them.

    Overlap-add with one inverse transform for all, in float32.

    Args:
        wavs: waveforms of one length ``(T,)``.
        filters: taps of each, odd in number.

    Returns:
        ``(T,)``, float32.
    """
    samples = len(wavs[0])
    longest = max(len(taps) for taps in filters)
    size = scipy.fft.next_fast_len(8 * longest, real=True)
    hop = size - longest + 1
    blocks = -(-samples // hop)
    spectrum = 0
    for wav, taps in zip(wavs, filters):
        # All filters are centred alike, so that their outputs can be added.
        before = (longest - len(taps)) // 2
        centred = np.zeros(size, np.float32)
        centred[before : before + len(taps)] = taps
        padded = np.zeros(blocks * hop, np.float32)
        padded[:samples] = wav
        block_spectra = scipy.fft.rfft(padded.reshape(blocks, hop), size)
        spectrum = spectrum + block_spectra * scipy.fft.rfft(centred)
    overlapping = scipy.fft.irfft(spectrum, size)
    total = np.zeros((blocks + 1) * hop, np.float32)
    total[: blocks * hop] = overlapping[:, :hop].ravel()
    # What is longer than a hop runs into the next block.
    tails = total[hop:].reshape(blocks, hop)
    tails[:, : size - hop] += overlapping[:, hop:]
    start = (longest - 1) // 2
    return total[start : start + samples]


def limit_peak(wav: np.ndarray) -> np.ndarray:
    """``wav`` divided by its largest magnitude where that is above 1."""
    return wav / max(1.0, np.abs(wav).max())
