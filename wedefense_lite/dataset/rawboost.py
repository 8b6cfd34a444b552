"""RawBoost: noise as telephone channels make it, from nothing but the utterance."""

from typing import Literal

import numpy as np
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from scipy.signal import firwin, freqz, oaconvolve

from wedefense_lite.dataset.augment import Augment, Range, mixed

# The noises that an algorithm adds, one after the other; 8 adds up the first two.
SERIES = {1: "1", 2: "2", 3: "3", 4: "123", 5: "12", 6: "13", 7: "23"}


class RawBoost(Augment):
    """RawBoost (Tak et al., ICASSP 2022), with the numbers and defaults of its algorithms in the authors' code.

    There are three noises. 1, convolutive: powers of the samples, each through band-stop filters of its own. 2,
    impulsive and dependent on the signal: some samples change by a random share of themselves. 3, stationary
    and independent: filtered white noise. Algorithms 1 to 3 are these; 4 is 1, 2 and 3 in series, 5 is 1 and 2 in
    series, 6 is 1 and 3, 7 is 2 and 3, and 8 is 1 and 2 in parallel. Filters keep the utterance in time, where
    the authors' come one sample early. The authors augment every utterance, ``p: 1.0``.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        algorithm: 1 to 8; 4 or 5 for telephone speech, 3 for compressed speech.
        num_bands: bands that a filter stops.
        center_hz: lowest and highest centre of a band.
        width_hz: lowest and highest width of a band.
        taps: lowest and highest number of taps of the filter of a band.
        gain_db: lowest and highest gain of the linear part of noise 1, and of the filter of noise 3.
        nonlinear_db: lowest and highest number of dB by which the gains of higher powers are lower.
        order: highest power in noise 1.
        max_percent: samples that noise 2 changes, at most.
        impulse_gain: scale of the changes in noise 2.
        snr_db: lowest and highest ratio of the mean powers for noise 3.
    """

    def __init__(
        self,
        p: ClosedUnitInterval = 0.5,
        algorithm: Literal[1, 2, 3, 4, 5, 6, 7, 8] = 5,
        num_bands: PositiveInt = 5,
        center_hz: Range = (20.0, 8000.0),
        width_hz: Range = (100.0, 1000.0),
        taps: tuple[int, int] = (10, 100),
        gain_db: Range = (0.0, 0.0),
        nonlinear_db: Range = (5.0, 20.0),
        order: PositiveInt = 5,
        max_percent: float = 10.0,
        impulse_gain: float = 2.0,
        snr_db: Range = (10.0, 40.0),
    ):
        super().__init__(p)
        self.algorithm, self.num_bands, self.order = algorithm, num_bands, order
        self.center_hz, self.width_hz, self.taps = center_hz, width_hz, taps
        self.gain_db, self.nonlinear_db, self.snr_db = gain_db, nonlinear_db, snr_db
        self.max_percent, self.impulse_gain = max_percent, impulse_gain

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noises = {"1": self.convolutive, "2": self.impulsive, "3": self.stationary}
        if self.algorithm == 8:
            return within_one(self.convolutive(wav, rng) + self.impulsive(wav, rng)).astype(np.float32)
        for name in SERIES[self.algorithm]:
            wav = noises[name](wav, rng)
        return wav.astype(np.float32)

    def convolutive(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Linear and non-linear convolutive noise, algorithm 1."""
        changed = np.zeros(len(wav))
        for exponent in range(1, self.order + 1):
            lower = np.zeros(2) if exponent == 1 else np.array(self.nonlinear_db)
            taps = self.band_stops(rng, np.array(self.gain_db) - lower)
            changed += oaconvolve(wav.astype(np.float64) ** exponent, taps, mode="same")
        return within_one(changed - changed.mean())

    def impulsive(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Impulsive noise that depends on the signal, algorithm 2."""
        count = int(len(wav) * rng.uniform(0, self.max_percent) / 100)
        places = rng.choice(len(wav), count, replace=False)
        changed = wav.copy()
        changed[places] *= 1 + self.impulse_gain * rng.uniform(-1, 1, count) * rng.uniform(-1, 1, count)
        return within_one(changed)

    def stationary(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Stationary coloured noise that doesn't depend on the signal, algorithm 3."""
        taps = self.band_stops(rng, np.array(self.gain_db))
        noise = oaconvolve(rng.standard_normal(len(wav)), taps, mode="same")
        return mixed(wav, noise, rng.uniform(*self.snr_db))

    def band_stops(self, rng: np.random.Generator, gain_db: np.ndarray) -> np.ndarray:
        """Taps of a filter with random band stops, of odd number; ``gain_db`` is the range of its highest gain."""
        taps, nyquist = np.ones(1), self.sample_rate / 2
        for _ in range(self.num_bands):
            center = rng.uniform(self.center_hz[0], min(self.center_hz[1], nyquist))
            half = rng.uniform(*self.width_hz) / 2
            band = np.clip([center - half, center + half], 1e-3, nyquist - 1e-3)
            count = int(rng.uniform(*self.taps)) // 2 * 2 + 1
            taps = np.convolve(taps, firwin(count, band, fs=self.sample_rate))
        highest = np.abs(freqz(taps)[1]).max()
        return taps * 10 ** (rng.uniform(*sorted(gain_db)) / 20) / highest


def within_one(wav: np.ndarray) -> np.ndarray:
    """Divided by the largest magnitude where that is above one."""
    return wav / max(1.0, np.abs(wav).max())
