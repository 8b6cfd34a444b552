"""Score and key files as others write them: recognised, read, and matched with each other."""

import gzip
import os
import pickle

import numpy as np
import pytest

from wedefense_lite.files import InputError
from wedefense_lite.interop import cells
from wedefense_lite.interop.score_tables import (
    matched,
    read_key_table,
    read_labelled_scores,
    read_score_table,
)

SCORES = {"LA_E_1": 1.5, "LA_E_2": -0.25, "LA_E_3": -3e-7}
SCORE_FILES = {
    "ours": "filename\tcm-score\nLA_E_1\t1.5\nLA_E_2\t-0.25\nLA_E_3\t-3e-7\n",
    "2021": "LA_E_1 1.5\nLA_E_2 -0.25\nLA_E_3 -3e-7\n",
    "2019": "LA_E_1 - bonafide 1.5\nLA_E_2 A07 spoof -0.25\nLA_E_3 A19 spoof -3e-7\n",
    "NII": "Output, LA_E_1, 1, 1.5\nOutput, LA_E_2, 0, -0.25\nOutput, LA_E_3, 0, -3e-7\n",
    "CSV": "score,file_name\n1.5,LA_E_1\n-0.25,LA_E_2\n-3e-7,LA_E_3\n",
    "TSV": "label\tutt\tllr\n1\tLA_E_1\t1.5\n0\tLA_E_2\t-0.25\n0\tLA_E_3\t-3e-7\n",
    "semicolons": "filename;cm-score\nLA_E_1;1.5\nLA_E_2;-0.25\nLA_E_3;-3e-7\n",
    "semicolons, commas in cells": (
        "utt;text, spoken;score\nLA_E_1;a,b;1.5\nLA_E_2;c;-0.25\nLA_E_3;;-3e-7\n"
    ),
    "TSV with empty cells": (
        "filename\tspeaker\tcm-score\nLA_E_1\t\t1.5\nLA_E_2\tx\t-0.25\nLA_E_3\t\t-3e-7\n"
    ),
    "TSV with spaces in cells": (
        "filename\tspeaker\tcm-score\nLA_E_1\tAlec Guinness\t1.5\nLA_E_2\tx\t-0.25\n"
        "LA_E_3\t\t-3e-7\n"
    ),
    "TSV of pandas": "\tutt\tnote\tscore\n0\tLA_E_1\t\t1.5\n1\tLA_E_2\t\t-0.25\n2\tLA_E_3\t\t-3e-7\n",
    "protocol, tab, score": (
        "LA_0039 LA_E_1 - - bonafide\t1.5\nLA_0014 LA_E_2 - A07 spoof\t-0.25\n"
        "LA_0040 LA_E_3 - A19 spoof\t-3e-7\n"
    ),
    "two tabs between cells": "filename\t\tcm-score\nLA_E_1\t1.5\nLA_E_2\t\t-0.25\nLA_E_3\t-3e-7\n",
    "AntiDeepfake": (
        'ID,Score,Label\nLA_E_1,"[-0.75, 0.75]",1\nLA_E_2,"[0.125, -0.125]",0\n'
        'LA_E_3,"[3e-07, 0.0]",0\n'
    ),
    "NII behind a line with bars": (
        "a | b ; c\nOutput, LA_E_1, 1, 1.5\nOutput, LA_E_2, 0, -0.25\nOutput, LA_E_3, 0, -3e-7\n"
    ),
    "ASVspoof 5's first package": (
        "LA_0015 LA_E_1 1.5 bonafide\nLA_0007 LA_E_2 -0.25 spoof\nLA_0007 LA_E_3 -3e-7 spoof\n"
    ),
    "labels before scores": "LA_E_1 bonafide 1.5\nLA_E_2 spoof -0.25\nLA_E_3 spoof -3e-7\n",
    "scores before labels": "LA_E_1 1.5 real\nLA_E_2 -0.25 fake\nLA_E_3 -3e-7 fake\n",
    "2021 LA with scores": (
        "LA_0009 LA_E_1 none loc_tx bonafide bonafide notrim eval 1.5\n"
        "LA_0020 LA_E_2 alaw ita_tx A07 spoof notrim eval -0.25\n"
        "LA_0020 LA_E_3 g722 ita_tx A19 spoof notrim progress -3e-7\n"
    ),
    "2019 protocol with scores": (
        "LA_0039 LA_E_1 - - bonafide 1.5\nLA_0014 LA_E_2 - A07 spoof -0.25\n"
        "LA_0040 LA_E_3 - A19 spoof -3e-7\n"
    ),
    "NII between other lines": (
        "---- start ----\nLoading x, y\nOutput, LA_E_1, 1, 1.5\nOutput, LA_E_2, 0, -0.25\n"
        "time 3.2\nOutput, LA_E_3, 0, -3e-7\n"
    ),
    "comments": "# <utterance_id> <score>\nLA_E_1 1.5\nLA_E_2 -0.25\nLA_E_3 -3e-7\n",
    "Windows": "\ufeffLA_E_1 1.5\r\nLA_E_2 -0.25\r\n\r\nLA_E_3 -3e-7\r\n",
}
LABELS = {"LA_E_1": "bonafide", "LA_E_2": "spoof", "LA_E_3": "spoof"}
ATTACKS = {"LA_E_1": "-", "LA_E_2": "A07", "LA_E_3": "A19"}
KEY_FILES = {
    "ours": ("filename\tcm-label\nLA_E_1\tbonafide\nLA_E_2\tspoof\nLA_E_3\tspoof\n", ()),
    "utt2lab": ("LA_E_1 bonafide\nLA_E_2 spoof\nLA_E_3 spoof\n", ()),
    "semicolons": ("file;label\nLA_E_1;bonafide\nLA_E_2;spoof\nLA_E_3;spoof\n", ()),
    "AntiDeepfake": (
        'ID,Score,Label\nLA_E_1,"[-0.75, 0.75]",1\nLA_E_2,"[0.125, -0.125]",0\n'
        'LA_E_3,"[3e-07, 0.0]",0\n',
        ("Score",),
    ),
    "words": ("LA_E_1 Bona-Fide\nLA_E_2 FAKE\nLA_E_3 deepfake\n", ()),
    "2019": (
        "LA_0039 LA_E_1 - - bonafide\nLA_0014 LA_E_2 - A07 spoof\nLA_0040 LA_E_3 - A19 spoof\n",
        ("speaker", "environment", "attack"),
    ),
    "2021 LA": (
        "LA_0009 LA_E_1 none loc_tx - bonafide notrim eval\n"
        "LA_0009 LA_E_9 alaw ita_tx A07 spoof notrim progress\n"
        "LA_0020 LA_E_2 alaw ita_tx A07 spoof notrim eval\n"
        "LA_0020 LA_E_3 g722 ita_tx A19 spoof notrim eval\n",
        ("speaker", "codec", "transmission", "attack", "trim", "phase"),
    ),
    "2021 DF": (
        "TEF2 LA_E_1 low_m4a vcc2020 - bonafide notrim eval bonafide - - - -\n"
        "LA_0023 LA_E_2 nocodec asvspoof A07 spoof notrim eval traditional_vocoder - - - -\n"
        "LA_0043 LA_E_3 mp3m4a asvspoof A19 spoof notrim eval waveform_concat - - - -\n",
        (
            *("speaker", "codec", "source", "attack", "trim", "phase"),
            *("vocoder", "task", "team", "gender-pair", "language"),
        ),
    ),
    "2021 PA": (
        "PA_0010 LA_E_1 R3 M3 d4 - - - - bonafide notrim eval\n"
        "PA_0010 LA_E_2 R3 M3 d4 r1 m1 s4 c4 spoof notrim eval\n"
        "PA_0011 LA_E_9 R3 M3 d4 r1 m1 s4 c4 spoof trim hidden\n"
        "PA_0011 LA_E_3 R5 M1 d2 r2 m3 s2 c3 spoof notrim eval\n",
        (
            *("speaker", "asv_room", "asv_mic", "dis_to_asv", "att_room", "att_mic", "att_d"),
            *("att_to_spk", "trim", "phase"),
        ),
    ),
    "ASVspoof 5 in full": (
        "tar_spk_anon trial_anon gender codec cm-label asv-label attack_anon track_2_tag\n"
        "E_1 LA_E_1 F C00 bonafide target bonafide used\n"
        "E_2 LA_E_2 M C05 spoof spoof A07 used\nE_3 LA_E_3 M C05 spoof spoof A19 dummy\n",
        ("tar_spk_anon", "gender", "codec", "asv-label", "attack_anon", "track_2_tag"),
    ),
    "2015": (
        "T1 LA_E_1 human human\nT1 LA_E_2 A07 spoof\nT2 LA_E_3 A19 spoof\n",
        ("speaker", "attack"),
    ),
    "CtrSVDD": (
        "kiritan S_1 LA_E_1 - - bonafide\nkiritan S_1 LA_E_2 - A07 deepfake\n"
        "kiritan S_1 LA_E_3 - A19 deepfake\n",
        ("source", "speaker", "attack"),
    ),
    "LlamaPartialSpoof": (
        "LA_E_1 1.5 bonafide 0.00-1.50-bonafide\nLA_E_2 2 spoof 0.00-1.20-bonafide 1.2-2-spoof\n"
        "LA_E_3 1 spoof 0.00-1-spoof\n",
        ("duration",),
    ),
    "HAD": ("LA_E_1 0.00-1.50-T 1\nLA_E_2 0.00-1.20-T/1.20-2-F 0\nLA_E_3 0-1-F 0\n", ()),
    "2019 scores": (
        "LA_E_1 - bonafide 1.5\nLA_E_2 A07 spoof -0.25\nLA_E_3 A19 spoof -3e-7\n",
        ("attack",),
    ),
    "2017": (
        "LA_E_1 genuine M0017 S02 - - -\nLA_E_2 spoof M0022 S05 E01 P02 R04\n"
        "LA_E_3 spoof M0022 S05 E01 P02 R04\n",
        ("speaker", "phrase", "environment", "playback", "recording"),
    ),
    "ASVspoof 5": (
        "E_2 LA_E_1 F - 0 - - bonafide bonafide -\n"
        "E_1607 LA_E_2 M C05 2 E_0009486171 AC1 A07 spoof -\n"
        "E_1607 LA_E_3 M C05 2 E_0009486171 AC1 A19 spoof -\n",
        ("speaker", "gender", "codec", "codec_q", "codec_seed", "attack_tag", "attack"),
    ),
    "arena": ("file_name,label\nLA_E_1,bonafide\nLA_E_2,spoof\nLA_E_3,spoof\n", ()),
    "meta.csv": (
        'file,speaker,label\nLA_E_1,"Guinness, Alec",bona-fide\nLA_E_2,x,spoof\nLA_E_3,x,spoof\n',
        ("speaker",),
    ),
}


