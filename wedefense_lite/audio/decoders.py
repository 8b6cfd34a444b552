"""Decoders of audio files: libsndfile, and FFmpeg's libraries for what it can't open.

A decoder gives the samples of a file as they are in it, at their rate and with all channels, and
knows how many there are: a number that it has counted where a header may state another one. Shapes:
T samples, A audio channels.
"""

import io
import os
import re
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
import soundfile as sf

from wedefense_lite.audio.containers import Length, count_mpeg_frames
from wedefense_lite.files import InputError

INT16_FULL_SCALE = 32768  # the int16 that stands for 1.0
# libsndfile reports about 2**63 samples for a stream of unknown length. 2**48 at 16 kHz are 557
# years.
UNKNOWN_LENGTH = 2**48
# libsndfile shortens a truncated PCM file in silence, but writes it into its log.
CUT_SHORT = re.compile(r"^ *(data|SSND|Data Size) *:.*should be", re.MULTILINE)
# Encodings of which a header may state another length than a list, or than the file has.
UNCERTAIN_ENCODINGS = ("VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
UNRECOGNISED = 1  # code of libsndfile's error for a file of no kind that it knows
FLAC_NEAR = 2**13  # samples that are decoded in the time of seeking in FLAC
BLOCK = 2**18  # samples that are decoded at once, where they are only counted
# Formats that FFmpeg opens where libsndfile doesn't know a file. No play lists among them, which
# would lead to other files.
FFMPEG_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "aac", "amr", "asf", "g722", "ogg")
FFMPEG_FORMATS += ("ac3", "eac3", "mpegts", "avi", "flv", "wv", "tta", "ape")
# Formats of which libsndfile knows the container, but not each codec in it.
FFMPEG_CONTAINERS = ("wav", "w64", "aiff", "caf")
# Extensions of audio files that FFmpeg reads.
FFMPEG_EXTENSIONS = {"m4a", "m4b", "mp4", "mov", "3gp", "3g2", "aac", "amr", "awb", "webm", "mka"}
FFMPEG_EXTENSIONS |= {"mkv", "matroska", "wma", "asf", "g722", "spx"}
FFMPEG_EXTENSIONS |= {"ac3", "eac3", "ts", "avi", "flv", "wv", "tta", "ape"}
MP4_BEGIN = slice(4, 8)  # bytes of an MP4, M4A or 3GP that name its kind
MP4_NAME = b"ftyp"
# Formats that begin with nothing that names them: extension, and FFmpeg's name.
HEADERLESS_FORMATS = {"g722": "g722"}
# An MP4 states how long it lasts. Its last frame, and samples to warm up the decoder, may miss.
LENGTH_TOLERANCE = 0.3  # seconds
FULL_SCALES = {"u1": 2.0**7, "i2": 2.0**15, "i4": 2.0**31}  # by type of integer samples


# Header of a WAV file without other chunks than those of its format and its samples.
PLAIN_WAV = struct.Struct("<4sI4s4sIHHIIHH4sI")
LONGEST_PLAIN_WAV = 0x7FFFF000  # bytes; Linux reads no more at once
PCM = 1  # code of samples that are integers


Samples = TypeVar("Samples")  # a NumPy array or a tensor


def as_float(samples: Samples) -> Samples:
    """Samples as float32 in [-1, 1].

    Args:
        samples: NumPy array or tensor of any shape: int16, or floats, which are returned unchanged.

    Returns:
        array of the same type, on the same device.
    """
    if str(samples.dtype) not in ("int16", "torch.int16"):
        return samples
    # Division by a power of two is exact, and in place it needs no second copy.
    floats = samples.astype(np.float32) if isinstance(samples, np.ndarray) else samples.float()
    floats /= INT16_FULL_SCALE
    return floats


