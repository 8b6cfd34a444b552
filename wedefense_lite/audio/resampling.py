"""Other sample rates."""

import math

import numpy as np
from scipy.signal import resample_poly


def resampled(wav: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Samples, ``T`` or ``KT``, at another rate, float32."""
    common = math.gcd(rate, wanted)
    wav = wav if rate == wanted else resample_poly(wav, wanted // common, rate // common, axis=-1)
    return wav.astype(np.float32)
