"""Ids, names of sets and options that are none: no file outside, no command, no terminal steered."""

import subprocess
from pathlib import Path

import commands
import numpy as np
import pytest
import soundfile as sf
from conftest import ROOT

from wedefense_lite.bin.draw_localization import draw_localization
from wedefense_lite.bin.segments import segments
from wedefense_lite.files import InputError, write_lines
from wedefense_lite.report.run import read_run

RATE = 16000
SECONDS = 1.0
HOP = 0.1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Working folder inside another one, which nothing may be written to."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    return inner


def outside(folder: Path) -> list[str]:
    """Files that lie above the working folder."""
    files = folder.parents[1].rglob("*")
    return sorted(str(path) for path in files if path.is_file() and folder not in path.parents)


def write_frames(path: str, names: list[str]) -> None:
    """Frame scores of half-spoofed utterances."""
    rows = []
    for name in names:
        for frame in range(round(SECONDS / HOP)):
            llr = 2.0 if frame < 5 else -2.0
            rows.append(f"{name} {frame * HOP:.2f} {HOP:.2f} {llr}")
    write_lines(path, rows)


def write_reference(path: str, names: list[str]) -> None:
    rows = []
    for name in names:
        rows.append(f"SPEAKER {name} 1 0.0 0.5 <NA> <NA> bonafide <NA> <NA>")
        rows.append(f"SPEAKER {name} 1 0.5 0.5 <NA> <NA> spoof <NA> <NA>")
    write_lines(path, rows)


IDS = ["../../outside", "..", "/", "x/y", ".hidden", "plain", "%2E", "a\\b"]


def test_files_of_utterances_stay_in_their_folder(folder):
    absolute = str(folder.parent / "absolute")
    names = [*IDS, absolute]
    write_frames("frame_llr.txt", names)
    write_reference("reference.rttm", names)
    segments("frame_llr.txt", "frame_llr.txt", "reference.rttm", "out")
    assert outside(folder) == []
    labels = sorted(path.name for path in Path("out/labels").iterdir())
    assert len(labels) == len(names) and "plain.txt" in labels and "x%2Fy.txt" in labels


def test_pictures_of_utterances_stay_in_their_folder(folder):
    names = ["../outside", str(folder.parent / "absolute")]
    write_frames("frame_llr.txt", names)
    write_reference("reference.rttm", names)
    wav = np.random.default_rng(0).standard_normal(int(SECONDS * RATE)) * 0.1
    sf.write("speech.wav", wav, RATE)
    write_lines("wav.scp", [f"{name} speech.wav" for name in names])
    files = ("wav.scp", "frame_llr.txt", "reference.rttm", "reference.rttm")
    draw_localization(*files, out_dir="drawn")
    assert outside(folder) == []
    assert len(list(Path("drawn").iterdir())) == len(names)
    assert Path("drawn/%2E.%2Foutside.svg").exists()


@pytest.mark.parametrize("name", ["../../x", "/etc", "..", ".", "a/b", "x\x1b"])
def test_a_name_of_a_set_is_no_path(folder, name):
    with pytest.raises(InputError, match="no name of a set"):
        read_run(".", ".", [name])


# Options of recipes

RECIPE = """\
#!/usr/bin/env bash
# A recipe of a test: run.sh [--corpus_dir DIR] [--own_option X]
set -euo pipefail
root={root}
recipe=$root/egs/my
corpus_dir= own_option=
declare -A table=([a]=1)
prepare() {{ :; }}
settle() {{ echo "own $own_option, stage $stage, corpus $corpus_dir, root $root"; exit 0; }}
. "$root/tools/recipe.sh"
"""