class Decoder(Protocol):
    """Open audio file.

    Attributes:
        samples: number of samples, by which is meant that of each channel.
        rate: sample rate in Hz.
        channels: number of channels.
        container: name of the kind of file, with the codec where it may hold several.
    """

    samples: int
    rate: int
    channels: int
    container: str

    def read(self, count: int, offset: int) -> np.ndarray:
        """Decoded samples.

        Args:
            count: number of samples; there have to be as many.
            offset: number of samples to skip.

        Returns:
            ``(T,)``, or ``(T, A)`` of several channels: int16 of 16-bit files, which is exact and
            half as many bytes to move between processes; float32 in [-1, 1] of others.

        Raises:
            InputError: the file ends before, or has samples that are not finite.
        """

    def check_all(self) -> None:
        """Decode all samples, in blocks that don't fill the memory.

        Raises:
            InputError: as ``read``.
        """


# Files in memory that nobody uses. To write over one takes a sixth of the time of making it.
_spare_files: list[int] = []
LARGEST_SPARE_FILE = 2**24  # bytes
MOST_SPARE_FILES = 8


def _close_spare_files() -> None:
    """Close them in a forked process, which shares their contents and places with its parent."""
    while _spare_files:
        os.close(_spare_files.pop())


os.register_at_fork(after_in_child=_close_spare_files)


@contextmanager
def memory_file(data: bytes = b"") -> Iterator[int]:
    """Descriptor of a file in memory, at its beginning.

    libsndfile reads a descriptor by itself. An object of Python it reads by calls back into Python,
    in which a Ctrl-C is lost and the audio may go on at another place.
    """
    try:
        descriptor = _spare_files.pop()
    except IndexError:
        descriptor = _make_memory_file()
    process = os.getpid()
    is_spare = False
    try:
        os.ftruncate(descriptor, len(data))
        num_written = 0
        while num_written < len(data):  # the system may take a large number of bytes in pieces
            num_written += os.pwrite(descriptor, memoryview(data)[num_written:], num_written)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
        # A process that was forked meanwhile has the same file.
        is_spare = process == os.getpid() and len(_spare_files) < MOST_SPARE_FILES
        is_spare = is_spare and os.fstat(descriptor).st_size <= LARGEST_SPARE_FILE
    finally:
        if is_spare:
            _spare_files.append(descriptor)
        else:
            os.close(descriptor)


def _make_memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("audio")
    descriptor, name = tempfile.mkstemp()
    os.unlink(name)
    return descriptor


class UnknownFormat(InputError):
    """File of a kind that FFmpeg doesn't know."""


class _ForwardFile(sf.SoundFile):
    """Audio file that is read on from where it is.

    soundfile asks a file that can seek for its place before it reads, and puts it there behind. In
    FLAC, that decodes frames once more. ``seek`` works as ever.
    """

    def seekable(self) -> bool:
        """False, so that reading doesn't seek."""
        return False


class SoundFileDecoder:
    """Decoder of libsndfile; see ``Decoder``.

    Args:
        source: path of the file, or its bytes.

    Raises:
        LibsndfileError: libsndfile can't open the file.
    """

    def __init__(self, source: str | bytes):
        with ExitStack() as stack:
            # A path, not bytes: libsndfile then reads no more than the samples that are decoded.
            if isinstance(source, bytes):
                place = stack.enter_context(memory_file(source))
            else:
                place = os.fsencode(source)  # soundfile takes no name that isn't UTF-8
            self.file = stack.enter_context(_ForwardFile(place, closefd=False))
            self._opened = stack.pop_all()
        self.samples = self.file.frames
        self.rate = self.file.samplerate
        self.channels = self.file.channels
        # Asked once: soundfile asks the library each time.
        self.encoding = self.file.subtype
        self._has_moved = False

    @property
    def container(self) -> str:
        """Name of the kind of file."""
        return self.file.format

    def close(self) -> None:
        self._opened.close()

    def read(self, count: int, offset: int) -> np.ndarray:
        """Decoded samples, as ``Decoder.read`` says."""
        # The whole of a file is read without seeking, as a stream would be.
        if count == self.samples:
            return self._read_on(count)
        # To seek in FLAC, libFLAC decodes frames here and there until it has the right one.
        if offset <= FLAC_NEAR and not self._has_moved and self.container == "FLAC":
            return self._read_on(offset + count)[offset:]
        self.file.seek(offset)
        return self._read_on(count)

    def check_all(self) -> None:
        """Decode all samples, as ``Decoder.check_all`` says."""
        # One block after the other: a lossy decoder that jumps gives other samples.
        for first in range(0, self.samples, BLOCK):
            self._read_on(min(BLOCK, self.samples - first))

    def _read_on(self, count: int) -> np.ndarray:
        """The next samples, as ``read`` gives them."""
        dtype = "int16" if self.encoding == "PCM_16" else "float32"
        self._has_moved = True
        try:
            wav = self.file.read(count, dtype=dtype)
        except MemoryError as error:
            raise InputError(f"{count} samples by its header, too many for the memory") from error
        if len(wav) < count:
            raise InputError(f"truncated: {len(wav)} samples decoded, expected {count}")
        if wav.dtype == np.float32 and not np.isfinite(wav).all():
            raise InputError("samples that are not finite")
        return wav


