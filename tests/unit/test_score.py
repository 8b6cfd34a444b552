"""The command score: a row for each recording, whatever the others are."""

import json
import os
import sys
from io import StringIO
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import tiny

from wedefense_lite import cli
from wedefense_lite.bin.score import columns_of, score
from wedefense_lite.files import InputError
from wedefense_lite.scoring import recording_scores
from wedefense_lite.scoring.bundle import Detector
from wedefense_lite.scoring.journal import journal_path, open_journal
from wedefense_lite.scoring.recording_scores import (
    Request,
    Scored,
    Scorer,
    expand,
    find_model,
    named_threshold,
    posterior_of_bonafide,
    scoring,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Bundle of windows of a second, with two thresholds."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return tiny.bundle(
        folder,
        data={"eval_seconds": 1.0},
        class_prior=(0.5, 0.5),
        thresholds={"EER": -1e6, "FAR 0.01": 1e6},
        threshold=-1e6,
    )


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two recordings, a longer one of another rate in a folder below, and two broken ones."""
    folder = tmp_path_factory.mktemp("calls")
    (folder / "below").mkdir()
    sf.write(folder / "a.wav", tiny.talking(0.9), tiny.RATE)
    sf.write(folder / "b.flac", tiny.talking(1.0, seed=1), tiny.RATE)
    sf.write(folder / "below/c.wav", np.repeat(tiny.talking(2.4, seed=2), 2), 2 * tiny.RATE)
    (folder / "broken.wav").write_text("text")
    sf.write(folder / "silent.wav", np.zeros(tiny.RATE), tiny.RATE)
    (folder / "notes.txt").write_text("no audio")
    (folder / ".hidden.wav").write_text("no audio")
    return folder


def run(monkeypatch, capsys, *words) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of the command."""
    monkeypatch.setattr(sys, "argv", ["score", *map(str, words)])
    status = 0
    try:
        cli.run(score, from_hub=True, builds_systems=True, several="files")
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def test_each_recording_has_a_row_and_broken_ones_end_nothing(
    monkeypatch, capsys, caplog, bundle, recordings
):
    with caplog.at_level("INFO"):
        status, output, _ = run(
            monkeypatch,
            capsys,
            "--model",
            bundle,
            "--format",
            "json",
            "--windows",
            "all",
            recordings,
        )
    rows = [json.loads(line) for line in output.splitlines()]
    names = [os.path.relpath(row["path"], recordings) for row in rows]
    assert status == 1
    assert names == ["a.wav", "b.flac", "broken.wav", "silent.wav", "below/c.wav"]
    fields = "path seconds llr posterior decision threshold windows note".split()
    assert all(list(row) == fields for row in rows)
    detector = Detector(bundle)
    for row in rows:
        answer = detector.answer(row["path"], windows="all")
        assert row["llr"] == answer.llr
        if answer.llr is None:
            assert (row["posterior"], row["decision"], row["windows"]) == (None, None, [])
            assert row["note"] and row["path"] not in row["note"]
        else:
            assert row["posterior"] == pytest.approx(1 / (1 + np.exp(-answer.llr)))
            assert row["decision"] == "bonafide" and row["threshold"] == -1e6
    assert len(rows[-1]["windows"]) == 3 and rows[-1]["seconds"] == pytest.approx(2.4)
    assert "2 of 5 files have no score:" in caplog.text
    assert "broken.wav: Format not recognised" in caplog.text
    assert "1 files: resampled to 16000 Hz" in caplog.text
    assert "scoring: 5/5" in caplog.text


@pytest.mark.parametrize("output_format", ["table", "tsv"])
def test_rows_of_other_formats_say_the_same(monkeypatch, capsys, bundle, recordings, output_format):
    words = ("--model", bundle, "--format", output_format, "--threshold", "FAR 0.01")
    status, output, _ = run(monkeypatch, capsys, *words, recordings / "a.wav", recordings / "none")
    header, scored, broken = output.splitlines()
    llr = Detector(bundle).score(recordings / "a.wav")
    assert status == 1
    assert "llr" in header and "decision" in header
    assert "spoof" in scored and "No such file" in broken
    if output_format == "tsv":
        path, text, _ = columns_of(scored, "tsv")
        assert (path, float(text)) == (str(recordings / "a.wav"), llr)
        assert columns_of(broken, "tsv")[1] is None
    else:
        assert f"{llr:.3f}" in scored


@pytest.mark.parametrize("decision", ["bonafide", "don't know", None])
def test_columns_of_a_table_do_not_touch(decision):
    scored = Scored("a.wav", 3.64, -0.4, 0.3921, decision, 0.0, ((0.0, 3.64, -0.4),), "")
    assert f"0.3921 {(decision or '-').rjust(11)}     3.64" in scored.table_row()


