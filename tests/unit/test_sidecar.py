"""Sidecars: typed, of the files beside them, and told from other JSON."""

import json
import logging
from dataclasses import asdict

import numpy as np
import pytest
from commands import refused, run
from hypothesis import given
from hypothesis import strategies as st

from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.bin.logits_to_llr import logits_to_llr
from wedefense_lite.files import (
    InputError,
    inputs_kept,
    note_input,
    read_json,
    write_json,
    write_lines,
)
from wedefense_lite.localization.frame_scores import read_frames
from wedefense_lite.scoring.archives import read_archive, write_archive
from wedefense_lite.scoring.scores import read_scores
from wedefense_lite.scoring.sidecar import (
    Sidecar,
    begin_results,
    find_sidecar,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)

SIDECAR = Sidecar(class_prior=(0.9, 0.1), model="m.pt", model_hash="abc", frame_seconds=0.02)
ROWS = [(key, np.array([number, 1.0], np.float32)) for number, key in enumerate("abc")]


@pytest.fixture
def logits(tmp_path):
    write_archive(tmp_path / "logits.ark", ROWS)
    write_sidecar(tmp_path / "logits.ark", SIDECAR)
    return tmp_path / "logits.scp"


DAMAGE = {
    "labels": ([1, 2], r"labels is \(1, 2\), expected a list, each text"),
    "class_prior": (
        ["a", "b"],
        r"class_prior is .*, expected a list, each a finite number or null",
    ),
    "has_posterior": (1, "has_posterior is 1, expected true or false"),
    "model": (None, "model is None, expected text"),
    "config_hash": ([], r"config_hash is \(\), expected text"),
    "commit": ({}, r"commit is \{\}, expected text"),
    "model_hash": (7, "model_hash is 7, expected text"),
    "frame_seconds": (-1, "frame_seconds is -1, expected a positive number"),
    "polarity": (["higher is bonafide"], "polarity is .*, expected text"),
    "score": ("logit", "score is 'logit', expected difference or bonafide_logit"),
    "hashes": ({"logits.ark": 1}, "hashes is .*, expected an object, each value text"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_field_of_another_type_is_refused_by_file_and_field(logits, name):
    value, message = DAMAGE[name]
    path = logits.with_suffix(".json")
    write_json(path, read_json(path) | {name: value})
    with pytest.raises(InputError, match=f"logits.json: {message}") as error:
        read_sidecar(logits)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(DAMAGE.keys() - {"frame_seconds", "hashes", "score"}))
def test_a_field_that_is_missing_is_named(logits, name):
    path = logits.with_suffix(".json")
    content = read_json(path)
    del content[name]
    write_json(path, content)
    with pytest.raises(InputError, match=f"logits.json: no field '{name}'"):
        read_sidecar(logits)


@pytest.mark.parametrize("content", [[], 7, None, "text", {}])
def test_json_of_another_kind_is_no_sidecar_of_an_archive(logits, content):
    write_json(logits.with_suffix(".json"), content)
    with pytest.raises(InputError, match="logits.json: .*expected an object with the fields"):
        read_sidecar(logits, required=False)


def test_sidecars_of_before_a_field_existed_are_read(logits):
    path = logits.with_suffix(".json")
    content = asdict(Sidecar(model="m.pt"))
    del content["frame_seconds"], content["hashes"]
    write_json(path, content)
    assert read_sidecar(logits) == Sidecar(model="m.pt")


@pytest.mark.parametrize("name", ["logits.ark", "logits.scp"])
@pytest.mark.parametrize("change", ["flip", "cut", "remove"])
def test_files_that_changed_are_refused(logits, name, change):
    path = logits.with_name(name)
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    if change == "cut":
        del content[-1]
    path.write_bytes(content)
    message = "its hash is .*, expected .* as in .*logits.json"
    if change == "remove":
        path.unlink()
        message = "No such file"
    with pytest.raises(InputError, match=f"{name}: {message}"):
        read_sidecar(logits)


def test_results_are_invalid_from_the_beginning_of_a_run_to_its_end(logits):
    begin_results(logits)
    for required in (True, False):
        with pytest.raises(InputError, match="the run that writes logits.scp has not ended"):
            read_sidecar(logits, required)
    write_sidecar(logits, SIDECAR)
    assert read_sidecar(logits).model == "m.pt"


def test_the_sidecar_of_an_input_stays(logits):
    """An output of the name of an input is refused before anything of it is invalid."""
    before = logits.with_suffix(".json").read_bytes()
    with inputs_kept(), pytest.raises(InputError, match="logits.scp: an input of this command"):
        note_input(logits)
        begin_results(logits)
    assert logits.with_suffix(".json").read_bytes() == before


def test_a_sidecar_that_was_read_is_not_written_over(logits):
    path = logits.with_suffix(".json")
    with inputs_kept(), pytest.raises(InputError, match="logits.json: an input of this command"):
        read_sidecar(logits)
        write_lines(path, ["u1 0.5"])


@pytest.mark.parametrize("path", ["/", ".", ""])
def test_a_path_without_a_name_has_no_sidecar(path):
    with pytest.raises(InputError, match="a folder, expected a file"):
        sidecar_path(path)


@given(data=st.data())
def test_damage_is_an_input_error_or_leaves_a_checked_sidecar(tmp_path_factory, data):
    content = bytearray((json.dumps(asdict(SIDECAR), indent=1) + "\n").encode())
    position = data.draw(st.integers(0, len(content) - 1))
    extra = data.draw(st.binary(max_size=6))
    size = data.draw(st.sampled_from([0, len(extra), len(content)]))
    content[position : position + size] = extra
    folder = tmp_path_factory.getbasetemp()
    (folder / "fuzzed.json").write_bytes(content)
    try:
        sidecar = read_sidecar(folder / "fuzzed.scp")
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert isinstance(sidecar.model, str)
    assert sidecar.class_prior is None or sum(sidecar.class_prior) == pytest.approx(1)


def write_trials(folder):
    """Scores and key of four trials, as the words of an evaluation."""
    (folder / "sys.txt").write_text("filename cm-score\nA 1.5\nB .5\nC -1\nD -2\n")
    key = "filename cm-label\nA bonafide\nB spoof\nC bonafide\nD spoof\n"
    (folder / "key.txt").write_text(key)
    return ["--cm", folder / "sys.txt", "--cm_key", folder / "key.txt"]


def test_results_beside_scores_are_no_sidecar_of_them(monkeypatch, tmp_path):
    words = [*write_trials(tmp_path), "--json", tmp_path / "sys.json"]
    for _ in range(2):
        run(monkeypatch, evaluate, *words)
    assert read_json(tmp_path / "sys.json")["n_spoof"] == 2
    assert find_sidecar(tmp_path / "sys.txt") is None


def test_results_never_replace_a_sidecar(monkeypatch, capsys, tmp_path):
    words = [*write_trials(tmp_path), "--json", tmp_path / "sys.json"]
    write_sidecar(tmp_path / "sys.txt", Sidecar(model="m.pt"))
    before = (tmp_path / "sys.json").read_bytes()
    message = refused(monkeypatch, capsys, evaluate, *words)
    assert "sys.json: the sidecar of sys, expected another name for results" in message
    assert (tmp_path / "sys.json").read_bytes() == before


def test_scores_that_changed_are_refused(monkeypatch, capsys, tmp_path):
    words = write_trials(tmp_path)
    write_sidecar(tmp_path / "sys.txt", Sidecar(model="m.pt"))
    run(monkeypatch, evaluate, *words)
    with open(tmp_path / "sys.txt", "a") as file:
        file.write("\n")
    message = refused(monkeypatch, capsys, evaluate, *words)
    assert "sys.txt: its hash is" in message and "sys.json" in message


def test_a_damaged_sidecar_of_scores_is_not_taken_for_other_json(tmp_path):
    write_trials(tmp_path)
    write_sidecar(tmp_path / "sys.txt", Sidecar())
    content = read_json(tmp_path / "sys.json")
    del content["polarity"]
    write_json(tmp_path / "sys.json", content)
    with pytest.raises(InputError, match="sys.json: no field 'polarity'"):
        read_scores(tmp_path / "sys.txt")


class Stopped(Exception):
    """A process that is gone."""


def test_llrs_of_a_stopped_run_are_refused(monkeypatch, tmp_path):
    """LLRs of utterances and of frames are of one run, or of none."""
    write_archive(tmp_path / "logits.ark", [(key, row[None]) for key, row in ROWS])
    write_sidecar(tmp_path / "logits.ark", SIDECAR)
    scp = str(tmp_path / "logits.scp")
    logits_to_llr(scp, 0.5)
    frames, hop = read_frames(tmp_path / "frame_llr.txt")
    assert set(frames) == set("abc") and hop == 0.02

    def stop(*_):
        raise Stopped

    monkeypatch.setattr("wedefense_lite.bin.logits_to_llr.write_frames", stop)
    with pytest.raises(Stopped):
        logits_to_llr(scp, 0.5)
    for read, name in ((read_scores, "llr.txt"), (read_frames, "frame_llr.txt")):
        with pytest.raises(InputError, match=f"the run that writes {name} has not ended"):
            read(tmp_path / name)


def test_a_stage_reads_sidecars_of_numbers_as_one_line(monkeypatch, capsys, logits, caplog):
    caplog.set_level(logging.ERROR)
    path = logits.with_suffix(".json")
    write_json(path, read_json(path) | {"labels": [0, 1]})
    words = ["--logits_scp_path", logits, "--pi_spoof", 0.5]
    assert "logits.json: labels is" in refused(monkeypatch, capsys, logits_to_llr, *words)


def test_arrays_of_an_archive_with_a_sidecar_are_those_written(logits):
    read_sidecar(logits)
    arrays = read_archive(logits)
    for key, row in ROWS:
        np.testing.assert_array_equal(arrays[key], row)