@pytest.mark.parametrize("name", SCORE_FILES)
@pytest.mark.parametrize("packed", [False, True])
def test_scores_of_every_format(tmp_path, name, packed):
    content = SCORE_FILES[name].encode()
    (tmp_path / "scores").write_bytes(gzip.compress(content) if packed else content)
    assert read_score_table(tmp_path / "scores").scores == SCORES


@pytest.mark.parametrize("name", KEY_FILES)
def test_keys_of_every_format(tmp_path, name):
    text, conditions = KEY_FILES[name]
    (tmp_path / "key").write_text(text)
    key = read_key_table(tmp_path / "key")
    assert key.labels == LABELS
    assert tuple(key.conditions) == conditions
    if "attack" in conditions:
        assert key.conditions["attack"] == ATTACKS


def test_the_format_is_said(tmp_path):
    (tmp_path / "scores").write_text(SCORE_FILES["2019"])
    assert read_score_table(tmp_path / "scores").format == "ASVspoof 2019 CM scores"
    (tmp_path / "key").write_text(KEY_FILES["2021 LA"][0])
    assert read_key_table(tmp_path / "key").format == (
        "ASVspoof 2021 LA trial metadata, phase eval: 3 of 4 trials"
    )


def test_all_of_mlaad_is_spoofed(tmp_path):
    header = "path|original_file|language|model_name|architecture|transcript"
    row = "./fake/de/griffin_lim/a_01.wav|a.wav|de|griffin_lim|gl|Er sagte, es sei so."
    (tmp_path / "meta.csv").write_text(f"{header}\n{row}\n")
    key = read_key_table(tmp_path / "meta.csv")
    assert key.labels == {"./fake/de/griffin_lim/a_01.wav": "spoof"}
    assert list(key.conditions["architecture"].values()) == ["gl"]
    assert "all of it spoofed" in key.format


