"""The house stays small: lines of code, length of functions, recipes that are only their differences."""

import ast
import io
import subprocess
import tokenize
from pathlib import Path

import pytest
from conftest import ROOT

LISTED = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
OURS = ("wedefense_lite", "tools", "egs")


def tracked(*endings: str) -> list[Path]:
    names = subprocess.run(LISTED, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if name.startswith(OURS) and name.endswith(endings)]


def python_lines(path: Path) -> int:
    """Lines that hold code: no docstrings, comments or blanks."""
    text = path.read_text()
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            docstrings |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    code = set()
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*layout, tokenize.ENDMARKER):
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


def shell_lines(path: Path) -> int:
    lines = (line.strip() for line in path.read_text().splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def test_lines_of_code_stay_under_the_limit():
    shell = tracked(".sh", ".sbatch")
    count = sum(map(python_lines, tracked(".py"))) + sum(map(shell_lines, shell))
    assert count < 9000
    assert sum(shell_lines(path) for path in shell if "egs" not in path.parts) < 200


@pytest.mark.parametrize("script", tracked("run.sh"), ids=lambda path: path.parent.name)
def test_a_recipe_is_only_its_differences(script):
    assert len(script.read_text().splitlines()) <= 30


def test_a_function_fits_on_a_screen():
    long = [
        f"{path}:{node.name}"
        for path in tracked(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60
    ]
    assert long == []
