"""Memory of a process that makes arrays again and again."""

import ctypes
import os
import subprocess
import sys

import pytest
from conftest import ROOT

# Three arrays of 20 MB are made and freed ten times; the pages that the system had to give for it.
PROGRAM = """
import resource, sys
import numpy as np
from wedefense_lite.processes import keep_memory

if sys.argv[1] == "keep":
    keep_memory()
for number in range(11):
    if number == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(2_500_000) for _ in range(3)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(mode: str, **environment: str) -> int:
    """Pages that the system gives a process for arrays that it makes anew."""
    variables = dict(os.environ)
    for variable in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        variables.pop(variable, None)
    output = subprocess.check_output(
        [sys.executable, "-c", PROGRAM, mode], cwd=ROOT, env=variables | environment, text=True
    )
    return int(output)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no C library of GNU")
def test_memory_of_arrays_is_kept_unless_the_user_says_otherwise():
    own = {"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}
    assert pages("keep") < 100
    assert pages("leave") > 1000
    assert pages("keep", **own) > 1000
    tunables = "glibc.malloc.trim_threshold=131072:glibc.malloc.mmap_threshold=131072"
    assert pages("keep", GLIBC_TUNABLES=tunables) > 1000
