"""Tables come back as they were written, bad ones are refused, files are whole or not there."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wedefense_lite import files
from wedefense_lite.files import InputError

PRINTED = st.characters(categories=["L", "N", "P", "S"])
KEYS = st.text(PRINTED, min_size=1, max_size=8)
VALUES = st.lists(st.text(PRINTED, min_size=1, max_size=8), min_size=1, max_size=3).map(" ".join)


@given(table=st.dictionaries(KEYS, VALUES, min_size=1))
def test_a_table_comes_back_sorted_as_the_c_locale_sorts(table, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "table"
    files.write_table(path, table)
    found = files.read_table(path)
    assert found == table
    assert list(found) == sorted(table, key=lambda key: key.encode("utf-8"))


@given(labels=st.dictionaries(KEYS, st.sampled_from(["spoof", "bonafide"]), min_size=1))
def test_labels_come_back(labels, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "utt2lab"
    files.write_table(path, labels)
    assert files.read_labels(path) == labels


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON)
def test_json_comes_back_in_full_precision(value, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "value.json"
    files.write_json(path, value)
    assert files.read_json(path) == value


def test_json_holds_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "value.json", {"eer": float("nan")})
    assert list(tmp_path.iterdir()) == []


BAD_TABLES = {
    "a 1\nb\n": r":2: 1 columns, expected 2: 'b'",
    "a 1\nb 2\na 3\n": r":3: a is there twice",
    "": r"empty, expected lines of 2 columns",
    "\n \n": r"empty",
}


def test_a_header_with_a_column_twice_is_refused(tmp_path):
    (tmp_path / "table").write_text("filename cm-score cm-score\na 1 -1\n")
    with pytest.raises(InputError, match="table:1: header has the column 'cm-score' twice"):
        files.read_columns(tmp_path / "table", {"cm-score": float})


@pytest.mark.parametrize("text", BAD_TABLES)
def test_bad_tables_are_refused_by_line(tmp_path, text):
    (tmp_path / "table").write_text(text)
    with pytest.raises(InputError, match=f"table.*{BAD_TABLES[text]}"):
        files.read_table(tmp_path / "table")


def test_unknown_labels_are_refused_by_utterance(tmp_path):
    files.write_table(tmp_path / "utt2lab", {"u1": "spoof", "u2": "Bonafide"})
    with pytest.raises(InputError, match="u2 has label 'Bonafide', expected spoof or bonafide"):
        files.read_labels(tmp_path / "utt2lab")


def test_what_is_not_text_is_refused(tmp_path):
    (tmp_path / "latin").write_bytes("key café\n".encode("latin-1"))
    with pytest.raises(InputError, match="latin: not UTF-8 text"):
        files.read_text(tmp_path / "latin")
    with pytest.raises(InputError, match="absent: No such file"):
        files.read_text(tmp_path / "absent")
    (tmp_path / "cut.json").write_text('{\n"a":')
    with pytest.raises(InputError, match=r"cut\.json:2: not JSON"):
        files.read_json(tmp_path / "cut.json")


def test_a_byte_order_mark_and_windows_lines_are_no_part_of_the_table(tmp_path):
    (tmp_path / "table").write_bytes(b"\xef\xbb\xbfa 1\r\nb  2 \r\n")
    assert files.read_table(tmp_path / "table") == {"a": "1", "b": "2"}


def test_an_error_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "file"
    files.write_text(path, "earlier")
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        assert path.read_text() == "earlier", "no name before it is complete"
        raise RuntimeError
    assert path.read_text() == "earlier"
    assert os.listdir(path.parent) == ["file"]


def test_the_name_appears_only_when_all_is_written(tmp_path):
    with files.atomic_path(tmp_path / "file") as temporary:
        assert temporary.parent == tmp_path, "a rename needs the same file system"
        temporary.write_text("content")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_text() == "content"


def test_content_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda handle: done.append("sync"))
    monkeypatch.setattr(os, "replace", lambda old, new: done.append("rename"))
    files.write_text(tmp_path / "file", "content")
    assert done == ["sync", "rename"]


def test_files_have_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "file", "content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_the_umask_of_other_threads_is_never_changed(tmp_path):
    """Reading the umask means setting it: a file made meanwhile could be written by everybody."""
    before = os.umask(0o027)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            paths = [tmp_path / f"file{number}" for number in range(400)]
            list(pool.map(lambda path: files.write_text(path, "content"), paths))
    finally:
        sys.setswitchinterval(interval)
        after = os.umask(before)
    assert after == 0o027
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o640}


def test_no_file_asks_for_the_umask():
    """The race is rare, so the call itself is looked for."""
    package = Path(files.__file__).parent
    assert [path for path in package.rglob("*.py") if "umask(" in path.read_text()] == []


def test_a_link_stays_a_link_and_what_it_names_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far/file")
    files.write_text(tmp_path / "link", "content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far/file").read_text() == "content"


def test_devices_and_pipes_are_written_through(tmp_path):
    # A terminal of its own: code that replaces a device would replace the machine's /dev/null.
    screen, terminal = os.openpty()
    name = os.ttyname(terminal)
    files.write_text(name, "content")
    assert os.read(screen, 100) == b"content"
    assert stat.S_ISCHR(os.stat(name).st_mode)
    os.close(terminal)
    os.close(screen)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="pipe: can't be written: No such device"):
        files.write_text(pipe, "nobody reads")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.write_text(pipe, "content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


BAD_OUTPUTS = {"folder": "Is a directory", "file/x": "Not a directory", "nul\0x": "null byte"}


@pytest.mark.parametrize("name", BAD_OUTPUTS)
def test_outputs_that_cannot_be_are_refused_before_and_while_they_are_written(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("earlier")
    message = f"can't be written: .*({BAD_OUTPUTS[name]}|is no folder|File exists)"
    with pytest.raises(InputError, match=message):
        files.check_writable(None, tmp_path / "new/folders/are/made", tmp_path / name)
    with pytest.raises(InputError, match=message):
        files.write_text(tmp_path / name, "content")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_disk_that_is_full_is_told_by_the_output_and_leaves_nothing(tmp_path):
    refused = pytest.raises(InputError, match="x.pt: can't be written: No space")
    with refused, files.atomic_path(tmp_path / "x.pt") as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_removed_meanwhile_is_told(tmp_path):
    folder = tmp_path / "folder"
    refused = pytest.raises(InputError, match="x: can't be written: No such file")
    with refused, files.atomic_path(folder / "x"):
        shutil.rmtree(folder)


def test_other_errors_of_a_block_are_its_own(tmp_path):
    with pytest.raises(FileNotFoundError), files.atomic_path(tmp_path / "x"):
        Path(tmp_path, "absent").read_text()


LEFT_BY_THE_DEAD = f".y.{files._machine_mark()}89abcdef"
OF_ANOTHER_MACHINE = ".y.0123456789abcdef"


def test_leftovers_of_killed_runs_are_removed_and_files_of_living_ones_stay(tmp_path):
    (tmp_path / LEFT_BY_THE_DEAD).touch()
    (tmp_path / ".y.mine").touch()
    child = "import sys; from wedefense_lite import files; from pathlib import Path\n"
    child += "with files.atomic_path(Path(sys.argv[1], 'z')): print(flush=True); input()"
    with started(child, tmp_path) as process:
        process.stdout.readline()
        # The other process has removed the leftover. One of its own is there.
        living = [name for name in os.listdir(tmp_path) if name.startswith(".z.")]
        assert len(living) == 1
        (tmp_path / LEFT_BY_THE_DEAD).touch()
        files.write_text(tmp_path / "x", "content")
        assert sorted(os.listdir(tmp_path)) == sorted([".y.mine", "x", living[0]])
        process.kill()
    files._cleaned_folders.clear()
    files.write_text(tmp_path / "x", "content")
    assert sorted(os.listdir(tmp_path)) == [".y.mine", "x"]


def test_leftovers_of_another_machine_are_removed_after_a_day(tmp_path):
    """Its lock may be unseen here, as on file systems with locks of a machine alone."""
    leftover = tmp_path / OF_ANOTHER_MACHINE
    leftover.touch()
    files.remove_leftovers(tmp_path)
    assert leftover.exists()
    two_days_ago = time.time() - 2 * files.DAY
    os.utime(leftover, (two_days_ago, two_days_ago))
    files._cleaned_folders.clear()
    files.remove_leftovers(tmp_path)
    assert not leftover.exists()


def started(program: str, folder: Path) -> subprocess.Popen:
    """Python program that runs beside the test."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[1])}
    return subprocess.Popen([sys.executable, "-c", program, folder], env=environment, **pipes)


