"""Options, tables and outputs of the commands that measure: one line for what can't be meant."""

import gzip
import json
import logging
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from commands import refused, run
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from wedefense_lite.audio.segments import read_rttm
from wedefense_lite.bin.compare import compare
from wedefense_lite.bin.cross_table import cross_table
from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.bin.evaluate_localization import evaluate_localization
from wedefense_lite.bin.evaluate_mixtures import evaluate_mixtures
from wedefense_lite.bin.segments import segments
from wedefense_lite.files import InputError
from wedefense_lite.localization.frame_scores import read_frames
from wedefense_lite.mixtures.scores import read_key, read_mixtures
from wedefense_lite.scoring.scores import (
    read_asv_scores,
    read_condition,
    read_scores,
    read_trials,
    read_verification,
)

TABLES = {
    "scores.txt": "filename cm-score\nA 1.5\nB .5\nC -1\nD -2\n",
    "flipped.txt": "filename cm-score\nA -1.5\nB -.5\nC 1\nD 2\n",
    "key.txt": "filename cm-label\nA bonafide\nB bonafide\nC spoof\nD spoof\n",
    "attacks.txt": "A -\nB -\nC A07\nD A08\n",
    "codecs.txt": "utt codec\nA opus\nB mp3\nC opus\nD mp3\n",
    "asv.txt": "x target 2\nx target 1\nx nontarget -1\nA07 spoof 3\nA07 spoof -2\n",
    "frames.txt": "U 0 0.02 1\nU 0.02 0.02 -1\n",
    "flipped_frames.txt": "U 0 0.02 -1\nU 0.02 0.02 1\n",
    "ref.rttm": (
        "SPEAKER U 1 0 0.02 <NA> <NA> bonafide <NA> <NA>\n"
        "SPEAKER U 1 0.02 0.02 <NA> <NA> spoof <NA> <NA>\n"
    ),
    "mixtures.txt": "mixture label_1 label_2\nm spoof spoof\nn bonafide bonafide\n",
    "talkers.txt": "filename cm-score\nm-1 -1\nm-2 -2\nn-1 1\nn-2 2\n",
    "flipped_talkers.txt": "filename cm-score\nm-1 1\nm-2 2\nn-1 -1\nn-2 -2\n",
    "sasv.txt": "spk filename sasv-score\ns A 2\ns B 1\ns C 0\n",
    "sasv_key.txt": (
        "spk filename cm-label asv-label\n"
        "s A bonafide target\ns B bonafide nontarget\ns C spoof spoof\n"
    ),
}
COMMANDS = {
    "evaluate": (evaluate, ("--cm", "scores.txt", "--cm_key", "key.txt"), False),
    "compare": (
        compare,
        ("scores.txt", "scores.txt", "--cm_key", "key.txt", "--bootstrap", 3),
        True,
    ),
    "localization": (
        evaluate_localization,
        ("--frame_scores", "frames.txt", "--rttm", "ref.rttm", "--resolutions", "0.02"),
        False,
    ),
    "mixtures": (evaluate_mixtures, ("--key", "mixtures.txt", "--cm", "talkers.txt"), False),
    "cross table": (cross_table, ("--exp_dirs", "x"), False),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Folder with all tables, which is the current one."""
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text)
    results = {"n_bonafide": 2, "n_spoof": 2, "eer": 0.9, "min_dcf": 1.0, "tie": "merge"}
    cost = {"name": "x", "p_spoof": 0.05, "p_nontarget": 0.0095, "c_miss": 1.0}
    cost |= {"c_fa_nontarget": 10.0, "c_fa_spoof": 10.0, "threshold": -0.6418538861723947}
    (tmp_path / "x").mkdir()
    (tmp_path / "x/results_eval.json").write_text(json.dumps(results | {"cost": cost}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


BAD_OPTIONS = [
    ("evaluate", ("--bootstrap", -1), '"bootstrap": Not of type NonNegativeInt: -1'),
    ("compare", ("--bootstrap", 0), '"bootstrap": Not of type PositiveInt: 0'),
    ("localization", ("--bootstrap", -1), '"bootstrap": Not of type NonNegativeInt: -1'),
    ("mixtures", ("--bootstrap", -1), '"bootstrap": Not of type NonNegativeInt: -1'),
    ("evaluate", ("--cost", "asvspoof2019:p_spoof=x"), "p_spoof is 'x', expected a number"),
    ("evaluate", ("--cost", "asvspoof2019:p_spoof="), "p_spoof is '', expected a number"),
    ("evaluate", ("--cost", "asvspoof2019:p_spoof=nan"), "p_spoof is 'nan', expected a number"),
    ("evaluate", ("--cost", "asvspoof2019:p_spoof=1"), "p_spoof is 1, expected a number between"),
    (
        "evaluate",
        ("--cost", "asvspoof2019:c_fa_nontarget=inf"),
        "c_fa_nontarget is inf, expected a positive finite number",
    ),
    ("compare", ("--cost", "asvspoof2019:c_miss=-1"), "--cost: cost model"),
    ("mixtures", ("--cost", "asvspoof2019:c_miss=1_0"), "c_miss is '1_0', expected a number"),
    ("mixtures", ("--threshold", "nan"), "threshold"),
    ("mixtures", ("--threshold", "inf"), "threshold"),
    ("localization", ("--resolutions", "a"), "--resolutions: 'a', expected seconds above 0"),
    ("localization", ("--resolutions", "inf"), "--resolutions: 'inf', expected seconds above 0"),
    ("localization", ("--resolutions", ""), "--resolutions: '', expected seconds above 0"),
    ("localization", ("--resolutions", "-0.02"), "expected seconds above 0"),
    ("localization", ("--cluster", "speaker"), "--cluster names a column of --meta"),
    ("evaluate", ("--meta", "attacks.txt"), "--meta is attacks.txt, but neither --by nor"),
    ("compare", ("--meta", "attacks.txt"), "--meta is attacks.txt, but no --cluster"),
    ("evaluate", ("--both",), "--both goes with --by"),
    ("evaluate", ("--meta", "codecs.txt", "--by", "attack"), "has no column 'attack'"),
    (
        "evaluate",
        ("--asv_scores", "asv.txt", "--asv_rates", "[0,0,0]"),
        "expected one of them",
    ),
]


def words_of(command: str) -> tuple[Callable, list, bool]:
    function, words, positional = COMMANDS[command]
    return function, list(words), positional


@pytest.mark.parametrize(("command", "option", "message"), BAD_OPTIONS, ids=str)
def test_an_option_that_can_not_be_meant_is_one_line(
    monkeypatch, capsys, folder, command, option, message
):
    function, words, positional = words_of(command)
    option = [*option, "--json", "out.json"]
    assert message in refused(monkeypatch, capsys, function, *words, *option, positional=positional)
    assert not os.path.exists("out.json")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_can_not_be_written_is_told_before_the_work(
    monkeypatch, capsys, folder, command
):
    """The inputs don't exist, and yet the output is what the message is about."""
    function, words, positional = words_of(command)
    words = [word.replace(".", "-none.") if isinstance(word, str) else word for word in words]
    (folder / "taken").mkdir()
    for path in ("taken", "key.txt/out.json"):
        message = refused(
            monkeypatch, capsys, function, *words, "--json", path, positional=positional
        )
        assert f"{path}: can't be written: " in message
    if command in ("evaluate", "localization", "mixtures"):
        message = refused(monkeypatch, capsys, function, *words, "--json", "o", "--txt", "o")
        assert "o: two outputs of one name" in message


FLIPPED = [
    ("evaluate", ("--cm", "flipped.txt", "--cm_key", "key.txt"), "pooled: EER above 50 %"),
    (
        "compare",
        ("scores.txt", "flipped.txt", "--cm_key", "key.txt", "--bootstrap", 3),
        "flipped.txt: EER above 50 %",
    ),
    (
        "localization",
        ("--frame_scores", "flipped_frames.txt", "--rttm", "ref.rttm", "--resolutions", "0.02"),
        "all: range EER above 50 %",
    ),
    (
        "mixtures",
        ("--key", "mixtures.txt", "--cm", "flipped_talkers.txt"),
        "flipped_talkers.txt: any spoof EER above 50 %",
    ),
    ("cross table", ("--exp_dirs", "x"), "x on eval: EER above 50 %"),
]


@pytest.mark.parametrize(("command", "words", "message"), FLIPPED, ids=COMMANDS)
def test_flipped_scores_are_warned_of_in_every_command(
    monkeypatch, caplog, folder, command, words, message
):
    function, right_words, positional = words_of(command)
    run(monkeypatch, function, *words, positional=positional)
    assert f"{message}, the polarity may be flipped (higher is bona fide)" in caplog.text
    if command != "cross table":
        caplog.clear()
        run(monkeypatch, function, *right_words, positional=positional)
        assert "polarity" not in caplog.text


def test_results_that_were_cut_are_no_table(monkeypatch, capsys, folder):
    path = folder / "x/results_eval.json"
    whole = json.loads(path.read_text())
    for change, message in (
        ({"n_spoof": "many"}, "n_spoof is 'many', expected a number"),
        ({"cost": 3}, "cost is 3, expected"),
        ({"cost": whole["cost"] | {"p_spoof": None}}, "p_spoof is None, expected a number"),
        ({"cost": whole["cost"] | {"other": 1}}, "cost is {"),
    ):
        path.write_text(json.dumps(whole | change))
        assert message in refused(monkeypatch, capsys, cross_table, "--exp_dirs", "x")
    path.write_text("[1]")
    assert "no results_*.json" in refused(monkeypatch, capsys, cross_table, "--exp_dirs", "x")


def test_asv_scores_of_other_attacks_give_no_tdcf(monkeypatch, capsys, caplog, folder):
    words = ["--cm", "scores.txt", "--cm_key", "key.txt", "--asv_scores", "asv.txt"]
    words += ["--meta", "attacks.txt", "--by", "attack", "--json", "out.json"]
    run(monkeypatch, evaluate, *words)
    by = json.loads((folder / "out.json").read_text())["by"]
    assert "min_tdcf_2019" in by["A07"] and "min_tdcf_2019" not in by["A08"]
    assert "asv.txt: no t-DCF of A08" in caplog.text
    accepts_none = TABLES["asv.txt"] + "A08 spoof -9\n"
    (folder / "asv.txt").write_text(accepts_none)
    run(monkeypatch, evaluate, *words)
    assert "the ASV system accepts no spoof of A08: no t-DCF" in caplog.text
    (folder / "asv.txt").write_text(TABLES["asv.txt"].replace("A07", "A17"))
    message = refused(monkeypatch, capsys, evaluate, *words)
    assert (
        "asv.txt: spoofs of A17, expected some of A07, A08, the attacks in attacks.txt" in message
    )
    for missing in ("target", "nontarget", "spoof"):
        lines = TABLES["asv.txt"].splitlines()
        kept = [line for line in lines if line.split()[1] != missing]
        (folder / "asv.txt").write_text("\n".join(kept) + "\n")
        message = refused(monkeypatch, capsys, evaluate, *words)
        assert f"asv.txt: no {missing} trial among {len(kept)}" in message


def test_track_2_has_the_cost_model_of_track_2(monkeypatch, capsys, folder):
    words = ["--m", "t2_single", "--sasv", "sasv.txt", "--sasv_key", "sasv_key.txt"]
    run(monkeypatch, evaluate, *words)
    assert capsys.readouterr().out.startswith("cost model: asvspoof5_track2, ")
    message = refused(monkeypatch, capsys, evaluate, *words[2:], "--m", "t2_tandem")
    assert "'spk filename sasv-score', which has no column 'cm-score'" in message


def test_a_zero_has_no_sign(monkeypatch, capsys, folder):
    """The minimum Cllr of separated classes is the negative of a sum of zeros."""
    run(monkeypatch, evaluate, "--cm", "scores.txt", "--cm_key", "key.txt", "--json", "o.json")
    assert "-0.0000" not in capsys.readouterr().out
    assert str(json.loads((folder / "o.json").read_text())["min_cllr"]) == "0.0"


def test_two_columns_with_a_header_are_read_by_it(folder):
    assert read_condition("codecs.txt", "codec", ["B", "A"]).tolist() == ["mp3", "opus"]
    with pytest.raises(InputError, match="codecs.txt:1: header 'utt codec' has no column 'attack'"):
        read_condition("codecs.txt", "attack", ["A"])
    # A title that isn't known: the only line that is of no utterance.
    (folder / "codecs.txt").write_text(TABLES["codecs.txt"].replace("utt codec", "stimulus codec"))
    with pytest.raises(InputError, match="no column 'attack'"):
        read_condition("codecs.txt", "attack", ["A", "B", "C", "D"])
    # Other utterances are no header.
    assert read_condition("attacks.txt", "attack", ["C"]).tolist() == ["A07"]
    with pytest.raises(InputError, match=r"attacks.txt: no line for E \(2 such\)"):
        read_condition("attacks.txt", "attack", ["A", "E", "F"])


def test_synonyms_of_labels_are_taken_and_said(caplog, folder):
    (folder / "key.txt").write_text("filename cm-label\nA genuine\nB bona-fide\nC fake\nD spoof\n")
    with caplog.at_level(logging.INFO):
        names, classes, _ = read_trials("scores.txt", "key.txt")
    assert (names, classes.tolist()) == (list("ABCD"), ["bonafide"] * 2 + ["spoof"] * 2)
    assert "key.txt: 1 labels 'genuine' are taken for bonafide" in caplog.text
    assert "key.txt: 1 labels 'fake' are taken for spoof" in caplog.text
    (folder / "key.txt").write_text("filename cm-label\nA maybe\n")
    with pytest.raises(
        InputError, match="key.txt:2: A: label 'maybe', expected one of spoof, bona"
    ):
        read_trials("scores.txt", "key.txt")


FORMATS = [
    ("cut gzip", gzip.compress(b"filename cm-score\nA 1\n")[:-3], "not a whole gzip file"),
    ("underscore", b"filename cm-score\nA 1_5\n", ":2: A: '1_5', expected a number"),
    (
        "digits of another script",
        "filename cm-score\nA ١.٥\n".encode(),
        ":2: A: '١.٥', expected a number",
    ),
    ("NaN", b"filename cm-score\nA nan\n", ":2: A: NaN, expected a number"),
]


@pytest.mark.parametrize(("data", "message"), [row[1:] for row in FORMATS], ids=lambda row: "")
def test_other_formats_are_named(folder, data, message):
    (folder / "scores.txt").write_bytes(data)
    with pytest.raises(InputError) as error:
        read_trials("scores.txt", "key.txt")
    assert message in str(error.value)


def test_missing_and_surplus_utterances_are_counted(folder, caplog):
    (folder / "scores.txt").write_text("filename cm-score\nA 1\n")
    with pytest.raises(
        InputError, match=r"scores.txt: 3 of 4 trials of key.txt have no score: B, C, D$"
    ):
        read_trials("scores.txt", "key.txt")
    (folder / "scores.txt").write_text(TABLES["scores.txt"] + "X 1\nY 1\n")
    read_trials("scores.txt", "key.txt")
    assert "2 trials of scores.txt are left out, as key.txt lacks them" in caplog.text


def test_segments_of_an_id_with_slashes_stay_in_their_folder(monkeypatch, folder):
    for name in ("frames.txt", "ref.rttm"):
        (folder / name).write_text(TABLES[name].replace("U", "../../../U"))
    words = ["--frame_scores", "frames.txt", "--dev_frame_scores", "frames.txt"]
    run(monkeypatch, segments, *words, "--dev_rttm", "ref.rttm", "--out_dir", "a/b")
    assert [path.name for path in (folder / "a/b/labels").iterdir()] == ["%2E.%2F..%2F..%2FU.txt"]
    assert list(read_rttm("a/b/segments.rttm")) == ["../../../U"]


def test_segments_need_frames_of_one_length_and_spoofed_time_on_dev(monkeypatch, capsys, folder):
    (folder / "longer.txt").write_text("U 0 0.04 1\n")
    words = ["--dev_frame_scores", "frames.txt", "--dev_rttm", "ref.rttm", "--out_dir", "out"]
    message = refused(monkeypatch, capsys, segments, *words, "--frame_scores", "longer.txt")
    assert "longer.txt: frames of 0.04 s, expected 0.02 s as in frames.txt" in message
    (folder / "ref.rttm").write_text(TABLES["ref.rttm"].replace("spoof", "bonafide"))
    message = refused(monkeypatch, capsys, segments, *words, "--frame_scores", "frames.txt")
    assert "frames.txt: no spoofed time in the dev set" in message


# A reader, the table that is damaged, and the rows that the result stands for.
READERS = {
    "scores": ("scores.txt", lambda path: 1 + len(read_scores(path))),
    "key": ("key.txt", lambda path: 1 + len(read_trials("scores.txt", path)[0])),
    "scores with a key": ("scores.txt", lambda path: 1 + len(read_trials(path, "key.txt")[0])),
    "conditions": ("attacks.txt", lambda path: len(read_condition(path, "attack", "ABCD"))),
    "conditions with a header": (
        "codecs.txt",
        lambda path: len(read_condition(path, "codec", "ABCD")),
    ),
    "ASV scores": (
        "asv.txt",
        lambda path: sum(len(scores) for scores in read_asv_scores(path)[0].values()),
    ),
    "verification": (
        "sasv.txt",
        lambda path: 1 + len(read_verification(path, "sasv_key.txt", ["sasv-score"])[0]),
    ),
    "key of verification": (
        "sasv_key.txt",
        lambda path: 1 + len(read_verification("sasv.txt", path, ["sasv-score"])[0]),
    ),
    "frames": (
        "frames.txt",
        lambda path: sum(len(frames.score) for frames in read_frames(path)[0].values()),
    ),
    "segments": ("ref.rttm", lambda path: sum(len(row.label) for row in read_rttm(path).values())),
    "key of mixtures": ("mixtures.txt", lambda path: 1 + len(read_key(path).names)),
    "scores of mixtures": (
        "talkers.txt",
        lambda path: 1 + read_mixtures(read_key("mixtures.txt"), path, None, None).scores_MK.size,
    ),
}
# Pieces that files of other tools have, and that parsers stumble over.
PIECES = [b"\t", b" ", b"\n", b"\r", b"\r\n", b"\0", b"\x1b[31m", b"\xff", b",", b"1_0", b"nan"]
PIECES += [b"inf", b"-", b"1e999", "١".encode(), "\u00a0".encode(), "\u2028".encode(), b"\x0c"]
PIECES += [b"filename", b"\xef\xbb\xbf", b"..", b"|", b"#", b"9" * 400, b"-0", b"0x1", b""]
mutations = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 12), st.sampled_from(PIECES)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize(("name", "read"), READERS.values(), ids=READERS)
@examples(40)
@given(changes=mutations)
def test_a_damaged_table_is_refused_or_has_as_many_rows_as_lines(folder, name, read, changes):
    data = TABLES[name].encode()
    for position, removed, piece in changes:
        position %= len(data) + 1
        data = data[:position] + piece + data[position + removed :]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place, name)
        path.write_bytes(data)
        with suppress(InputError):
            rows = read(str(path))
            text = data.decode("utf-8-sig").replace("\r\n", "\n")
            if "\n" not in text.rstrip("\n") and "\r" in text:
                text = text.replace("\r", "\n")
            lines = [line for line in text.split("\n") if line.strip()]
            while lines and lines[0].startswith("# "):
                del lines[0]  # a comment
            if name in ("attacks.txt", "codecs.txt"):
                # The table of conditions may have more utterances than are asked for.
                assert rows <= len(lines)
            elif name in ("scores.txt", "key.txt"):
                # It may have lost its header, and is one of another format then.
                assert rows in (len(lines), len(lines) + 1)
            else:
                assert rows == len(lines)