class FfmpegBlocks:
    """Samples of an audio file, as FFmpeg's libraries decode them from its beginning, once.

    Args:
        place: ``file:`` and a path, or an object with ``read``, which needs no ``seek``.
        formats: FFmpeg's names of the formats that the file may have.
        is_open: whether the header of the file states no length.

    Attributes:
        rate: sample rate in Hz; 0 before the first block, as are the others.
        channels: number of channels.
        container: name of the kind of file, with its codec.
    """

    def __init__(self, place: Any, formats: tuple[str, ...], is_open: bool = False):
        self._place = place
        self._formats = formats
        self._is_open = is_open
        self.rate = 0
        self.channels = 0
        self.container = ""

    def __iter__(self) -> Iterator[np.ndarray]:
        """All samples, ``(T,)`` or ``(T, A)`` at a time; sets rate, channels and container.

        Raises:
            UnknownFormat: the file has none of the formats.
            InputError: no audio, damage, less audio than the header states, or no FFmpeg.
        """
        av = _import_av()
        options = {"format_whitelist": ",".join(self._formats)}
        name = self._formats[0] if len(self._formats) == 1 else None
        try:
            # Tags are of no use here, and those of many programs are no UTF-8.
            container = av.open(
                self._place, format=name, container_options=options, metadata_errors="replace"
            )
        except (av.error.InvalidDataError, av.error.ArgumentError) as error:
            raise UnknownFormat("Format not recognised, or damaged at its beginning") from error
        except av.error.FFmpegError as error:
            raise InputError(error.strerror) from error
        decoded = 0
        with container:
            if not container.streams.audio:
                raise InputError("no audio in it")
            stream = container.streams.audio[0]
            try:
                for frame in container.decode(stream):
                    self._take_facts(container, stream, frame, decoded)
                    decoded += frame.samples
                    yield _samples_of(frame)
            except av.error.FFmpegError as error:
                raise InputError(f"damaged behind {decoded} samples: {error.strerror}") from error
            stated_seconds = 0.0 if self._is_open else _stated_seconds(container, stream)
        if self.rate and decoded / self.rate < stated_seconds - LENGTH_TOLERANCE:
            raise InputError(
                f"truncated: {decoded / self.rate:.2f} s decoded, its header states "
                f"{stated_seconds:.2f} s"
            )

    def _take_facts(self, container, stream, frame, position: int) -> None:
        facts = (frame.sample_rate, frame.layout.nb_channels)
        if position == 0:
            self.rate, self.channels = facts
            self.container = (
                f"{container.format.name.partition(',')[0]}/{stream.codec_context.name}"
            )
        elif facts != (self.rate, self.channels):
            raise InputError(
                f"{facts[0]} Hz, {facts[1]} channels from sample {position} on, before "
                f"{self.rate} Hz, {self.channels} channels"
            )


