"""Audio that is still coming: blocks of a stream, and windows of them at the rate of a system.

A window is what a file with the same samples has at the same place, to the last bit. Letters: T
samples, A audio channels.
"""

import logging
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from wedefense_lite.audio.decoders import (
    FFMPEG_CONTAINERS,
    FFMPEG_FORMATS,
    FfmpegBlocks,
    UnknownFormat,
    as_float,
)
from wedefense_lite.audio.resampling import Span, resample, resampled_length, source_span
from wedefense_lite.files import InputError

Pcm = Literal["s16le", "f32le"]
PCM_TYPES = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
# Containers that a stream may have; none that leads to other files.
FORMATS = (*FFMPEG_FORMATS, *FFMPEG_CONTAINERS, "flac", "mp3")
READ_BYTES = 2**14  # at most at once; less as soon as less has come
MAX_PEAK = 2.0  # of floats; larger ones were never divided by their full scale
BLOCK_SECONDS = 0.1  # of a device
# Samples of a signal whose end has not come.
ENDLESS = 2**62


class Block(NamedTuple):
    """Samples that have come.

    Attributes:
        wav_T: float32, mono.
        rate: Hz.
    """

    wav_T: np.ndarray
    rate: int


class LiveWindow(NamedTuple):
    """Part of a stream.

    Attributes:
        first: its first sample, at the rate of the windows.
        end: the sample behind its last.
        wav_T: float32.
    """

    first: int
    end: int
    wav_T: np.ndarray


class Place(NamedTuple):
    """First sample of a window, and the number of its samples."""

    first: int
    count: int


class Arrivals:
    """Reader of a stream whose ``read`` doesn't wait for as many bytes as it is asked for.

    It has no ``seek``, so that FFmpeg's libraries read on and never back.

    Args:
        stream: open binary stream, such as ``sys.stdin.buffer``.
    """

    def __init__(self, stream: BinaryIO):
        self._stream = stream

    def read(self, count: int) -> bytes:
        """Bytes that have come, at least one; none at the end of the stream."""
        return self._stream.read1(count)


def pcm_blocks(stream: BinaryIO, encoding: Pcm, rate: int) -> Iterator[Block]:
    """Blocks of mono samples without a header.

    Args:
        stream: open binary stream.
        encoding: ``s16le`` or ``f32le``.
        rate: Hz.

    Raises:
        InputError: the stream ends within a sample, or has floats that are no samples.
    """
    sample_type = PCM_TYPES[encoding]
    arrivals = Arrivals(stream)
    data = b""
    position = 0
    while piece := arrivals.read(READ_BYTES):
        data += piece
        count = len(data) // sample_type.itemsize
        wav_T = np.frombuffer(data, sample_type, count)
        data = data[count * sample_type.itemsize :]
        if encoding == "f32le" and not (np.abs(wav_T) <= MAX_PEAK).all():  # NaN as well
            raise InputError(
                f"standard input: from sample {position} on there are floats beyond "
                f"{MAX_PEAK:g} or none, expected f32le in [-1, 1]: is it s16le?"
            )
        position += count
        yield Block(as_float(wav_T), rate)
    if data:
        raise InputError(
            f"standard input: ends {len(data)} bytes into sample {position}, expected whole "
            f"samples of {encoding}: it was cut, or is of another encoding"
        )


def container_blocks(stream: BinaryIO, channel: int = 0) -> Iterator[Block]:
    """Blocks of a stream that is an audio file, whose header states rate and channels.

    Args:
        stream: open binary stream.
        channel: channel that is taken, from 1 on; 0 for the mean of all.

    Raises:
        InputError: no such file, damage, or an end before that which its header states.
    """
    blocks = FfmpegBlocks(Arrivals(stream), FORMATS)
    try:
        for wav in blocks:
            if channel > blocks.channels:
                raise InputError(
                    f"{blocks.channels} channels, expected channel {channel} among them"
                )
            if wav.ndim == 2:
                wav = wav[:, channel - 1] if channel else wav.mean(1)
            yield Block(wav, blocks.rate)
    except UnknownFormat as error:
        raise InputError(
            f"standard input: {error}; samples without a header need --pcm and --rate"
        ) from error
    except InputError as error:
        raise InputError(f"standard input: {error}") from error
    if not blocks.rate:
        raise InputError("standard input: no samples")


