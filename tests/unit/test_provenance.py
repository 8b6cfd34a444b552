"""The commit in sidecars and env.json is of this code, or unknown."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wedefense_lite

SOURCE = Path(wedefense_lite.__file__).parent
FILES = ("__init__.py", "provenance.py")


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", *identity, "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


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
    code = "from wedefense_lite.provenance import code_commit; print(code_commit())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=package.parent,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    commit = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert result.stdout.strip() == (commit if is_own else "unknown")
