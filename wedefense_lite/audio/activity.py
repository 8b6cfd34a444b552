"""When each talker of a recording speaks, by the levels of the separated streams.

Levels, and not a detector of voices: a stream holds, 10 to 20 dB below its own talker, a residue of
the other talkers, which is speech too. The louder stream at the same time tells it from the talker.

What has one level from its beginning to its end is no speech: noise, a hum, a tone. In the band of
telephones the levels of 20 ms of such sounds lie within 3 dB (white and pink noise, tones; 5 to 95
% of the frames). Speech of a tenth of the mini corpus has 23 to 50 dB there, and with white noise
of the same power 8 to 13 dB.

Shapes: K streams, T samples, F frames, W samples of a frame.
"""

import numpy as np
from numpy.typing import ArrayLike

from wedefense_lite.audio.segments import runs

FRAME_SECONDS = 0.02
MAX_PAUSE_SECONDS = 0.3  # longest pause within a segment
MIN_SEGMENT_SECONDS = 0.1
SILENCE_DB = -60.0  # of full scale; nothing below it is speech
DIGITAL_SILENCE_DB = -120.0
BELOW_LOUDEST_DB = 30.0  # range of a talker's levels below the recording's loud frames
BELOW_OTHERS_DB = 15.0  # a stream that is so far below another at that time is its residue
LOUD_QUANTILE = 0.95  # a click is louder than speech, but is in fewer frames
TELEPHONE_BAND_HZ = (200.0, 3400.0)
BAND_ORDER = 4  # of the Butterworth filter of that band
BLOCK_SECONDS = 30.0  # filtered at once
MARGIN_SECONDS = 0.1  # of the neighbours on either side of a block; the filter has faded there
STEADY_DB = 5.0  # range of levels below which a sound is steady
STEADY_QUANTILES = (0.05, 0.95)


def activity(streams_KT: ArrayLike, sample_rate: int) -> list[list[tuple[float, float]]]:
    """Segments of speech of each stream.

    A frame of 20 ms is active above -60 dB of full scale, within 30 dB of the recording's loud
    frames (the 95th percentile of those above -60 dB) and within 15 dB of the loudest stream at
    that time. Pauses up to 0.3 s are bridged; then segments shorter than 0.1 s are dropped.

    Args:
        streams_KT: samples in [-1, 1].
        sample_rate: Hz.

    Returns:
        For each stream its segments ``(start, end)`` in seconds, in order; none without speech.
    """
    streams_KT = np.asarray(streams_KT, dtype=np.float64)
    num_streams, samples = streams_KT.shape
    frame = max(1, round(FRAME_SECONDS * sample_rate))
    padding = -samples % frame
    padded_KT = np.pad(streams_KT, ((0, 0), (0, padding)))
    level_KF = _levels(padded_KT, frame)
    level_KF[_is_constant(padded_KT, frame)] = DIGITAL_SILENCE_DB
    audible = level_KF[level_KF > SILENCE_DB]
    if not audible.size:
        return [[] for _ in range(num_streams)]
    loud = np.quantile(audible, LOUD_QUANTILE)
    threshold_F = np.maximum(
        max(SILENCE_DB, loud - BELOW_LOUDEST_DB), level_KF.max(axis=0) - BELOW_OTHERS_DB
    )
    segments = []
    for is_active_F in level_KF > threshold_F:
        segments_of_stream = []
        for begin, end in _bridge_pauses(is_active_F, MAX_PAUSE_SECONDS * sample_rate / frame):
            if (end - begin) * frame < MIN_SEGMENT_SECONDS * sample_rate:
                continue
            start_seconds = begin * frame / sample_rate
            # The last frame may be padded beyond the recording.
            end_seconds = min(end * frame, samples) / sample_rate
            segments_of_stream.append((start_seconds, end_seconds))
        segments.append(segments_of_stream)
    return segments


def speech(streams_KT: ArrayLike, sample_rate: int) -> list[list[tuple[float, float]]]:
    """Segments of ``activity`` of each stream; none of one that is steady from its first segment to
    its last.
    """
    streams_KT = np.asarray(streams_KT, dtype=np.float64)
    segments = activity(streams_KT, sample_rate)
    for number, segments_of_stream in enumerate(segments):
        if not segments_of_stream:
            continue
        first = round(segments_of_stream[0][0] * sample_rate)
        last = round(segments_of_stream[-1][1] * sample_rate)
        if is_steady(streams_KT[number, first:last], sample_rate):
            segments[number] = []
    return segments


