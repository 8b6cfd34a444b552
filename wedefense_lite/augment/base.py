"""Waveform augmentation: pure functions ``f(wav, rng) -> wav``."""

from abc import ABC, abstractmethod

import numpy as np
from jsonargparse.typing import ClosedUnitInterval

from wedefense_lite.files import InputError

Range = tuple[float, float]


class Augment(ABC):
    """An augmentation, which changes an utterance with a probability.

    Args:
        p: probability in [0, 1] that an utterance is changed.

    Attributes:
        sample_rate: rate in Hz of the audio; ``wedefense_lite.systems.config.DataConfig`` sets
            its own rate for all its augmentations.
        stretch: highest ratio of the lengths of input and output; crops are read longer by it.
        source: hash of the list of files that it draws from, empty without one. A training is not
            continued with another list.
    """

    sample_rate: int = 16000
    stretch: float = 1.0
    source: str = ""

    def __init__(self, p: ClosedUnitInterval = 0.5):
        self.p = p

    @abstractmethod
    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The changed utterance; ``wav`` (``T`` samples, float32) itself stays as it is."""

    def __call__(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """``apply`` with probability ``p``. All chance comes from ``rng``."""
        return self.apply(wav, rng) if rng.random() < self.p else wav

    def with_track(
        self, wav: np.ndarray, track: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The utterance as calling gives it, and its track moved along.

        Another length is taken for another speed. A class that changes the length in another way
        overrides this method.

        Args:
            wav: ``(T,)``, float32.
            track: ``(T,)``, class of each sample; None without segments.
            rng: source of all chance; the track draws nothing from it.
        """
        changed = self(wav, rng)
        if track is None or len(changed) == len(track):
            return changed, track
        sources = np.arange(len(changed)) * len(track) // len(changed)
        return changed, track[sources]


class Prepared(Augment):
    """An augmentation that needs files or a library.

    Attributes:
        option: option of ``train.py`` that names its ``wav.scp``; empty where it needs none.
    """

    option: str = ""

    @abstractmethod
    def prepare(self, wav_scp: str | None) -> None:
        """Load what ``apply`` needs; called once before training.

        Args:
            wav_scp: value of ``option``, None where it is missing.

        Raises:
            InputError: a list, a file or a library is missing.
        """


def prepare(augments: list[Augment], **wav_scps: str | None) -> None:
    """Prepare the augmentations of a configuration.

    Args:
        augments: augmentations.
        wav_scps: value of each option of ``train.py`` that names a ``wav.scp``.

    Raises:
        InputError: a list is missing, or is named and nothing uses it, or an augmentation can't be
            used.
    """
    prepared = [augment for augment in augments if isinstance(augment, Prepared)]
    options = {augment.option for augment in prepared}
    for option, path in wav_scps.items():
        if path is not None and option not in options:
            raise InputError(f"--{option} {path}: no augmentation of the configuration uses it")
    for augment in prepared:
        augment.prepare(wav_scps.get(augment.option))


def power(wav: np.ndarray) -> float:
    """Mean square."""
    return float(np.mean(np.square(wav, dtype=np.float64)))


def set_power(wav: np.ndarray, mean_square: float) -> np.ndarray:
    """``wav`` scaled to a mean square, float32; digital silence stays as it is."""
    gain = np.sqrt(mean_square / (power(wav) or 1))  # of silence any gain gives silence
    return wav.astype(np.float32) * np.float32(gain)


def add_noise(wav: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """``wav`` plus noise at a ratio of their mean powers.

    Args:
        wav: ``(T,)``.
        noise: ``(T,)``, at any level.
        snr_db: ratio of the powers of ``wav`` and noise in dB.
    """
    return wav + set_power(noise, power(wav) * 10 ** (-snr_db / 10))


class WhiteNoise(Augment):
    """Additive Gaussian white noise; digital silence stays as it is.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        snr_db: lowest and highest ratio of the mean powers over the whole of ``wav`` in dB, drawn
            uniformly between.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, snr_db: Range = (10.0, 40.0)):
        super().__init__(p)
        self.snr_db = snr_db

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        snr_db = rng.uniform(*self.snr_db)
        noise = rng.standard_normal(len(wav), dtype=np.float32)
        return add_noise(wav, noise, snr_db)
