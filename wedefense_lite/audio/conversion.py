"""Conversion of audio once, before it is packed, instead of each time that it is read."""

from dataclasses import replace

import numpy as np

from wedefense_lite.audio.decoders import INT16_FULL_SCALE
from wedefense_lite.audio.reading import as_float, decode, encode_flac, open_audio
from wedefense_lite.audio.utterance import Utterance


class Converter:
    """Utterances as mono FLAC of 16 bits at a rate; several threads may convert.

    Samples beyond full scale, as resampling makes them of loud recordings, are clipped.

    Args:
        sample_rate: rate in Hz; 0 keeps that of each file.
        channel: number of the channel that is taken, from 1 on; 0 mixes all down.

    Attributes:
        converted: ids of utterances that were converted.
        clipped: ids of those of which samples were clipped.
    """

    def __init__(self, sample_rate: int, channel: int = 0):
        self.sample_rate = sample_rate
        self.channel = channel
        # Lists, since to append to one is safe between threads.
        self.converted: list[str] = []
        self.clipped: list[str] = []

    def __call__(self, row: Utterance) -> Utterance:
        """The utterance with its new file in memory; one that is such a file already as it is.

        Raises:
            InputError: audio that can't be read.
        """
        with open_audio(row, self.sample_rate, self.channel) as file:
            wav = decode(file)
            if file.decoder.container == "FLAC" and wav.dtype == np.int16 and not file.conversion:
                return row
        wav_int16 = self._rounded(row.key, wav)
        self.converted.append(row.key)
        flac = encode_flac(row.key, wav_int16, file.sample_rate, row.label)
        return replace(
            row,
            path=flac.path,
            data=flac.data,
            offset=0,
            size=0,
            samples=len(wav_int16),
            rate=file.sample_rate,
            format="",
        )

    def _rounded(self, key: str, wav: np.ndarray) -> np.ndarray:
        if wav.dtype == np.int16:
            return wav
        scaled = np.rint(as_float(wav) * INT16_FULL_SCALE)
        limits = np.iinfo(np.int16)
        if scaled.min() < limits.min or scaled.max() > limits.max:
            self.clipped.append(key)
        return scaled.clip(limits.min, limits.max).astype(np.int16)
