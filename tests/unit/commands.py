"""Run an entry point in this process, as from the command line."""

import runpy
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest

from wedefense_lite import cli

ROOT = Path(__file__).parents[2]


def run(
    monkeypatch: pytest.MonkeyPatch, function: Callable, *words: object, positional: bool = False
) -> None:
    """Run the entry point with these words on its command line."""
    monkeypatch.setattr(sys, "argv", [function.__name__, *map(str, words)])
    cli.run(function, positional=positional)


def refused(monkeypatch, capsys, function, *words: object, positional: bool = False) -> str:
    """The one line of error with which the entry point ends, status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, function, *words, positional=positional)
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if ": error: " in line]
    assert stop.value.code == 2
    assert len(errors) == 1 and lines[-1] == errors[0]
    return errors[0]


def run_script(folder: Path, script: str, *words: object) -> tuple[int, str]:
    """Exit status and standard error of a script of ours, typed in ``folder``."""
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(StringIO()) as stderr:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [script, *map(str, words)])
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as stop:
            return stop.code, stderr.getvalue()
    return 0, stderr.getvalue()
