"""Resampling, for mixtures and recordings of people.

Lists of stage 2 are not resampled: ``audio.reading`` refuses a file of another rate than the
system's.
"""

import math

import numpy as np
import scipy  # imports its parts where they are used, some of which take a second


def resample(wav: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Samples at another rate, by a polyphase filter (``scipy.signal.resample_poly``).

    Args:
        wav: ``(..., T)``, float32 or float64, which it stays; returned as it is at its own rate.
        rate: its rate in Hz.
        new_rate: rate in Hz of the result, whose length is ``ceil(T * new_rate / rate)``.
    """
    if rate == new_rate:
        return wav
    common = math.gcd(rate, new_rate)
    return scipy.signal.resample_poly(wav, new_rate // common, rate // common, axis=-1)
