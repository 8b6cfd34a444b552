"""Tables read by columns: what a reader by line gives, refuses and says, and no line is read."""

import gzip
import logging

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from test_parsers_fuzz import mutants

from wedefense_lite import columns, files
from wedefense_lite.files import InputError, number, read_labels, read_table
from wedefense_lite.interop.cells import regular_table
from wedefense_lite.scoring import scores as score_files

SCORES = "u1 1.5\nu2 -0.5\nu3 2e-1\n"
OWN_SCORES = "filename\tcm-score\nu1\t1.5\nu2\t-0.5\nu3\t2e-1\n"
KEYS = {
    "own": "filename cm-label\nu3 spoof\nu1 bonafide\n",
    "synonyms": "cm-label filename\nfake u3\nreal u1\nFake u2\n",
    "utt2lab": "u1 spoof\nu2 bonafide\n",
    "header": "utt\tlabel\tattack\nu1\tspoof\tA1\nu2\tbonafide\tA9\n",
    "2019": "S1 u1 - A1 spoof\nS2 u2 - - bonafide\n",
    "2021": "S u1 c t A1 spoof no eval\nS u2 c t - bonafide no eval\nS u3 c t A2 spoof no hidden\n",
}
CONDITIONS = {
    "pairs": "u1 A1\nu2 -\n",
    "titles": "utt attack\nu1 A1\nu2 -\n",
    "other titles": "name of\nu1 A1\nu2 -\n",
    "header": "attack\tx\tfilename\nA1\t1\tu1\n-\t2\tu2\n",
    "key": KEYS["2019"],
    "2021": KEYS["2021"],
}


def outcome(read, caplog):
    """What a reader gives or refuses, and what it says."""
    caplog.clear()
    try:
        result = read()
    except InputError as error:
        result = str(error)
    if isinstance(result, dict):
        result = list(result.items())
    elif not isinstance(result, str):
        result = [np.asarray(values).tolist() for values in result]
    return result, caplog.messages


def assert_same(read, module, name, monkeypatch, caplog):
    """A reader's outcome is that without its quick way, the function of this name."""
    caplog.set_level(logging.INFO)
    quick = outcome(read, caplog)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, lambda *_: None)
        assert quick == outcome(read, caplog)


def drawn(data, text: str) -> bytes:
    """A table as it is, or damaged."""
    return data.draw(st.just(text.encode()) | mutants(text))


@pytest.mark.parametrize("read", [read_table, read_labels])
@examples(60)
@given(st.data())
def test_a_damaged_table_is_read_as_line_by_line(tmp_path, monkeypatch, caplog, read, data):
    path = tmp_path / "table"
    text = data.draw(st.sampled_from(["u1 a b.flac\nu2\tc.flac \n", "u1 spoof\nu2 bonafide\n"]))
    path.write_bytes(drawn(data, text))
    assert_same(lambda: read(path), files, "_regular_pairs", monkeypatch, caplog)


@examples(120)
@given(st.data())
def test_damaged_trials_are_read_as_line_by_line(tmp_path, monkeypatch, caplog, data):
    key = data.draw(st.sampled_from(list(KEYS.values())))
    (tmp_path / "key").write_bytes(drawn(data, key))
    (tmp_path / "scores").write_bytes(drawn(data, data.draw(st.sampled_from([SCORES, OWN_SCORES]))))
    phase = data.draw(st.sampled_from(["eval", "hidden", "all"]))
    convert = data.draw(st.sampled_from([number, score_files.finite_number]))

    def trials():
        paths = (tmp_path / "scores", tmp_path / "key")
        return score_files.read_trials(*paths, convert, phase, needs_both=False)

    def scores():
        return score_files.read_scores(tmp_path / "scores", convert)

    assert_same(trials, score_files, "_regular_trials", monkeypatch, caplog)
    assert_same(scores, score_files, "_regular_scores", monkeypatch, caplog)


@examples(120)
@given(st.data())
def test_a_damaged_condition_is_read_as_line_by_line(tmp_path, monkeypatch, caplog, data):
    path = tmp_path / "table"
    path.write_bytes(drawn(data, data.draw(st.sampled_from(list(CONDITIONS.values())))))
    column = data.draw(st.sampled_from(["attack", "speaker", "of", "label"]))
    names = data.draw(st.sampled_from([["u2"], ["u2", "u1"], ["u1", "A1"]]))

    def read():
        return [score_files.read_condition(path, column, names)]

    assert_same(read, score_files, "_regular_condition", monkeypatch, caplog)


