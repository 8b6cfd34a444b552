"""What a machine has too little of, as one line: memory, processes, open files."""

import errno
import re
from collections.abc import Iterable

# Options by which a command holds less at a time, as its user would say it.
SAVING = {
    "batch_size": "a smaller --batch_size",
    "data.crop_seconds": "a shorter --data.crop_seconds",
    "chunk_seconds": "a shorter --chunk_seconds",
    "max_seconds": "a shorter --max_seconds",
    "jobs": "fewer --jobs",
    "nj": "fewer --nj",
    "num_workers": "fewer --num_workers",
    "num_threads": "fewer --num_threads",
}
# Those of them that change nothing on a GPU.
OF_THE_CPU = ("nj", "num_workers", "num_threads")
# PyTorch raises RuntimeError for the memory of the CPU, and of some libraries of a GPU.
MARKS = re.compile(
    r"(can't|cannot) allocate memory|not enough memory|out of memory|[A-Z]+_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
ON_GPU = re.compile(r"CUDA|CU[A-Z]+_STATUS|HIP|MPS")
ASKED_FOR = re.compile(
    r"(?:tried|unable) to allocate (?P<size>[\d.]+) (?P<unit>\w+)", re.IGNORECASE
)
# Errors of the system for limits of a process or of a machine, without the name of a file.
LIMITS = {
    errno.EAGAIN: "the limit of processes (ulimit -u)",
    errno.EMFILE: "the limit of open files (ulimit -n)",
    errno.ENFILE: "the limit of open files of the machine",
}


def shortage(error: BaseException, options: Iterable[str] = ()) -> str:
    """What there was too little of, and what to do about it; empty for any other error.

    Args:
        error: what ended a command.
        options: names of options that the command has.
    """
    if _is_named(error, "BrokenProcessPool"):
        # The system kills one where memory is short, and says so in its own log.
        return f"a process of this command has ended, perhaps {_message_about_memory('', options)}"
    if is_of_memory(error):
        return _message_about_memory(str(error), options)
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return f"can't start a thread: {LIMITS[errno.EAGAIN]} is reached"
    if isinstance(error, OSError) and error.filename is None and error.errno in LIMITS:
        return f"{error.strerror}: {LIMITS[error.errno]} is reached"
    return ""


def is_of_memory(error: BaseException) -> bool:
    """Whether the memory of the CPU or of a GPU was too small."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if _is_named(error, "OutOfMemoryError"):
        return True
    return isinstance(error, RuntimeError) and MARKS.search(str(error)) is not None


def _is_named(error: BaseException, name: str) -> bool:
    """Whether an error is of a class of a name: its library may not even be imported."""
    return any(base.__name__ == name for base in type(error).__mro__)


def _message_about_memory(text: str, options: Iterable[str]) -> str:
    is_on_gpu = ON_GPU.search(text) is not None
    place = "GPU" if is_on_gpu else "CPU"
    advice = []
    for name in options:
        if name in SAVING and not (is_on_gpu and name in OF_THE_CPU):
            advice.append(SAVING[name])
    advice.append(f"a {place} with more memory" if is_on_gpu else "a machine with more memory")
    asked = ASKED_FOR.search(text)
    size = f": {_size(asked['size'], asked['unit'])} more were asked for" if asked else ""
    return f"out of memory of the {place}{size}; what helps: {', or '.join(advice)}"


def _size(number: str, unit: str) -> str:
    """Size in the largest unit of which there are several; libraries give bytes, or their own."""
    if unit != "bytes":
        return f"{number} {unit}"
    value = float(number)
    for name in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {name}"
        value /= 1024
    return f"{value:.4g} TiB"