def test_a_transcript_between_bars_may_begin_with_a_quote(tmp_path):
    header = "path|model_name|architecture|transcript"
    rows = 'a.wav|x|gl|"Er sagte, es sei so.\nb.wav|x|gl|Ja.\n'
    (tmp_path / "meta.csv").write_text(f"{header}\n{rows}")
    assert read_key_table(tmp_path / "meta.csv").labels == {"a.wav": "spoof", "b.wav": "spoof"}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["numbers", "scalars", "arrays", "columns"])
def test_scores_in_pickles_of_every_protocol(tmp_path, protocol, kind):
    values = list(SCORES.values())
    content = {
        "numbers": dict(SCORES),
        "scalars": dict(zip(SCORES, map(np.float64, values))),
        "arrays": dict(zip(SCORES, np.array(values)[:, None])),
        "columns": {"utt": np.array(list(SCORES)), "score": np.array(values)},
    }[kind]
    save_pickle(tmp_path / "s.pkl", content, protocol)
    assert read_score_table(tmp_path / "s.pkl").scores == SCORES


def test_scores_without_labels_say_that_a_key_is_needed(tmp_path):
    (tmp_path / "s.txt").write_text("a 1\nb 2\n")
    save_pickle(tmp_path / "s.pkl", {"a": 1.0})
    (tmp_path / "s.log").write_text("Output, a, 1, 1.5\nOutput, b, 0, 2.5\n")
    for name in ("s.txt", "s.pkl", "s.log"):
        with pytest.raises(InputError, match=f"{name}: scores without labels in words, expected"):
            read_labelled_scores(tmp_path / name)
    with pytest.raises(InputError, match="s.log: NII's log has numbers as labels, and toolkits"):
        read_key_table(tmp_path / "s.log")


