"""The same recording in two sets under two ids."""

import logging

import pytest
import soundfile as sf
from commands import run_script
from corpora import RATE, tone

from wedefense_lite.audio.duplicates import HEAD, find_duplicates
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import write_lines


def write(path, wav):
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, wav, RATE)
    return Utterance(path.stem, str(path))


@pytest.fixture
def sets(tmp_path):
    """Train and eval share one recording in two containers; others share their beginning alone."""
    long = tone(1, HEAD + 4000)
    changed = long.copy()
    changed[-1] += 1
    train = [
        write(tmp_path / "train/t1.wav", long),
        write(tmp_path / "train/t2.wav", tone(2, 800)),
        write(tmp_path / "train/t3.wav", tone(2, 800)),
    ]
    evaluation = [
        write(tmp_path / "eval/e1.flac", changed),
        write(tmp_path / "eval/e2.flac", tone(3, 800)),
        write(tmp_path / "eval/e3.flac", long),
        Utterance("e4", str(tmp_path / "gone.wav")),
        Utterance("e5", "cat x.wav |"),
    ]
    return {"train": train, "eval": evaluation}


def test_a_recording_in_two_sets_is_found_whatever_its_container(sets):
    duplicates = find_duplicates(sets)
    assert duplicates.pairs == {("train", "eval"): [("t1", "e3")]}
    assert sorted(duplicates.unread) == ["e4", "e5"]


def test_validation_names_it_and_can_leave_it_out(sets, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for name, rows in sets.items():
        folder = tmp_path / f"data/{name}"
        folder.mkdir(parents=True)
        write_lines(folder / "wav.scp", [f"{row.key} {row.path}" for row in rows])
        write_lines(folder / "utt2lab", [f"{row.key} spoof" for row in rows])
    words = ("tools/validate_data_dir.py", "data/train", "data/eval")
    assert run_script(tmp_path, *words)[0] == 0
    assert "data/train and data/eval: 1 recordings in both: t1 is e3" in caplog.text
    assert "2 utterances can't be read and are not compared: e5, e4" in caplog.text
    caplog.clear()
    assert run_script(tmp_path, *words, "--audio", "false")[0] == 0
    assert "recordings in both" not in caplog.text
