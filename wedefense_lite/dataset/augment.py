"""Waveform augmentation: pure functions ``f(wav, rng) -> wav``."""

from abc import ABC, abstractmethod

import numpy as np
from jsonargparse.typing import ClosedUnitInterval


class Augment(ABC):
    """Something that is done to an utterance with a probability.

    Args:
        p: probability in [0, 1] that an utterance is changed.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5):
        self.p = p

    @abstractmethod
    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The changed utterance; ``wav`` (``T`` samples, float32) itself stays as it is."""

    def __call__(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """``apply`` with probability ``p``. All chance comes from ``rng``."""
        return self.apply(wav, rng) if rng.random() < self.p else wav


class WhiteNoise(Augment):
    """Additive Gaussian white noise; digital silence stays as it is.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        snr_db: lowest and highest ratio of the mean powers over the whole of ``wav`` in dB, drawn
            uniformly between.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, snr_db: tuple[float, float] = (10.0, 40.0)):
        super().__init__(p)
        self.snr_db = snr_db

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        snr_db = rng.uniform(*self.snr_db)
        level = np.sqrt(np.mean(np.square(wav, dtype=np.float64)) * 10 ** (-snr_db / 10))
        return wav + np.float32(level) * rng.standard_normal(len(wav), dtype=np.float32)
