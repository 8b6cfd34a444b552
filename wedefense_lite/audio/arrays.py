"""Samples in memory as people have them: of any dtype and shape, from NumPy or PyTorch.

They become a WAV file in memory, so that there is one way to read audio. Shapes: T samples, A audio
channels.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import soundfile as sf

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError

# Peak of floats. Resampling and lossy decoders exceed 1 where a recording is loud, by less than
# half; samples that were never divided by their full scale exceed it by far.
MAX_PEAK = 2.0
MAX_CHANNELS = 32  # and fewer than samples: otherwise it is unknown which axis is that of time
INT16_PEAK = 2**15  # a peak up to here in a wider integer is that of 16-bit samples
INT32_PEAK = 2**31
EXPECTED = (
    f"expected int16, int32, uint8, or floats within {MAX_PEAK:g}, "
    "of shape (T,), (channels, T) or (T, channels)"
)


def samples_utterance(audio: Any, sample_rate: int, key: str = "samples") -> Utterance:
    """Utterance of samples in memory.

    The full scale of integers is that of 8 bits (of ``uint8``, 128 is silence), 16 or 32 bits.
    Those of 16 bits in a wider type are taken for what they are: at its full scale they would be
    below -96 dB.

    Args:
        audio: samples, an array, tensor or sequence of numbers, ``(T,)``, ``(A, T)`` or ``(T, A)``;
            or ``(samples, rate)``, as ``soundfile.read`` and ``torchaudio.load`` give them.
        sample_rate: rate in Hz of samples that come without one.
        key: id of the utterance, which stands for its path too.

    Raises:
        InputError: another dtype or shape, a peak that is no sample's, NaN or infinity.
    """
    if _has_rate(audio):
        audio, sample_rate = audio
    wav_TA = _time_first(_as_array(audio, key), key)
    wav_TA, subtype = _stored(wav_TA, key)
    buffer = io.BytesIO()
    try:
        sf.write(buffer, wav_TA, int(sample_rate), format="WAV", subtype=subtype)
    except sf.LibsndfileError as error:
        raise InputError(f"{key}: sample rate {sample_rate}, expected Hz") from error
    return Utterance(key, key, data=buffer.getvalue())


def _has_rate(audio: Any) -> bool:
    if not isinstance(audio, tuple) or len(audio) != 2:
        return False
    samples, rate = audio
    is_number = isinstance(rate, int | float | np.integer | np.floating)
    return np.ndim(rate) == 0 and is_number and np.ndim(samples) > 0


def _as_array(audio: Any, key: str) -> np.ndarray:
    if isinstance(audio, io.IOBase | bytes | bytearray | memoryview):
        kind = type(audio).__name__
        raise InputError(f"{key}: a {kind}, expected samples or the path of a file")
    if hasattr(audio, "detach"):  # a tensor, on any device, perhaps with a gradient
        tensor = audio.detach().cpu()
        # NumPy knows no bfloat16. No float type has less of a range or more bits than float64.
        return (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    if isinstance(audio, Sequence) and audio and isinstance(audio[0], str):
        raise InputError(f"{key}: a list of texts; score one file after the other")
    try:
        return np.asarray(audio)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{key}: rows of different lengths, {EXPECTED}") from error


def _time_first(array: np.ndarray, key: str) -> np.ndarray:
    """``(T,)``, or ``(T, A)`` of several channels."""
    if array.ndim == 1:
        return array
    if array.ndim == 2:
        fewer = min(array.shape)
        if array.shape[0] != array.shape[1] and fewer <= MAX_CHANNELS:
            array_TA = array if array.shape[1] == fewer else array.T
            return array_TA[:, 0] if fewer == 1 else array_TA
    raise InputError(f"{key}: {array.dtype} of shape {array.shape}, {EXPECTED}")


def _stored(wav: np.ndarray, key: str) -> tuple[np.ndarray, str]:
    """Samples as a WAV file holds them, and the name of its encoding."""
    has_full_scale = wav.dtype.kind in "fi" or wav.dtype == np.uint8
    if not has_full_scale or not wav.size:
        problem = "no samples" if not wav.size else str(wav.dtype)
        raise InputError(f"{key}: {problem}, {EXPECTED}")
    peak = float(np.abs(wav.astype(np.float64)).max())
    if wav.dtype.kind == "f":
        if not peak <= MAX_PEAK:  # NaN as well
            raise InputError(f"{key}: {wav.dtype}, the largest {peak:g}, {EXPECTED}")
        return wav.astype(np.float32), "FLOAT"
    if wav.dtype == np.uint8:
        return (wav.astype(np.float32) - 128) / 128, "FLOAT"
    if wav.dtype == np.int8:
        return wav.astype(np.float32) / 128, "FLOAT"
    if peak <= INT16_PEAK and wav.max() < INT16_PEAK:
        return wav.astype(np.int16), "PCM_16"
    if peak <= INT32_PEAK and wav.max() < INT32_PEAK:
        return wav.astype(np.int32), "PCM_32"
    raise InputError(f"{key}: {wav.dtype}, the largest {peak:g}, {EXPECTED}")
