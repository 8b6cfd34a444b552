"""A command that is forked from a warm interpreter does what it does in a fresh one."""

import os
import re
import sys

import pytest
import warm
from conftest import typist

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="commands are not forked")
BEGINNING = """
import atexit, os, resource, sys, threading, time
atexit.register(print, "at exit")
print(sys.argv, __name__, os.getcwd(), os.environ["ANSWER"], sys.path[0])
print(sys.stdin.read(), oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_NOFILE))
"""
ENDS = {
    "plain": "",
    "status": "sys.exit(3)",
    "message": "sys.exit('a reason')",
    "nothing": "sys.exit(None)",
    "error": "raise ValueError('a defect')",
    "signal": "sys.stdout.flush(); os.kill(os.getpid(), 9)",
    "abrupt": "sys.stdout.flush(); os._exit(4)",
    "thread": "threading.Thread(target=lambda: time.sleep(0.1) or print('thread')).start()",
    "full": "sys.stdout.flush(); os.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('lost')",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_command_is_that_of_a_fresh_interpreter(tmp_path, end):
    typed = typist(tmp_path)
    (tmp_path / "script.py").write_text(f"{BEGINNING}{ENDS[end]}\n")
    command = "umask 27; ulimit -n 200; python script.py one 'two words' < script.py; echo $?"
    outputs = []
    for fresh in (False, True):
        output = typed(["bash", "-c", command], fresh=fresh, ANSWER="42")
        output = re.sub(r"line 1: +\d+ Killed", "Killed", output)
        # Not which modules a traceback passed through, nor the words for an output that is full.
        lines = [line for line in output.splitlines() if line[:1] != " " or "script.py" in line]
        if end == "full":
            lines = [line for line in lines if line.isdecimal()]  # the exit status
        outputs.append(lines)
    assert outputs[0] == outputs[1]


def test_what_a_script_imports_of_its_folders_comes_first(tmp_path):
    typed = typist(tmp_path)
    (tmp_path / "wedefense_lite").unlink()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/wedefense_lite.py").write_text("print('the other')")
    (tmp_path / "script.py").write_text("import wedefense_lite")
    assert typed("python script.py", PYTHONPATH=str(tmp_path / "other")) == "the other\n"


def test_variables_that_count_at_start_make_an_interpreter_start(tmp_path):
    typed = typist(tmp_path)
    (tmp_path / "script.py").write_text(
        "import sys; print('torch' in sys.modules, sys.flags.utf8_mode)"
    )
    assert typed("python script.py") == "True 0\n"
    assert typed("python script.py", PYTHONUTF8="1") == "False 1\n"
    assert typed(["python", "-c", "print(1)"]) == "1\n"


def test_variables_that_a_package_has_set_meanwhile_make_none_start(monkeypatch, tmp_path):
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    typed = typist(tmp_path)
    (tmp_path / "script.py").write_text("import os, sys; print('torch' in sys.modules)")
    assert typed("python script.py") == "True\n"


def test_ranks_know_their_places_and_end_together(tmp_path):
    typed = typist(tmp_path)
    names = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE"
    (tmp_path / "rank.py").write_text(
        "import os, sys, time\n"
        f"print(*(os.environ[name] for name in '{names}'.split()), os.environ['MASTER_PORT'] != '')\n"
        "sys.stdout.flush()\n"
        "if sys.argv[1:] == ['fail']:\n"
        "    sys.exit('a reason') if os.environ['RANK'] == '1' else time.sleep(60)\n"
    )
    lines = typed("torchrun --standalone --nproc_per_node=2 rank.py").splitlines()
    assert sorted(lines) == ["0 0 2 2 True", "1 1 2 2 True"]
    assert "a reason" in typed("torchrun --standalone --nproc_per_node=2 rank.py fail", status=1)


def test_fresh_interpreters_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("FRESH_PYTHON", "1")
    assert not os.path.exists(warm.programs())
    assert os.path.exists(sys.executable)
