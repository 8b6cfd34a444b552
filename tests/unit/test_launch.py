"""``tools/launch.sh`` starts as many processes as asked for, and no launcher for a single one."""

import os
import subprocess

import pytest
from conftest import ROOT

PROGRAMS = ("python", "torchrun", "srun")


@pytest.fixture
def launched(tmp_path):
    """Command line of the program that launch.sh starts."""
    for program in PROGRAMS:
        stand_in = tmp_path / program
        stand_in.write_text(f'#!/bin/sh\necho "{program} $*"\n')
        stand_in.chmod(0o755)

    def run(*words: str, **environment: str) -> str:
        variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": ""}
        command = [ROOT / "tools/launch.sh", *words]
        output = subprocess.check_output(command, env=variables | environment, text=True)
        return output.strip()

    return run


def test_a_single_process_needs_no_launcher(launched):
    assert launched("train.py", "--seed", "1") == "python train.py --seed 1"
    assert launched("--nproc=1", "train.py") == "python train.py"


def test_several_processes_are_started_by_one_torchrun(launched):
    expected = "torchrun --standalone --nproc_per_node=2 --max-restarts=0 train.py"
    assert launched("--nproc=2", "train.py") == expected


def test_several_nodes_run_one_torchrun_each_even_of_one_process(launched):
    line = launched("--nproc=1", "train.py", SLURM_NNODES="2", SLURM_JOB_ID="7")
    assert line.startswith("srun --ntasks-per-node=1 --nodes=2 --kill-on-bad-exit=1 bash -c")
    assert """trap '' USR1; exec "$@" bash torchrun --nnodes=2 --nproc_per_node=1""" in line
    assert line.endswith("--rdzv_id=7.0 train.py")


def test_the_longest_wait_of_a_process_is_an_option(launched, tmp_path):
    (tmp_path / "python").write_text('#!/bin/sh\necho "${WEDEFENSE_TIMEOUT-none} $*"\n')
    assert launched("--timeout=60", "--nproc=1", "train.py") == "60 train.py"
    assert launched("train.py", "--timeout=60") == "none train.py --timeout=60"
    # That of the environment counts where the option isn't given.
    assert launched("train.py", WEDEFENSE_TIMEOUT="7") == "7 train.py"