def test_scores_with_labels_need_no_ids_to_join_them_by(tmp_path):
    rows = "p257/p257_225 - bonafide 2\np257/p257_225 VC1 spoof -1\np257/p257_226 VC1 spoof -2\n"
    (tmp_path / "cm_dev.txt").write_text(rows)
    key, scores, remark = read_labelled_scores(tmp_path / "cm_dev.txt")
    assert scores == {"p257/p257_225": 2, "p257/p257_225#2": -1, "p257/p257_226": -2}
    assert list(key.labels.values()) == ["bonafide", "spoof", "spoof"]
    assert list(key.conditions["attack"].values()) == ["-", "VC1", "VC1"]
    assert remark.endswith("1 ids are on several lines, each of which is a trial")
    (tmp_path / "table").write_text("file label\na spoof\n")
    with pytest.raises(InputError, match="has 0 columns of scores, expected one of the names"):
        read_labelled_scores(tmp_path / "table")


def test_a_phase_of_2021_is_chosen(tmp_path):
    (tmp_path / "key").write_text(KEY_FILES["2021 LA"][0])
    assert read_key_table(tmp_path / "key", phase="progress").labels == {"LA_E_9": "spoof"}
    assert len(read_key_table(tmp_path / "key", phase="all").labels) == 4
    with pytest.raises(InputError, match="phase 'hidden', expected one of eval, progress or all"):
        read_key_table(tmp_path / "key", phase="hidden")


