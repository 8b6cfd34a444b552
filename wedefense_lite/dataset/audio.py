"""Reading audio: files, parts of files (members of shards) and the output of commands."""

import io
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import soundfile as sf

from wedefense_lite import cli
from wedefense_lite.files import InputError

# libsndfile shortens a truncated PCM file in silence, but writes it into its log.
CUT_SHORT = re.compile(r"^ *(data|SSND|Data Size) *:.*should be", re.MULTILINE)
UNKNOWN_LENGTH = 2**48


@dataclass(frozen=True, slots=True)
class Utterance:
    """One row of an index: where an utterance's audio is.

    Attributes:
        key: the utterance's id.
        path: an audio file, a tar shard, or ``command |`` whose output is an audio file.
        offset: byte offset of the audio file inside ``path``.
        size: byte count of the audio file inside ``path``; 0 stands for all of ``path``.
        samples: length; 0 where it is not known before reading.
        label: ``spoof``, ``bonafide``, or None where unknown.
    """

    key: str
    path: str
    offset: int
    size: int
    samples: int
    label: str | None


@dataclass(frozen=True, slots=True)
class Held(Utterance):
    """An utterance whose audio file is in memory: ``data`` is its bytes."""

    data: bytes


class Header(NamedTuple):
    """What an audio file says about itself: length in samples, rate in Hz, soundfile's format name."""

    samples: int
    sample_rate: int
    format: str


def run_command(command: str) -> bytes:
    """Output of a shell command written Kaldi's way, ``command |``.

    Raises:
        InputError: the command fails; holds its status and its last line on standard error.
    """
    done = subprocess.run(command.removesuffix("|"), shell=True, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise InputError(f"command ended with status {done.returncode}: {said or 'no message'}")
    return done.stdout


def _source(utterance: Utterance) -> str | io.BytesIO:
    """What soundfile opens: a path where it may read parts, else the bytes."""
    if isinstance(utterance, Held):
        return io.BytesIO(utterance.data)
    if utterance.path.endswith("|"):
        return io.BytesIO(run_command(utterance.path))
    if not utterance.size:
        os.stat(utterance.path)  # its message is better than libsndfile's "System error"
        return utterance.path
    with open(utterance.path, "rb") as shard:
        data = os.pread(shard.fileno(), utterance.size, utterance.offset)
    if len(data) < utterance.size:
        raise InputError(f"file ends before the utterance, at byte {utterance.offset + len(data)}")
    return io.BytesIO(data)


@contextmanager
def opened(utterance: Utterance, sample_rate: int = 0) -> Iterator[sf.SoundFile]:
    """The utterance's audio, opened and its header checked: mono, not empty, not cut short.

    Errors while it is open, of the operating system, of libsndfile or an :class:`InputError`, become
    an :class:`InputError` that names the utterance and the file.

    Args:
        sample_rate: the rate in Hz that the file must have; 0 for any.
    """
    where = f"{utterance.key}: {utterance.path}"
    try:
        with sf.SoundFile(_source(utterance)) as file:
            if file.channels != 1:
                raise InputError(f"{file.channels} channels, expected mono")
            if not 0 < file.frames < UNKNOWN_LENGTH:
                raise InputError("no samples" if file.frames == 0 else "its header states no length")
            if file.samplerate != (sample_rate or file.samplerate):
                raise InputError(f"sample rate {file.samplerate} Hz, expected {sample_rate} Hz")
            # The header of a command's output is written before its length is known.
            if not utterance.path.endswith("|") and CUT_SHORT.search(file.extra_info):
                raise InputError("truncated: shorter than its header states")
            yield file
    except OSError as error:
        raise InputError(f"{where}: {error.strerror}") from error
    except sf.LibsndfileError as error:
        raise InputError(f"{where}: unreadable: {error.error_string}") from error
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def read(
    utterance: Utterance,
    sample_rate: int,
    count: int = 0,
    rng: np.random.Generator | None = None,
    integer: bool = False,
) -> np.ndarray:
    """Read an utterance, or only the part of it that is asked for.

    Args:
        sample_rate: the rate in Hz that the file must have.
        count: samples to read; 0 reads all, and a shorter utterance is read whole.
        rng: draws where the part starts; without it the part starts at 0.
        integer: 16-bit sources stay int16, which is exact and half as many bytes to move.

    Returns:
        ``T`` samples, float32 in [-1, 1], or int16.

    Raises:
        InputError: anything is wrong with the audio; names the utterance and the file.
    """
    with opened(utterance, sample_rate) as file:
        if utterance.samples not in (0, file.frames):
            raise InputError(f"{file.frames} samples, but {utterance.samples} when it was listed")
        wanted = min(count or file.frames, file.frames)
        if rng is not None and wanted < file.frames:
            file.seek(int(rng.integers(file.frames - wanted + 1)))
        wav = file.read(wanted, dtype="int16" if integer and file.subtype == "PCM_16" else "float32")
        if len(wav) < wanted:
            raise InputError(f"truncated: {len(wav)} samples decoded, expected {wanted}")
        if wav.dtype == np.float32 and not np.isfinite(wav).all():
            raise InputError("samples that are not finite")
    return wav


def few(names: list[str]) -> str:
    """The first three of some names, for a message."""
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def read_headers(wavs: dict[str, str], sample_rate: int = 0, num_threads: int = 8) -> dict[str, Header]:
    """Headers of many files, read by threads; no audio is decoded.

    Args:
        wavs: utterance to path or ``command |``.
        sample_rate: the rate in Hz that all must have; 0 for any.

    Raises:
        InputError: some can't be read; says how many and names the first.
    """
    problems = []

    def header(key: str) -> Header | None:
        try:
            with opened(Utterance(key, wavs[key], 0, 0, 0, None), sample_rate) as file:
                return Header(file.frames, file.samplerate, file.format)
        except InputError as error:
            problems.append(str(error))
            return None

    with ThreadPoolExecutor(num_threads) as pool:
        headers = dict(zip(wavs, cli.progress(pool.map(header, wavs), len(wavs), "headers")))
    if problems:
        first = few(sorted(problems))
        raise InputError(f"{len(problems)} of {len(wavs)} utterances can't be used: {first}")
    return headers
