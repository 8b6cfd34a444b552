"""Too little memory, too many processes or files: one line of what was asked for and what helps."""

import errno
import os
import resource
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch

from wedefense_lite import cli
from wedefense_lite.limits import shortage

GPU = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 3.06 GiB is free. If reserved but unallocated memory is large try setting\nPYTORCH_..."
)
IN_A_READER = (
    "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
    "last):\n  [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
    "memory: you tried to allocate 3221225472 bytes. Error code 12 (Cannot allocate memory)"
)
MORE = "what helps: a smaller --batch_size, or fewer --num_workers, or a machine with more memory"
OPTIONS = ("config", "batch_size", "num_workers")
SHORTAGES = {
    "a GPU": (
        torch.OutOfMemoryError(GPU),
        "out of memory of the GPU: 20.00 GiB more were asked for; what helps: a smaller "
        "--batch_size, or a GPU with more memory",
    ),
    "a library of a GPU": (
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        "out of memory of the GPU; what helps: a smaller --batch_size, or a GPU with more memory",
    ),
    "a reader": (
        RuntimeError(IN_A_READER),
        f"out of memory of the CPU: 3 GiB more were asked for; {MORE}",
    ),
    "Python": (MemoryError(), f"out of memory of the CPU; {MORE}"),
    "a fork": (
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        f"out of memory of the CPU; {MORE}",
    ),
    "a process that was killed": (
        BrokenProcessPool("A process in the process pool was terminated abruptly"),
        f"a process of this command has ended, perhaps out of memory of the CPU; {MORE}",
    ),
    "processes": (
        BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)),
        "Resource temporarily unavailable: the limit of processes (ulimit -u) is reached",
    ),
    "threads": (
        RuntimeError("can't start new thread"),
        "can't start a thread: the limit of processes (ulimit -u) is reached",
    ),
    "open files": (
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        "Too many open files: the limit of open files (ulimit -n) is reached",
    ),
}


@pytest.mark.parametrize("name", SHORTAGES)
def test_a_shortage_is_told_with_what_helps(name):
    error, message = SHORTAGES[name]
    assert shortage(error, OPTIONS) == message


@pytest.mark.parametrize("allocate", [np.empty, torch.empty, bytearray])
def test_memory_that_no_machine_has_is_one_line_and_status_2(capsys, allocate):
    with pytest.raises(SystemExit) as stop, cli.one_line_errors("extract.py", ["chunk_seconds"]):
        allocate(10**15)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("extract.py: error: out of memory of the CPU")
    assert line.endswith("what helps: a shorter --chunk_seconds, or a machine with more memory")


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes don't fit"), ValueError("memory"), OSError(errno.EIO, "x"), KeyError(1)],
)
def test_other_errors_are_none(error):
    assert shortage(error) == ""


def test_options_of_a_command_are_those_that_are_named(monkeypatch, capsys):
    def stage(nj: int = 1, table: str = "") -> None:
        """Do a thing.

        Args:
            nj: processes.
            table: a table.
        """
        raise MemoryError

    monkeypatch.setattr("sys.argv", ["stage.py"])
    with pytest.raises(SystemExit) as stop:
        cli.run(stage)
    assert stop.value.code == 2
    expected = "stage.py: error: out of memory of the CPU; what helps: fewer --nj, or a machine"
    assert capsys.readouterr().err.startswith(expected)


def test_an_address_space_that_ends_is_one_line(capsys):
    """What a batch queue does that limits memory (ulimit -v)."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), before[1]))
    try:
        with pytest.raises(SystemExit) as stop, cli.one_line_errors("train.py"):
            torch.ones(1 << 28)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert stop.value.code == 2
    assert "out of memory of the CPU: 1 GiB more were asked for" in capsys.readouterr().err
