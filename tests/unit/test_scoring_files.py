"""Score and key files: what is read comes back as it was written, in any order of rows."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wedefense_lite.audio.segments import read_rttm, write_rttm
from wedefense_lite.files import InputError, read_columns
from wedefense_lite.localization.frame_scores import read_frames
from wedefense_lite.scoring.scores import (
    number,
    read_asv_scores,
    read_condition,
    read_trials,
    write_scores,
)

names = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=True)


@given(st.dictionaries(names, numbers, min_size=1))
def test_scores_come_back_bit_by_bit(scores):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "llr.txt"
        write_scores(path, scores, scores.values())
        rows_read = read_columns(path, {"cm-score": number})
        assert list(rows_read.items()) == [(name, [score]) for name, score in scores.items()]


@given(
    st.dictionaries(names, st.tuples(numbers, st.booleans()), min_size=2),
    st.randoms(use_true_random=False),
)
def test_the_order_of_rows_never_matters(trials, random):
    if len({bonafide for _, bonafide in trials.values()}) < 2:
        return
    with tempfile.TemporaryDirectory() as folder:
        scores = Path(folder) / "llr.txt"
        key = Path(folder) / "key.txt"
        shuffled = random.sample(list(trials), len(trials))
        write_scores(scores, shuffled, (trials[name][0] for name in shuffled))
        text = "filename cm-label\n"
        for name, (_, bonafide) in trials.items():
            text += f"{name} {'bonafide' if bonafide else 'spoof'}\n"
        key.write_text(text)
        utterances, labels, values = read_trials(scores, key)
        assert utterances == list(trials)
        assert list(zip(values, labels == "bonafide")) == list(trials.values())


def test_tabs_spaces_windows_line_ends_and_a_byte_order_mark_are_the_same(tmp_path):
    plain = tmp_path / "plain"
    odd = tmp_path / "odd"
    plain.write_text("filename\tcm-score\nE1\t1.5\nNA\t-2\n")
    odd.write_bytes("\ufefffilename   cm-score\r\n\r\nE1 1.5\r\nNA\t -2".encode())
    for path in (plain, odd):
        assert read_columns(path, {"cm-score": number}) == {"E1": [1.5], "NA": [-2]}


def test_a_table_with_a_header_gives_columns_by_name(tmp_path):
    table = tmp_path / "meta.tsv"
    table.write_text("speaker filename codec attack\ns1 E1 mp3 -\ns2 E2 amr A07\n")
    assert read_condition(table, "attack", ["E2", "E1"]).tolist() == ["A07", "-"]
    assert read_condition(table, "speaker", ["E2", "E1"]).tolist() == ["s2", "s1"]
    with pytest.raises(InputError, match="no column 'sex'"):
        read_condition(table, "sex", ["E1"])
    with pytest.raises(InputError, match="no line for E3"):
        read_condition(table, "attack", ["E1", "E3"])


def test_two_columns_without_a_header_are_the_condition_asked_for(tmp_path):
    (tmp_path / "utt2attack").write_text("E1 -\nE2 A07\n")
    assert read_condition(tmp_path / "utt2attack", "attack", ["E2", "E1"]).tolist() == ["A07", "-"]
    (tmp_path / "meta").write_text("filename attack\nE1 -\nE2 A07\n")
    with pytest.raises(InputError, match="meta:1: header 'filename attack' has no column 'codec'"):
        read_condition(tmp_path / "meta", "codec", ["E1"])


def test_asv_scores_by_class(tmp_path):
    path = tmp_path / "asv.txt"
    path.write_text(
        "bonafide target 2.5\nA07 spoof 1\nbonafide nontarget -3\nA08 spoof 2\nbonafide target 4\n"
    )
    trials, spoofs = read_asv_scores(path)
    assert {label: scores.tolist() for label, scores in trials.items()} == {
        "target": [2.5, 4.0],
        "nontarget": [-3.0],
        "spoof": [1.0, 2.0],
    }
    assert {attack: scores.tolist() for attack, scores in spoofs.items()} == {
        "A07": [1.0],
        "A08": [2.0],
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bonafide target 1\nbonafide nontarget 0\n", "no spoof trial"),
        ("bonafide target 1\nbonafide genuine 0\n", "asv.txt:2: 'genuine', expected"),
        ("bonafide target nan\n", "asv.txt:1: row 1: NaN"),
        ("bonafide target\n", "asv.txt:1: 'bonafide target' is of no known format"),
        ("bonafide target 1\nA07 spoof\n", "asv.txt:2: 2 columns, expected 3"),
    ],
)
def test_asv_scores_that_can_not_be_are_refused(tmp_path, text, words):
    (tmp_path / "asv.txt").write_text(text)
    with pytest.raises(InputError, match=words):
        read_asv_scores(tmp_path / "asv.txt")


def test_frames_are_in_the_order_of_time_however_their_lines_stand(tmp_path):
    path = tmp_path / "frames.txt"
    path.write_text("a 0.02 0.015 -inf\nb 0 0.02 3\na 0 0.02 1\n")
    frames, hop = read_frames(path)
    assert hop == 0.02
    assert frames["a"].edges == pytest.approx([0, 0.02, 0.035])
    assert frames["a"].score.tolist() == [1, -np.inf]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "a 0 0.02 1\na 0.05 0.02 1\n",
            "frames.txt:2: a has a frame at 0.05 s, expected frames of 0.02 s",
        ),
        ("a 0 0.02 1\na 0 0.02 1\n", "frames.txt:2: a has a frame at 0 s"),
        ("a 0 0.02 1\na 0.02 0.01 1\na 0.03 0.02 1\n", "frames.txt:3: a has a frame at 0.03 s"),
        ("a 0 0.02 1\na 0.02 0.04 1\n", "frames.txt:2: a has a frame at 0.02 s"),
        ("a 0 0.02 nan\n", "frames.txt:1: a: NaN"),
        ("a 0 inf 1\n", "frames.txt:1: a: inf, expected a finite number"),
        ("a inf 0.02 1\n", "frames.txt:1: a: inf, expected a finite number"),
        ("a -0.02 0.02 1\n", "frames.txt:1: a has a frame at -0.02 s"),
        ("a 0 0.02 x\n", "frames.txt:1: a: 'x', expected a number"),
        ("a 0 0.02\n", "frames.txt:1: 3 columns, expected 4"),
        ("", "empty"),
    ],
)
def test_frames_that_can_not_be_are_refused(tmp_path, text, words):
    (tmp_path / "frames.txt").write_text(text)
    with pytest.raises(InputError, match=words):
        read_frames(tmp_path / "frames.txt")


@given(data=st.data())
def test_damaged_frames_are_an_input_error_or_follow_each_other(tmp_path_factory, data):
    content = bytearray(b"a 0 0.02 1.5\na 0.02 0.02 -2\nb 0 0.02 3e1\nb 0.02 0.015 -inf\n")
    position = data.draw(st.integers(0, len(content) - 1))
    extra = data.draw(st.one_of(st.binary(max_size=6), st.sampled_from([b"1_0", b"inf", b"1e999"])))
    size = data.draw(st.sampled_from([0, len(extra), len(content)]))
    content[position : position + size] = extra
    path = tmp_path_factory.getbasetemp() / "fuzzed_frames.txt"
    path.write_bytes(content)
    try:
        frames, hop = read_frames(path)
    except InputError as error:
        assert "\n" not in str(error)
        return
    for scores in frames.values():
        assert np.isfinite(scores.edges).all()
        assert (np.diff(scores.edges) > 0).all()
        assert not np.isnan(scores.score).any()
        assert len(scores.edges) == len(scores.score) + 1


def rttm(*rows: tuple[float, float, str]) -> str:
    return "".join(
        f"SPEAKER a 1 {start} {length} <NA> <NA> {label} <NA> <NA>\n"
        for start, length, label in rows
    )


def test_the_label_of_a_segment_is_in_field_8_whichever_comes_first(tmp_path):
    path = tmp_path / "ref.rttm"
    rows = [(0, 0.5, "bonafide"), (0.5, 1, "spoof")]
    for order in (rows, rows[::-1]):
        path.write_text(rttm(*order))
        assert read_rttm(path)["a"].label.tolist() == [1, 0]
        assert read_rttm(path)["a"].end.tolist() == [0.5, 1.5]


def test_segments_written_are_read_back_in_order_and_those_that_touch_still_do(tmp_path):
    write_rttm(tmp_path / "ref.rttm", {"b": [(1 / 3, 2 / 3, 1), (0, 1 / 3, 0)], "a": [(0, 2, 1)]})
    assert (tmp_path / "ref.rttm").read_text().splitlines() == [
        "SPEAKER a 1 0.0000 2.0000 <NA> <NA> bonafide <NA> <NA>",
        "SPEAKER b 1 0.0000 0.3333 <NA> <NA> spoof <NA> <NA>",
        "SPEAKER b 1 0.3333 0.3334 <NA> <NA> bonafide <NA> <NA>",
    ]
    start, end, label = read_rttm(tmp_path / "ref.rttm")["b"]
    assert start == pytest.approx([0, 0.3333])
    assert end == pytest.approx([0.3333, 0.6667])
    assert label.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (rttm((0, 1, "maybe")), "ref.rttm:1: a: label 'maybe', expected one of"),
        (rttm((0, 1, "spoof"), (0.5, 1, "bonafide")), "a has segments that overlap"),
        (rttm((0, 0, "spoof")), "a has segments that overlap, or of no length"),
        (rttm((0, "x", "spoof")), "ref.rttm:1: a: 'x', expected a number"),
        ("SPEAKER a 1 0 1 spoof\n", "expected the label in column 8"),
    ],
)
def test_segments_that_can_not_be_are_refused(tmp_path, text, words):
    (tmp_path / "ref.rttm").write_text(text)
    with pytest.raises(InputError, match=words):
        read_rttm(tmp_path / "ref.rttm")