BAD_SCORES = {
    "a b c\n": ":1: 'a b c' is of no known format",
    "a 1\na 2\n": ":2: a is there twice",
    "a 1\nb x\n": ":2: b: 'x', expected a number",
    "a 1\nb nan\n": ":2: b: NaN",
    "a 1\nb\n": ":2: 1 columns, expected 2",
    "file,score\n": "no line after the header",
    "file score cm-score\na 1 -1\n": ":1: header 'file score cm-score' has two columns for",
    "utt score llr\na 1 -1\n": ":1: header 'utt score llr' has two columns for 'score', score and",
    "utt file score\na b 1\n": ":1: header 'utt file score' has two columns for 'utt'",
    "utt score by by\na 1 x y\n": ":1: header 'utt score by by' has two columns for 'by'",
    'file,score\n"a,1\nb,2\n': ":2: a quote that is not closed in its line",
    'file,by,score\na,"x\ny",1\n': ":2: a quote that is not closed in its line",
    "file,score\n,1\n": ":2: no utterance, expected its name",
    "file;score\na;1,5\n": ":2: a: '1,5', expected a number",
    "file\tby\tscore\na\t\t1\nb\tx\t\n": ":3: b: '', expected a number",
    'ID,Score\na,"[1, 2]"\nb,3\n': ":3: b: '3', expected two logits",
    "Output, a, 1, 1.5\nOutput, b, 0\n": ":2: 3 columns, expected 4",
    f"file,score\n{'x' * 200_000},1\n": ":2: field larger than field limit",
    " \n": "empty",
}


@pytest.mark.parametrize("text", BAD_SCORES)
def test_bad_scores_are_refused_by_line(tmp_path, text):
    (tmp_path / "s").write_text(text)
    with pytest.raises(InputError, match=f"/s{BAD_SCORES[text]}|/s: {BAD_SCORES[text]}"):
        read_score_table(tmp_path / "s")


def test_bad_keys_are_refused_by_line(tmp_path):
    (tmp_path / "key").write_text("a spoof\nb maybe\n")
    with pytest.raises(InputError, match="key:2: b has label 'maybe', expected one of"):
        read_key_table(tmp_path / "key")
    (tmp_path / "key").write_text("a 1 spoof 0-1-spoof\nb 1 spoof\n")
    with pytest.raises(InputError, match="key:2: 3 columns, expected at least 4"):
        read_key_table(tmp_path / "key")
    (tmp_path / "key").write_text("file,key,label\na,spoof,bonafide\n")
    with pytest.raises(InputError, match="has two columns for 'label', key and label: expected"):
        read_key_table(tmp_path / "key")
    (tmp_path / "key").write_bytes(gzip.compress(b"a spoof\n" * 1000)[:-9])
    with pytest.raises(InputError, match="key: not a whole gzip file"):
        read_key_table(tmp_path / "key")


@pytest.mark.parametrize("place", [12, 20, 40, -6])
def test_damaged_gzip_is_refused(tmp_path, place):
    rows = "".join(f"utt{number} {number % 7}.{number}\n" for number in range(300))
    content = bytearray(gzip.compress(rows.encode()))
    content[place] ^= 0x55
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(InputError, match="/s: not a whole gzip file"):
        read_score_table(tmp_path / "s")


def test_gzip_of_far_more_than_a_table_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "MOST_BYTES", 1000)
    (tmp_path / "s").write_bytes(gzip.compress(b"a 1\n" * 300))
    with pytest.raises(InputError, match="/s: more than 1000 bytes in a gzip file"):
        read_score_table(tmp_path / "s")


def test_scores_of_more_trials_than_the_key_has_are_left_out_and_counted():
    scores, remarks = matched(
        {"b": 2.0, "x": 0.0, "a": 1.0}, "s", {"a": "spoof", "b": "spoof"}, "k"
    )
    assert list(scores.items()) == [("a", 1.0), ("b", 2.0)]
    assert remarks == ["1 trials of s are left out, as k lacks them"]


def test_trials_of_the_key_without_a_score_are_refused_with_their_number():
    reference = dict.fromkeys("abcdefg", "spoof")
    with pytest.raises(
        InputError, match=r"s: 6 of 7 trials of k have no score: b, c, d, e, f \.\.\."
    ):
        matched({"a": 1.0}, "s", reference, "k")


