"""Traits of recordings, and how one is unlike those that a threshold was chosen on."""

from collections.abc import Mapping, Sequence

import numpy as np

# Traits by name: how they are written, their unit, and how far outside of the range of dev one is
# before it is said.
FORMATS = {"level": "level {:.1f} dB", "bandwidth": "bandwidth {:.0f} Hz", "seconds": "{:.2f} s"}
RANGES = {
    "level": "{:.1f} to {:.1f}",
    "bandwidth": "{:.0f} to {:.0f}",
    "seconds": "{:.2f} to {:.2f}",
}
TOLERANCES = {"level": 3.0, "bandwidth": 250.0, "seconds": 0.1}
# Of dev: a recording in a hundred lies outside by chance.
QUANTILES = (0.005, 0.995)
SMALLEST_POWER = 1e-30  # of digital silence
FRAME = 512
FRAMES_AT_ONCE = 10_000  # so that hours need no memory
# Of the strongest frequency. What codecs and resampling leave above their cutoff is lower, and
# fricatives of clean speech are higher.
BELOW_PEAK_DB = 60.0


def measure_traits(wav_T: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Level, bandwidth and length of a recording.

    Args:
        wav_T: samples in [-1, 1].
        sample_rate: Hz.

    Returns:
        ``level``: root mean square about the mean in dB of full scale; ``bandwidth``: highest
        frequency in Hz whose mean power is within 60 dB of the strongest one; ``seconds``.
    """
    power = float(np.var(wav_T))
    spectrum = _mean_spectrum(wav_T)
    is_strong = spectrum > spectrum.max() * 10 ** (-BELOW_PEAK_DB / 10)
    highest_bin = int(np.flatnonzero(is_strong)[-1]) if is_strong.any() else 0
    return {
        "level": float(10 * np.log10(power + SMALLEST_POWER)),
        "bandwidth": highest_bin * sample_rate / FRAME,
        "seconds": len(wav_T) / sample_rate,
    }


def _mean_spectrum(wav_T: np.ndarray) -> np.ndarray:
    """Power of each frequency, the mean over frames of a Hann window."""
    wav_T = wav_T - np.mean(wav_T)
    # A frame that ends within would have all frequencies: it counts only if there is no other.
    whole = len(wav_T) // FRAME * FRAME or FRAME
    wav_T = np.pad(wav_T, (0, max(0, FRAME - len(wav_T))))
    frames = wav_T[:whole].reshape(-1, FRAME)
    window = np.hanning(FRAME)
    total = np.zeros(FRAME // 2 + 1)
    for first in range(0, len(frames), FRAMES_AT_ONCE):
        spectra = np.fft.rfft(frames[first : first + FRAMES_AT_ONCE] * window)
        total += (np.abs(spectra) ** 2).sum(axis=0)
    return total / len(frames)


def dev_ranges(rows: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Range of each trait over the recordings of a set, but for half a percent at either end.

    Args:
        rows: traits of each recording, at least one.
    """
    ranges = {}
    for name in FORMATS:
        values = [row[name] for row in rows]
        low, high = np.quantile(values, QUANTILES)
        ranges[name] = (float(low), float(high))
    return ranges


def unlike(traits: Mapping[str, float], ranges: Mapping[str, Sequence[float]]) -> str:
    """What of a recording is outside of the ranges of dev; empty where nothing is.

    Args:
        traits: of the recording.
        ranges: lowest and highest value by trait.
    """
    remarks = []
    for name, (low, high) in ranges.items():
        value = traits[name]
        tolerance = TOLERANCES[name]
        if value < low - tolerance or value > high + tolerance:
            dev = RANGES[name].format(low, high)
            remarks.append(f"{FORMATS[name].format(value)} (dev {dev})")
    return f"unlike dev: {', '.join(remarks)}" if remarks else ""
