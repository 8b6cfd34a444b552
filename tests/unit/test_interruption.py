"""Ctrl-C while an entry point imports its libraries, and where the package is only imported."""

import ast
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

from wedefense_lite import interruption

# A library during whose import Ctrl-C is typed. NumPy makes such an error of it.
INTERRUPTED = """\
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    raise ImportError("numpy.core.multiarray failed to import")
"""
COMMANDS = {
    "train.py": ["wedefense_lite/bin/train.py"],
    "make_raw_list.py": ["tools/make_raw_list.py"],
    "prepare_data.py": ["egs/asvspoof2019_la/local/prepare_data.py"],
    "evaluate.py": ["-m", "wedefense_lite.bin.evaluate"],
}


def start(words: list[str], *folders: Path, cwd: Path = ROOT) -> subprocess.Popen:
    path = ":".join(str(folder) for folder in (*folders, ROOT))
    # What a shell starts in the background ignores Ctrl-C, and so would what it starts.
    return subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, *words],
        env={"PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONPATH": path},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interruption_of_imports_is_one_line(tmp_path, name):
    (tmp_path / "jsonargparse.py").write_text(INTERRUPTED)
    process = start(COMMANDS[name], tmp_path)
    output, _ = process.communicate()
    assert output == f"{name}: error: interrupted\n"
    assert process.returncode == interruption.STATUS == 130


@pytest.mark.parametrize("seed", [0, 1])
def test_an_interruption_is_one_line_as_soon_as_the_package_is_there(seed):
    process = start(["-X", "importtime", "wedefense_lite/bin/train.py", "--help"])
    # A line is written when a module has been imported.
    while not process.stdout.readline().endswith("| wedefense_lite\n"):
        assert process.poll() is None
    time.sleep(random.Random(seed).uniform(0, 0.6))
    process.send_signal(signal.SIGINT)
    lines = [line for line in process.communicate()[0].splitlines() if "import time:" not in line]
    assert lines == ["train.py: error: interrupted"]
    assert process.returncode == 130


def test_a_working_folder_that_was_removed_is_told_before_libraries_fail(tmp_path):
    """oneMKL ends the process with a message about a library."""
    script = ROOT / "wedefense_lite/bin/train.py"
    command = f"mkdir gone; cd gone; rmdir ../gone; exec {sys.executable} {script} --help"
    words = ["-c", f"import os; os.execl('/bin/sh', 'sh', '-c', {command!r})"]
    process = start(words, cwd=tmp_path)
    assert process.communicate()[0] == f"train.py: error: {interruption.REMOVED}\n"
    assert process.returncode == 2


def first_import(path: Path) -> str:
    """Module that a script imports first."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            return node.module
        if isinstance(node, ast.Import):
            return node.names[0].name
    return ""


def test_entry_points_import_the_package_first():
    scripts = [*ROOT.glob("wedefense_lite/bin/*.py"), *ROOT.glob("tools/*.py")]
    scripts += ROOT.glob("egs/*/local/*.py")
    scripts = [path for path in scripts if "cli.run(" in path.read_text()]
    assert len(scripts) > 60
    others = [path for path in scripts if first_import(path) != "wedefense_lite"]
    assert others == []


def test_an_interruption_of_the_end_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bin/entry.py"])
    interruption.report_uncaught(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == "entry.py: error: interrupted\n"
    interruption.report_uncaught(ValueError, ValueError("other errors are as ever"), None)
    assert "ValueError: other errors are as ever" in capsys.readouterr().err


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_work_is_interrupted_by_an_exception_or_not_at_all(monkeypatch, before):
    monkeypatch.setattr(interruption, "runs_entry_point", lambda: True)
    monkeypatch.setattr(sys, "excepthook", None)
    kept = signal.signal(signal.SIGINT, before)
    try:
        interruption.leave_at_once()
        is_ours = signal.getsignal(signal.SIGINT) is interruption.leave
        assert is_ours == (before is not signal.SIG_IGN)
        interruption.begin_work()
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, kept)


@pytest.mark.parametrize(
    ("script", "is_entry_point"),
    [("wedefense_lite/bin/x.py", True), ("tools/x.py", True), ("egs/a/local/x.py", True),
     ("tests/x.py", False), ("../x.py", False), ("../bin/wedefense-lite", True), (None, False)],
)  # fmt: skip
def test_what_imports_the_package_keeps_its_own_way_to_end(monkeypatch, script, is_entry_point):
    path = str(ROOT / script) if script else None
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__=path))
    assert interruption.runs_entry_point() == is_entry_point
