"""Rows in arrays are the rows they were made of, and processes that read them share their memory."""

import multiprocessing
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from wedefense_lite.audio.packed import NUMBERS, OBJECTS, PackedRows
from wedefense_lite.audio.segments import Segments
from wedefense_lite.audio.utterance import Corpus, Utterance
from wedefense_lite.scoring.loader import ScoringPlan
from wedefense_lite.systems.config import DataConfig

ROWS = [
    Utterance("utt1", "shards/a.tar", 512, 100, 16000, "spoof", rate=16000),
    Utterance("\u00e4\u6f22", "shards/a.tar", 2**40, 7, 2**45, None, rate=44100, format="g722"),
    Utterance("utt3", "name that is no text \udcff.wav", label="bonafide"),
]


def test_packed_rows_are_the_rows():
    assert list(PackedRows(ROWS)) == ROWS
    assert list(PackedRows(ROWS[:2] * 3)) == ROWS[:2] * 3
    assert list(PackedRows([])) == []
    with pytest.raises(IndexError):
        PackedRows(ROWS)[3]


def test_no_attribute_of_an_utterance_is_forgotten():
    packed = {"key", "path", "label", "format", *NUMBERS, *OBJECTS}
    assert packed == {attribute.name for attribute in fields(Utterance)}
    assert PackedRows([replace(ROWS[0], part=2)])[0].part == 2


def test_what_few_tasks_have_is_kept():
    segments = Segments(np.zeros(1), np.ones(1), np.zeros(1, np.int64))
    full = replace(
        ROWS[0],
        data=b"abc",
        segments=segments,
        source=3,
        stems=(ROWS[2],),
        corpus=Corpus("mlaad", 1),
    )
    plain, packed = PackedRows([ROWS[0], full])
    assert (plain.data, plain.segments, plain.source, plain.stems) == (None, None, None, ())
    assert packed.segments is segments
    assert (packed.data, packed.source, packed.stems, packed.corpus) == (
        b"abc",
        3,
        (ROWS[2],),
        Corpus("mlaad", 1),
    )


def private_kilobytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def read_all(rows, connection) -> None:
    before = private_kilobytes()
    for number in range(len(rows)):
        assert rows[number].samples == number
    connection.send(private_kilobytes() - before)


def growth(rows, read=read_all) -> int:
    """Private memory in kB that a process takes to look at all rows."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(False)
    process = context.Process(target=read, args=(rows, sender))
    process.start()
    grown = receiver.recv()
    process.join()
    return grown


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory of a process")
def test_a_process_that_reads_all_rows_copies_none():
    rows = [
        Utterance(f"utt{number}", f"audio/utt{number}.wav", samples=number)
        for number in range(30_000)
    ]
    assert growth(rows) > 4000
    assert growth(PackedRows(rows)) < 1000


def read_plan(plan, connection) -> None:
    before = private_kilobytes()
    count = sum(len(rows) for rows in plan(0, 1))
    assert count == 60_000
    connection.send(private_kilobytes() - before)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory of a process")
def test_a_process_that_scores_all_rows_copies_none():
    rows = []
    for number in range(60_000):
        rows.append(Utterance(f"utterance{number}", f"audio/{number}.flac", samples=1 + number % 7))
    plan = ScoringPlan(rows, 1, DataConfig())
    assert growth(plan, read_plan) < 4000


def test_a_plan_of_scoring_has_batches_of_one_length():
    rows = [Utterance(str(number), "a", samples=1 + number % 2, rate=16000) for number in range(5)]
    plan = ScoringPlan(rows, 2, DataConfig())
    assert [[row.key for row in batch] for batch in plan(0, 1)] == [["0", "2"], ["4"], ["1", "3"]]
    assert [[row.key for row in batch] for batch in plan(1, 2)] == [["4"]]
    assert len(plan) == 3
    assert len(ScoringPlan([], 2, DataConfig())) == 0
