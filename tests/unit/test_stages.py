"""The commands of a recipe, printed: those that it runs, and nothing is run."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from wedefense_lite.bin import stages as entry_point
from wedefense_lite.bin.stages import stages
from wedefense_lite.files import InputError


def printed(capfd, recipe: str, *options: str) -> list[str]:
    """Lines of a dry run, which must succeed."""
    assert stages(str(ROOT / recipe), list(options)) == 0
    return capfd.readouterr().out.splitlines()


def commands_of(lines: list[str]) -> list[list[str]]:
    return [shlex.split(line) for line in lines if not line.startswith(("==", "--"))]


@pytest.mark.parametrize(
    ("recipe", "options", "numbers", "last"),
    [
        ("egs/mini", (), "12345678", "wedefense_lite/bin/report.py"),
        (
            "egs/mixed_speaker/run.sh",
            ("--mini", "true"),
            "12345678",
            "wedefense_lite/bin/report.py",
        ),
        (
            "egs/partialspoof",
            ("--corpus_dir", "DB", "--task", "localization", "--stop_stage", "7"),
            "123467",  # its stage 4 writes logits
            "wedefense_lite/bin/draw_localization.py",
        ),
    ],
)
def test_each_stage_has_its_commands_and_nothing_is_written(
    capfd, tmp_path, recipe, options, numbers, last
):
    folders = ("--data_dir", str(tmp_path / "data"), "--exp_dir", str(tmp_path / "exp"))
    if "mixed" in recipe:
        folders = ("--mixed_dir", str(tmp_path / "mixed"), "--corpora", str(tmp_path / "corpora"))
    lines = printed(capfd, recipe, *options, *folders)
    titles = [line.split()[2] for line in lines if line.startswith("== stage")]
    assert sorted(set(titles)) == [f"{number}:" for number in numbers]
    commands = commands_of(lines)
    for words in commands:
        script = next(word for word in words if word.endswith((".py", "run.sh")))
        assert words[0] in ("python", "tools/launch.sh")
        assert (ROOT / script).is_file()
    assert last in commands[-1]
    assert list(tmp_path.iterdir()) == []


def test_words_are_those_that_are_run(capfd, tmp_path):
    """A stand-in for Python writes down what it gets."""
    stand_in = tmp_path / "python"
    stand_in.write_text(
        '#!/bin/sh\nprintf "%s\\0" python "$@" >> "$LOG"; printf "\\n\\0" >> "$LOG"\n'
    )
    stand_in.chmod(0o755)
    log = tmp_path / "log"
    corpus = 'it\'s my "corpus" $HOME; #1'
    options = ["--corpus_dir", corpus, "--data_dir", "a b", "--stop_stage", "1"]
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    own = {"PATH": path, "LOG": str(log), "VIRTUAL_ENV": sys.prefix}
    recipe = ROOT / "egs/asvspoof2019_la/run.sh"
    subprocess.run(["bash", recipe, *options], env=os.environ | own, check=True)
    capfd.readouterr()
    run = []
    for text in log.read_text().split("\0\n\0")[:-1]:
        run.append([word.replace(f"{ROOT}/", "") for word in text.split("\0")])
    assert commands_of(printed(capfd, "egs/asvspoof2019_la", *options)) == run
    assert len(run) == 2 and corpus in run[0]


def test_a_recipe_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="none/run.sh: no such file|none: no such file"):
        stages(str(tmp_path / "none"), [])
    (tmp_path / "run.sh").write_text("rm -r /\n")
    with pytest.raises(InputError, match="no recipe, expected a script that sources"):
        stages(str(tmp_path), [])


def test_the_status_is_that_of_the_recipe(monkeypatch, capfd):
    words = ["stages", str(ROOT / "egs/mini"), "--no_such_option", "1"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        entry_point.main()
    assert stop.value.code == 2
    assert "unknown option --no_such_option" in capfd.readouterr().err


def test_dry_runs_are_asked_for_by_true_or_false(tmp_path):
    command = ["bash", ROOT / "egs/mini/run.sh", "--dry_run", "yes"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2 and "--dry_run is true or false" in run.stderr
    assert not Path(tmp_path, "data").exists()
