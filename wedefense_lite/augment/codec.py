"""Codecs that a phone call or an upload meets."""

from typing import Literal

import numpy as np
from jsonargparse.typing import ClosedUnitInterval

from wedefense_lite.augment.base import Prepared
from wedefense_lite.files import InputError

Name = Literal["mulaw", "alaw", "g722", "opus", "mp3", "aac"]
# FFmpeg's encoder and decoder, the sample rate that they work at, by how many samples what is decoded comes
# late, and the rates in kbit/s to draw from.
CODECS: dict[Name, tuple[str, str, int, int, list[int]]] = {
    "mulaw": ("pcm_mulaw", "pcm_mulaw", 8000, 0, [64]),
    "alaw": ("pcm_alaw", "pcm_alaw", 8000, 0, [64]),
    "g722": ("g722", "g722", 16000, 22, [64]),
    "opus": ("libopus", "libopus", 16000, 0, [8, 12, 16, 24, 32]),
    "mp3": ("libmp3lame", "mp3float", 16000, 0, [16, 24, 32, 64]),
    "aac": ("aac", "aac", 16000, 1024, [16, 24, 32, 64]),
}


class Codec(Prepared):
    """Through a codec and back, aligned in time and of the same length, by FFmpeg's libraries in PyAV.

    G.711's mu-law and A-law at 8 kHz; G.722, Opus, MP3 and AAC at 16 kHz. Opus, MP3 and AAC have a bit rate that
    is drawn from those of calls and of small files. ASVspoof 2021 has calls through such codecs (LA) and
    compressed files (DF), which its training data of 2019 has not.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        codecs: to draw from, each as likely as another.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, codecs: tuple[Name, ...] = tuple(CODECS)):
        super().__init__(p)
        self.codecs = codecs

    def prepare(self, wav_scp: str | None) -> None:
        """See that PyAV is there, and the encoders in it; see :meth:`Prepared.prepare`."""
        try:
            import av
        except ImportError as error:
            raise InputError(
                "augmentation Codec needs PyAV: pip install 'wedefense_lite[augment]'"
            ) from error
        for name in self.codecs:
            if CODECS[name][0] not in av.codecs_available:
                raise InputError(
                    f"augmentation Codec: this PyAV has no {CODECS[name][0]}; take {name} from codecs"
                )

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        name = self.codecs[rng.integers(len(self.codecs))]
        return self.coded(wav, name, int(rng.choice(CODECS[name][-1])))

    def coded(self, wav: np.ndarray, name: Name, kbit_s: int) -> np.ndarray:
        """``wav`` after a codec at a bit rate."""
        import av

        *names, sample_rate, delay, _ = CODECS[name]
        encoder, decoder = (av.CodecContext.create(codec, mode) for codec, mode in zip(names, "wr"))
        encoder.format, encoder.bit_rate = encoder.codec.audio_formats[0], 1000 * kbit_s
        for context in (encoder, decoder):
            context.sample_rate, context.layout = sample_rate, "mono"
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(wav)[None], format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = self.sample_rate, 0
        packets = [*encoder.encode(frame), *encoder.encode(None), None]  # it resamples as well
        if encoder.extradata:
            decoder.extradata = encoder.extradata
        back = av.AudioResampler(format="fltp", layout="mono", rate=self.sample_rate)
        decoded = [part for packet in packets for part in decoder.decode(packet)]
        parts = [
            part.to_ndarray()[0] for frame in [*decoded, None] for part in back.resample(frame)
        ]
        found = np.concatenate(parts)[round(delay * self.sample_rate / sample_rate) :][: len(wav)]
        return np.pad(found, (0, len(wav) - len(found)))
