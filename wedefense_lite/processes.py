"""Cores and memory of this process and the end of its parent, without PyTorch, which a device may
lack.
"""

import ctypes
import os
import signal
import sys

# Of prctl(2): the signal that a process gets when its parent ends.
PR_SET_PDEATHSIG = 1
# Of mallopt(3), each with the variable by which a user sets it and the number of bytes here.
MEMORY_OPTIONS = [(-1, "MALLOC_TRIM_THRESHOLD_", 2**26), (-3, "MALLOC_MMAP_THRESHOLD_", 2**25)]


def usable_cores() -> int:
    """Number of cores that this process may use."""
    # macOS has no such call, and lets a process use all.
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len(os.sched_getaffinity(0))


def end_with_parent() -> None:
    """Let this process end when the one that started it is killed. Only Linux can do it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def keep_memory() -> None:
    """Keep memory that arrays leave for the next ones, up to 64 MB, unless the user says otherwise.

    Given back to the system and asked for again, it takes up to half of the time of augmentation.
    Only the C library of GNU can do it. Processes that this one starts do it too.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    for number, variable, num_bytes in MEMORY_OPTIONS:
        if variable not in os.environ:
            libc.mallopt(number, num_bytes)
            os.environ[variable] = str(num_bytes)