@pytest.fixture
def no_lines(monkeypatch):
    """No table can be read line by line."""

    def refuse(*_):
        raise AssertionError("read line by line")

    for module, name in (
        (files, "iter_rows"),
        (score_files, "_trials_by_line"),
        (score_files, "_condition_by_line"),
    ):
        monkeypatch.setattr(module, name, refuse)


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
@pytest.mark.parametrize("kind", KEYS)
def test_a_table_without_a_fault_is_read_at_once(tmp_path, no_lines, kind, ends):
    """With ids of any script, of a byte order mark, blank lines, gzip, in any order."""
    pairs = [(KEYS[kind], "key"), (SCORES, "scores")]
    for text, name in pairs:
        content = text.replace("u1", "ü—1").replace("\n", "\n\n").encode().replace(b"\n", ends)
        (tmp_path / name).write_bytes(columns.BYTE_ORDER_MARK + content)
    (tmp_path / "scores").write_bytes(gzip.compress((tmp_path / "scores").read_bytes()))
    names, labels, values = score_files.read_trials(tmp_path / "scores", tmp_path / "key")
    scores = {"ü—1": 1.5, "u2": -0.5, "u3": 0.2}
    assert values.tolist() == [scores[name] for name in names]
    expected = {"own": "u3 ü—1", "synonyms": "u3 ü—1 u2"}.get(kind, "ü—1 u2")
    assert names == expected.split()
    assert labels[0] == "spoof" and labels[1] == "bonafide"


@pytest.mark.parametrize("kind", sorted(CONDITIONS.keys() - {"other titles"}))
def test_a_condition_without_a_fault_is_read_at_once(tmp_path, no_lines, kind):
    (tmp_path / "table").write_text(CONDITIONS[kind])
    attacks = score_files.read_condition(tmp_path / "table", "attack", ["u2", "u1"])
    assert attacks.tolist() == ["-", "A1"]
    (tmp_path / "utt2lab").write_text("u1  a b \nu2\tc\n")
    assert read_table(tmp_path / "utt2lab") == {"u1": "a b", "u2": "c"}


CELLS = st.lists(st.text("ab7é", min_size=1, max_size=20), min_size=1, max_size=30)


@examples(60)
@given(CELLS, CELLS)
def test_columns_are_compared_as_their_texts(texts, fields):
    column = columns.encoded(texts)
    assert columns.strings(column) == texts
    assert columns.is_unique(column) == (len(set(texts)) == len(texts))
    values, places = columns.distinct(column)
    assert columns.strings(values) == sorted(set(texts), key=str.encode)
    assert columns.strings(values[places]) == texts
    rows = columns.find(columns.encoded(fields), column)
    assert (rows is None) == (not set(texts).issuperset(fields))
    if rows is not None:
        assert columns.strings(column[rows]) == fields


@pytest.mark.parametrize("width", [7, 8, 9])
def test_fields_of_one_hash_are_told_apart(monkeypatch, width):
    monkeypatch.setattr(columns, "_hashes", lambda column, _: np.zeros(len(column), np.uint64))
    texts = ["x" * width, "y" * width, "x" * width]
    column = columns.encoded(texts)
    assert columns.find(column[1:2], column) is None
    values, places = columns.distinct(column)
    assert columns.strings(values[places]) == texts


def test_pieces_of_a_file_meet(monkeypatch):
    """The edges of pieces cut fields, lines and white space."""
    lines = [f"{'u' * (row % 7 + 1)}{row}  {row}.5" for row in range(50)]
    content = "\n".join(lines).encode()
    for size in range(1, 20):
        monkeypatch.setattr(columns, "BYTES_AT_A_TIME", size)
        monkeypatch.setattr(columns, "ROWS_AT_A_TIME", size)
        table = columns.table_of(content)
        assert [table.row(row) for row in range(50)] == [line.split() for line in lines]
        assert columns.strings(table.column(0)) == [line.split()[0] for line in lines]
        assert columns.numbers(table.column(1)).tolist() == [row + 0.5 for row in range(50)]


def test_one_long_field_does_not_take_memory_for_all():
    content = b"u" * 10_000 + b" 1\n" + b"v 2\n" * 10_000
    table = columns.table_of(content)
    assert table.column(0) is None
    assert columns.encoded(table.texts(0)) is None


@pytest.mark.parametrize(
    "rows",
    ["u1\t\t1\nu2\t2\t\n", "u1\t2\t\r\nu2\t1\t \r\n", "\t1\t2\n\t1\t2\n", "u1\t \t2\nu2\t \t3"],
)
def test_cells_between_tabs_that_are_empty_are_left_to_the_reader_by_line(tmp_path, rows):
    """White space alone would give the cells behind them to other columns."""
    path = tmp_path / "table.tsv"
    path.write_bytes(f"filename\tcm-score\tnote\n{rows}".encode())
    assert regular_table(path) is None
    path.write_bytes(b"filename\tcm-score\tnote\nu1\t1\tx\nu2\t2\ty\n")
    assert len(regular_table(path)) == 3
