"""Cores of this process and the end of its parent, without PyTorch, which a device may lack."""

import ctypes
import os
import signal
import sys

# Of prctl(2): the signal that a process gets when its parent ends.
PR_SET_PDEATHSIG = 1


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
