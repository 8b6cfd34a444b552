"""The commit in sidecars and env.json is of this code; an installed copy has its version there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wedefense_lite

SOURCE = Path(wedefense_lite.__file__).parent
FILES = ("__init__.py", "files.py", "labels.py", "provenance.py")


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", *identity, "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def told(package: Path, **variables: str) -> str:
    """Commit that a copy of the package tells."""
    code = "from wedefense_lite.provenance import code_commit; print(code_commit())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=package.parent,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(package.parent), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


@pytest.mark.parametrize(
    ("place", "tracked", "is_own"),
    [
        ("venv/lib/site-packages", (), False),
        ("venv/lib/site-packages", ("venv",), False),
        (".", (), False),
        (".", ("wedefense_lite",), True),
    ],
)
def test_a_commit_of_another_repository_is_not_this_codes(tmp_path, place, tracked, is_own):
    package = tmp_path / place / "wedefense_lite"
    package.mkdir(parents=True)
    for name in FILES:
        shutil.copy(SOURCE / name, package / name)
    (tmp_path / "notes.txt").write_text("mine")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "notes.txt", *tracked)
    git(tmp_path, "commit", "-q", "-m", "mine")
    commit = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert told(package) == (commit if is_own else f"version {wedefense_lite.__version__}")


def test_a_hook_of_another_repository_does_not_name_it(tmp_path):
    """git sets GIT_DIR for its hooks, and a repository may name a command to be run."""
    package = tmp_path / "site-packages" / "wedefense_lite"
    package.mkdir(parents=True)
    for name in FILES:
        shutil.copy(SOURCE / name, package / name)
    other = tmp_path / "other"
    (other / "wedefense_lite").mkdir(parents=True)
    (other / "wedefense_lite/__init__.py").write_text("")
    git(other, "init", "-q")
    git(other, "add", ".")
    git(other, "commit", "-q", "-m", "other")
    version = f"version {wedefense_lite.__version__}"
    assert told(package, GIT_DIR=str(other / ".git")) == version


def test_a_command_of_a_repository_is_not_run(tmp_path):
    package = tmp_path / "wedefense_lite"
    package.mkdir()
    for name in FILES:
        shutil.copy(SOURCE / name, package / name)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "mine")
    git(tmp_path, "config", "core.fsmonitor", f"touch {tmp_path}/ran_here; false")
    assert told(package).startswith(git(tmp_path, "rev-parse", "--short=12", "HEAD"))
    git(tmp_path, "config", "--unset", "core.fsmonitor")
    assert not (tmp_path / "ran_here").exists()
