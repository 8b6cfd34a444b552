"""Codecs that a phone call or an upload meets."""

from typing import Literal, NamedTuple

import numpy as np
from jsonargparse.typing import ClosedUnitInterval

from wedefense_lite.audio.decoders import as_float
from wedefense_lite.augment.base import Prepared
from wedefense_lite.files import InputError

Name = Literal["mulaw", "alaw", "g722", "opus", "mp3", "aac"]


class Format(NamedTuple):
    """A codec of FFmpeg.

    Attributes:
        encoder: name of FFmpeg's encoder.
        decoder: name of FFmpeg's decoder.
        sample_rate: rate in Hz that the codec works at.
        delay: samples, at that rate, by which the decoded audio comes late.
        kbit_s: bit rates to draw from.
        options: options of the encoder, by FFmpeg's names.
    """

    encoder: str
    decoder: str
    sample_rate: int
    delay: int
    kbit_s: list[int]
    options: dict[str, str] = {}


# Encoders that search take their faster settings, at half the time and less: Opus that of calls on
# phones, LAME its option -f. What they do to a spectrum differs from their defaults by less than
# from one bit rate to the next. G.722 goes sample by sample: a long frame has fewer calls.
CODECS: dict[Name, Format] = {
    "mulaw": Format("pcm_mulaw", "pcm_mulaw", 8000, 0, [64]),
    "alaw": Format("pcm_alaw", "pcm_alaw", 8000, 0, [64]),
    "g722": Format("g722", "g722", 16000, 22, [64], {"frame_size": "16000"}),
    "opus": Format("libopus", "libopus", 16000, 0, [8, 12, 16, 24, 32], {"compression_level": "5"}),
    "mp3": Format("libmp3lame", "mp3float", 16000, 0, [16, 24, 32, 64], {"compression_level": "7"}),
    "aac": Format("aac", "aac", 16000, 1024, [16, 24, 32, 64], {"aac_coder": "fast"}),
}


class Codec(Prepared):
    """A codec and back, by FFmpeg's libraries in PyAV; time and length stay.

    G.711's mu-law and A-law work at 8 kHz; G.722, Opus, MP3 and AAC at 16 kHz. The bit rates of
    Opus, MP3 and AAC are drawn from those of calls and of small files. ASVspoof 2021 has calls
    through such codecs (LA) and compressed files (DF); its training data of 2019 has neither.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        codecs: codecs to draw from, all equally likely.
    """

    def __init__(self, p: ClosedUnitInterval = 0.5, codecs: tuple[Name, ...] = tuple(CODECS)):
        super().__init__(p)
        self.codecs = codecs

    def prepare(self, wav_scp: str | None) -> None:
        """See that PyAV has the encoders; see ``Prepared.prepare``."""
        import av  # slow to import, as in transcode

        for name in self.codecs:
            encoder = CODECS[name].encoder
            if encoder not in av.codecs_available:
                raise InputError(
                    f"augmentation Codec: this PyAV has no {encoder}; take {name} from codecs"
                )

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        name = self.codecs[rng.integers(len(self.codecs))]
        kbit_s = int(rng.choice(CODECS[name].kbit_s))
        return self.transcode(wav, name, kbit_s)

    def transcode(self, wav: np.ndarray, name: Name, kbit_s: int) -> np.ndarray:
        """``wav`` encoded and decoded.

        Args:
            wav: ``(T,)``, float32.
            name: codec.
            kbit_s: bit rate in kbit/s.
        """
        import av

        codec = CODECS[name]
        encoder = av.CodecContext.create(codec.encoder, "w")
        decoder = av.CodecContext.create(codec.decoder, "r")
        encoder.format = encoder.codec.audio_formats[0]
        encoder.bit_rate = 1000 * kbit_s
        encoder.options = codec.options
        for context in (encoder, decoder):
            context.sample_rate = codec.sample_rate
            context.layout = "mono"
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(wav)[None], format="fltp", layout="mono"
        )
        frame.sample_rate = self.sample_rate
        frame.pts = 0
        # The encoder resamples to its rate. A frame, packet or array of None flushes what is
        # buffered.
        packets = [*encoder.encode(frame), *encoder.encode(None), None]
        if encoder.extradata:  # AAC: the decoder can't start without the encoder's header
            decoder.extradata = encoder.extradata
        frames = []
        for packet in packets:
            frames.extend(decoder.decode(packet))
        samples = self._join(frames)
        delay = round(codec.delay * self.sample_rate / codec.sample_rate)
        decoded = samples[delay : delay + len(wav)]
        return np.pad(decoded, (0, len(wav) - len(decoded)))

    def _join(self, frames: list) -> np.ndarray:
        """Samples of decoded frames, ``(T,)``, float32, at the rate of the system.

        They are joined before they are resampled: a frame has 20 ms, and each call its own cost.
        """
        import av

        first = frames[0]
        arrays = [frame.to_ndarray() for frame in frames]
        joined = np.concatenate(arrays, axis=1)
        if first.sample_rate == self.sample_rate:
            return as_float(joined[0])
        whole = av.AudioFrame.from_ndarray(joined, format=first.format.name, layout="mono")
        whole.sample_rate = first.sample_rate
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=self.sample_rate)
        resampled = [*resampler.resample(whole), *resampler.resample(None)]
        return np.concatenate([frame.to_ndarray()[0] for frame in resampled])
