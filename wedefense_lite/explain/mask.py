"""The ground truth of an explanation: where a vocoder changed a recording.

Letters: T samples, Q bins of frequency, F frames.
"""

from typing import Literal

import numpy as np
import scipy  # imports its parts where they are used, some of which take a second
import torch
from torch import Tensor

FFT_SIZE = 1024
HOP = 256
# Gaussian of the smoothing: frames and bins that it covers, and its variances in these.
TIME_SIZE, TIME_VARIANCE = 3, 3.0
FREQUENCY_SIZE, FREQUENCY_VARIANCE = 11, 5.0
KEPT_SHARE = 0.05
# Of the loudest cell of the real spectrogram: what is quieter is no denominator.
QUIET = 1e-4
Difference = Literal["absolute", "relative"]


def stft(wav_T: Tensor) -> Tensor:
    """Complex spectrogram ``(Q, F)`` of 1024 samples every 256, or ``(B, Q, F)`` of a batch."""
    window = torch.hann_window(FFT_SIZE, device=wav_T.device, dtype=wav_T.dtype)
    return torch.stft(wav_T, FFT_SIZE, HOP, window=window, return_complex=True)


def gaussian(size: int, variance: float) -> np.ndarray:
    """Weights of a Gaussian at whole distances from its centre, which sum to 1.

    Args:
        size: number of weights, odd.
        variance: in squared steps.
    """
    distance = np.arange(size) - size // 2
    weights = np.exp(-(distance**2) / (2 * variance))
    return weights / weights.sum()


def smooth(spectrum_QF: np.ndarray) -> np.ndarray:
    """Spectrogram of magnitudes, smoothed over 3 frames and 11 bins; edges are continued."""
    over_bins = scipy.ndimage.correlate1d(
        spectrum_QF, gaussian(FREQUENCY_SIZE, FREQUENCY_VARIANCE), axis=0, mode="nearest"
    )
    return scipy.ndimage.correlate1d(
        over_bins, gaussian(TIME_SIZE, TIME_VARIANCE), axis=1, mode="nearest"
    )


def difference(real_QF: np.ndarray, fake_QF: np.ndarray, kind: Difference) -> np.ndarray:
    """Difference of two smoothed spectrograms.

    Args:
        real_QF: magnitudes of the real recording, smoothed.
        fake_QF: magnitudes of the vocoded one, smoothed.
        kind: ``absolute``, or ``relative`` to the real one.
    """
    distance_QF = np.abs(fake_QF - real_QF)
    if kind == "relative":
        distance_QF = distance_QF / np.maximum(real_QF, QUIET * real_QF.max())
    return distance_QF


def top_cells(values_QF: np.ndarray, share: float = KEPT_SHARE) -> np.ndarray:
    """Mask ``(Q, F)`` of the share of cells with the highest values.

    Equal values are ranked in an order that is drawn once, so that none of the corners is
    preferred.

    Args:
        values_QF: values.
        share: share of the cells, of which there is at least one.
    """
    count = max(1, round(share * values_QF.size))
    tie_breaker = np.random.default_rng(0).permutation(values_QF.size)
    order = np.lexsort((tie_breaker, -values_QF.ravel()))
    mask = np.zeros(values_QF.size, dtype=bool)
    mask[order[:count]] = True
    return mask.reshape(values_QF.shape)


def truth_mask(
    real_T: np.ndarray,
    fake_T: np.ndarray,
    kind: Difference = "absolute",
    share: float = KEPT_SHARE,
) -> np.ndarray:
    """Cells ``(Q, F)`` in which vocoded speech differs most from the real speech that it is of.

    Args:
        real_T: samples of the real recording.
        fake_T: samples of the vocoded one, the same words at the same time, as many samples.
        kind: difference that counts.
        share: share of the cells that is kept.

    Raises:
        ValueError: other lengths.

    Source:
        Grinberg et al., A data-driven diffusion-based approach for audio deepfake explanations,
        2025 (arXiv 2506.03425). Spectrograms here are of magnitudes.
    """
    if len(real_T) != len(fake_T):
        raise ValueError(f"{len(real_T)} and {len(fake_T)} samples, expected as many")
    spectra = []
    for wav_T in (real_T, fake_T):
        magnitude_QF = stft(torch.from_numpy(np.float64(wav_T))).abs().numpy()
        spectra.append(smooth(magnitude_QF))
    real_QF, fake_QF = spectra
    return top_cells(difference(real_QF, fake_QF, kind), share)
