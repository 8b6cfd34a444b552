"""Two processes of a script that train together, as ``torchrun`` starts them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import warm


def run_two(script: str, folder: Path, *words: str) -> list[dict]:
    """Results of both ranks, which the script writes into ``rank0.json`` and ``rank1.json``.

    Args:
        script: its name, beside this file.
        folder: its first argument.
        words: its others.
    """
    command = ["python", str(Path(__file__).parent / script), str(folder), *words]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = os.pathsep.join([warm.programs(), str(Path(sys.executable).parent), os.environ["PATH"]])
    shared = warm.environment() | {"PATH": path}
    shared |= {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = []
    for rank in "01":
        process = subprocess.Popen(
            command,
            env=shared | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
    try:
        for process in processes:
            output, _ = process.communicate(timeout=500)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
