"""Codecs that a phone call or an upload meets."""

from typing import Literal, NamedTuple

import numpy as np
from jsonargparse.typing import ClosedUnitInterval

from wedefense_lite.dataset.augment import Prepared
from wedefense_lite.files import InputError


class Kind(NamedTuple):
    """How FFmpeg is asked for a codec.

    Attributes:
        encoder: its name there.
        decoder: its name there.
        sample_rate: rate in Hz that it works at.
        delay: samples by which what is decoded comes late.
        kbit_s: rates to draw from.
    """

    encoder: str
    decoder: str
    sample_rate: int
    delay: int
    kbit_s: tuple[int, ...]


CODECS = {
    "mulaw": Kind("pcm_mulaw", "pcm_mulaw", 8000, 0, (64,)),
    "alaw": Kind("pcm_alaw", "pcm_alaw", 8000, 0, (64,)),
    "g722": Kind("g722", "g722", 16000, 22, (64,)),
    "opus": Kind("libopus", "libopus", 16000, 0, (8, 12, 16, 24, 32)),
    "mp3": Kind("libmp3lame", "mp3float", 16000, 0, (16, 24, 32, 64)),
    "aac": Kind("aac", "aac", 16000, 1024, (16, 24, 32, 64)),
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

    def __init__(
        self,
        p: ClosedUnitInterval = 0.5,
        codecs: tuple[Literal["mulaw", "alaw", "g722", "opus", "mp3", "aac"], ...] = tuple(CODECS),
    ):
        super().__init__(p)
        self.codecs = codecs

    def prepare(self, wav_scp: str | None) -> None:
        """See that PyAV is there, and the encoders in it; see :meth:`Prepared.prepare`."""
        try:
            import av
        except ImportError as error:
            raise InputError("augmentation Codec needs PyAV: pip install 'wedefense_lite[augment]'") from error
        for encoder in (CODECS[name].encoder for name in self.codecs):
            if encoder not in av.codecs_available:
                raise InputError(f"augmentation Codec: no {encoder} in this PyAV; leave its codec out of codecs")

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        kind = CODECS[self.codecs[rng.integers(len(self.codecs))]]
        return self.coded(wav, kind, int(rng.choice(kind.kbit_s)))

    def coded(self, wav: np.ndarray, kind: Kind, kbit_s: int) -> np.ndarray:
        """``wav`` after a codec at a bit rate."""
        import av

        encoder, decoder = (av.CodecContext.create(name, mode) for name, mode in zip(kind[:2], "wr"))
        encoder.format, encoder.bit_rate = encoder.codec.audio_formats[0], 1000 * kbit_s
        for context in (encoder, decoder):
            context.sample_rate, context.layout = kind.sample_rate, "mono"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wav)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = self.sample_rate, 0
        packets = [*encoder.encode(frame), *encoder.encode(None)]  # it resamples as well
        if encoder.extradata:
            decoder.extradata = encoder.extradata
        back = av.AudioResampler(format="fltp", layout="mono", rate=self.sample_rate)
        decoded = [part for packet in [*packets, None] for part in decoder.decode(packet)]
        parts = [part.to_ndarray()[0] for frame in [*decoded, None] for part in back.resample(frame)]
        found = np.concatenate(parts)[round(kind.delay * self.sample_rate / kind.sample_rate) :][: len(wav)]
        return np.pad(found, (0, len(wav) - len(found)))
