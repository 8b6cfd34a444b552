"""Speed, pitch, bandwidth and silence."""

import numpy as np
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat
from scipy.signal import butter, istft, resample_poly, sosfiltfilt, stft

from wedefense_lite.augment.base import Augment, Range

# Speeds and pitches are drawn in steps of a hundredth, so that resampling is by a ratio of small numbers.
STEPS = 100


class Speed(Augment):
    """Another speed, and with it another pitch (Ko et al., "Audio augmentation for speech recognition", 2015).

    Changes the length; training crops are read longer, so that they keep theirs.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        factor: lowest and highest speed; 1.1 is a tenth faster.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, factor: Range = (0.9, 1.1)):
        super().__init__(p)
        self.factor, self.stretch = factor, max(1.0, factor[1])

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return resample_poly(wav, STEPS, round(STEPS * rng.uniform(*self.factor)))


class PitchShift(Augment):
    """Another pitch at the same speed: a phase vocoder stretches, and resampling takes the length back.

    Laroche and Dolson, "Improved phase vocoder time-scale modification of audio", 1999, without their phase
    locking.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        semitones: lowest and highest shift.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, semitones: Range = (-2.0, 2.0)):
        super().__init__(p)
        self.semitones = semitones

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        steps = round(STEPS * 2 ** (rng.uniform(*self.semitones) / 12))
        longer = stretched(wav, steps / STEPS)
        return np.resize(resample_poly(longer, STEPS, steps), len(wav)).astype(np.float32)


def stretched(wav: np.ndarray, factor: float, size: int = 512) -> np.ndarray:
    """``wav`` at the same pitch and ``factor`` times as long, and some silence.

    Args:
        size: samples of a frame; frames are a quarter of it apart.
    """
    frames_FN = stft(np.pad(wav, (0, size)), nperseg=size, noverlap=size - size // 4)[2]
    places = np.arange(0, frames_FN.shape[1] - 1, 1 / factor)
    before = places.astype(int)
    share = places - before
    magnitudes_FN = (1 - share) * np.abs(frames_FN[:, before]) + share * np.abs(
        frames_FN[:, before + 1]
    )
    # Frames come out as far apart as they went in, so phases advance as they did between the neighbours.
    advance_FN = np.angle(frames_FN[:, before + 1] * frames_FN[:, before].conj())
    phases_FN = np.angle(frames_FN[:, :1]) + np.cumsum(advance_FN, axis=1) - advance_FN
    return istft(magnitudes_FN * np.exp(1j * phases_FN), nperseg=size, noverlap=size - size // 4)[1]


class LowPass(Augment):
    """A low-pass filter, Butterworth of order 4, once forward and once back, so that nothing is delayed.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        cutoff_hz: lowest and highest frequency at which the magnitude is halved.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, cutoff_hz: Range = (2000.0, 7000.0)):
        super().__init__(p)
        self.cutoff_hz = cutoff_hz

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sections = butter(4, rng.uniform(*self.cutoff_hz), fs=self.sample_rate, output="sos")
        return sosfiltfilt(sections, wav, padlen=0).astype(np.float32)


class Resample(Augment):
    """To a lower sample rate and back.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        rates: sample rates in Hz to draw from.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, rates: tuple[int, ...] = (8000, 11025, 12000)):
        super().__init__(p)
        self.rates = rates

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rate = int(rng.choice(self.rates))
        return resample_poly(resample_poly(wav, rate, self.sample_rate), self.sample_rate, rate)[
            : len(wav)
        ]


class SilenceTrim(Augment):
    """Silence taken off both ends, down to a rest that is drawn; shortens the utterance.

    Silent are 20 ms whose mean power lies below that of the loudest 20 ms by more than the threshold. Digital
    silence stays as it is.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        threshold_db: distance to the loudest 20 ms.
        rest_ms: shortest and longest rest on each side.
    """

    def __init__(
        self,
        p: ClosedUnitInterval = 0.5,
        threshold_db: PositiveFloat = 40.0,
        rest_ms: Range = (0.0, 100.0),
    ):
        super().__init__(p)
        self.threshold_db, self.rest_ms = threshold_db, rest_ms

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return wav[self._kept(wav, rng)]

    def with_track(
        self, wav: np.ndarray, track: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        kept = self._kept(wav, rng) if rng.random() < self.p else slice(None)
        return wav[kept], None if track is None else track[kept]

    def _kept(self, wav: np.ndarray, rng: np.random.Generator) -> slice:
        size = self.sample_rate // 50
        padded = np.pad(wav, (0, -len(wav) % size)).astype(np.float64)
        powers = np.square(padded).reshape(-1, size).mean(1)
        loud = np.flatnonzero(powers > powers.max() * 10 ** (-self.threshold_db / 10))
        if not len(loud):
            return slice(None)
        before, after = (rng.uniform(*self.rest_ms, 2) / 1000 * self.sample_rate).astype(int)
        return slice(max(loud[0] * size - before, 0), (loud[-1] + 1) * size + after)