def test_a_list_is_read_from_standard_input(monkeypatch, capsys, bundle, recordings):
    names = f"{recordings / 'a.wav'}\n\n{recordings / 'b.flac'}\r\n"
    outputs = []
    for words in ((), ("-",)):
        monkeypatch.setattr(sys, "stdin", StringIO(names))
        status, output, _ = run(monkeypatch, capsys, "--model", bundle, *words)
        assert status == 0
        outputs.append(output)
    assert outputs[0] == outputs[1] and outputs[0].count("\n") == 3


def test_words_stand_for_files_once_and_in_order(recordings):
    names = [str(recordings / name) for name in ("b.flac", "a.wav", "broken.wav", "silent.wav")]
    pattern = f"{recordings}/*.wav"
    assert expand([names[0], pattern, names[0]]) == names
    assert expand([f"{recordings}/bel*"]) == [str(recordings / "below/c.wav")]
    assert expand(["no such file.wav"]) == ["no such file.wav"]
    with pytest.raises(InputError, match="no file of that pattern"):
        expand([f"{recordings}/*.ogg"])


def test_a_folder_without_audio_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputError, match="no audio file in it, expected names that end in .wav"):
        expand([str(tmp_path)])


def test_a_run_that_was_killed_goes_on_and_scores_nothing_twice(
    monkeypatch, capsys, tmp_path, bundle, recordings
):
    output = tmp_path / "scores.json"
    words = ("--model", bundle, "--format", "json", "--output", output, recordings)
    assert run(monkeypatch, capsys, *words)[0] == 1
    complete = output.read_text()
    output.unlink()
    answers = []
    answer = Detector.answer

    def counted_answer(self, path, **options):
        answers.append(os.path.basename(path))
        if len(answers) == 3:
            raise MemoryError
        return answer(self, path, **options)

    monkeypatch.setattr(Detector, "answer", counted_answer)
    assert run(monkeypatch, capsys, *words)[0] == 2
    journal = journal_path(str(output))
    assert not output.exists() and journal.read_text().count("\n") == 3
    # A kill in the middle of a line.
    with open(journal, "a") as file:
        file.write('{"path": "half')
    assert run(monkeypatch, capsys, "--resume", *words)[0] == 1
    assert answers == ["a.wav", "b.flac", "broken.wav", "broken.wav", "silent.wav", "c.wav"]
    assert output.read_text() == complete and not journal.exists()
    # Complete: nothing is scored, and the status says again that files are broken.
    assert run(monkeypatch, capsys, "--resume", *words)[0] == 1
    assert len(answers) == 6
    status, _, errors = run(monkeypatch, capsys, "--resume", *words, "another.wav")
    assert status == 2 and "complete, but another.wav is not in it" in errors


def test_a_journal_that_is_no_text_is_refused_and_its_folder_is_made(tmp_path):
    path = tmp_path / "new/a.journal"
    with open_journal(path, {"model": "m"}, resume=False) as journal:
        journal.add("first")
    path.write_bytes(b"\xff\x00\n")
    told = pytest.raises(InputError, match="the journal of another model")
    with told, open_journal(path, {"model": "m"}, resume=True):
        pass
    assert path.read_bytes() == b"\xff\x00\n"


def test_a_line_that_a_kill_cut_is_not_continued(tmp_path):
    """Also where the run that goes on is killed too."""
    path = tmp_path / "a.journal"
    with open_journal(path, {"model": "m"}, resume=True) as journal:
        journal.add("first")
    with open(path, "a") as file:
        file.write("sec")
    with open_journal(path, {"model": "m"}, resume=True) as journal:
        assert journal.lines == ["first"]
        journal.add("second")
        told = pytest.raises(InputError, match="the journal of another model")
        with told, open_journal(path, {"model": "other"}, resume=True):
            pass
    with open_journal(path, {"model": "m"}, resume=True) as journal:
        assert journal.lines == ["first", "second"]


def test_a_journal_of_other_options_is_refused(monkeypatch, capsys, tmp_path, bundle, recordings):
    output = tmp_path / "scores.tsv"
    words = ("--model", bundle, "--format", "tsv", "--output", output, recordings / "a.wav")
    journal_path(str(output)).write_text('{"model": "another"}\n')
    status, _, errors = run(monkeypatch, capsys, "--resume", *words)
    assert status == 2 and "the journal of another model or other options" in errors
    # Without --resume it is begun anew.
    assert run(monkeypatch, capsys, *words)[0] == 0
    assert len(output.read_text().splitlines()) == 2
    status, _, errors = run(monkeypatch, capsys, "--resume", recordings / "a.wav")
    assert status == 2 and "--resume needs --output FILE" in errors


def test_the_model_is_looked_for_in_the_environment(monkeypatch, tmp_path, bundle):
    monkeypatch.delenv("WEDEFENSE_MODELS", raising=False)
    with pytest.raises(InputError, match="no --model, and no .*: make a bundle of an experiment"):
        find_model(None)
    monkeypatch.setenv("WEDEFENSE_MODELS", str(bundle.parent))
    assert find_model(None) == find_model("tiny") == str(bundle)
    monkeypatch.setenv("WEDEFENSE_MODELS", str(bundle))
    assert find_model(None) == str(bundle)
    monkeypatch.setenv("WEDEFENSE_MODELS", str(tmp_path))
    with pytest.raises(InputError, match="no bundle in"):
        find_model(None)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").write_text("{}")
    with pytest.raises(InputError, match="2 bundles, name one of them by --model: one two"):
        find_model(None)
    with pytest.raises(InputError, match="three: no such folder"):
        find_model("three")