def is_steady(wav_T: np.ndarray, sample_rate: int) -> bool:
    """Whether a sound has one level throughout, as noise and tones have and speech has not.

    Args:
        wav_T: samples in [-1, 1], at least a frame of them.
        sample_rate: Hz; twice 3.4 kHz or more for the band of telephones, else all frequencies up
            to 0.45 of it.
    """
    lowest, highest = TELEPHONE_BAND_HZ
    band = (lowest, min(highest, 0.45 * sample_rate))
    low, high = np.quantile(_levels_of_band(wav_T, band, sample_rate), STEADY_QUANTILES)
    return bool(high - low < STEADY_DB)


def _levels_of_band(wav_T: np.ndarray, band: tuple[float, float], sample_rate: int) -> np.ndarray:
    """Levels ``(F,)`` of whole frames of 20 ms in dB of full scale, within a band.

    Filtered by products of spectra, and so without delay: a recursive filter would need scipy,
    which is most of what a device had to install.

    Args:
        wav_T: samples in [-1, 1].
        band: edges in Hz, where 3 dB are lost.
        sample_rate: Hz.
    """
    frame = max(1, round(FRAME_SECONDS * sample_rate))
    margin = round(MARGIN_SECONDS * sample_rate)
    block = frame * round(BLOCK_SECONDS / FRAME_SECONDS)
    whole = len(wav_T) // frame * frame
    padded_T = np.pad(wav_T[:whole], margin)
    levels = []
    for first in range(0, whole, block):
        block_T = padded_T[first : first + block + 2 * margin]
        gain_Q = _band_pass(len(block_T), band, sample_rate)
        filtered_T = np.fft.irfft(np.fft.rfft(block_T) * gain_Q, len(block_T))
        levels.append(_levels(filtered_T[margin : len(block_T) - margin], frame))
    return np.concatenate(levels)


def _band_pass(samples: int, band: tuple[float, float], sample_rate: int) -> np.ndarray:
    """Gain of each bin of a real spectrum: that of a digital Butterworth band-pass.

    Source: the bilinear transform of the analogue filter, as ``scipy.signal.butter`` has it.
    """
    hertz_Q = np.fft.rfftfreq(samples, 1 / sample_rate)
    low, high = np.tan(np.pi * np.array(band) / sample_rate)
    gain_Q = np.zeros(len(hertz_Q))  # at 0 Hz, where the formula divides by 0
    frequency_Q = np.tan(np.pi * hertz_Q[1:] / sample_rate)
    offset_Q = (frequency_Q**2 - low * high) / ((high - low) * frequency_Q)
    gain_Q[1:] = 1 / np.sqrt(1 + offset_Q ** (2 * BAND_ORDER))
    return gain_Q


def _is_constant(wav: np.ndarray, frame: int) -> np.ndarray:
    """Whether each whole frame ``(..., F)`` has one value alone.

    That is silence beside zero, as of eight bits whose middle lies between two values.
    """
    frames = wav.reshape(*wav.shape[:-1], -1, frame)
    return frames.max(axis=-1) == frames.min(axis=-1)


def _levels(wav: np.ndarray, frame: int) -> np.ndarray:
    """Levels ``(..., F)`` of whole frames in dB of full scale."""
    frames = wav.reshape(*wav.shape[:-1], -1, frame)
    # Digital silence has a level, instead of an infinity.
    silence = 10 ** (DIGITAL_SILENCE_DB / 10)
    return 10 * np.log10(np.square(frames).mean(axis=-1) + silence)


def _bridge_pauses(is_active_F: np.ndarray, max_pause: float) -> list[list[int]]:
    """Begin and end of stretches of active frames, joined over pauses of ``max_pause`` frames."""
    stretches: list[list[int]] = []
    for begin, end, is_active in runs(is_active_F):
        if not is_active:
            continue
        if stretches and begin - stretches[-1][1] <= max_pause:
            stretches[-1][1] = end
        else:
            stretches.append([begin, end])
    return stretches