def sound_devices() -> ModuleType:
    """Module of sounddevice.

    Raises:
        InputError: it isn't installed, or the machine lacks PortAudio.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise InputError(
            f"--audio_device: sounddevice can't be imported ({error}): "
            "pip install 'wedefense_lite[live]', and PortAudio (Debian: libportaudio2)"
        ) from error
    return sounddevice


def device_blocks(name: str, channel: int = 0) -> Iterator[Block]:
    """Blocks of a tenth of a second of a microphone or another audio device, without an end.

    Args:
        name: the device, a part of its name or its number; ``default`` is the system's.
        channel: channel that is taken, from 1 on; 0 for the mean of all.

    Raises:
        InputError: no such device or channel, or one that ends.
    """
    sounddevice = sound_devices()
    device = int(name) if name.isdecimal() else name
    if name == "default":
        device = None
    try:
        facts = sounddevice.query_devices(device, "input")
        rate = round(facts["default_samplerate"])
        channels = facts["max_input_channels"]
        if channel > channels:
            raise InputError(
                f"--audio_device {name}: {channels} channels, expected channel {channel} among them"
            )
        with sounddevice.InputStream(
            device=device, channels=channels, samplerate=rate, dtype="float32"
        ) as stream:
            while True:
                wav_TA, is_overflowed = stream.read(round(BLOCK_SECONDS * rate))
                if is_overflowed:
                    # What is behind a gap is scored all the same, but not in silence.
                    logging.warning("%s: samples were lost: scoring is too slow", name)
                yield Block(wav_TA[:, channel - 1] if channel else wav_TA.mean(1), rate)
    except (sounddevice.PortAudioError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--audio_device {name}: {reason}") from error


def live_windows(
    blocks: Iterable[Block], sample_rate: int, size: int, hop: int
) -> Iterator[LiveWindow]:
    """Windows of a stream, each as soon as its last sample has come.

    At the end of the stream comes one more for the samples behind the last window; it ends where
    the stream ends. A stream that is shorter than a window is one by itself.

    Args:
        blocks: samples as they come, all of one rate.
        sample_rate: rate of the windows, Hz.
        size: samples of a window, at that rate.
        hop: samples from the begin of a window to that of the next; at most ``size``.
    """
    buffer_T = np.zeros(0, np.float32)
    dropped = 0  # samples of the stream before the buffer
    rate = 0
    first = 0  # of the next window
    for wav_T, rate in blocks:
        buffer_T = np.concatenate([buffer_T, wav_T])
        while True:
            span = _source(Place(first, size), ENDLESS, rate, sample_rate)
            if span.end > dropped + len(buffer_T):
                break
            part_T = buffer_T[span.begin - dropped : span.end - dropped]
            yield _window(part_T, span.skip, Place(first, size), rate, sample_rate)
            # The last window of a stream begins behind this one, perhaps before the next.
            buffer_T = buffer_T[span.begin - dropped :]
            dropped = span.begin
            first += hop
    samples = dropped + len(buffer_T)
    if not samples:
        raise InputError("standard input: no samples")
    length = resampled_length(samples, rate, sample_rate)
    for place in _last_places(first, length, size, hop):
        span = _source(place, samples, rate, sample_rate)
        part_T = buffer_T[span.begin - dropped : span.end - dropped]
        yield _window(part_T, span.skip, place, rate, sample_rate)


def _source(place: Place, samples: int, rate: int, sample_rate: int) -> Span:
    """Samples that a window is made of; at its own rate they are its own."""
    if rate == sample_rate:
        return Span(place.first, place.first + place.count, 0)
    return source_span(place.first, place.count, samples, rate, sample_rate)


def _last_places(first: int, length: int, size: int, hop: int) -> list[Place]:
    """Windows that the end of a stream completes.

    Resampling reads samples behind a window, so that at the end there may be a whole one left.

    Args:
        first: begin of the next window.
        length: samples of the stream.
        size: samples of a window.
        hop: samples from a window to the next.
    """
    places = []
    while first + size <= length:
        places.append(Place(first, size))
        first += hop
    is_covered = first > 0 and first - hop + size == length
    if not is_covered:
        begin = max(0, length - size)
        places.append(Place(begin, length - begin))
    return places


def _window(part_T: np.ndarray, skip: int, place: Place, rate: int, sample_rate: int) -> LiveWindow:
    resampled_T = resample(part_T, rate, sample_rate)
    wav_T = np.ascontiguousarray(resampled_T[skip : skip + place.count])
    return LiveWindow(place.first, place.first + place.count, wav_T)
