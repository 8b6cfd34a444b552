"""PartialSpoof in its published format to data directories, and the mini corpus in that format."""

import math
import os
import sys

import numpy as np
import pytest
import soundfile as sf
from commands import ROOT, refused, run
from corpora import RATE, tone

from wedefense_lite.audio.data_dir import check_data_dir
from wedefense_lite.audio.segments import read_rttm
from wedefense_lite.files import write_lines

sys.path.insert(0, str(ROOT / "egs/partialspoof/local"))

import make_mini as mini  # noqa: E402
import prepare_data as published  # noqa: E402
from make_mini import make_mini  # noqa: E402
from prepare_data import prepare_data  # noqa: E402

# Samples of each utterance, and its labels every 10 ms; 0.055 s have five frames and a half.
LABELS = {"CON_1": (880, "110011"), "LA_1": (800, "11111")}


def publish(corpus, labels=LABELS, coarse=("101", "111"), vad=True):
    """Three sets of an utterance of each class; two labels of 10 ms are one of ``coarse``."""
    for name in ("train", "dev", "eval"):
        keys = {utterance: f"{utterance}_{name}" for utterance in labels}
        (corpus / name / "con_wav").mkdir(parents=True)
        for utterance, (samples, _) in labels.items():
            sf.write(corpus / name / "con_wav" / f"{keys[utterance]}.wav", tone(1, samples), RATE)
        write_lines(
            corpus / f"protocols/PartialSpoof_LA_cm_protocols/PartialSpoof.LA.cm.{name}.trl.txt",
            [f"LA_0079 {keys['CON_1']} - CON spoof", f"LA_0098 {keys['LA_1']} - - bonafide"],
        )
        (corpus / "segment_labels").mkdir(exist_ok=True)
        fine = {
            keys[utterance]: np.array(list(row), dtype="<U21")
            for utterance, (_, row) in labels.items()
        }
        np.save(corpus / f"segment_labels/{name}_seglab_0.01.npy", fine)
        rows = dict(zip(keys.values(), map(list, coarse)))
        np.save(corpus / f"segment_labels/{name}_seglab_0.02.npy", rows)
        if vad:
            write_lines(
                corpus / f"vad/{name}/{keys['CON_1']}.vad",
                ["0 0.02 1", "0.02 0.041 0", "0.041 0.055 2"],
            )
            write_lines(corpus / f"vad/{name}/{keys['LA_1']}.vad", ["0.00000 0.05000 1"])
    return corpus


def prepare(monkeypatch, tmp_path, expect_counts="false"):
    words = (
        "--corpus_dir",
        tmp_path / "DB",
        "--data_dir",
        tmp_path / "data",
        "--expect_counts",
        expect_counts,
    )
    run(monkeypatch, prepare_data, *words)
    return tmp_path / "data"


def differences(data):
    return (data / "dev/label_differences.txt").read_text().splitlines()


def test_labels_become_segments_from_0_to_the_end(monkeypatch, tmp_path, caplog):
    caplog.set_level("INFO")
    publish(tmp_path / "DB", coarse=("100", "111"))
    data = prepare(monkeypatch, tmp_path)
    for name in ("train", "dev", "eval"):
        assert (data / name / "segments.rttm").read_text().splitlines() == [
            f"SPEAKER CON_1_{name} 1 0.0000 0.0200 <NA> <NA> bonafide <NA> <NA>",
            f"SPEAKER CON_1_{name} 1 0.0200 0.0200 <NA> <NA> spoof <NA> <NA>",
            f"SPEAKER CON_1_{name} 1 0.0400 0.0150 <NA> <NA> bonafide <NA> <NA>",
            f"SPEAKER LA_1_{name} 1 0.0000 0.0500 <NA> <NA> bonafide <NA> <NA>",
        ]
        tables = check_data_dir(data / name)
        assert tables["utt2attack"] == {f"CON_1_{name}": "CON", f"LA_1_{name}": "-"}
        assert tables["utt2spk"][f"LA_1_{name}"] == "LA_0098"
    assert differences(data) == ["CON_1_dev dev_seglab_0.02.npy: 2 of 3 labels as expected, of 3"]
    assert "dev: 1 differences between publications: CON_1_dev dev_seglab_0.02.npy" in caplog.text