def test_a_folder_is_held_by_one_process_until_that_ends_or_dies(tmp_path):
    child = "import sys; from wedefense_lite import files\n"
    child += "with files.folder_lock(sys.argv[1], 'training'): print(flush=True); input()"
    with started(child, tmp_path) as process:
        process.stdout.readline()
        holder = f"in use by training, process {process.pid} on "
        with pytest.raises(InputError, match=holder), files.folder_lock(tmp_path, "packing"):
            pass
        process.kill()
    with files.folder_lock(tmp_path, "packing"):
        assert "packing" in (tmp_path / ".lock").read_text()
    assert list(tmp_path.iterdir()) == []


UNSAFE = {
    "LA_E_1": "LA_E_1",
    "a.b-c d": "a.b-c d",
    "../../x": "%2E.%2F..%2Fx",
    "/etc/passwd": "%2Fetc%2Fpasswd",
    ".hidden": "%2Ehidden",
    "": "%",
    "50%": "50%25",
    "a\x1b\n\0": "a%1B%0A%00",
    "müller": "müller",
}


@pytest.mark.parametrize("target", ["precious", "not_there"])
def test_a_lock_that_is_a_link_writes_nothing_elsewhere(tmp_path, target):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "precious").write_text("precious\n")
    (folder / ".lock").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match="a link"), files.folder_lock(folder, "training"):
        pass
    assert (tmp_path / "precious").read_text() == "precious\n"
    assert not (tmp_path / "not_there").exists()


