"""Reading audio: files, parts of files (members of shards) and the output of commands."""

import io
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TypeVar

import numpy as np
import soundfile as sf

from wedefense_lite.audio.containers import check_length
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.progress import progress

INT16_FULL_SCALE = 32768  # the int16 that stands for 1.0
# libsndfile reports about 2**63 samples for a stream of unknown length. 2**48 at 16 kHz are 557
# years.
UNKNOWN_LENGTH = 2**48
# libsndfile shortens a truncated PCM file in silence, but writes it into its log.
CUT_SHORT = re.compile(r"^ *(data|SSND|Data Size) *:.*should be", re.MULTILINE)
BLOCK = 2**18  # samples that are decoded at once, where they are only counted
# Environment variable that lets commands of lists run. Processes that read data inherit it.
ALLOW_PIPES = "WEDEFENSE_ALLOW_PIPES"


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
    with open(utterance.path, "rb") as file:
        file.seek(utterance.offset)
        data = file.read(utterance.size or -1)
    if len(data) < utterance.size:
        raise InputError(f"file ends before the utterance, at byte {utterance.offset + len(data)}")
    return data


@contextmanager
def _memory_file(data: bytes = b"") -> Iterator[int]:
    """Descriptor of a file in memory, at its beginning.

    libsndfile reads a descriptor by itself. An object of Python it reads by calls back into Python,
    in which a Ctrl-C is lost and the audio may go on at another place.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("audio")
    else:
        descriptor, name = tempfile.mkstemp()
        os.unlink(name)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def open_audio(
    utterance: Utterance, sample_rate: int = 0, mono: bool = True
) -> Iterator[sf.SoundFile]:
    """The open audio file of an utterance, its header checked against its bytes.

    Args:
        utterance: utterance; where it states its ``samples``, the header has to agree.
        sample_rate: rate in Hz that the file must have; 0 for any.
        mono: refuse several channels.

    Raises:
        InputError: an error of the operating system, of libsndfile or of a check, also one in the
            block that uses the file; names the utterance and the file.
    """
    try:
        if utterance.size or utterance.data is not None or is_command(utterance.path):
            data = file_bytes(utterance)
            check_length(io.BytesIO(data))
            source = _memory_file(data)
        else:
            check_regular_file(utterance.path)
            with open(utterance.path, "rb") as stream:
                check_length(stream)
            # A path, not bytes: libsndfile then reads no more than the samples that are decoded.
            source = nullcontext(utterance.path)
        with source as place, sf.SoundFile(place, closefd=False) as file:
            _check_header(file, utterance, sample_rate, mono)
            yield file
    except (OSError, sf.LibsndfileError, InputError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
        raise InputError(f"{utterance.key}: {utterance.path}: {reason}") from error


def _check_header(file: sf.SoundFile, utterance: Utterance, sample_rate: int, mono: bool) -> None:
    if mono and file.channels != 1:
        raise InputError(f"{file.channels} channels, expected mono")
    if not 0 < file.frames < UNKNOWN_LENGTH:
        raise InputError("no samples, or its header states no length")
    if sample_rate and file.samplerate != sample_rate:
        raise InputError(
            f"sample rate {file.samplerate} Hz, expected {sample_rate} Hz: convert the file, for "
            "example with sox or ffmpeg"
        )
    # The header of a command's output is written before its length is known.
    if not is_command(utterance.path) and CUT_SHORT.search(file.extra_info):
        raise InputError("truncated: shorter than its header states")
    if utterance.samples and file.frames != utterance.samples:
        raise InputError(f"{file.frames} samples, but {utterance.samples} when it was listed")


def spare_samples(file: sf.SoundFile, count: int) -> int:
    """Number of samples of a file beyond ``count``; 0 where ``count`` is 0, which reads all."""
    return max(file.frames - count, 0) if count else 0


def random_offset(spare: int, rng: np.random.Generator) -> int:
    """Uniformly random offset, 0 to ``spare``; draws nothing from ``rng`` where ``spare`` is 0."""
    return int(rng.integers(spare + 1)) if spare else 0


def decode(file: sf.SoundFile, count: int = 0, offset: int = 0) -> np.ndarray:
    """Decoded samples of an open audio file.

    Args:
        file: file of ``open_audio``.
        count: number of samples; 0 reads to the end, and a shorter file is read to its end.
        offset: number of samples to skip; smaller than the number of samples of the file.

    Returns:
        ``(T,)``: int16 of 16-bit files, which is exact and half as many bytes to move between
        processes; float32 in [-1, 1] of others.

    Raises:
        InputError: the decoder ends before the length of the header, or gives NaN or infinity.
    """
    remaining = file.frames - offset
    expected = min(count, remaining) if count else remaining
    if expected < file.frames:  # the whole of a file is read without seeking, as a stream would be
        file.seek(offset)
    return _read_on(file, expected)


def _read_on(file: sf.SoundFile, expected: int) -> np.ndarray:
    """The next samples of an open audio file, as ``decode`` gives them."""
    try:
        wav = file.read(expected, dtype="int16" if file.subtype == "PCM_16" else "float32")
    except MemoryError as error:
        raise InputError(f"{expected} samples by its header, too many for the memory") from error
    if len(wav) < expected:
        raise InputError(f"truncated: {len(wav)} samples decoded, expected {expected}")
    if wav.dtype == np.float32 and not np.isfinite(wav).all():
        raise InputError("samples that are not finite")
    return wav


def read(
    utterance: Utterance, sample_rate: int, count: int = 0, offset: int = 0, floats: bool = False
) -> np.ndarray:
    """Samples of an utterance.

    Args:
        utterance: utterance to read.
        sample_rate: rate in Hz that the file must have.
        count: number of samples; 0 reads to the end, and a shorter utterance is read to its end.
        offset: number of samples to skip.
        floats: give float32 in [-1, 1] of 16-bit files too.

    Returns:
        ``(T,)``, int16 or float32 as ``decode`` gives them.

    Raises:
        InputError: anything is wrong with the audio; names the utterance and the file.
    """
    with open_audio(utterance, sample_rate) as file:
        wav = decode(file, count, offset)
    return as_float(wav) if floats else wav


def _decode_all(file: sf.SoundFile) -> None:
    """Decode an open audio file to its end, in blocks that don't fill the memory.

    Raises:
        InputError: as ``decode``.
    """
    # One block after the other: a lossy decoder that jumps gives other samples.
    for first in range(0, file.frames, BLOCK):
        _read_on(file, min(BLOCK, file.frames - first))


def measure_lengths(
    rows: list[Utterance], sample_rate: int = 0, num_threads: int = 8, decodes: bool = False
) -> list[Utterance]:
    """The rows with ``samples`` from the files' headers.

    Args:
        rows: utterances; a length that they state already is replaced.
        sample_rate: rate in Hz that all must have; 0 for any.
        num_threads: threads that read.
        decodes: decode all samples, and refuse another number than the header's.

    Raises:
        InputError: some can't be read; says how many and names the first.
    """

    def measure(row: Utterance) -> Utterance | InputError:
        try:
            with open_audio(replace(row, samples=0), sample_rate) as file:
                if decodes:
                    _decode_all(file)
                return replace(row, samples=file.frames)
        except InputError as error:
            return error

    measured_rows = []
    problems = []
    with ThreadPoolExecutor(num_threads) as pool:
        title = "decoding" if decodes else "headers"
        for result in progress(pool.map(measure, rows), len(rows), title):
            if isinstance(result, InputError):
                problems.append(str(result))
            else:
                measured_rows.append(result)
    if problems:
        names = abbreviate(sorted(problems))
        raise InputError(f"{len(problems)} of {len(rows)} utterances can't be used: {names}")
    return measured_rows


def encode_flac(key: str, wav: np.ndarray, sample_rate: int, label: str | None) -> Utterance:
    """An utterance whose audio file, 16-bit FLAC, is in memory.

    Args:
        key: id of the utterance.
        wav: ``(T,)``, int16, or floats in [-1, 1].
        sample_rate: rate in Hz.
        label: ``spoof``, ``bonafide`` or None.
    """
    with _memory_file() as descriptor:
        sf.write(descriptor, wav, sample_rate, format="FLAC", subtype="PCM_16", closefd=False)
        os.lseek(descriptor, 0, os.SEEK_SET)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read()
    return Utterance(key, f"{key}.flac", label=label, data=data)
