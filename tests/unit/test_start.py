"""Commands import at their start only what every run of theirs uses."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

# Packages that take from half a second to seconds to import.
SLOW = (
    "torch scipy.signal scipy.optimize scipy.stats matplotlib transformers sklearn pandas".split()
)
LIGHT = [
    "wedefense-lite",
    *("make_raw_list.py make_shard_list.py wav2dur.py validate_data_dir.py".split()),
    *("evaluate compare fuse logits_to_llr segments cross_table score".split()),
]


def slow_packages(command: str) -> set[str]:
    """Slow packages that a command has imported when it prints its help."""
    if command == "wedefense-lite":
        words = ["-m", "wedefense_lite"]
    elif command.endswith(".py"):
        words = [str(ROOT / "tools" / command)]
    else:
        words = ["-m", f"wedefense_lite.bin.{command}"]
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *words, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    return imported & set(SLOW)


@pytest.mark.parametrize("command", LIGHT)
def test_tools_of_text_start_without_slow_packages(command):
    assert slow_packages(command) == set()


def test_training_starts_with_pytorch_alone():
    assert slow_packages("train") == {"torch"}


def test_a_system_that_scores_is_built_without_the_compiler_of_pytorch():
    """PyTorch imports its compiler with the first optimizer, which scoring has no use for."""
    program = (
        "import sys; from wedefense_lite.systems.experiment import load_experiment; "
        "load_experiment('conf/resnet18_small.yaml'); print('torch._dynamo' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"


@pytest.mark.parametrize(
    ("of_the_user", "expected"),
    [
        ({}, "None 2000 False"),
        ({"OMP_WAIT_POLICY": "active"}, "active None False"),
        ({"GOMP_SPINCOUNT": "7"}, "None 7 False"),
    ],
)
def test_threads_that_wait_spin_for_a_moment_unless_the_user_says_otherwise(of_the_user, expected):
    """OpenMP reads it once, when PyTorch is imported."""
    program = (
        "import os, sys, wedefense_lite; print(os.environ.get('OMP_WAIT_POLICY'), "
        "os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    environment = dict(os.environ)
    for variable in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        environment.pop(variable, None)
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment | of_the_user,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == expected