def test_publications_that_agree_differ_in_nothing(monkeypatch, tmp_path):
    publish(tmp_path / "DB")
    assert differences(prepare(monkeypatch, tmp_path)) == []


def test_what_other_publications_say_differently_is_listed_by_name(monkeypatch, tmp_path):
    corpus = publish(
        tmp_path / "DB", {"CON_1": (880, "111111"), "LA_1": (800, "11101")}, coarse=("111", "11")
    )
    write_lines(
        corpus / "dev/con_data/rttm_2cls_0sil",
        ["SPEAKER LA_1_dev 1 0.0 0.05 <NA> <NA> bonafide <NA> <NA>"],
    )
    (corpus / "vad/dev/LA_1_dev.vad").unlink()
    assert differences(prepare(monkeypatch, tmp_path)) == [
        "CON_1_dev protocol: spoof, but 0 frames are spoof",
        "CON_1_dev rttm_2cls_0sil: nothing of it",
        "CON_1_dev vad: 2 frames of 0.01 s differ",
        "LA_1_dev dev_seglab_0.02.npy: 0 of 2 labels as expected, of 3",
        "LA_1_dev protocol: bonafide, but 1 frames are spoof",
        "LA_1_dev rttm_2cls_0sil: 1 frames of 0.01 s differ",
        "LA_1_dev vad: nothing of it",
    ]


@pytest.mark.parametrize("row", ["11001", "110011", "1100111"])
def test_a_list_may_end_a_frame_before_or_after_the_audio(monkeypatch, tmp_path, row):
    """Lists of 5, 6 and 7 labels for 5.5 frames."""
    publish(tmp_path / "DB", {**LABELS, "CON_1": (960, row)}, vad=False)
    segments = read_rttm(prepare(monkeypatch, tmp_path) / "dev/segments.rttm")["CON_1_dev"]
    assert segments.end[-1] == pytest.approx(0.06)
    assert segments.label.tolist() == [1, 0, 1]


@pytest.mark.parametrize("row", ["1001", "11001111"])
def test_a_list_of_another_length_is_named(monkeypatch, capsys, tmp_path, row):
    publish(tmp_path / "DB", {**LABELS, "CON_1": (960, row)}, vad=False)
    words = (
        "--corpus_dir",
        tmp_path / "DB",
        "--data_dir",
        tmp_path / "data",
        "--expect_counts",
        "false",
    )
    said = refused(monkeypatch, capsys, prepare_data, *words)
    assert "train_seglab_0.01.npy: 1 lists of another length than the audio" in said
    assert f"CON_1_train has {len(row)} labels for 0.0600 s" in said
    assert not (tmp_path / "data").exists()


def test_numbers_utterances_and_classes_that_are_not_as_published_are_refused(
    monkeypatch, capsys, tmp_path
):
    corpus = publish(tmp_path / "DB")
    words = ("--corpus_dir", corpus, "--data_dir", tmp_path / "data")
    assert "'bonafide': 2580, 'spoof': 22800" in refused(monkeypatch, capsys, prepare_data, *words)
    assert {name: sum(counts) for name, counts in published.COUNTS.items()} == {
        "train": 25380,
        "dev": 24844,
        "eval": 71237,
    }
    write_lines(corpus / "vad/dev/LA_1_dev.vad", ["0 0.02 1", "0.02 0.05 3"])
    said = refused(monkeypatch, capsys, prepare_data, *words, "--expect_counts", "false")
    assert "LA_1_dev.vad:2: class '3', expected one of 0, 1, 2" in said
    np.save(corpus / "segment_labels/train_seglab_0.01.npy", {"LA_1_train": [1] * 5})
    said = refused(monkeypatch, capsys, prepare_data, *words, "--expect_counts", "false")
    assert "no labels of 1 utterances: CON_1_train" in said
    assert not (tmp_path / "data").exists()


