"""Talkers of a stream: an LLR for each of them in each window, while it comes.

Shapes: T samples, K streams of a separator.
"""

from collections.abc import Iterator

import numpy as np
import torch

from wedefense_lite.audio.activity import speech
from wedefense_lite.audio.live import LiveWindow
from wedefense_lite.mixtures.separation import order_of_streams, separate
from wedefense_lite.scoring.live import Listener, LiveRow
from wedefense_lite.separators.base import Separator

MAY_BE_SWAPPED = "silent since the window before: may be another talker than there"


def talker_rows(
    windows: Iterator[LiveWindow], separator: Separator, listeners: list[Listener]
) -> Iterator[LiveRow]:
    """A row for each talker of each window of a stream, as soon as it has come.

    Each window is separated by itself. A talker is followed by the samples that a window shares
    with the one before, in which its streams sound alike. Talkers who are all silent there can't be
    told apart behind it, which a note says.

    Args:
        windows: windows of a stream, each of which shares samples with the one before.
        separator: in evaluation mode, for as many talkers as there are listeners.
        listeners: one for each talker.
    """
    sample_rate = listeners[0].sample_rate
    end = 0
    before_KT = None
    for window in windows:
        seconds = len(window.wav_T) / sample_rate
        # A chunk of twice the window, so that the window is separated as one.
        streams_KT = separate(separator, window.wav_T, sample_rate, 2 * seconds, seconds / 2)
        notes = [""] * len(listeners)
        if before_KT is not None:
            shared = end - window.first
            old_KT = before_KT[:, -shared:]
            order_K = order_of_streams(
                torch.from_numpy(old_KT), torch.from_numpy(streams_KT[:, :shared])
            )
            streams_KT = streams_KT[order_K.numpy()]
            spoken = speech(old_KT, sample_rate)
            silent = [number for number, segments in enumerate(spoken) if not segments]
            if len(silent) > 1:
                for number in silent:
                    notes[number] = MAY_BE_SWAPPED
        for listener, speech_T, note in zip(
            listeners, speech_of_talkers(streams_KT, sample_rate), notes
        ):
            part = LiveWindow(window.first, window.end, speech_T)
            yield listener.row(part, note)
        before_KT = streams_KT
        end = window.end


def speech_of_talkers(streams_KT: np.ndarray, sample_rate: int) -> list[np.ndarray]:
    """Samples of each talker's speech, made softer if they exceed full scale.

    A talker who doesn't speak has digital silence, and not what separation left of the others.
    """
    speech_K = []
    for stream_T, segments in zip(streams_KT, speech(streams_KT, sample_rate)):
        wavs = []
        for start, end in segments:
            wavs.append(stream_T[round(start * sample_rate) : round(end * sample_rate)])
        speech_T = np.concatenate(wavs) if wavs else np.zeros_like(stream_T)
        speech_K.append(speech_T / max(1.0, np.abs(speech_T).max()))
    return speech_K
