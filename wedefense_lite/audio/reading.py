"""Reading audio: files, parts of files (members of shards) and the output of commands."""

import io
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np
import soundfile as sf

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.progress import progress

INT16_FULL_SCALE = 32768  # the int16 that stands for 1.0
# libsndfile reports about 2**63 samples for a stream of unknown length. 2**48 at 16 kHz are 557
# years.
UNKNOWN_LENGTH = 2**48
# libsndfile shortens a truncated PCM file in silence, but writes it into its log.
CUT_SHORT = re.compile(r"^ *(data|SSND|Data Size) *:.*should be", re.MULTILINE)


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


def file_bytes(utterance: Utterance) -> bytes:
    """The audio file of an utterance as it is stored.

    Raises:
        InputError: a command fails, or the file ends before the utterance.
        OSError: the file can't be read.
    """
    if utterance.data is not None:
        return utterance.data
    if utterance.path.endswith("|"):
        command = utterance.path.removesuffix("|")
        process = subprocess.run(command, shell=True, capture_output=True, check=False)
        if process.returncode:
            last_line = process.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            message = last_line or "no message"
            raise InputError(f"command ended with status {process.returncode}: {message}")
        return process.stdout
    with open(utterance.path, "rb") as file:
        file.seek(utterance.offset)
        data = file.read(utterance.size or -1)
    if len(data) < utterance.size:
        raise InputError(f"file ends before the utterance, at byte {utterance.offset + len(data)}")
    return data


@contextmanager
def open_audio(utterance: Utterance, sample_rate: int = 0) -> Iterator[sf.SoundFile]:
    """The open audio file of an utterance, its header checked: mono, not empty, not cut short.

    Args:
        utterance: utterance; where it states its ``samples``, the header has to agree.
        sample_rate: rate in Hz that the file must have; 0 for any.

    Raises:
        InputError: an error of the operating system, of libsndfile or of a check, also one in the
            block that uses the file; names the utterance and the file.
    """
    is_command = utterance.path.endswith("|")
    try:
        if utterance.size or utterance.data is not None or is_command:
            source = io.BytesIO(file_bytes(utterance))
        else:
            # A path, not bytes: libsndfile then reads no more than the samples that are decoded.
            source = utterance.path
            os.stat(source)  # its message is better than libsndfile's "System error"
        with sf.SoundFile(source) as file:
            _check_header(file, utterance, sample_rate, is_command)
            yield file
    except (OSError, sf.LibsndfileError, InputError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
        raise InputError(f"{utterance.key}: {utterance.path}: {reason}") from error


def _check_header(
    file: sf.SoundFile, utterance: Utterance, sample_rate: int, is_command: bool
) -> None:
    if file.channels != 1:
        raise InputError(f"{file.channels} channels, expected mono")
    if not 0 < file.frames < UNKNOWN_LENGTH:
        raise InputError("no samples, or its header states no length")
    if sample_rate and file.samplerate != sample_rate:
        raise InputError(f"sample rate {file.samplerate} Hz, expected {sample_rate} Hz")
    # The header of a command's output is written before its length is known.
    if not is_command and CUT_SHORT.search(file.extra_info):
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
    wav = file.read(expected, dtype="int16" if file.subtype == "PCM_16" else "float32")
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


def measure_lengths(
    rows: list[Utterance], sample_rate: int = 0, num_threads: int = 8
) -> list[Utterance]:
    """The rows with ``samples`` from the files' headers; no audio is decoded.

    Args:
        rows: utterances; a length that they state already is replaced.
        sample_rate: rate in Hz that all must have; 0 for any.
        num_threads: threads that read headers.

    Raises:
        InputError: some can't be read; says how many and names the first.
    """

    def measure(row: Utterance) -> Utterance | InputError:
        try:
            with open_audio(replace(row, samples=0), sample_rate) as file:
                return replace(row, samples=file.frames)
        except InputError as error:
            return error

    measured_rows = []
    problems = []
    with ThreadPoolExecutor(num_threads) as pool:
        for result in progress(pool.map(measure, rows), len(rows), "headers"):
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
    file = io.BytesIO()
    sf.write(file, wav, sample_rate, format="FLAC", subtype="PCM_16")
    return Utterance(key, f"{key}.flac", label=label, data=file.getvalue())
