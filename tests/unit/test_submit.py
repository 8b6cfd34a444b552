"""``tools/submit.sh`` submits a recipe as a chain of jobs, with stage 4 also as an array of them."""

import os
import shutil
import subprocess

import pytest
from conftest import ROOT, typist

RECIPE = "egs/mini/run.sh --exp_dir exp --seed 2"
# Numbers that a stand-in of sbatch gives to jobs.
SBATCH = """#!/bin/sh
printf '%s\\n' "$*" >> "$JOBS"
wc -l < "$JOBS"
"""


@pytest.fixture
def submitted(tmp_path):
    """Function that submits by a stand-in of sbatch, and gives its command lines."""
    jobs = tmp_path / "jobs"
    program = tmp_path / "programs/sbatch"
    program.parent.mkdir()
    program.write_text(SBATCH)
    program.chmod(0o755)
    (tmp_path / "conf").mkdir()
    shutil.copy(ROOT / "conf/cmd.sh", tmp_path / "conf")
    typist(tmp_path)

    def run(words: str, status: int = 0) -> list[str]:
        jobs.write_text("")
        process = subprocess.run(
            ["bash", "tools/submit.sh", *words.split()],
            cwd=tmp_path,
            env=os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "JOBS": str(jobs)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == status, process.stderr
        if status:
            return process.stderr.splitlines()
        return jobs.read_text().splitlines()

    run.folder = tmp_path
    return run


def words_of(line: str, option: str) -> list[str]:
    """Values of an option in a command line, written with or without an equals sign."""
    words = line.split()
    values = []
    for word, next_word in zip(words, [*words[1:], ""]):
        if word == option:
            values.append(next_word)
        elif word.startswith(f"{option}="):
            values.append(word.partition("=")[2])
    return values


def test_each_stage_waits_for_the_one_before(submitted):
    lines = submitted(f"{RECIPE} --stage 2 --stop_stage 5")
    assert [words_of(line, "--stage") for line in lines] == [["2"], ["3"], ["4"], ["5"]]
    assert [words_of(line, "--dependency") for line in lines] == [
        [],
        ["afterok:1"],
        ["afterok:2"],
        ["afterok:3"],
    ]
    assert ["--gpus-per-node=1" in line for line in lines] == [False, True, True, False]
    assert all("--seed 2" in line for line in lines)
    lines = submitted(f"--gpu_stages 1 {RECIPE} --stop_stage 3")
    assert ["--gpus-per-node=1" in line for line in lines] == [True, False, False]


def test_an_array_is_averaged_before_and_joined_behind(submitted):
    lines = submitted(f"--array 8 {RECIPE} --stage 3 --stop_stage 5")
    assert [words_of(line, "--extraction") for line in lines] == [
        [],
        ["average"],
        ["array/8"],
        ["join/8"],
        [],
    ]
    assert [words_of(line, "--dependency") for line in lines] == [
        [],
        ["afterok:1"],
        ["afterok:2"],
        # It names the parts that have failed, and ends those behind it.
        ["afterany:3"],
        ["afterok:4"],
    ]
    assert [words_of(line, "--array") for line in lines] == [[], [], ["1-8"], [], []]
    assert ["--gpus-per-node=1" in line for line in lines] == [True, True, True, False, False]


def test_an_array_may_ask_for_less_than_a_training(submitted):
    settings = submitted.folder / "conf/cmd.sh"
    settings.write_text(settings.read_text() + 'array_job="--cpus-per-task=3"\n')
    lines = submitted(f"--array 2 {RECIPE} --stage 4 --stop_stage 4")
    assert [words_of(line, "--cpus-per-task")[0] for line in lines] == ["16", "3", "8"]


def test_a_dry_run_prints_the_chain_and_submits_nothing(submitted):
    command = ["bash", "tools/submit.sh", "--dry_run", "--array", "3", *RECIPE.split()]
    output = subprocess.check_output(command, cwd=submitted.folder, text=True)
    lines = output.splitlines()
    assert len(lines) == 10 and all(line.startswith("sbatch --parsable ") for line in lines)
    dependencies = [words_of(line, "--dependency") for line in lines[4:7]]
    assert dependencies == [
        ["afterok:JOB_4_average"],
        ["afterany:JOB_4_extraction"],
        ["afterok:JOB_4_join"],
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--array 0 egs/mini/run.sh", "--array is a number of jobs from 1 to 9999"),
        ("--gpu_stages 9 egs/mini/run.sh", "--gpu_stages are numbers from 1 to 8"),
        ("--arrays 3 egs/mini/run.sh", "unknown option --arrays"),
        ("egs/mini/run.sh --seed 1 --dry_run true", "--dry_run comes before the recipe"),
        ("egs/none/run.sh", "no recipe egs/none/run.sh"),
        ("egs/mini/run.sh --stage 9", "--stage is a number from 1 to 8"),
    ],
)
def test_what_can_not_be_submitted_is_refused(submitted, words, message):
    lines = submitted(words, status=2)
    assert len(lines) == 1 and message in lines[0]


@pytest.mark.parametrize(
    ("extraction", "task", "message"),
    [
        ("array/3", "", "array/3 is for a job of an array: SLURM_ARRAY_TASK_ID is not set"),
        ("3", "1", "--extraction is whole, average, 3/8, array/8 or join/8"),
    ],
)
def test_a_recipe_refuses_a_part_that_can_not_be(tmp_path, extraction, task, message):
    command = f"bash {RECIPE} --dry_run true --stage 4 --stop_stage 4 --extraction {extraction}"
    output = typist(tmp_path)(command, status=2, SLURM_ARRAY_TASK_ID=task)
    assert message in output


def test_stage_4_does_its_share_of_an_array(tmp_path):
    typed = typist(tmp_path)
    command = f"bash {RECIPE} --dry_run true --stage 4 --stop_stage 4 --extraction"
    programs = {
        "average": ["average_model.py"],
        "array/3": ["extract.py --part 2/3"],
        "join/3": ["join_extraction.py --parts 3"] * 2,
        "whole": ["average_model.py", "extract.py"],
    }
    for extraction, expected in programs.items():
        output = typed(f"{command} {extraction}", SLURM_ARRAY_TASK_ID="2")
        shortened = []
        for line in output.splitlines()[1:]:
            words = [word for word in line.split() if "bin/" in word]
            for option in ("--part", "--parts"):
                for value in words_of(line, option):
                    words.append(f"{option} {value}")
            shortened.append(" ".join(words).removeprefix("wedefense_lite/bin/"))
        assert shortened == expected, extraction


def test_rendering_runs_as_jobs_without_a_gpu_and_separation_as_jobs_with_one(submitted):
    settings = submitted.folder / "conf/cmd.sh"
    settings.write_text(settings.read_text() + 'cpu_cmd="srun -n1"\ngpu_cmd="srun -n1 -G1"\n')
    command = "bash egs/mixed_speaker/run.sh --corpora DB --dry_run true --stop_stage 1"
    output = subprocess.check_output(command.split(), cwd=submitted.folder, text=True)
    programs = []
    for line in output.splitlines():
        words = line.split()
        scripts = [word.rpartition("/")[2] for word in words if word.endswith((".py", ".sh"))]
        if words[0] == "srun":
            programs.append((" ".join(words[2:3]), *scripts))
    with_gpu = ("-G1", "launch.sh")
    assert programs == [
        *[("python", "simulate_mixtures.py")] * 3,
        (*with_gpu, "train.py"),
        ("-G1", "average_model.py"),
        *[(*with_gpu, "separate.py")] * 3,
        ("python", "validate_data_dir.py"),
    ]
