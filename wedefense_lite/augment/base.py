"""Waveform augmentation: pure functions ``f(wav, rng) -> wav``."""

from abc import ABC, abstractmethod

import numpy as np
from jsonargparse.typing import ClosedUnitInterval

from wedefense_lite.files import InputError

Range = tuple[float, float]


class Augment(ABC):
    """Something that is done to an utterance with a probability.

    Args:
        p: probability in [0, 1] that an utterance is changed.

    Attributes:
        sample_rate: of the audio, in Hz; the configuration's ``data`` section sets it.
        stretch: samples that it needs, at most, for each that it gives.
        source: hash of the list that it draws from, if any: training isn't continued with another.
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
        self, wav: np.ndarray, track: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """What calling gives, and the track (a label a sample) of it: another length is another speed.

        To be overridden by what changes the length in another way.
        """
        changed = self(wav, rng)
        if track is None or len(changed) == len(track):
            return changed, track
        sources = np.arange(len(changed)) * len(track) // len(changed)
        return changed, track[sources]


class Prepared(Augment):
    """An augmentation that needs more than the utterance.

    Attributes:
        option: of ``train.py``, which gives it a ``wav.scp``; empty where it needs none.
    """

    option: str = ""

    @abstractmethod
    def prepare(self, wav_scp: str | None) -> None:
        """Called once before training, with what ``option`` was given.

        Raises:
            InputError: something that :meth:`apply` needs isn't there.
        """


def prepare(augments: list[Augment], **wav_scps: str | None) -> None:
    """Give augmentations what they need.

    Args:
        augments: those of a configuration.
        wav_scps: each option of ``train.py`` that names a ``wav.scp``, and what it was given.

    Raises:
        InputError: a list is missing, or is given and nothing uses it, or an augmentation can't be used.
    """
    needy = [augment for augment in augments if isinstance(augment, Prepared)]
    for option, path in wav_scps.items():
        if path is not None and option not in {augment.option for augment in needy}:
            raise InputError(f"--{option} {path}: no augmentation of the configuration uses it")
    for augment in needy:
        augment.prepare(wav_scps.get(augment.option))


def power(wav: np.ndarray) -> float:
    """Mean square."""
    return float(np.mean(np.square(wav, dtype=np.float64)))


def with_power(wav: np.ndarray, wanted: float) -> np.ndarray:
    """``wav`` louder or softer, float32; digital silence stays as it is."""
    return wav.astype(np.float32) * np.float32(np.sqrt(wanted / (power(wav) or 1)))


def mixed(wav: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """``wav`` and noise at a ratio of their mean powers in dB."""
    return wav + with_power(noise, power(wav) * 10 ** (-snr_db / 10))


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
        return mixed(wav, rng.standard_normal(len(wav), dtype=np.float32), snr_db)
