"""When each talker of a recording speaks, by the level of the separated streams.

Levels, and not a detector of voices: a stream holds, 10 to 20 dB below its own talker, what is left
of the others, which is speech too. It is told from speech by the louder stream that it comes from.
"""

import numpy as np
from numpy.typing import ArrayLike

from wedefense_lite.audio.segments import runs

FRAME, BRIDGED, SHORTEST = (
    0.02,
    0.3,
    0.1,
)  # seconds: a frame, the longest pause in a segment, the shortest segment
FLOOR = -60.0  # dB of full scale, below which nothing is speech
BELOW_LOUDEST, BELOW_OTHERS = (
    30.0,
    15.0,
)  # dB below the recording's loud frames, and below the loudest stream


def activity(streams_KT: ArrayLike, sample_rate: int) -> list[list[tuple[float, float]]]:
    """Segments ``(start, end)`` in seconds of each of K streams, in order; none of a stream without
    speech.

    A frame of 20 ms is active above -60 dB of full scale, within 30 dB of the recording's loud
    frames (the 95th percentile of those above -60 dB) and within 15 dB of the loudest stream at
    that time. Pauses up to 0.3 s are bridged; then what is shorter than 0.1 s is dropped.

    Args:
        streams_KT: samples, full scale being 1.
        sample_rate: Hz.
    """
    streams_KT = np.asarray(streams_KT, dtype=np.float64)
    size, samples = max(1, round(FRAME * sample_rate)), streams_KT.shape[1]
    frames_KGS = np.pad(streams_KT, ((0, 0), (0, -samples % size))).reshape(
        len(streams_KT), -1, size
    )
    level_KG = 10 * np.log10(np.square(frames_KGS).mean(axis=2) + 1e-12)
    heard = level_KG[level_KG > FLOOR]
    if not heard.size:
        return [[] for _ in streams_KT]
    least_G = np.maximum(
        max(FLOOR, np.quantile(heard, 0.95) - BELOW_LOUDEST), level_KG.max(axis=0) - BELOW_OTHERS
    )
    found = [_bridged(active_G, BRIDGED * sample_rate / size) for active_G in level_KG > least_G]
    return [
        [
            (begin * size / sample_rate, min(end * size, samples) / sample_rate)
            for begin, end in parts
            if (end - begin) * size >= SHORTEST * sample_rate
        ]
        for parts in found
    ]


def _bridged(active_G: np.ndarray, pause: float) -> list[list[int]]:
    """Begin and end of active frames, those with up to ``pause`` frames between them as one."""
    parts: list[list[int]] = []
    for begin, end, is_active in runs(active_G):
        if is_active and parts and begin - parts[-1][1] <= pause:
            parts[-1][1] = end
        elif is_active:
            parts.append([begin, end])
    return parts
