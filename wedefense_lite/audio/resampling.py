"""Resampling: whole signals, and parts of them that equal the same parts of the whole.

The filter is stated here once. With up / down as the ratio of the rates in lowest terms, it is a
linear-phase low-pass of 20 * max(up, down) + 1 taps, a sinc under a Kaiser window (beta 5). From
48 to 16 kHz that is: flat within 0.05 dB up to 6.8 kHz, -0.25 dB at 7 kHz, -6 dB at 8 kHz, the
lower of the two Nyquist frequencies, and below -53 dB from 9.5 kHz on. Beyond its ends a signal
counts as silent.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

try:
    import scipy  # imports its parts where they are used, some of which take a second
except ImportError:  # on a device, where 140 MB are too many for one function
    scipy = None

HALF_WIDTH = 10  # zero crossings of the sinc on either side
KAISER_BETA = 5.0


def resample(wav: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Samples at another rate, by a polyphase filter.

    Args:
        wav: ``(..., T)``, float32 or float64, which it stays; returned as it is at its own rate.
        rate: its rate in Hz.
        new_rate: rate in Hz of the result, whose length is ``resampled_length``.
    """
    if rate == new_rate:
        return wav
    up, down = _ratio(rate, new_rate)
    taps = _taps(up, down).astype(wav.dtype)
    if scipy is None:
        return _polyphase(wav, taps * wav.dtype.type(up), up, down)
    return scipy.signal.resample_poly(wav, up, down, axis=-1, window=taps)


def _polyphase(wav: np.ndarray, taps: np.ndarray, up: int, down: int) -> np.ndarray:
    """Samples of ``scipy.signal.resample_poly``, bit for bit, in several times its time.

    Args:
        wav: ``(..., T)``.
        taps: filter of the common rate, of the type of ``wav``, for a signal with ``up`` - 1 zeros
            behind each sample.
        up: factor to the common rate.
        down: factor from there to the new rate.
    """
    samples = wav.shape[-1]
    count = resampled_length(samples, down, up)
    resampled = np.zeros((*wav.shape[:-1], count), wav.dtype)
    half = len(taps) // 2
    taps_of_phase = -(-len(taps) // up)
    newest = ((count - 1) * down + half) // up  # sample that the last output ends with
    margins = (taps_of_phase, max(0, newest + 1 - samples))
    padded = np.pad(wav, [(0, 0)] * (wav.ndim - 1) + [margins])
    # Every up-th output has the same taps.
    for phase in range(min(up, count)):
        outputs = resampled[..., phase::up]
        newest, first_tap = divmod(half + phase * down, up)
        phase_taps = taps[first_tap::up]
        span = (outputs.shape[-1] - 1) * down + 1
        # From the oldest sample to the newest: the order of sums decides their last bits.
        for age in range(len(phase_taps) - 1, -1, -1):
            first = taps_of_phase + newest - age
            outputs += phase_taps[age] * padded[..., first : first + span : down]
    return resampled


def resampled_length(samples: int, rate: int, new_rate: int) -> int:
    """Number of samples at another rate, ``ceil(samples * new_rate / rate)``."""
    return -(-samples * new_rate // rate)


class Span(NamedTuple):
    """Samples of a signal that a part of the resampled signal is made of.

    Attributes:
        begin: the first of them; lies on the grid where both rates have a sample.
        end: the one behind the last.
        skip: resampled samples of the span before the part.
    """

    begin: int
    end: int
    skip: int


def source_span(first: int, count: int, samples: int, rate: int, new_rate: int) -> Span:
    """Samples from which ``resample`` makes a part of the whole, the same to the last bit.

    Args:
        first: first sample of the part, at the new rate.
        count: samples of the part.
        samples: samples of the whole signal, at its own rate.
        rate: its rate in Hz.
        new_rate: rate in Hz of the part.
    """
    up, down = _ratio(rate, new_rate)
    # In steps of the common grid a sample lasts ``up``, a resampled one ``down``, and the filter
    # reaches so far to either side:
    reach = HALF_WIDTH * max(up, down)
    earliest = max(0, (first * down - reach) // up)
    begin = earliest // down * down
    last = ((first + count - 1) * down + reach) // up
    end = min(samples, last + 1)
    return Span(begin, end, first - begin // down * up)


def _ratio(rate: int, new_rate: int) -> tuple[int, int]:
    common = math.gcd(rate, new_rate)
    return new_rate // common, rate // common


@lru_cache(maxsize=16)
def _taps(up: int, down: int) -> np.ndarray:
    longer = max(up, down)
    count = 2 * HALF_WIDTH * longer + 1
    position = np.arange(count) - HALF_WIDTH * longer
    taps = np.sinc(position / longer) / longer * np.kaiser(count, KAISER_BETA)
    return taps / taps.sum()