@pytest.mark.parametrize("key", UNSAFE)
def test_names_of_files_from_ids(key):
    assert files.file_name(key) == UNSAFE[key]


@given(keys=st.lists(st.text(max_size=6), min_size=2, max_size=2, unique=True))
def test_ids_have_files_of_their_own_in_the_folder(keys):
    first, second = (files.file_name(key) for key in keys)
    assert first != second
    assert os.path.dirname(first) == "" and first not in (".", "..", "")


def test_tables_hold_text_of_lines_that_end_in_three_ways(tmp_path):
    for name, content in {
        "unix": b"a 1\nb 2",
        "dos": b"a 1\r\nb 2\r\n",
        "mac": b"a 1\rb 2\r",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert files.read_table(tmp_path / name) == {"a": "1", "b": "2"}


ODD_TEXTS = {
    "nul": (b"a 1\nb\0 2\n", r":2: control character '\\x00'"),
    "return": (b"a 1\rb 2\nc 3\n", r":1: control character '\\r'"),
    "escape": (b"a \x1b[2J\n", r":1: control character '\\x1b'"),
}


@pytest.mark.parametrize("name", ODD_TEXTS)
def test_control_characters_in_tables_are_refused_by_line(tmp_path, name):
    content, message = ODD_TEXTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}{message}"):
        files.read_table(tmp_path / name)


def test_only_spaces_and_tabs_separate_fields(tmp_path):
    (tmp_path / "table").write_text("a\u00a0b \t c\u3000d  e \n", encoding="utf-8")
    assert files.read_table(tmp_path / "table") == {"a\u00a0b": "c\u3000d  e"}


@pytest.mark.parametrize("text", ["1_000", "١٢", "0x10", "nan", "", "1,5", "1e"])
def test_numbers_that_only_python_reads_are_none(text):
    with pytest.raises(ValueError, match="expected a number"):
        files.number(text)


@pytest.mark.parametrize("text", ["1", "-1.5", "+.5", "5.", "1E-3", "inf", "-Infinity"])
def test_numbers(text):
    assert files.number(text) == float(text)


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refusals = {"/dev/zero": "a device", tmp_path: "a folder", tmp_path / "pipe": "empty"}
    for path, message in refusals.items():
        with pytest.raises(InputError, match=f"{path}: {message}"):
            files.read_table(path)


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, "9" * 5000])
def test_json_of_no_finite_numbers_or_keys_twice_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="x.json.*not JSON"):
        files.read_json(tmp_path / "x.json")


def test_numbers_are_written_as_python_reads_them(tmp_path):
    value = float(np.nextafter(1.0, 2.0))
    files.write_json(tmp_path / "v.json", {"x": value})
    assert files.read_json(tmp_path / "v.json") == {"x": value}
