"""The command wedefense-lite: its subcommands are the entry points, and it starts fast."""

import importlib
import sys

import pytest
from conftest import ROOT

from wedefense_lite import __main__ as console


def typed(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of the command."""
    monkeypatch.setattr(sys, "argv", ["wedefense-lite", *words])
    status = 0
    try:
        console.main()
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def test_help_lists_the_commands(monkeypatch, capsys):
    status, output, _ = typed(monkeypatch, capsys, "--help")
    assert status == 0
    for name, (_, purpose) in console.COMMANDS.items():
        assert f"  {name}" in output and purpose in output


# Other tests import the same modules.
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", console.COMMANDS)
def test_a_command_is_its_entry_point(monkeypatch, capsys, name):
    status, output, _ = typed(monkeypatch, capsys, name, "--help")
    module, _ = console.COMMANDS[name]
    assert status == 0
    assert output.startswith(f"usage: wedefense-lite {name} ")
    entry_point = importlib.import_module(f"wedefense_lite.bin.{module}")
    purpose = getattr(entry_point, module).__doc__.split("\n\n")[0]
    assert " ".join(purpose.split()) in " ".join(output.split())
    status, _, errors = typed(monkeypatch, capsys, name, "--no_such_option", "1")
    assert status == 2
    assert errors.startswith(f"wedefense-lite {name}: error: ")


@pytest.mark.parametrize("words", [(), ("scoer",), ("\x1b[2J",)])
def test_a_command_that_does_not_exist_is_refused_with_the_list(monkeypatch, capsys, words):
    status, _, errors = typed(monkeypatch, capsys, *words)
    assert status == 2
    assert errors.count("\n") == 1 and "\x1b" not in errors
    assert "expected one of " + ", ".join(console.COMMANDS) in errors


def test_an_installed_package_has_the_command():
    line = '"wedefense-lite = wedefense_lite.__main__:main"'
    assert line in (ROOT / "setup.py").read_text()
