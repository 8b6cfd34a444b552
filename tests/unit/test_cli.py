"""Entry points: options from a signature, every mistake one line that says what was expected."""

import errno
import logging
import os
import sys
from pathlib import Path
from typing import Literal

import pytest

from wedefense_lite import cli
from wedefense_lite.files import InputError, read_table, write_table
from wedefense_lite.progress import progress


def entry(
    table: str,
    num_avg: int = 5,
    kind: Literal["shard", "raw"] = "shard",
    gpus: str | None = None,
    shuffle: bool = False,
) -> None:
    """Do a thing.

    Args:
        table: a table to read.
        num_avg: how many.
        kind: which.
        gpus: devices.
        shuffle: mix.
    """
    read_table(table)
    print(num_avg, kind, gpus, shuffle)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run ``entry`` with words; returns its exit status, output and error output."""
    (tmp_path / "table").write_text("a 1\n")
    monkeypatch.chdir(tmp_path)

    def run(*words: str, function=entry, **options) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["entry.py", *words])
        try:
            cli.run(function, **options)
            status = 0
        except SystemExit as stop:
            status = stop.code
        return (status, *capsys.readouterr())

    return run


def test_options_have_types_and_defaults(run):
    assert run("--table", "table") == (0, "5 shard None False\n", "")
    assert run("--table=table", "--num_avg", "-1", "--kind", "raw")[1] == "-1 raw None False\n"
    assert run("table", "--num_avg", "2", positional=True)[1] == "2 shard None False\n"


def test_help_comes_from_the_docstring(run):
    status, output, _ = run("--help")
    assert status == 0
    assert "Do a thing." in output and "a table to read." in output


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--table", "table", "--num", "3"),
        ("--table", "table", "--unknown", "3"),
        ("--table", "table", "--num_avg", "many"),
        ("--table", "table", "--num_avg", "2.5"),
        ("--table", "table", "--kind", "tar"),
        ("--table", "table", "stray"),
    ],
)
def test_options_that_are_missing_shortened_unknown_or_of_another_type_are_refused(run, words):
    status, output, errors = run(*words)
    assert (status, output) == (2, "")
    assert "error" in errors


def test_debugging_of_the_parser_changes_nothing(run, monkeypatch):
    def several(value: int | str | None = None) -> None:
        print(repr(value))

    monkeypatch.setenv("JSONARGPARSE_DEBUG", "1")
    assert run("--value", "word", function=several) == (0, "'word'\n", "")


def test_an_input_error_is_one_line_and_status_2(run):
    status, output, errors = run("--table", "absent")
    assert (status, output) == (2, "")
    assert errors == "entry.py: error: absent: No such file or directory\n"


def test_a_loss_that_is_not_finite_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as stop, cli.one_line_errors("train.py"):
        raise FloatingPointError("the loss is not finite at epoch 1, step 2: u1 u2")
    assert stop.value.code == 2
    assert (
        capsys.readouterr().err
        == "train.py: error: the loss is not finite at epoch 1, step 2: u1 u2\n"
    )


def test_a_defect_is_one_line_that_names_the_file_of_its_traceback(run, monkeypatch, tmp_path):
    def broken(table: str) -> None:
        raise ZeroDivisionError("one\nand \x1b[31mred")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status, output, errors = run("--table", "x", function=broken)
    (kept,) = tmp_path.glob("*.traceback")
    assert (status, output) == (1, "")
    place = f"(a defect; its traceback is in {kept})"
    assert errors == f"entry.py: error: ZeroDivisionError: one and \\x1b[31mred {place}\n"
    assert "in broken\n    raise ZeroDivisionError" in kept.read_text()


@pytest.mark.parametrize("number", [errno.EISDIR, errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG])
def test_a_file_in_the_way_or_gone_is_one_line_and_status_2(run, number):
    def disturbed(table: str) -> None:
        raise OSError(number, os.strerror(number), "data/utt2spk")

    expected = f"entry.py: error: data/utt2spk: {os.strerror(number)}\n"
    assert run("--table", "x", function=disturbed) == (2, "", expected)


def test_a_working_folder_that_was_removed_is_one_line_and_status_2(run, monkeypatch, tmp_path):
    def write(table: str) -> None:
        write_table(table, {"a": "1"})

    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    expected = "entry.py: error: the working folder was removed: go to another one\n"
    assert run("--table", "x", function=write) == (2, "", expected)


def test_a_full_disk_is_one_line_whoever_meets_it(run):
    def full(table: str) -> None:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.pt")
        finally:
            raise RuntimeError("unexpected pos 64 vs 0")

    assert run("--table", "x", function=full) == (
        2,
        "",
        "entry.py: error: x.pt: No space left on device\n",
    )


def test_a_table_that_was_read_is_not_written_over(run, tmp_path):
    def rewrite(table: str) -> None:
        write_table(table, read_table(table))

    status, _, errors = run("--table", str(tmp_path / "table"), function=rewrite)
    assert status == 2
    assert "table: an input of this command" in errors
    assert (tmp_path / "table").read_text() == "a 1\n"
    # Only within a command.
    rewrite("table")


def test_an_error_of_megabytes_is_cut(run):
    def long(table: str) -> None:
        raise InputError(f"a.txt:1: {'x' * 3_000_000} is there twice")

    _, _, errors = run("--table", "x", function=long)
    assert errors.startswith("entry.py: error: a.txt:1: xx") and errors.endswith("there twice\n")
    assert len(errors) < 5000


def test_an_interruption_is_one_line(run):
    def interrupted(table: str) -> None:
        raise KeyboardInterrupt

    expected = (130, "", "entry.py: error: interrupted\n")
    assert run("--table", "x", function=interrupted) == expected


def test_an_interruption_while_options_are_built_is_one_line(run, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.Parser, "add_function_arguments", interrupt)
    assert run() == (130, "", "entry.py: error: interrupted\n")


def test_errors_and_log_lines_do_not_steer_a_terminal(run, capsys):
    status, _, errors = run("--table", "ab\x1b[2Jsent")
    assert status == 2
    assert errors == "entry.py: error: ab\\x1b[2Jsent: No such file or directory\n"
    record = logging.LogRecord("", logging.INFO, "", 0, "id %s", ("a\x1b]0;b\x07",), None)
    assert cli.PrintableFormatter().format(record).endswith("id a\\x1b]0;b\\x07")


@pytest.mark.parametrize("words", [["--shuffle"], ["--shuffle", "true"], ["--shuffle=true"]])
def test_flags_need_no_value(run, words):
    assert run(*words, "--table", "table")[1] == "5 shard None True\n"
    assert run(*words, "table", positional=True)[1] == "5 shard None True\n"


@pytest.mark.parametrize("gpus", ["0", "[0]", "0,1", "[0,1]", "[0, 1]"])
def test_lists_of_devices_arrive_as_they_were_typed(run, gpus):
    assert run("--table", "table", "--gpus", gpus)[1] == f"5 shard {gpus} False\n"


def test_checked_values_are_the_users():
    assert cli.checked(int, "3") == 3
    with pytest.raises(InputError, match="invalid literal"):
        cli.checked(int, "three")


def test_needed():
    assert cli.needed("--cal_label", "x") == "x"
    for nothing in (None, ""):
        with pytest.raises(InputError, match="--cal_label is needed"):
            cli.needed("--cal_label", nothing)


def test_progress_yields_everything(monkeypatch):
    assert list(progress(iter("abc"), 3, "letters")) == list("abc")
    monkeypatch.setenv("RANK", "1")
    assert list(progress(iter("abc"), 3, "letters")) == list("abc")


def test_the_time_that_is_left_goes_by_the_work_for_each_item(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    # Seconds at the start and after each item; a line is due after each.
    times = iter([0.0, 30.0, 40.0])
    monkeypatch.setattr("wedefense_lite.progress.time.monotonic", lambda: next(times))
    costs = {"slow": 3.0, "quick": 1.0}
    assert list(progress(costs, 2, "work", cost=costs.get, total_cost=4.0)) == ["slow", "quick"]
    assert [message.split(", ")[-1] for message in caplog.messages] == ["10 s left", "0 s left"]


def test_every_bool_of_an_entry_point_is_a_flag():
    """The bare form is recognised by the annotation, so no entry point may write it otherwise."""
    folder = Path(cli.__file__).parent / "bin"
    assert not [path.name for path in folder.glob("*.py") if "bool |" in path.read_text()]
