"""The benchmark runs each of its cases, counts as it says, and is silent where it can't know."""

import json
import logging
import mmap
import os

import benchmark
import commands
import pytest
from benchmarks import data
from benchmarks.measuring import MEGABYTE, compared, measured
from benchmarks.work import Comparison
from conftest import ROOT

LOAD = "getloadavg"


@pytest.mark.turns
@pytest.mark.parametrize("case", benchmark.CASES)
def test_each_case_runs_at_its_smallest_size(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)  # configurations of systems are named from there
    results = tmp_path / "results.json"
    words = ["--cases", case, "--smallest", "--rounds", 1, "--json", results]
    commands.run(monkeypatch, benchmark.benchmark, *words)
    assert "the smallest size measures nothing" in capsys.readouterr().out
    by_work = json.loads(results.read_text())["cases"][case]
    assert by_work
    for result in by_work.values():
        assert result["ratio"] > 0


@pytest.mark.turns
def test_no_round_continues_the_training_of_the_one_before(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(ROOT)
    caplog.set_level(logging.INFO)
    words = [
        "--cases",
        "mixtures",
        "--smallest",
        "--rounds",
        1,
        "--json",
        tmp_path / "results.json",
    ]
    commands.run(monkeypatch, benchmark.benchmark, *words)
    assert "epoch 3" in caplog.text
    assert "continue from" not in caplog.text


def test_medians_are_of_all_rounds_but_the_first(monkeypatch):
    """Rounds of 9, 1, 2 and 5 s of CPU beside ones of 1 s."""
    clock = {"now": 0.0}
    seconds = iter([9, 1, 1, 1, 2, 1, 5, 1])
    monkeypatch.setattr("benchmarks.measuring.cpu_seconds", lambda: clock["now"])

    def work():
        clock["now"] += next(seconds)

    result = compared(Comparison("work", work, work, "nothing"), rounds=3)
    assert (result["ours"]["cpu"], result["floor"]["cpu"]) == (2, 1)
    assert (result["lowest_ratio"], result["ratio"], result["highest_ratio"]) == (1, 2, 5)


def test_links_are_to_a_new_copy_where_a_file_system_has_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "LINKS_OF_FILE", 2)
    source = tmp_path / "source.flac"
    source.write_text("audio")
    links = []
    for number in range(5):
        link = tmp_path / f"u{number}.flac"
        data.link_to(str(source), link, number)
        links.append(link)
    assert [link.stat().st_nlink for link in links] == [2, 2, 2, 2, 1]
    assert links[-1].read_text() == "audio"


def use_memory():
    """Use 64 MiB of new pages; an allocator may have old ones, which count already."""
    with mmap.mmap(-1, 64 * MEGABYTE) as pages:
        for _ in range(64):
            pages.write(bytes(MEGABYTE))


def test_memory_is_that_of_the_call():
    empty = measured(lambda: None)["memory"]
    full = measured(use_memory)["memory"]
    assert 60 < full - empty < 70
    assert measured(lambda: 5.0, tells_memory=True)["memory"] == 5.0


def fake_case(bench):
    """Work that takes as long as its floor does, and has a goal that it meets."""
    yield Comparison("work", lambda: sum(range(20_000)), lambda: sum(range(20_000)), "it", 50.0)


@pytest.fixture
def printed(monkeypatch, capsys):
    """Function that gives what the benchmark prints of the fake case."""
    monkeypatch.setitem(benchmark.CASES, "prep", fake_case)

    def run(*words):
        commands.run(monkeypatch, benchmark.benchmark, "--cases", "prep", *words)
        return capsys.readouterr().out

    return run


def test_a_busy_machine_gets_no_verdict(printed, monkeypatch):
    monkeypatch.setattr(os, LOAD, lambda: (7.5, 0, 0))
    said = printed()
    assert "no verdict: a load of 7.50" in said
    assert "goals" not in said


def test_load_that_comes_while_it_runs_is_told_from_its_own(printed, monkeypatch):
    loads = iter([(0.0, 0, 0), (30.0, 0, 0)])
    monkeypatch.setattr(os, LOAD, lambda: next(loads))
    assert "no verdict: a load of 29." in printed()


def test_a_quiet_machine_gets_one(printed, monkeypatch):
    monkeypatch.setattr(os, LOAD, lambda: (0.0, 0, 0))
    assert "all of 1 goals met" in printed()


def test_ratios_of_an_earlier_call_stand_beside(printed, tmp_path):
    earlier = tmp_path / "earlier.json"
    earlier.write_text('{"cases": {"prep": {"work": {"ratio": 77.25}}}}')
    assert "77.25" in printed("--compare", earlier)


def test_missed_goals_are_named():
    results = {"read": {"flac raw": {"ratio": 1.2, "goal": 1.1}, "x": {"ratio": 9, "goal": None}}}
    assert benchmark.verdict(results) == "1 of 1 goals missed: read flac raw"


def test_growth_is_a_power_of_the_rows():
    """A hundred times the time for ten times the rows."""
    results = {}
    for factor, seconds in ((1, 1e-3), (10, 1e-2), (100, 1.0)):
        results[f"index {factor}x"] = {"ours": {"cpu": seconds}}
    assert benchmark.exponents(results) == {"index": pytest.approx(2.0)}


def test_an_unknown_case_is_refused(monkeypatch, capsys):
    error = commands.refused(monkeypatch, capsys, benchmark.benchmark, "--cases", "prep,nothing")
    assert "no case 'nothing', expected prep, pack" in error


def test_a_file_without_results_is_refused(monkeypatch, capsys, tmp_path):
    path = tmp_path / "other.json"
    path.write_text("[1]")
    error = commands.refused(monkeypatch, capsys, benchmark.benchmark, "--compare", path)
    assert "no results of benchmark.py" in error
