"""SECURITY.md: each promise has tests, and these exist."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT

PAGE = (ROOT / "SECURITY.md").read_text()
NAME = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
PROMISES = [row for row in PAGE.splitlines() if row.startswith("| ") and "::" in row]


def names_of_tests(path: Path) -> set[str]:
    """Names of the tests of a file, those of a class with its name before them."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{inner.name}" for inner in node.body if _is_function(inner)}
        elif _is_function(node):
            names.add(node.name)
    return names


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef)


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row[2:40])
def test_every_promise_names_tests_that_exist(row):
    promise, tests = row.strip("| ").rsplit(" | ", 1)
    names = NAME.findall(tests)
    assert promise and names
    assert len(names) == tests.count("::") - sum(name.count("::") for _, name in names)
    for path, name in names:
        assert name in names_of_tests(ROOT / path), f"{path} has no {name}"


def test_there_are_promises_and_the_readme_leads_to_them():
    assert len(PROMISES) > 10
    table = PAGE.partition("| promise | tests |")[2].partition("\n\n")[0]
    assert len(table.splitlines()) - 2 == len(PROMISES), "each row has a test"
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["--components", "WEDEFENSE_COMPONENTS", "--allow_pipes"])
def test_what_the_page_names_is_in_the_code(name):
    code = [path.read_text() for path in (ROOT / "wedefense_lite").rglob("*.py")]
    code += [path.read_text() for path in (ROOT / "tools").glob("*.py")]
    word = name.removeprefix("--")
    assert name in PAGE and any(word in text for text in code)


def test_the_audit_is_a_part_of_ci():
    assert "make audit" in (ROOT / ".ci/run").read_text()