def voice(seed: int, seconds: float) -> np.ndarray:
    """Syllables of a buzz with a little noise; its pitch is the seed's."""
    time = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.cos(2 * np.pi * (100 + 7 * seed) * k * time + seed) / k for k in range(1, 20))
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return 0.05 * buzz * np.abs(np.sin(9 * time)) + 0.0005 * noise


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder of the mini corpus of two speakers in each set, one of whom is never spoofed."""
    folder = tmp_path_factory.mktemp("mini")
    for name, ending in (("train", "train.trn"), ("dev", "dev.trl"), ("eval", "eval.trl")):
        lines = [
            f"{speaker} LA_{speaker}{n} - - bonafide"
            for speaker in ("one", "two")
            for n in range(3)
        ]
        lines += [f"one LA_one{n} - A0{n} spoof" for n in (3, 4)]
        lines.append("espeak LA_espeak5 - A01 spoof")
        write_lines(
            folder / f"in/LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{ending}.txt", lines
        )
        flacs = folder / f"in/LA/ASVspoof2019_LA_{name}/flac"
        flacs.mkdir(parents=True)
        for line in lines:
            key = line.split()[1]
            sf.write(flacs / f"{key}.flac", voice(int(key[-1]), 3), RATE)
    write_lines(folder / "in/stamp.txt", ["as built"])
    make_mini(str(folder / "in"), str(folder / "out"), scale=0.04)
    return folder


def rows(path):
    return [line.split() for line in path.read_text().splitlines()]


@pytest.mark.parametrize("file", ["segments.rttm", "label_differences.txt", "wav.scp"])
def test_a_run_that_is_killed_leaves_no_set_with_files_of_another(monkeypatch, tmp_path, file):
    publish(tmp_path / "DB")
    data = prepare(monkeypatch, tmp_path)
    (data / "train/splices.txt").write_text("CON_1_train 0.02\n")
    replace = os.replace

    def replace_or_die(source, target):
        if target.name == file:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(os, "replace", replace_or_die)
        prepare(monkeypatch, tmp_path)
    assert not list(data.glob("*/utt2lab"))
    prepare(monkeypatch, tmp_path)
    assert len(list(data.glob("*/utt2lab"))) == 3
    assert not (data / "train/splices.txt").exists()


def test_the_mini_corpus_is_read_like_the_published_one(built, tmp_path):
    prepare_data(str(built / "out"), str(tmp_path), expect_counts=False)
    for name, count in (("train", 16), ("dev", 8), ("eval", 12)):
        tables = check_data_dir(tmp_path / name)
        kinds = [key.split("_")[0] for key in tables["utt2lab"]]
        assert [kinds.count(kind) for kind in ("CON", "CTL", "LA")] == [
            count / 2,
            count / 4,
            count / 4,
        ]
        assert set(tables["utt2spk"].values()) == {"one"}
        assert set(tables["utt2attack"].values()) == {"A03", "A04", "-"}
        assert not (tmp_path / name / "label_differences.txt").read_text()
        assert (tmp_path / name / "splices.txt").read_text() == (
            built / "out" / name / "splices.txt"
        ).read_text()
        segments = read_rttm(tmp_path / name / "segments.rttm")
        for key, (start, end, label) in segments.items():
            spoofed = (end - start)[label == 0]
            assert (
                (len(spoofed) > 0) == (tables["utt2lab"][key] == "spoof") == key.startswith("CON")
            )
            if len(spoofed):
                assert 0.1 < spoofed.sum() / end[-1] < 0.7
                assert spoofed.min() > 0.15 and spoofed.max() < 1.2


def test_every_resolution_is_spoof_where_any_of_it_is(built):
    for path in (built / "out/segment_labels").glob("*.npy"):
        size = round(float(path.stem.rpartition("_")[2]) * 100)
        lists = np.load(path, allow_pickle=True).item()
        fine = np.load(
            path.with_name(f"{path.stem.partition('_')[0]}_seglab_0.01.npy"), allow_pickle=True
        ).item()
        for key, labels in lists.items():
            assert len(labels) == math.ceil(len(fine[key]) / size)
            for place, label in enumerate(labels):
                assert label == min(fine[key][place * size : (place + 1) * size])


def test_joints_of_controls_are_listed_and_nothing_else(built):
    for name in ("train", "dev", "eval"):
        listed = rows(built / "out" / name / "splices.txt")
        controls = {path.stem for path in (built / "out" / name / "con_wav").glob("CTL*")}
        assert {key for key, _ in listed} == controls
        for key in controls:
            times = [float(time) for other, time in listed if other == key]
            assert len(times) % 2 == 0 and times == sorted(times) and times[0] > 0.05


def test_the_same_seed_makes_the_same_bytes_and_a_corpus_that_is_there_stays(built, caplog):
    caplog.set_level("INFO")

    def content(folder):
        files = [path for path in (built / folder).rglob("*") if path.is_file()]
        return {path.relative_to(built / folder): path.read_bytes() for path in files}

    make_mini(str(built / "in"), str(built / "again"), scale=0.04)
    assert content("again") == content("out")
    make_mini(str(built / "in"), str(built / "again"), scale=0.04)
    assert "is there already" in caplog.text
    make_mini(str(built / "in"), str(built / "again"), scale=0.04, seed=2)
    assert content("again").keys() == content("out").keys() and content("again") != content("out")


def test_a_splice_is_where_the_track_says_and_leaves_the_rest_alone(monkeypatch, tmp_path):
    """Carrier and donor differ in pitch; parts begin and end where both rise through zero."""
    carrier, donor = voice(1, 3).astype(np.float32), (4 * voice(6, 3)).astype(np.float32)
    sf.write(tmp_path / "donor.wav", donor, RATE, subtype="FLOAT")
    parts = [(8000, 16000), (24000, 32000)]
    wav, track, joints = mini.splice(
        np.random.default_rng(3), carrier, parts, [str(tmp_path / "donor.wav")], 0
    )
    edges = [0, *joints, len(wav)]
    labels = [int(track[first:last].any()) for first, last in zip(edges, edges[1:])]
    assert labels == [1, 0, 1, 0, 1]
    assert (np.diff(track) != 0).sum() == 4 and len(track) == len(wav)
    begin = mini.rise(carrier, 8000)
    assert joints[0] == begin and abs(joints[1] - 16000) < 500
    np.testing.assert_array_equal(wav[:begin], carrier[:begin])
    tail = len(wav) - joints[3]
    np.testing.assert_array_equal(wav[-tail:], carrier[-tail:])
    steps = np.abs(np.diff(wav))
    usual = np.abs(np.diff(carrier)).max()
    for joint in joints:
        assert steps[joint - 5 : joint + 5].max() < 1.5 * usual  # no click
        around = [np.std(part) for part in (wav[joint - 400 : joint], wav[joint : joint + 400])]
        assert 0.4 < around[0] / around[1] < 2.5  # though the donor is four times as loud


def test_a_corpus_without_two_kinds_of_speech_of_a_speaker_is_refused(
    built, tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "LA/ASVspoof2019_LA_cm_protocols"
    write_lines(
        folder / "ASVspoof2019.LA.cm.train.trn.txt", ["a LA_1 - - bonafide", "b LA_2 - A01 spoof"]
    )
    write_lines(tmp_path / "stamp.txt", ["as built"])
    said = refused(
        monkeypatch, capsys, make_mini, "--mini_dir", tmp_path, "--out_dir", tmp_path / "out"
    )
    assert "LA_1.flac: no speaker of its set is heard both bona fide and spoofed" in said
    assert not (tmp_path / "out").exists()
