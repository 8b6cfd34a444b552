"""Tables come back as they were written, bad ones are refused, files are whole or not there."""

import os
import stat
import sys
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


def test_numbers_are_written_as_python_reads_them(tmp_path):
    value = float(np.nextafter(1.0, 2.0))
    files.write_json(tmp_path / "v.json", {"x": value})
    assert files.read_json(tmp_path / "v.json") == {"x": value}
