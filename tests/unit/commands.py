"""Run an entry point in this process, as from the command line."""

import sys
from collections.abc import Callable

import pytest

from wedefense_lite import cli


def run(monkeypatch: pytest.MonkeyPatch, function: Callable, *words: object, positional: bool = False) -> None:
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
