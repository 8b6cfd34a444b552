"""Puts known defects back, one at a time, and sees the test named beside each fail.

The defects are the tables in this folder, a file a room of the package. An entry replaces ``text``,
which occurs once in ``file``, by ``replacement``; then ``test`` must fail. All is done in a copy of
the working tree.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Files of other people, of which tests/reference/README.md tells.
REFERENCE = ROOT.parent / "shared/refvectors"
PASSED, FAILED = 0, 1


@dataclass(frozen=True)
class Mutation:
    """A defect that was mended and could come back.

    Attributes:
        name: for the command line and messages.
        defect: what goes wrong, a sentence.
        file: path of the code, from the repository's root.
        text: lines that occur once in the file.
        replacement: lines that put the defect back.
        test: ``path::name`` of the test that must fail.
    """

    name: str
    defect: str
    file: str
    text: str
    replacement: str
    test: str

    def mutated(self, code: str) -> str:
        """The code with the defect.

        Raises:
            ValueError: the text does not occur exactly once, or the replacement changes nothing.
        """
        count = code.count(self.text)
        if count != 1:
            raise ValueError(
                f"{self.name}: its text occurs {count} times in {self.file}, expected once"
            )
        if self.replacement == self.text:
            raise ValueError(f"{self.name}: its replacement is its text")
        return code.replace(self.text, self.replacement)


def read_mutations(folder: Path = Path(__file__).parent) -> list[Mutation]:
    """Mutations of all tables of a folder, by name."""
    mutations = []
    for table in sorted(folder.glob("*.toml")):
        for row in tomllib.loads(table.read_text())["mutation"]:
            mutations.append(Mutation(**row))
    return sorted(mutations, key=lambda mutation: mutation.name)


def share(mutations: list[Mutation], number: int, count: int) -> list[Mutation]:
    """Share ``number``, counted from 0, of ``count`` shares that together are all mutations."""
    return mutations[number % count :: count]


def commit_number() -> int:
    """A number that the commit decides, so that runs in turn see other shares."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(commit.strip(), 16)


def copy_tree(target: Path) -> None:
    """Copy what git tracks or would track."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def run_python(tree: Path, *words: str) -> subprocess.CompletedProcess:
    """Run Python on the copy."""
    # No bytecode: a mutation may keep a file's size and its second.
    own = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    own["ALL_TESTS"] = "1"  # also tests whose turn it isn't
    own["WEDEFENSE_REFERENCE"] = os.environ.get("WEDEFENSE_REFERENCE") or str(REFERENCE)
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=tree, env=os.environ | own, check=False, capture_output=True, text=True
    )


def run_tests(tree: Path, *names: str) -> subprocess.CompletedProcess:
    """Run tests on the copy, to the first that fails."""
    return run_python(tree, "-m", "pytest", "-x", "-p", "no:cacheprovider", *names)


def problem(tree: Path, mutation: Mutation) -> str:
    """Reason why a mutation counts as not caught; empty where it is caught."""
    path = tree / mutation.file
    code = path.read_text()
    try:
        mutated = mutation.mutated(code)
    except ValueError as error:
        return str(error)
    path.write_text(mutated)
    try:
        status = run_tests(tree, mutation.test).returncode
    finally:
        path.write_text(code)
    return "" if status == FAILED else f"{mutation.test} ended with status {status}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=[""], help="parts of names; all by default")
    parser.add_argument(
        "--shares", type=int, default=1, help="run one of so many shares, which the commit decides"
    )
    arguments = parser.parse_args()
    mutations = [
        mutation
        for mutation in read_mutations()
        if any(part in mutation.name for part in arguments.names)
    ]
    if arguments.shares > 1:
        mutations = share(mutations, commit_number(), arguments.shares)
    if not mutations:
        sys.exit("no mutation has such a name")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        code = "import wedefense_lite; print(wedefense_lite.__file__)"
        imported = run_python(tree, "-c", code).stdout
        if not imported.startswith(str(tree)):
            sys.exit(f"tests would run on {imported.strip()}, not on the copy")
        tests = sorted({mutation.test for mutation in mutations})
        unchanged = run_tests(tree, *tests)
        if unchanged.returncode != PASSED:
            sys.exit(f"{unchanged.stdout}\nthese tests must pass before a defect is put in")
        missed = 0
        for mutation in mutations:
            reason = problem(tree, mutation)
            missed += bool(reason)
            print(f"{mutation.name}: {f'NOT CAUGHT, {reason}' if reason else 'caught'}", flush=True)
    print(f"{len(mutations) - missed} of {len(mutations)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