def _import_av() -> ModuleType:
    """FFmpeg's libraries, slow to import. Most files need none, and so a device may lack them.

    Raises:
        InputError: they aren't installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("not read by libsndfile, and FFmpeg isn't here: pip install av") from error
    return av


class FfmpegDecoder:
    """Decoder of FFmpeg's libraries; see ``Decoder``.

    It opens the file anew for every reading and decodes from the beginning: places in compressed
    audio are exact only so.

    Args:
        source: path of the file, or its bytes.
        formats: FFmpeg's names of the formats that the file may have.
        samples: number of samples that a list states; 0 counts them.
        is_open: whether the header of the file states no length.

    Raises:
        UnknownFormat: the file has none of the formats.
        InputError: no audio, damage, or less audio than the header states.
    """

    def __init__(
        self, source: str | bytes, formats: tuple[str, ...], samples: int = 0, is_open: bool = False
    ):
        self._source = source
        self._formats = formats
        self._is_open = is_open
        self._is_counted = not samples
        self.samples = samples
        self.rate = 0
        self.channels = 0
        self.container = ""
        blocks = self._blocks()
        for block in blocks:
            self.rate = blocks.rate
            self.channels = blocks.channels
            self.container = blocks.container
            if not self._is_counted:  # the first one has told the rate and the channels
                break
            self.samples += len(block)
        if not self.rate:
            raise InputError("no samples")

    def close(self) -> None:
        """Nothing is left open between readings."""

    def read(self, count: int, offset: int) -> np.ndarray:
        """Decoded samples, as ``Decoder.read`` says; always float32."""
        end = offset + count
        parts = []
        position = 0
        for block in self._blocks():
            if position >= end and end < self.samples:
                break
            begin = max(offset - position, 0)
            parts.append(block[begin : max(end - position, 0)])
            position += len(block)
        if position < end or (end == self.samples and position > end):
            raise InputError(f"{position} samples decoded, expected {self.samples}")
        return np.concatenate(parts)

    def check_all(self) -> None:
        """Decode all samples, as ``Decoder.check_all`` says; to count them was to decode them."""
        if not self._is_counted:
            self.read(self.samples, 0)

    def _blocks(self) -> FfmpegBlocks:
        # A path could be taken for a protocol, as in http: and concat:.
        place = f"file:{self._source}"
        if isinstance(self._source, bytes):
            place = io.BytesIO(self._source)
        return FfmpegBlocks(place, self._formats, self._is_open)


def _samples_of(frame) -> np.ndarray:
    """Samples of a frame of FFmpeg, ``(T,)`` or ``(T, A)``, float32."""
    array = frame.to_ndarray()
    channels = frame.layout.nb_channels
    # Planar audio has a row a channel, other audio one row of all.
    array_TA = array.T if frame.format.is_planar else array.reshape(-1, channels)
    type_name = array.dtype.str[1:]
    if type_name in FULL_SCALES:
        array_TA = array_TA / FULL_SCALES[type_name]
        if type_name == "u1":
            array_TA -= 1
    array_TA = array_TA.astype(np.float32)
    if not np.isfinite(array_TA).all():
        raise InputError("samples that are not finite")
    return array_TA[:, 0] if channels == 1 else array_TA


def _stated_seconds(container, stream) -> float:
    """Seconds of audio that a header states; 0 where it states none that can be relied on."""
    name = container.format.name.partition(",")[0]
    if name == "matroska" and len(container.streams) == 1 and container.duration:
        return container.duration / _import_av().time_base
    if name in ("mov", *FFMPEG_CONTAINERS) and stream.duration:
        return float(stream.duration * stream.time_base)
    return 0.0


class PlainWavDecoder:
    """Decoder of a WAV file that holds nothing but mono samples of 16 bits; see ``Decoder``.

    Reading such a file takes a fraction of the time in which libsndfile opens it.

    Args:
        source: descriptor of the file, which ``close`` closes, or its bytes.
        samples: number of samples.
        rate: sample rate in Hz.
    """

    container = "WAV"
    channels = 1

    def __init__(self, source: int | bytes, samples: int, rate: int):
        self._source = source
        self.samples = samples
        self.rate = rate

    def close(self) -> None:
        if not isinstance(self._source, bytes):
            os.close(self._source)

    def read(self, count: int, offset: int) -> np.ndarray:
        """Decoded samples, as ``Decoder.read`` says."""
        begin = PLAIN_WAV.size + 2 * offset
        if isinstance(self._source, bytes):
            # A copy: tensors are made of what can be written.
            return np.frombuffer(self._source, "<i2", count, begin).astype(np.int16)
        wav = np.empty(count, "<i2")
        num_bytes = os.preadv(self._source, [wav], begin)
        if num_bytes < wav.nbytes:
            raise InputError(f"truncated: {num_bytes // 2} samples decoded, expected {count}")
        return wav.astype(np.int16, copy=False)

    def check_all(self) -> None:
        """Read all samples, as ``Decoder.check_all`` says."""
        for first in range(0, self.samples, BLOCK):
            self.read(min(BLOCK, self.samples - first), first)


def _open_plain_wav(source: str | bytes, samples: int, rate: int) -> PlainWavDecoder | None:
    """The decoder of a plain WAV file that states a number of samples and has them all.

    Returns:
        None for any other file.
    """
    if isinstance(source, str) and not source.lower().endswith(".wav"):
        return None
    num_bytes = 2 * samples
    length = PLAIN_WAV.size + num_bytes
    if length > LONGEST_PLAIN_WAV:
        return None
    expected = PLAIN_WAV.pack(
        *(b"RIFF", length - 8, b"WAVE"),
        *(b"fmt ", 16, PCM, 1, rate, 2 * rate, 2, 16),
        *(b"data", num_bytes),
    )
    if isinstance(source, bytes):
        is_plain = len(source) == length and source.startswith(expected)
        return PlainWavDecoder(source, samples, rate) if is_plain else None
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        is_plain = os.fstat(descriptor).st_size == length
        is_plain = is_plain and os.pread(descriptor, PLAIN_WAV.size, 0) == expected
    except BaseException:
        os.close(descriptor)
        raise
    if not is_plain:
        os.close(descriptor)
        return None
    return PlainWavDecoder(descriptor, samples, rate)


def open_as_listed(source: str | bytes, samples: int, rate: int) -> Decoder | None:
    """The decoder of a file that was checked when it was listed, and still states the same length.

    Args:
        source: path of the file, or its bytes.
        samples: number of samples when it was listed.
        rate: sample rate in Hz when it was listed.

    Returns:
        None where the file is none of libsndfile's, or has changed: it has to be checked anew.
    """
    plain = _open_plain_wav(source, samples, rate)
    if plain is not None:
        return plain
    try:
        decoder = SoundFileDecoder(source)
    except sf.LibsndfileError:
        return None
    if decoder.samples == samples and decoder.rate == rate:
        return decoder
    decoder.close()
    return None


@contextmanager
def open_decoder(
    source: str | bytes,
    length: Length,
    samples: int = 0,
    format_name: str = "",
    is_piped: bool = False,
) -> Iterator[Decoder]:
    """The decoder of an audio file.

    Args:
        source: path of the file, or its bytes.
        length: finding about its length, by ``check_length``.
        samples: number of samples that a list states; 0 if none does.
        format_name: FFmpeg's name of a format that the file doesn't say itself; empty for others.
        is_piped: whether it is the output of a command, whose header was written before its length
            was known.

    Raises:
        InputError: the file is damaged, or holds no audio that can be decoded.
        LibsndfileError: the file is of no kind that is known.
    """
    if length.patch:
        source = _patched(source, length.position, length.patch)
    if format_name:
        decoder = FfmpegDecoder(source, (format_name,), samples)
    else:
        decoder = _decoder_of(source, samples, length.is_open or is_piped)
    try:
        yield decoder
    finally:
        decoder.close()


def _patched(source: str | bytes, position: int, patch: bytes) -> bytes:
    """Bytes of a file, those at ``position`` replaced."""
    content = bytearray(_bytes_of(source))
    content[position : position + len(patch)] = patch
    return bytes(content)


def _decoder_of(source: str | bytes, samples: int, is_open: bool) -> Decoder:
    """The decoder of a file that says its format: libsndfile, or FFmpeg where that can't."""
    try:
        decoder = SoundFileDecoder(source)
    except sf.LibsndfileError as error:
        return _ffmpeg_instead(source, samples, is_open, error)
    try:
        if not is_open and CUT_SHORT.search(decoder.file.extra_info):
            raise InputError("truncated: shorter than its header states")
        if decoder.encoding in UNCERTAIN_ENCODINGS and decoder.samples != samples:
            choose = _ogg_decoder if decoder.container == "OGG" else _mp3_decoder
            return choose(decoder, source, samples)
        if decoder.samples == 0:
            raise InputError("no samples")
        if decoder.samples >= UNKNOWN_LENGTH:
            raise InputError("its header states no length")
        return decoder
    except BaseException:
        decoder.close()
        raise


