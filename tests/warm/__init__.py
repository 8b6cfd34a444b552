"""Commands of Python without the seconds in which an interpreter imports PyTorch.

``FRESH_PYTHON=1`` in the environment makes all commands those of fresh interpreters.
"""

import atexit
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from warm.server import start_variables

FOLDER = Path(__file__).parent
# Variables that an interpreter reads at its start, as the session has them. Packages that a test
# imports set more, MPLCONFIGDIR for example: commands of later tests would all start afresh.
START_VARIABLES = start_variables(dict(os.environ))


def environment() -> dict[str, str]:
    """Variables for a command, without those of its start that came after that of the session."""
    variables = dict(os.environ)
    for name in start_variables(variables):
        del variables[name]
    return variables | START_VARIABLES


def programs() -> str:
    """Folder whose ``python`` and ``torchrun`` fork; one that is not there where none can."""
    # Linux alone tells the end of a process as it tells input.
    if os.environ.get("FRESH_PYTHON") or not hasattr(os, "pidfd_open"):
        return str(FOLDER / "fresh")
    return start()


@cache
def start() -> str:
    """Start the server, which ends with this process, and write the folder of its clients."""
    address = f"tests-{secrets.token_hex(8)}"
    # No folder of ours is on its path (-P, and no PYTHONPATH).
    command = [sys.executable, "-P", str(FOLDER / "server.py"), address, str(os.getpid())]
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    server = subprocess.Popen(
        command,
        env=environment() | own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)
    atexit.register(server.terminate)
    assert server.stdout.readline() == "ready\n", "tests/warm/server.py did not start"
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    for program in ("python", "torchrun"):
        # -I -S: it starts in a tenth of the time without the packages' paths.
        words = [sys.executable, "-IS", str(FOLDER / "client.py"), address, program]
        (folder / program).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (folder / program).chmod(0o755)
    return str(folder)