def test_ids_that_differ_by_folder_and_extension_are_matched_where_that_is_unique():
    reference = {"a": "spoof", "b.c": "spoof"}
    scores, remarks = matched({"x/a.flac": 1.0, "y/b.c.wav": 2.0}, "s", reference, "k")
    assert scores == {"a": 1.0, "b.c": 2.0}
    assert remarks == ["ids of s are matched without folder and extension"]
    with pytest.raises(InputError, match="2 of 2 trials"):
        matched({"x/a.flac": 1.0, "y/a.flac": 3.0, "b.c": 2.0}, "s", {"a": "spoof", "d": ""}, "k")


def test_a_speaker_is_part_of_a_trial():
    scores = {"s1 x/a.wav": 1.0, "s2 x/a.wav": 2.0}
    reference = {"s2 a": "spoof", "s1 a": "target"}
    matched_scores, _ = matched(scores, "s", reference, "k", has_speakers=True)
    assert matched_scores == {"s2 a": 2.0, "s1 a": 1.0}
    with pytest.raises(InputError, match="2 of 2 trials"):
        matched({"s3 x/a.wav": 1.0}, "s", reference, "k", has_speakers=True)


def save_npz(path, **arrays):
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def save_pickle(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol))


ARRAY_FILES = {
    "npy": lambda path: np.save(path, dict(SCORES)),
    "npz by utterance": lambda path: save_npz(path, **SCORES),
    "npz of columns": lambda path: save_npz(
        path, filename=np.array(list(SCORES)), score=np.array(list(SCORES.values()))
    ),
    "pickled numbers": lambda path: save_pickle(path, dict(SCORES), 2),
    "pickled scalars": lambda path: save_pickle(
        path, {name: np.float64(score) for name, score in SCORES.items()}
    ),
    "pickled arrays": lambda path: save_pickle(
        path, {name: np.array([score]) for name, score in SCORES.items()}
    ),
    "pickled columns": lambda path: save_pickle(
        path, {"utt": list(SCORES), "scores": list(SCORES.values()), "epoch": 3}
    ),
}


@pytest.mark.parametrize("name", ARRAY_FILES)
def test_scores_in_arrays(tmp_path, name):
    path = tmp_path / "scores.npy"
    ARRAY_FILES[name](path)
    assert read_score_table(path).scores == SCORES


class Deed:
    def __reduce__(self):
        return os.mkdir, ("/tmp/deed-of-a-pickle",)


BAD_ARRAYS = {
    "several scores": ({"a": [1.0, 2.0]}, "a has 2 values, expected a score"),
    "no utterances": ([1.0, 2.0], "arrays without utterances, expected a dictionary"),
    "no number": ({"a": "x"}, "a: 'x', expected a number"),
    "NaN": ({"a": float("nan")}, "a: NaN, expected a number"),
    "lengths": ({"utt": ["a", "b"], "score": [1.0]}, "1 scores of 2 utterances"),
    "twice": ({"utt": ["a", "a"], "score": [1.0, 2.0]}, "a is there twice"),
    "nothing": ({}, "empty, expected scores"),
    "a call": ({"a": Deed()}, "mkdir is named in it, which arrays don't need; nothing was run"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays_that_are_no_scores_are_refused(tmp_path, name):
    value, words = BAD_ARRAYS[name]
    save_pickle(tmp_path / "s.pkl", value)
    with pytest.raises(InputError, match=f"s.pkl: .*{words}"):
        read_score_table(tmp_path / "s.pkl")
    assert not os.path.exists("/tmp/deed-of-a-pickle")


def test_one_list_named_many_times_takes_no_memory(tmp_path):
    numbers = [float(value) for value in range(100_000)]
    save_pickle(tmp_path / "s.pkl", {"a": [numbers] * 100_000})
    with pytest.raises(InputError, match="more values than the file has room for"):
        read_score_table(tmp_path / "s.pkl")
    damaged = pickle.dumps({"a": np.arange(4.0)}).replace(b"K\x04\x85", b"K\x05\x85")
    (tmp_path / "s.pkl").write_bytes(damaged)
    with pytest.raises(InputError, match="4 values in a shape of 5"):
        read_score_table(tmp_path / "s.pkl")
