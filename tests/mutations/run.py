"""Put each known defect back, one at a time, and see the test that is named beside it fail.

A patch in this folder begins with ``# defect: ...`` and ``# test: path::name``; the rest is a diff.
All is done in a copy of the working tree. Arguments pick patches by a part of their names.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PASSED, FAILED = 0, 1


def copy_tree(target: Path) -> None:
    """Copy what git tracks or would track; tests find the reference values beside the copy."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    if (ROOT.parent / "shared").exists():
        (target.parent / "shared").symlink_to((ROOT.parent / "shared").resolve())


def python(tree: Path, *words: str) -> subprocess.CompletedProcess:
    """Run Python on the copy. No bytecode: a patch may keep a file's size and its second."""
    own = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=tree, env=os.environ | own, check=False, capture_output=True, text=True)


def test(tree: Path, *names: str) -> subprocess.CompletedProcess:
    return python(tree, "-m", "pytest", "-x", "-p", "no:cacheprovider", *names)


def is_caught(tree: Path, patch: Path, name: str) -> str:
    """Apply, test, take back; an empty string or why the defect counts as not caught."""
    apply = ["git", "apply", "--whitespace=nowarn", str(patch)]
    applied = subprocess.run(apply, cwd=tree, check=False, capture_output=True, text=True)
    if applied.returncode:
        return "does not apply: " + applied.stderr.strip().replace("\n", "; ")
    status = test(tree, name).returncode
    subprocess.run([*apply, "--reverse"], cwd=tree, check=True)
    return "" if status == FAILED else f"{name} ended with status {status}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("patches", nargs="*", default=[""], help="parts of names; all by default")
    wanted = parser.parse_args().patches
    patches = [p for p in sorted(Path(__file__).parent.glob("*.patch")) if any(part in p.name for part in wanted)]
    tests = {p: re.search(r"^# test: (\S.*)$", p.read_text(), re.MULTILINE)[1] for p in patches}
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        where = python(tree, "-c", "import wedefense_lite; print(wedefense_lite.__file__)").stdout
        if not where.startswith(str(tree)):
            sys.exit(f"tests would run on {where.strip()}, not on the copy")
        whole = test(tree, *sorted(set(tests.values())))
        if whole.returncode != PASSED:
            sys.exit(f"{whole.stdout}\nthese tests must pass before a defect is put in")
        problems = {}
        for patch, name in tests.items():
            problems[patch] = is_caught(tree, patch, name)
            print(f"{patch.stem}: {problems[patch] and 'NOT CAUGHT, ' + problems[patch] or 'caught'}", flush=True)
    missed = sum(map(bool, problems.values()))
    print(f"{len(problems) - missed} of {len(problems)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
