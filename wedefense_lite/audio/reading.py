"""Reading audio: files, parts of files (members of shards) and the output of commands.

Whatever rate and channels a file has, samples come out as the system takes them: at its rate
(``audio.resampling``), and mono, by the mean of the channels or by one of them. Files of that rate
with one channel give their own samples.
"""

import contextlib
import io
import logging
import os
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import soundfile as sf

from wedefense_lite.audio.containers import check_length
from wedefense_lite.audio.decoders import (
    HEADERLESS_FORMATS,
    Decoder,
    as_float,
    memory_file,
    open_as_listed,
    open_decoder,
)
from wedefense_lite.audio.resampling import resample, resampled_length, source_span
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.progress import progress

# Environment variable that lets commands of lists run. Processes that read data inherit it.
ALLOW_PIPES = "WEDEFENSE_ALLOW_PIPES"
# Hz. A header that states a rate beyond them is damaged, and would ask for an endless filter.
LOWEST_RATE = 1000
HIGHEST_RATE = 768000


def allow_pipes() -> None:
    """Let commands of lists run, in this process and in those that it starts."""
    os.environ[ALLOW_PIPES] = "1"


def check_pipes_allowed() -> None:
    """Refuse to run a command of a list that nobody allowed.

    A list may come from somebody else, or from names of files.

    Raises:
        InputError: commands are not allowed.
    """
    if os.environ.get(ALLOW_PIPES) != "1":
        raise InputError(
            f"a command, which was not run: if the list is your own, set {ALLOW_PIPES}=1 "
            "(--allow_pipes true in tools that make lists)"
        )


def is_command(path: str) -> bool:
    """Whether the path of an utterance is a command, ``command |``."""
    return path.rstrip().endswith("|")


def check_regular_file(path: str) -> None:
    """Refuse what is no file; a device or a FIFO could be read for ever.

    Raises:
        InputError: a folder, a device, a FIFO or a socket.
        OSError: there is nothing of that name.
    """
    if "\0" in path:
        raise InputError(f"{path!r} holds a NUL byte, expected the name of a file")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise InputError("a folder or a device, expected a file")


def file_bytes(utterance: Utterance) -> bytes:
    """The audio file of an utterance as it is stored.

    Raises:
        InputError: a command that is not allowed or fails, what is no file, or a file that ends
            before the utterance.
        OSError: the file can't be read.
    """
    if utterance.data is not None:
        return utterance.data
    if is_command(utterance.path):
        command = utterance.path.rstrip().removesuffix("|")
        check_pipes_allowed()
        process = subprocess.run(command, shell=True, capture_output=True, check=False)
        if process.returncode:
            last_line = process.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            message = last_line or "no message"
            raise InputError(f"command ended with status {process.returncode}: {message}")
        return process.stdout
    check_regular_file(utterance.path)
    # Without a buffer, which would be filled at each place that is read.
    with open(utterance.path, "rb", buffering=0) as file:
        if utterance.size:
            data = _read_part(file, utterance.offset, utterance.size)
        else:
            data = file.read()
    if len(data) < utterance.size:
        raise InputError(f"file ends before the utterance, at byte {utterance.offset + len(data)}")
    return data


def _read_part(file: io.FileIO, offset: int, size: int) -> bytes:
    """Bytes of a file, as many as there are; the system may give a large part in pieces."""
    data = os.pread(file.fileno(), size, offset)
    while len(data) < size:
        piece = os.pread(file.fileno(), size - len(data), offset + len(data))
        if not piece:
            break
        data += piece
    return data


class AudioFile(NamedTuple):
    """Open audio file, as it is read at a rate.

    Attributes:
        decoder: of the file as it is.
        sample_rate: rate in Hz at which it is read.
        channel: number of the channel that is read, from 1 on; 0 for the mean of all.
    """

    decoder: Decoder
    sample_rate: int
    channel: int

    @property
    def samples(self) -> int:
        """Number of samples at ``sample_rate``."""
        return resampled_length(self.decoder.samples, self.decoder.rate, self.sample_rate)

    @property
    def kind(self) -> str:
        """What the file is, as in ``MP3 44100 Hz 2 channels``."""
        return _kind(self.decoder.container, self.decoder.rate, self.decoder.channels)

    @property
    def conversion(self) -> str:
        """What is done to its samples, as in ``resampled to 16000 Hz``; empty if nothing is."""
        steps = []
        if self.decoder.rate != self.sample_rate:
            steps.append(f"resampled to {self.sample_rate} Hz")
        if self.decoder.channels > 1:
            steps.append(f"channel {self.channel}" if self.channel else "mixed down")
        return ", ".join(steps)


