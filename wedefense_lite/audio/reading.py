"""Reading audio: files, parts of files (members of shards) and the output of commands."""

import io
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import soundfile as sf

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.progress import progress

# libsndfile shortens a truncated PCM file in silence, but writes it into its log.
CUT_SHORT = re.compile(r"^ *(data|SSND|Data Size) *:.*should be", re.MULTILINE)


def file_bytes(utterance: Utterance) -> bytes:
    """The audio file of an utterance as it is stored.

    Raises:
        InputError: a command fails, or the file ends before the utterance.
        OSError: the file can't be read.
    """
    if utterance.data is not None:
        return utterance.data
    if utterance.path.endswith("|"):
        done = subprocess.run(
            utterance.path.removesuffix("|"), shell=True, capture_output=True, check=False
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise InputError(f"command ended with status {done.returncode}: {said or 'no message'}")
        return done.stdout
    with open(utterance.path, "rb") as file:
        file.seek(utterance.offset)
        data = file.read(utterance.size or -1)
    if len(data) < utterance.size:
        raise InputError(f"file ends before the utterance, at byte {utterance.offset + len(data)}")
    return data


@contextmanager
def opened(utterance: Utterance, sample_rate: int = 0) -> Iterator[sf.SoundFile]:
    """The utterance's audio, opened and its header checked: mono, not empty, not cut short.

    Errors while it is open, of the operating system, of libsndfile or an :class:`InputError`, become
    an :class:`InputError` that names the utterance and the file.

    Args:
        sample_rate: the rate in Hz that the file must have; 0 for any.
    """
    command = utterance.path.endswith("|")
    try:
        if utterance.size or utterance.data is not None or command:
            source = io.BytesIO(file_bytes(utterance))
        else:  # libsndfile reads the parts that are asked for
            source = utterance.path
            os.stat(source)  # its message is better than libsndfile's "System error"
        with sf.SoundFile(source) as file:
            if file.channels != 1:
                raise InputError(f"{file.channels} channels, expected mono")
            if not 0 < file.frames < 2**48:  # which stands for an unknown length
                raise InputError("no samples, or its header states no length")
            if file.samplerate != (sample_rate or file.samplerate):
                raise InputError(f"sample rate {file.samplerate} Hz, expected {sample_rate} Hz")
            # The header of a command's output is written before its length is known.
            if not command and CUT_SHORT.search(file.extra_info):
                raise InputError("truncated: shorter than its header states")
            yield file
    except (OSError, sf.LibsndfileError, InputError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
        raise InputError(f"{utterance.key}: {utterance.path}: {reason}") from error


Start = Callable[[int], int]


def at_first(spare: int) -> int:
    """Where a part starts of an utterance that has so many samples more: at the first one."""
    return 0


def drawn(rng: np.random.Generator) -> Start:
    """As :func:`at_first`: anywhere, as a generator draws it."""
    return lambda spare: int(rng.integers(spare + 1))


def read(
    utterance: Utterance, sample_rate: int, count: int = 0, start: Start = at_first
) -> np.ndarray:
    """The samples of :func:`read_part`."""
    return read_part(utterance, sample_rate, count, start)[0]


def read_part(
    utterance: Utterance,
    sample_rate: int,
    count: int = 0,
    start: Start = at_first,
    before: bool = False,
) -> tuple[np.ndarray, int]:
    """Read an utterance, or only the part of it that is asked for.

    Args:
        sample_rate: the rate in Hz that the file must have.
        count: samples to read; 0 reads all, and a shorter utterance is read whole.
        start: where the part starts, of how many samples the utterance has more.
        before: read one sample more, the one before the part, where there is one.

    Returns:
        ``T`` samples, int16 of 16-bit sources, which is exact and half as many bytes to move; of others
        float32 in [-1, 1]; and which sample of the utterance the first one is.

    Raises:
        InputError: anything is wrong with the audio; names the utterance and the file.
    """
    with opened(utterance, sample_rate) as file:
        if utterance.samples not in (0, file.frames):
            raise InputError(f"{file.frames} samples, but {utterance.samples} when it was listed")
        wanted, first = min(count or file.frames, file.frames), 0
        if wanted < file.frames:
            first = start(file.frames - wanted)
            wanted = min(wanted, file.frames - first)
            if before and first:
                wanted, first = wanted + 1, first - 1
            file.seek(first)
        wav = file.read(wanted, dtype="int16" if file.subtype == "PCM_16" else "float32")
        if len(wav) < wanted:
            raise InputError(f"truncated: {len(wav)} samples decoded, expected {wanted}")
        if wav.dtype == np.float32 and not np.isfinite(wav).all():
            raise InputError("samples that are not finite")
    return wav, first


def measured(rows: list[Utterance], sample_rate: int = 0, num_threads: int = 8) -> list[Utterance]:
    """The rows with their ``samples``, from the files' headers, read by threads; no audio is decoded.

    Args:
        sample_rate: the rate in Hz that all must have; 0 for any.

    Raises:
        InputError: some can't be read; says how many and names the first.
    """

    def measure(row: Utterance) -> Utterance | InputError:
        try:
            with opened(row, sample_rate) as file:
                return replace(row, samples=file.frames)
        except InputError as error:
            return error

    with ThreadPoolExecutor(num_threads) as pool:
        found = list(progress(pool.map(measure, rows), len(rows), "headers"))
    if problems := sorted(str(one) for one in found if isinstance(one, InputError)):
        raise InputError(
            f"{len(problems)} of {len(rows)} utterances can't be used: {abbreviate(problems)}"
        )
    return found


def encoded(key: str, wav: np.ndarray, sample_rate: int, label: str | None) -> Utterance:
    file = io.BytesIO()
    sf.write(file, wav, sample_rate, format="FLAC", subtype="PCM_16")
    return Utterance(key, f"{key}.flac", label=label, data=file.getvalue())
