"""Audio files that FFmpeg's libraries write, and headers with other numbers in them."""

import struct
import tempfile
from pathlib import Path

import av
import numpy as np


def encoded(
    wav: np.ndarray, rate: int, container: str, codec: str, bit_rate: int = 0, **options: str
) -> bytes:
    """A file of a container and a codec.

    Args:
        wav: ``(T,)``, or ``(T, A)`` of several channels; floats.
        rate: in Hz.
        container: FFmpeg's name of the format.
        codec: FFmpeg's name of the encoder.
        bit_rate: bits a second; 0 leaves it to the encoder.
        options: options of the format.
    """
    wav_TA = wav.reshape(len(wav), -1)
    # A file, not bytes in memory: options may want to read it again.
    with tempfile.NamedTemporaryFile() as temporary:
        _encode(temporary.name, wav_TA, rate, container, codec, bit_rate, options)
        return Path(temporary.name).read_bytes()


def _encode(path, wav_TA, rate, container, codec, bit_rate, options) -> None:
    layout = {1: "mono", 2: "stereo"}[wav_TA.shape[1]]
    with av.open(path, "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        if bit_rate:
            stream.bit_rate = bit_rate
        planes = np.ascontiguousarray(wav_TA.T, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate = rate
        frame.pts = 0
        sample_format = stream.codec_context.codec.audio_formats[0].name
        resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate)
        for resampled in resampler.resample(frame):
            file.mux(stream.encode(resampled))
        file.mux(stream.encode(None))


def mp3_without_xing(wav: np.ndarray, rate: int) -> bytes:
    """An MP3 of a variable bit rate whose header states no length."""
    return encoded(wav, rate, "mp3", "libmp3lame", 64000, write_xing="0", id3v2_version="0")


def mp3_that_states(mp3: bytes, frames: int) -> bytes:
    """An MP3 whose Xing header states another number of frames."""
    name = b"Xing" if b"Xing" in mp3 else b"Info"
    position = mp3.index(name) + 8
    return mp3[:position] + struct.pack(">I", frames) + mp3[position + 4 :]


def wav_from_a_pipe(wav: bytes, size: int) -> bytes:
    """A WAV file whose sizes are those that a program writes which can't go back."""
    begin = wav.index(b"data") + 4
    field = struct.pack("<I", size)
    return wav[:4] + field + wav[8:begin] + field + wav[begin + 4 :]
