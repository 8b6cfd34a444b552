"""Faults that tests inject: how many, with which seed, and the table of those that were met.

A test injects several faults and goes on after one that was not met; it fails at its end. The table
counts them by area: injected, held (met as promised) and lost.
"""

import contextlib
import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from injection import Warm
from stages import World

LOST = pytest.StashKey[list]()


def pytest_addoption(parser):
    group = parser.getgroup("faults", "faults that tests/faults injects")
    group.addoption(
        "--runs",
        type=int,
        default=2,
        help="kills of each command, drawn without repetition; 200 is nearly all",
    )
    group.addoption("--fault_seed", type=int, default=1, help="seed of all draws")
    group.addoption("--fault_table", help="file to write the table to, one row a fault, as TSV")


def pytest_generate_tests(metafunc):
    # Tests elsewhere have fixtures of this name.
    if {"run", "injected"} <= set(metafunc.fixturenames):
        metafunc.parametrize("run", range(metafunc.config.getoption("--runs")))


class Injected:
    """Faults of a test.

    Args:
        item: the test.
        seed: seed of its draws.
    """

    def __init__(self, item: pytest.Item, seed: int):
        self.item = item
        self.seed = seed
        item.stash[LOST] = []

    @contextlib.contextmanager
    def fault(self, area: str, name: str) -> Iterator[None]:
        """Context that checks a fault; a failed assertion in it is noted, and the test goes on."""
        problem = ""
        try:
            yield
        except AssertionError as error:
            # What pytest adds to an assertion with a message says nothing more.
            text = str(error).partition("\nassert ")[0] or "not as promised"
            problem = "\n".join(text.splitlines()[:6])
            self.item.stash[LOST].append(f"{area}: {name}: {problem}")
        # Properties of a test travel from the processes of xdist.
        self.item.user_properties.append(("fault", [area, name, problem]))


@pytest.fixture
def injected(request) -> Injected:
    """Faults of this test."""
    return Injected(request.node, request.config.getoption("--fault_seed"))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    result = yield
    lost = pyfuncitem.stash.get(LOST, [])
    if lost:
        pytest.fail("\n\n".join(lost), pytrace=False)
    return result


@pytest.fixture(scope="session")
def warm():
    """Process that runs commands."""
    process = Warm()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def world(warm, la_corpus, tmp_path_factory) -> World:
    """A folder in which all commands were run once."""
    return World(warm, tmp_path_factory.mktemp("world"), la_corpus)


def faults_of(terminalreporter) -> list[list[str]]:
    """Area, name and problem of each fault of all tests."""
    faults = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                faults.extend(value for key, value in report.user_properties if key == "fault")
    return faults


def pytest_terminal_summary(terminalreporter, config):
    faults = faults_of(terminalreporter)
    if not faults:
        return
    injected = Counter(area for area, _, _ in faults)
    lost = Counter(area for area, _, problem in faults if problem)
    seed = config.getoption("--fault_seed")
    runs = config.getoption("--runs")
    terminalreporter.write_sep("-", f"faults, seed {seed}, runs {runs}")
    terminalreporter.write_line("| area | injected | held | lost |")
    terminalreporter.write_line("|---|---|---|---|")
    for area in sorted(injected):
        held = injected[area] - lost[area]
        terminalreporter.write_line(f"| {area} | {injected[area]} | {held} | {lost[area]} |")
    total_lost = sum(lost.values())
    terminalreporter.write_line(
        f"| all | {len(faults)} | {len(faults) - total_lost} | {total_lost} |"
    )
    path = config.getoption("--fault_table")
    if path:
        rows = []
        for area, name, problem in sorted(faults):
            rows.append([area, name, "lost" if problem else "held", " ".join(problem.split())])
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("w", newline="") as file:
            csv.writer(file, delimiter="\t").writerows([["area", "fault", "end", "how"], *rows])
