"""Speed, pitch, bandwidth and silence.

Letters of shapes: Q frequency bins of a spectrum, F frames.
"""

import numpy as np
import scipy  # imports its parts where they are used, some of which take a second
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat

from wedefense_lite.augment.base import Augment, Range

# Speeds and pitches are rounded to hundredths, so that resampling is by a ratio of small numbers.
STEPS = 100


class Speed(Augment):
    """Another speed, and with it another pitch.

    Ko et al., "Audio augmentation for speech recognition", Interspeech 2015. The length changes;
    training crops are read longer, so that they keep theirs.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        factor: lowest and highest speed; 1.1 is a tenth faster.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, factor: Range = (0.9, 1.1)):
        super().__init__(p)
        self.factor = factor
        self.stretch = max(1.0, factor[1])

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return scipy.signal.resample_poly(wav, STEPS, round(STEPS * rng.uniform(*self.factor)))


class PitchShift(Augment):
    """Another pitch at the same speed: a phase vocoder stretches, resampling restores the length.

    Laroche and Dolson, "Improved phase vocoder time-scale modification of audio", 1999, without
    their phase locking.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        semitones: lowest and highest shift in semitones.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, semitones: Range = (-2.0, 2.0)):
        super().__init__(p)
        self.semitones = semitones

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        steps = round(STEPS * 2 ** (rng.uniform(*self.semitones) / 12))
        longer = stretch_time(wav, steps / STEPS)
        shifted = scipy.signal.resample_poly(longer, STEPS, steps)
        return np.resize(shifted, len(wav)).astype(np.float32)


def stretch_time(wav: np.ndarray, factor: float, size: int = 512) -> np.ndarray:
    """``wav`` at the same pitch and ``factor`` times as long, and some silence.

    Args:
        wav: ``(T,)``.
        factor: ratio of the lengths.
        size: samples of a frame; frames are a quarter of it apart.
    """
    overlap = size - size // 4
    _, _, spectrum_QF = scipy.signal.stft(np.pad(wav, (0, size)), nperseg=size, noverlap=overlap)
    # Each frame of the result lies between two frames of the original.
    positions = np.arange(0, spectrum_QF.shape[1] - 1, 1 / factor)
    before = positions.astype(int)
    share = positions - before
    before_QF = spectrum_QF[:, before]
    after_QF = spectrum_QF[:, before + 1]
    magnitudes_QF = (1 - share) * np.abs(before_QF) + share * np.abs(after_QF)
    # Frames come out as far apart as they went in, so phases advance as between the two neighbours.
    advance_QF = np.angle(after_QF * before_QF.conj())
    phases_QF = np.angle(spectrum_QF[:, :1]) + np.cumsum(advance_QF, axis=1) - advance_QF
    stretched_QF = magnitudes_QF * np.exp(1j * phases_QF)
    _, stretched_T = scipy.signal.istft(stretched_QF, nperseg=size, noverlap=overlap)
    return stretched_T


class LowPass(Augment):
    """A low-pass filter: Butterworth of order 4, forward and backward, so that nothing is delayed.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        cutoff_hz: lowest and highest frequency at which the magnitude is halved.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, cutoff_hz: Range = (2000.0, 7000.0)):
        super().__init__(p)
        self.cutoff_hz = cutoff_hz

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        cutoff_hz = rng.uniform(*self.cutoff_hz)
        sections = scipy.signal.butter(4, cutoff_hz, fs=self.sample_rate, output="sos")
        return scipy.signal.sosfiltfilt(sections, wav, padlen=0).astype(np.float32)


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
        lower = scipy.signal.resample_poly(wav, rate, self.sample_rate)
        # Resampling rounds lengths up, so that the result is as long or longer.
        return scipy.signal.resample_poly(lower, self.sample_rate, rate)[: len(wav)]


class SilenceTrim(Augment):
    """Silence at both ends trimmed to a random length; shortens the utterance.

    Silent are 20 ms whose mean power lies below that of the loudest 20 ms by more than the
    threshold. Digital silence stays as it is.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        threshold_db: distance to the loudest 20 ms in dB.
        rest_ms: shortest and longest silence that stays on each side, in milliseconds.
    """

    def __init__(
        self,
        p: ClosedUnitInterval = 0.5,
        threshold_db: PositiveFloat = 40.0,
        rest_ms: Range = (0.0, 100.0),
    ):
        super().__init__(p)
        self.threshold_db = threshold_db
        self.rest_ms = rest_ms

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return wav[self._draw_speech(wav, rng)]

    def with_track(
        self, wav: np.ndarray, track: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        speech = slice(None)
        if rng.random() < self.p:
            speech = self._draw_speech(wav, rng)
        return wav[speech], None if track is None else track[speech]

    def _draw_speech(self, wav: np.ndarray, rng: np.random.Generator) -> slice:
        """The samples from the first to the last loud frame, and a random rest of silence."""
        size = self.sample_rate // 50
        padded = np.pad(wav, (0, -len(wav) % size)).astype(np.float64)
        powers = np.square(padded).reshape(-1, size).mean(1)
        loud = np.flatnonzero(powers > powers.max() * 10 ** (-self.threshold_db / 10))
        if not len(loud):
            return slice(None)
        before, after = (rng.uniform(*self.rest_ms, 2) / 1000 * self.sample_rate).astype(int)
        first = max(loud[0] * size - before, 0)
        end = (loud[-1] + 1) * size + after
        return slice(first, end)