def recipe(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    (folder / "run.sh").write_text(RECIPE.format(root=ROOT))
    command = ["bash", "run.sh", *words]
    variables = {"PATH": "/usr/bin:/bin", "HOME": "/", **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


UNKNOWN = {
    "a subscript of an array": "x[$(touch ran_here)]",
    "a subscript of an option": "stage[$(touch ran_here)]",
    "a subscript of an array of the recipe": "table[$(touch ran_here)]",
    "a subscript in back quotes": "stage[`touch ran_here`]",
    "an array": "table",
    "a variable of bash": "UID",
    "a variable of the environment": "HOME",
    "a variable of the environment in lower case": "http_proxy",
    "the search path": "PATH",
    "the root": "root",
    "the folder of the recipe": "recipe",
    "a variable of the parser": "option_name",
    "a name that no variable can have": "a b",
    "a command": "$(touch ran_here)",
    "an operator": "x=1;touch ran_here",
    "nothing": "",
    "an underscore": "_",
    "a prefix of an option": "own",
    "two lines": "stage\ntouch ran_here",
    "an escape": "\x1b]0;title\x07",
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_no_option_of_a_recipe_is_refused(folder, kind):
    process = recipe(folder, f"--{UNKNOWN[kind]}", "1", http_proxy="here")
    assert process.returncode == 2, process
    lines = process.stderr.splitlines()
    assert len(lines) == 1 and "error: unknown option --" in lines[0]
    assert "\x1b" not in process.stderr
    assert not (folder / "ran_here").exists()


@pytest.mark.parametrize("name", ["stage", "seed", "config"])
def test_a_variable_of_the_environment_is_no_setting(folder, name):
    """It would change a recipe that nobody gave an option to."""
    process = recipe(folder, **{name: "3"})
    assert process.returncode == 2, process
    assert f"the environment has a variable {name}" in process.stderr


def test_an_option_that_the_environment_has_too_says_why_it_is_refused(folder):
    process = recipe(folder, "--own_option", "x", own_option="y")
    assert process.returncode == 2, process
    assert "the environment has a variable own_option; unset own_option" in process.stderr


def test_lists_of_a_set_that_is_not_there_are_refused(folder):
    (folder / "run.sh").write_text(RECIPE.format(root=ROOT).replace("exit 0", "data_dir=data"))
    command = ["bash", "run.sh", "--stage", "2", "--stop_stage", "2"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2, process
    assert "data/train has neither wav.scp nor shard.list" in process.stderr


VALUES = ["$(touch ran_here)", "`touch ran_here`", "x; touch ran_here", "*", "a b", "--stage", ""]


@pytest.mark.parametrize("value", VALUES)
def test_values_of_options_are_text(folder, value):
    process = recipe(folder, "--own-option", value, "--corpus_dir", "c", "--stage", "2")
    assert process.stdout == f"own {value}, stage 2, corpus c, root {ROOT}\n"
    assert not (folder / "ran_here").exists()


@pytest.mark.parametrize("stage", ["a[$(touch ran_here)]", "0", "9", "1 2", "$(touch ran_here)"])
def test_a_stage_is_a_number(folder, stage):
    process = recipe(folder, "--stage", stage)
    assert process.returncode == 2 and "--stage and --stop_stage are 1 to 8" in process.stderr
    assert not (folder / "ran_here").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "a b", "$(touch ran_here)"])
def test_a_set_that_is_scored_has_a_name_for_files(folder, name):
    for path in ("exp/config.yaml", "data/wav.scp"):
        write_lines(path, [""])
    words = ["--exp_dir", "exp", "--data_dir", "data", "--name", name]
    process = subprocess.run(
        ["bash", ROOT / "tools/score.sh", *words], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2 and "it names files" in process.stderr
    assert not (folder / "exp/data").exists()


def test_an_output_that_can_not_be_written_is_told_before_the_work(folder, monkeypatch, capsys):
    Path("out").write_text("")
    words = "--frame_scores f --dev_frame_scores f --dev_rttm r --out_dir out".split()
    line = commands.refused(monkeypatch, capsys, segments, *words)
    assert "out" in line and "can't be written" in line
