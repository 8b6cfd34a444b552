"""Archives: whatever reads Kaldi's reads ours, and nothing is lost or doubled in silence."""

import kaldiio
import numpy as np
import pytest

from wedefense_lite.files import InputError, read_table
from wedefense_lite.scoring.archives import read_archive, write_archive

ROWS = {key: np.full(3, number, np.float32) for number, key in enumerate(["b", "a", "B", "é"])}


def test_the_archive_keeps_its_order_and_the_scp_is_sorted(tmp_path):
    ark = tmp_path / "deep" / "x.ark"
    assert write_archive(ark, ROWS.items()) == list(ROWS)
    assert [key for key, _ in kaldiio.load_ark(str(ark))] == list(ROWS)
    assert list(read_archive(ark.with_suffix(".scp"))) == ["B", "a", "b", "é"]


def test_arrays_come_back_by_key(tmp_path):
    rng = np.random.default_rng(0)
    rows = {"vector": rng.random(4, np.float32), "matrix": rng.random((2, 3), np.float32)}
    write_archive(tmp_path / "x.ark", rows.items())
    arrays = read_archive(tmp_path / "x.scp")
    assert set(arrays) == set(rows)
    for key, array in rows.items():
        np.testing.assert_array_equal(arrays[key], array)
        assert arrays[key].dtype == np.float32


def test_the_scp_holds_the_path_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_archive("exp/x.ark", ROWS.items())
    addresses = read_table("exp/x.scp").values()
    assert all(address.startswith("exp/x.ark:") for address in addresses)
    assert read_archive("exp/x.scp")["a"][0] == 1


BAD_ROWS = {
    "a comes twice": [("a", np.zeros(2, np.float32))] * 2,
    "b has a value that is not finite": [("a", np.zeros(2)), ("b", np.array([0, np.nan]))],
    "c has a value that is not finite": [("c", np.array([np.inf]))],
}


@pytest.mark.parametrize("message", BAD_ROWS)
def test_bad_arrays_are_refused_by_key_and_the_earlier_archive_stays(tmp_path, message):
    write_archive(tmp_path / "x.ark", ROWS.items())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=message):
        write_archive(tmp_path / "x.ark", BAD_ROWS[message])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_error_of_the_source_leaves_the_earlier_archive(tmp_path):
    write_archive(tmp_path / "x.ark", ROWS.items())

    def rows():
        yield "new", np.zeros(1, np.float32)
        raise InputError("u7: unreadable")

    with pytest.raises(InputError, match="u7"):
        write_archive(tmp_path / "x.ark", rows())
    assert set(read_archive(tmp_path / "x.scp")) == set(ROWS)


BAD_SCP = {
    "": "empty",
    "a x.ark:0\na x.ark:9\n": ":2: a is there twice",
    "a\n": ":1: 1 columns, expected 2",
    "a x.ark\n": "a is at 'x.ark', expected archive:offset",
    "a gone.ark:2\n": r"a is in gone\.ark, which does not exist",
}


@pytest.mark.parametrize("text", BAD_SCP)
def test_bad_scps_are_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    write_archive("x.ark", ROWS.items())
    (tmp_path / "bad.scp").write_text(text)
    with pytest.raises(InputError, match=f"bad.scp.*{BAD_SCP[text]}"):
        read_archive("bad.scp")


def test_a_missing_scp_is_named(tmp_path):
    with pytest.raises(InputError, match="absent.scp: No such file"):
        read_archive(tmp_path / "absent.scp")