def _kind(container: str, rate: int, channels: int) -> str:
    return f"{container} {rate} Hz {'mono' if channels == 1 else f'{channels} channels'}"


@contextmanager
def open_audio(utterance: Utterance, sample_rate: int = 0, channel: int = 0) -> Iterator[AudioFile]:
    """The open audio file of an utterance, its header checked against its bytes.

    Args:
        utterance: utterance; where it states its ``samples`` and ``rate``, the file has to agree.
        sample_rate: rate in Hz at which it is read; 0 for its own.
        channel: number of the channel that is read, from 1 on; 0 for the mean of all.

    Raises:
        InputError: an error of the operating system, of a decoder or of a check, also one in the
            block that uses the file; names the utterance and the file.
    """
    try:
        is_part = bool(utterance.size) or utterance.data is not None
        is_in_memory = is_part or is_command(utterance.path)
        if is_in_memory:
            source = file_bytes(utterance)
        else:
            check_regular_file(utterance.path)
            source = utterance.path
        format_name = utterance.format
        if not is_part and not format_name:
            format_name = headerless_format(utterance.path.rpartition(".")[2])
        # What a file states was compared with its bytes when it was listed.
        is_listed = utterance.samples > 0 and utterance.rate > 0 and not format_name
        listed = None
        if is_listed:
            listed = open_as_listed(source, utterance.samples, utterance.rate)
        if listed is not None:
            with contextlib.closing(listed) as decoder:
                _check_facts(decoder, utterance, sample_rate, channel)
                yield AudioFile(decoder, sample_rate or decoder.rate, channel)
            return
        with io.BytesIO(source) if is_in_memory else open(source, "rb") as stream:
            length = check_length(stream)
        is_piped = is_command(utterance.path) and utterance.data is None
        with open_decoder(source, length, utterance.samples, format_name, is_piped) as decoder:
            _check_facts(decoder, utterance, sample_rate, channel)
            yield AudioFile(decoder, sample_rate or decoder.rate, channel)
    except (OSError, sf.LibsndfileError, InputError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
        raise InputError(f"{place_of(utterance)}: {reason}") from error


def place_of(utterance: Utterance) -> str:
    """Words by which an error names an utterance: its id and path, or a path that tells both."""
    if utterance.key == os.path.basename(utterance.path):
        return utterance.path
    return f"{utterance.key}: {utterance.path}"


def headerless_format(extension: str) -> str:
    """Format of files that only their extension tells, such as ``g722``; empty for others."""
    return HEADERLESS_FORMATS.get(extension.lower(), "")


def _check_facts(decoder: Decoder, utterance: Utterance, sample_rate: int, channel: int) -> None:
    if not LOWEST_RATE <= decoder.rate <= HIGHEST_RATE:
        raise InputError(
            f"sample rate {decoder.rate} Hz, expected {LOWEST_RATE} to {HIGHEST_RATE} Hz"
        )
    if utterance.samples and decoder.samples != utterance.samples:
        raise InputError(f"{decoder.samples} samples, but {utterance.samples} when it was listed")
    if utterance.rate and decoder.rate != utterance.rate:
        raise InputError(f"{decoder.rate} Hz, but {utterance.rate} Hz when it was listed")
    # A list of before files were resampled: others have taken its lengths for those at their rate.
    if utterance.samples and not utterance.rate and sample_rate not in (0, decoder.rate):
        raise InputError(
            f"{decoder.rate} Hz, which its list doesn't say, expected {sample_rate} Hz: make the "
            "list anew"
        )
    if not 0 <= channel <= decoder.channels:
        raise InputError(f"{decoder.channels} channels, expected channel {channel} among them")


def spare_samples(file: AudioFile, count: int) -> int:
    """Number of samples of a file beyond ``count``; 0 where ``count`` is 0, which reads all."""
    return max(file.samples - count, 0) if count else 0


def random_offset(spare: int, rng: np.random.Generator) -> int:
    """Uniformly random offset, 0 to ``spare``; draws nothing from ``rng`` where ``spare`` is 0."""
    return int(rng.integers(spare + 1)) if spare else 0


def decode(file: AudioFile, count: int = 0, offset: int = 0) -> np.ndarray:
    """Decoded samples of an open audio file, at its ``sample_rate``.

    A part of a file is what the whole has at the same place, to the last bit where places in the
    file are exact, as in WAV and FLAC: resampling reads as much around it as its filter reaches.

    Args:
        file: file of ``open_audio``.
        count: number of samples; 0 reads to the end, and a shorter file is read to its end.
        offset: number of samples to skip; smaller than the number of samples of the file.

    Returns:
        ``(T,)``: int16 of 16-bit files that are not converted, or of which one channel is chosen,
        which is exact and half as many bytes to move between processes; float32 in [-1, 1] of
        others.

    Raises:
        InputError: the decoder ends before the length of the header, or gives NaN or infinity.
    """
    decoder = file.decoder
    remaining = file.samples - offset
    expected = min(count, remaining) if count else remaining
    if decoder.rate == file.sample_rate:
        return _one_channel(decoder.read(expected, offset), file.channel)
    span = source_span(offset, expected, decoder.samples, decoder.rate, file.sample_rate)
    wav = _one_channel(decoder.read(span.end - span.begin, span.begin), file.channel)
    resampled = resample(as_float(wav), decoder.rate, file.sample_rate)
    return resampled[span.skip : span.skip + expected]


def _one_channel(wav: np.ndarray, channel: int) -> np.ndarray:
    """A channel of ``(T, A)``, or the mean of all; ``(T,)`` stays as it is."""
    if wav.ndim == 1:
        return wav
    if channel:
        return np.ascontiguousarray(wav[:, channel - 1])
    return as_float(wav).mean(1)


def read(
    utterance: Utterance,
    sample_rate: int,
    count: int = 0,
    offset: int = 0,
    floats: bool = False,
    channel: int = 0,
) -> np.ndarray:
    """Samples of an utterance.

    Args:
        utterance: utterance to read.
        sample_rate: rate in Hz of the samples.
        count: number of samples; 0 reads to the end, and a shorter utterance is read to its end.
        offset: number of samples to skip.
        floats: give float32 in [-1, 1] of 16-bit files too.
        channel: number of the channel that is read, from 1 on; 0 for the mean of all.

    Returns:
        ``(T,)``, int16 or float32 as ``decode`` gives them.

    Raises:
        InputError: anything is wrong with the audio; names the utterance and the file.
    """
    with open_audio(utterance, sample_rate, channel) as file:
        wav = decode(file, count, offset)
    return as_float(wav) if floats else wav


def measure_lengths(
    rows: list[Utterance], sample_rate: int = 0, num_threads: int = 8, decodes: bool = False
) -> list[Utterance]:
    """The rows with the ``samples`` and the ``rate`` of their files.

    Where headers can lie, samples are counted by decoding. A line of the log says how many files
    are of which kind, and how many of them will be converted.

    Args:
        rows: utterances; a length that they state already is replaced.
        sample_rate: rate in Hz at which they will be read; 0 where that is not known yet.
        num_threads: threads that read.
        decodes: decode all samples of the others too, and refuse another number than the header's.

    Raises:
        InputError: some can't be read; says how many and names the first.
    """

    def measure(row: Utterance) -> tuple[Utterance, str, bool] | InputError:
        try:
            with open_audio(replace(row, samples=0, rate=0), sample_rate) as file:
                if decodes:
                    file.decoder.check_all()
                measured = replace(row, samples=file.decoder.samples, rate=file.decoder.rate)
                return measured, file.kind, bool(file.conversion)
        except InputError as error:
            return error

    measured_rows = []
    problems = []
    kinds: Counter[str] = Counter()
    num_converted = 0
    with ThreadPoolExecutor(num_threads) as pool:
        title = "decoding" if decodes else "headers"
        for result in progress(pool.map(measure, rows), len(rows), title):
            if isinstance(result, InputError):
                problems.append(str(result))
                continue
            row, kind, is_converted = result
            measured_rows.append(row)
            kinds[kind] += 1
            num_converted += int(is_converted)
    if problems:
        names = abbreviate(sorted(problems))
        raise InputError(f"{len(problems)} of {len(rows)} utterances can't be used: {names}")
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    conversion = ""
    if num_converted and sample_rate:
        conversion = f"; {num_converted} are converted to {sample_rate} Hz mono when they are read"
    logging.info("%d files: %s%s", len(rows), counts, conversion)
    return measured_rows


def encode_flac(key: str, wav: np.ndarray, sample_rate: int, label: str | None) -> Utterance:
    """An utterance whose audio file, 16-bit FLAC, is in memory.

    Args:
        key: id of the utterance.
        wav: ``(T,)``, int16, or floats in [-1, 1].
        sample_rate: rate in Hz.
        label: ``spoof``, ``bonafide`` or None.
    """
    with memory_file() as descriptor:
        sf.write(descriptor, wav, sample_rate, format="FLAC", subtype="PCM_16", closefd=False)
        os.lseek(descriptor, 0, os.SEEK_SET)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read()
    return Utterance(key, f"{key}.flac", label=label, data=data)