def _ffmpeg_instead(
    source: str | bytes, samples: int, is_open: bool, error: sf.LibsndfileError
) -> Decoder:
    """FFmpeg's decoder of a file that libsndfile can't open, of which it raised ``error``."""
    formats = FFMPEG_FORMATS
    if (
        error.code != UNRECOGNISED
    ):  # a container that libsndfile knows, with a codec that it doesn't
        formats = FFMPEG_CONTAINERS
    else:
        with _stream(source) as stream:
            # Behind a tag, perhaps. FFmpeg alone takes much for an MP3.
            if count_mpeg_frames(stream).frames:
                formats = (*formats, "mp3")
    try:
        decoder = FfmpegDecoder(source, formats, samples, is_open)
    except UnknownFormat:
        _refuse_cut_file(source)
        raise error from None
    if decoder.container.partition("/")[2].startswith("pcm_"):
        raise error  # which libsndfile reads where it is not damaged
    return decoder


def _refuse_cut_file(source: str | bytes) -> None:
    """Say what is wrong with a file that is of no kind because part of it is missing.

    Raises:
        InputError: it is empty, or an MP4 without the index that is written at its end.
    """
    with _stream(source) as stream:
        begin = stream.read(MP4_BEGIN.stop)
    if not begin:
        raise InputError("an empty file, expected audio")
    if begin[MP4_BEGIN] == MP4_NAME:
        raise InputError(
            "truncated: an MP4 or M4A without its index (moov), which many programs write at the "
            "end, so that nothing of it can be decoded"
        )


