"""Each known defect can still be put back, and names a test that exists."""

import importlib.util
import re

import pytest
from conftest import ROOT

SPEC = importlib.util.spec_from_file_location("mutations_run", ROOT / "tests/mutations/run.py")
run = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(run)
MUTATIONS = run.read_mutations()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_applies(mutation):
    mutated = mutation.mutated((ROOT / mutation.file).read_text())
    if mutation.file.endswith(".py"):
        compile(mutated, mutation.file, "exec")  # of what can't be compiled every test fails
    path, _, name = mutation.test.partition("::")
    function = re.escape(name.partition("[")[0])
    assert re.search(rf"^def {function}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_names_are_used_once():
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names)


def test_shares_together_are_all_mutations_once():
    shares = [run.share(MUTATIONS, number, 10) for number in range(10)]
    together = [mutation.name for share in shares for mutation in share]
    assert sorted(together) == [mutation.name for mutation in MUTATIONS]


def test_a_text_that_occurs_twice_or_never_is_refused():
    mutation = run.Mutation("m", "A defect.", "a.py", "x = 1", "x = 2", "tests/test_a.py::test_a")
    assert mutation.mutated("x = 1\n") == "x = 2\n"
    for code in ("", "x = 1\nx = 1\n"):
        with pytest.raises(ValueError, match="occurs"):
            mutation.mutated(code)
