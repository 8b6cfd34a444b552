"""Speed, pitch, bandwidth and silence.

Letters of shapes: Q frequency bins of a spectrum, F frames, W samples of a frame.
"""

import numpy as np
import scipy  # imports its parts where they are used, some of which take a second
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat

from wedefense_lite.augment.base import Augment, Range
from wedefense_lite.files import InputError

# Speeds and pitches are rounded to hundredths, so that resampling is by a ratio of small numbers.
STEPS = 100


class Speed(Augment):
    """Another speed, and with it another pitch.

    Ko et al., "Audio augmentation for speech recognition", Interspeech 2015. The length changes;
    training crops are read longer, so that they keep theirs.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        factor: lowest and highest speed; 1.1 is a tenth faster.
        speeds: these speeds alone, one as likely as another, in place of all between two, as the
            recipes of Kaldi and WeSpeaker have 0.9, 1 and 1.1. A changed speed is no class of its
            own, as it is for speakers there.

    Raises:
        InputError: no speeds, or one that isn't a multiple of 0.01 of 0.01 or more.
    """

    def __init__(
        self,
        p: ClosedUnitInterval = 0.5,
        factor: Range = (0.9, 1.1),
        speeds: list[PositiveFloat] | None = None,
    ):
        super().__init__(p)
        if speeds is not None and not speeds:
            raise InputError("Speed: speeds is [], expected speeds such as [0.9, 1.0, 1.1]")
        for speed in speeds or []:
            steps = round(STEPS * speed)
            if steps < 1 or abs(steps - STEPS * speed) > 1e-6:
                raise InputError(f"Speed: speeds has {speed}, expected multiples of 0.01")
        self.factor = factor
        self.speeds = speeds
        self.stretch = max(1.0, max(speeds) if speeds else factor[1])

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        speed = rng.choice(self.speeds) if self.speeds else rng.uniform(*self.factor)
        return scipy.signal.resample_poly(wav, STEPS, round(STEPS * speed))


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

    Phases are added up as products of complex numbers of magnitude 1, of which only the advance
    from one frame to the next is needed: neither angles nor exponentials are computed.

    Args:
        wav: ``(T,)``.
        factor: ratio of the lengths.
        size: samples of a frame; frames are a quarter of it apart.
    """
    window = scipy.signal.get_window("hann", size).astype(np.float32)
    spectrum_FQ = scipy.fft.rfft(_frames(wav, size) * window)
    magnitudes_FQ = np.abs(spectrum_FQ)
    # Each frame of the result lies between two frames of the original.
    positions = np.arange(0, len(spectrum_FQ) - 1, 1 / factor)
    before = positions.astype(int)
    share_F1 = (positions - before).astype(np.float32)[:, None]
    stretched_FQ = (1 - share_F1) * magnitudes_FQ[before] + share_F1 * magnitudes_FQ[before + 1]
    # Frames come out as far apart as they went in, so phases advance as between the two neighbours.
    advance_FQ = _directions(spectrum_FQ[1:] * spectrum_FQ[:-1].conj())
    phases_FQ = np.empty((len(before), spectrum_FQ.shape[1]), np.complex64)
    phases_FQ[0] = _directions(spectrum_FQ[0])
    for frame in range(1, len(before)):
        np.multiply(phases_FQ[frame - 1], advance_FQ[before[frame - 1]], out=phases_FQ[frame])
    frames_FW = scipy.fft.irfft(stretched_FQ * phases_FQ, size) * window
    return _overlap_add(frames_FW, window)


def _frames(wav: np.ndarray, size: int) -> np.ndarray:
    """Frames ``(F, size)`` a quarter of ``size`` apart, with silence before and behind ``wav``."""
    hop = size // 4
    # The first frame is centred on the first sample.
    before = size // 2
    behind = before + size + -len(wav) % hop
    padded = np.pad(wav.astype(np.float32, copy=False), (before, behind))
    return np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]


def _directions(values: np.ndarray) -> np.ndarray:
    """Complex numbers divided by their magnitudes; 1 for 0."""
    magnitudes = np.abs(values)
    is_zero = magnitudes == 0
    magnitudes[is_zero] = 1
    directions = values / magnitudes
    directions[is_zero] = 1
    return directions


def _overlap_add(frames_FW: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Sum of overlapping frames divided by that of the squared windows.

    Args:
        frames_FW: windowed frames, a quarter of a window apart; the first is centred on sample 0.
        window: window that they were multiplied with, twice.
    """
    count, size = frames_FW.shape
    hop = size // 4
    total = np.zeros((count + 3, hop), np.float32)
    weights = np.zeros((count + 3, hop), np.float32)
    quarters_FW = frames_FW.reshape(count, 4, hop)
    squares = np.square(window).reshape(4, hop)
    for quarter in range(4):
        total[quarter : quarter + count] += quarters_FW[:, quarter]
        weights[quarter : quarter + count] += squares[quarter]
    # The first and the last half of a frame are of the silence around.
    inside = slice(2, len(total) - 2)
    return (total[inside] / weights[inside]).ravel()


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
        sections = low_pass_sections(cutoff_hz / self.sample_rate)
        # The states of sections that have seen a constant 1 for ever: what comes before the first
        # sample is taken to be like it, so that nothing rings there.
        steady = np.stack([1 - sections[:, 0], sections[:, 2] - sections[:, 5]], axis=1)
        forward, _ = scipy.signal.sosfilt(sections, wav, zi=steady * wav[0])
        backward, _ = scipy.signal.sosfilt(sections, forward[::-1], zi=steady * forward[-1])
        return backward[::-1].astype(np.float32)


def low_pass_sections(cutoff: float) -> np.ndarray:
    """Sections of a Butterworth low-pass filter of order 4, by the bilinear transform.

    The same as ``scipy.signal.butter(4, 2 * cutoff, output="sos")`` but for the order of gains, in
    a fraction of its time. Each section has gain 1 at 0.

    Args:
        cutoff: frequency at which the power is halved, as a share of the sample rate.

    Returns:
        ``(2, 6)``, as ``scipy.signal.sosfilt`` takes them.
    """
    tangent = np.tan(np.pi * cutoff)
    sections = []
    for angle in (np.pi / 8, 3 * np.pi / 8):  # of the poles, from the real axis
        damping = 2 * np.cos(angle) * tangent
        scale = 1 / (1 + damping + tangent**2)
        gain = tangent**2 * scale
        first = 2 * (tangent**2 - 1) * scale
        second = (1 - damping + tangent**2) * scale
        sections.append([gain, 2 * gain, gain, 1, first, second])
    return np.array(sections)


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