def test_a_threshold_has_a_name_of_the_model_or_is_a_number():
    thresholds = {"EER": 0.5, "FAR 0.01": 3.0}
    assert named_threshold(None, thresholds, 0.5) == 0.5
    assert named_threshold("FAR 0.01", thresholds, 0.5) == 3.0
    assert named_threshold("-1.5", thresholds, 0.5) == -1.5
    for text in ("EEER", "nan", "inf"):
        with pytest.raises(InputError, match="or a name of the model: 'EER', 'FAR 0.01'"):
            named_threshold(text, thresholds, 0.5)


def test_a_posterior_follows_from_the_prior():
    assert posterior_of_bonafide(0, 0.5) == 0.5
    assert posterior_of_bonafide(0, 0.05) == pytest.approx(0.95)
    assert posterior_of_bonafide(np.log(3), 0.5) == pytest.approx(0.75)
    assert posterior_of_bonafide(-1e4, 0.5) == 0 and posterior_of_bonafide(1e4, 0.5) == 1


def test_rows_survive_the_journal():
    scored = Scored("a\n\udcff.wav", 1.5, -0.1, 0.4, "spoof", 0.0, ((0.0, 1.5, -0.1),), "x")
    assert Scored.of_json(scored.json()) == scored
    assert "\n" not in scored.tsv() and scored.tsv().count("\t") == 7
    with pytest.raises(ValueError, match="expected an object with path"):
        Scored.of_json("[]")


def test_another_process_gives_the_rows_of_this_one(bundle, recordings):
    scorer = Scorer(Request(str(bundle), windows="all"))
    paths = [str(recordings / "below/c.wav")]
    with scoring(scorer, paths, 2, "cpu") as results:
        assert list(results) == [scorer.score(paths[0])]


def end_at_once(path: str) -> None:
    """A worker that the kernel ends for want of memory."""
    os._exit(9)


def test_a_process_that_ends_is_told(monkeypatch):
    """Forked, so that it needs no time to start."""
    monkeypatch.setattr(recording_scores, "get_context", lambda _: get_context("fork"))
    monkeypatch.setattr(recording_scores, "_start_worker", lambda *_: None)
    monkeypatch.setattr(recording_scores, "_score_in_worker", end_at_once)
    scorer = SimpleNamespace(request=None)
    told = pytest.raises(InputError, match="use fewer --jobs; --resume goes on")
    with told, scoring(scorer, ["a.wav"], 2, "cpu") as results:
        list(results)


@pytest.mark.parametrize("kind", ["WAV", "MP3", "text"])
def test_a_name_that_is_no_utf_8_is_scored_as_any_other(
    monkeypatch, capsys, bundle, tmp_path, kind
):
    """An archive that was packed under another system has such names."""
    path = os.path.join(tmp_path, os.fsdecode(b"caf\xe9.wav"))
    if kind == "text":
        with open(path, "w") as file:
            file.write("no audio")
    else:
        sf.write(tmp_path / "plain", tiny.talking(1.5), tiny.RATE, format=kind)
        os.rename(tmp_path / "plain", path)
    status, output, errors = run(
        monkeypatch, capsys, tmp_path, "--model", bundle, "--format", "tsv"
    )
    row = output.splitlines()[-1]
    assert status == (kind == "text")
    assert "caf\\udce9.wav\t" in row
    assert "defect" not in errors


@pytest.mark.parametrize("name", ["a.wav", "config.yaml"])
def test_a_recording_and_a_model_are_not_written_over(
    monkeypatch, capsys, bundle, recordings, name
):
    path = recordings / name if name == "a.wav" else bundle / name
    before = path.read_bytes()
    words = [recordings / "a.wav", "--model", bundle, "--format", "tsv", "--output", path]
    status, _, errors = run(monkeypatch, capsys, *words)
    assert status == 2
    assert f"{path}: an input of this command, expected another name" in errors
    assert path.read_bytes() == before


@pytest.mark.parametrize("words", [("--merge", "median"), ("--channel", "-1")])
def test_an_option_that_no_recording_can_have_is_an_error_of_the_command(
    monkeypatch, capsys, bundle, recordings, words
):
    status, output, errors = run(monkeypatch, capsys, recordings, "--model", bundle, *words)
    assert (status, output) == (2, "")
    assert words[0].strip("-") in errors


def test_the_list_of_broken_files_has_a_line_each(monkeypatch, capsys, caplog, bundle, tmp_path):
    (tmp_path / "a\n2026 INFO fine.wav").write_text("no audio")
    run(monkeypatch, capsys, tmp_path, "--model", bundle)
    assert "\n" not in caplog.messages[-1]
