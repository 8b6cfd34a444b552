"""Every command answers --help."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = sorted([*ROOT.glob("wedefense_lite/bin/[!_]*.py"), *ROOT.glob("tools/*.py")])


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.name)
def test_help(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.syspath_prepend(str(path.parent))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    assert stop.value.code == 0
    assert f"usage: {path.name}" in capsys.readouterr().out


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.name)
def test_an_option_that_does_not_exist_is_refused(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--no_such_option", "1"])
    monkeypatch.syspath_prepend(str(path.parent))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    assert stop.value.code == 2
    assert capsys.readouterr().err


def test_shell_scripts_are_readable_by_bash():
    for script in [*ROOT.glob("tools/*.sh"), *ROOT.glob("egs/*/run.sh")]:
        assert subprocess.run(["bash", "-n", script], check=False).returncode == 0, script