def _mp3_decoder(decoder: SoundFileDecoder, source: str | bytes, samples: int) -> Decoder:
    """The decoder of an MP3 that libsndfile opens, whose header may state a false length."""
    with _stream(source) as stream:
        counted = count_mpeg_frames(stream)
    if counted.is_stated:
        return decoder
    has_header = counted.stated_frames is not None
    if not has_header and counted.samples == decoder.samples:  # of one bit rate throughout
        return decoder
    decoder.close()
    if has_header and counted.frames:
        true_count = counted.frames.to_bytes(4, "big")
        return SoundFileDecoder(_patched(source, counted.position, true_count))
    if has_header:  # without its name it is a frame of silence, of which nobody reads a length
        source = _patched(source, counted.position - 8, bytes(4))
    elif counted.frames:  # padding behind the frames would be an error
        source = _bytes_of(source)[counted.begin : counted.end]
    return FfmpegDecoder(source, ("mp3",), samples)


def _ogg_decoder(decoder: SoundFileDecoder, source: str | bytes, samples: int) -> Decoder:
    """The decoder of an OGG that libsndfile opens, whose last page may state a false length."""
    if 0 < decoder.samples < UNKNOWN_LENGTH:
        # Another one: a decoder that goes back to the beginning gives other samples.
        counter = SoundFileDecoder(source)
        try:
            counter.check_all()
            return decoder
        except InputError:
            pass
        finally:
            counter.close()
    decoder.close()
    return FfmpegDecoder(source, ("ogg",), samples)


def _bytes_of(source: str | bytes) -> bytes:
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def _stream(source: str | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")
