"""Archives: whatever reads Kaldi's reads ours, and nothing is lost or doubled in silence."""

import pickle
import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("number_type", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5,), (4, 3)])
def test_archives_of_kaldiio_have_equal_bits(tmp_path, number_type, shape):
    rng = np.random.default_rng(0)
    rows = {key: rng.normal(size=shape).astype(number_type) for key in ("a", "b")}
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/x.ark,{tmp_path}/x.scp") as archive:
        for key, row in rows.items():
            archive(key, row)
    arrays = read_archive(tmp_path / "x.scp")
    for key, row in rows.items():
        assert arrays[key].dtype == np.float32
        np.testing.assert_array_equal(arrays[key], row.astype(np.float32))


class Payload:
    """Object whose pickle makes a file when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def vector(*numbers: float, kind: bytes = b"FV ", length: bytes = b"\4") -> bytes:
    """Entry of a vector as Kaldi writes it."""
    size = length + struct.pack("<i", len(numbers))
    return b"\0B" + kind + size + struct.pack(f"<{len(numbers)}f", *numbers)


# Entries that other readers of Kaldi's formats take, or that are damaged.
BAD_ENTRIES = {
    "a NumPy file": (b"NPY\0\0\0\0", "expected a binary vector or matrix"),
    "a WAV file": (b"RIFF\0\0\0\0WAVEfmt ", "expected a binary vector or matrix"),
    "text": (b" [ 1 2 ]\n", "expected a binary vector or matrix"),
    "integers": (b"\0B\4" + struct.pack("<ibi", 1, 4, 7), "expected a binary vector or matrix"),
    "compressed": (b"\0BCM " + bytes(40), "expected a binary vector or matrix"),
    "nothing": (b"", "is at 2 of .*, which has 2 bytes"),
    "no numbers": (vector(), "has no valid size"),
    "a negative size": (b"\0BFV \4\xff\xff\xff\xff", "has no valid size"),
    "a size of eight bytes": (vector(1.0, length=b"\x08"), "has no valid size"),
    "a size that is cut": (b"\0BFM \4\1\0\0\0", "has no valid size"),
    "more than memory": (b"\0BFM " + b"\4\xff\xff\xff\x7f" * 2, "ends at .* has 17 bytes"),
    "cut short": (vector(1.0, 2.0)[:-1], "ends at 20 of .*, which has 19 bytes"),
    "NaN": (vector(1.0, np.nan), "has the value nan, expected finite numbers"),
    "infinity": (vector(-np.inf), "has the value -inf"),
    "a double too large": (
        b"\0BDV \4\1\0\0\0" + struct.pack("<d", 1e300),
        "has the value inf, expected finite",
    ),
}


def write_entry(folder: Path, entry: bytes) -> Path:
    (folder / "x.ark").write_bytes(b"a " + entry)
    (folder / "x.scp").write_text(f"a {folder}/x.ark:2\n")
    return folder / "x.scp"


@pytest.mark.parametrize("name", BAD_ENTRIES)
def test_an_entry_of_another_kind_is_named(tmp_path, name):
    entry, message = BAD_ENTRIES[name]
    scp = write_entry(tmp_path, entry)
    with pytest.raises(InputError, match=rf"x\.scp: a .*{message}") as error:
        dict(read_archive(scp))
    assert "\n" not in str(error.value)


def test_a_pickle_is_not_run(tmp_path):
    mark = tmp_path / "ran"
    scp = write_entry(tmp_path, b"PKL" + pickle.dumps(Payload(mark)))
    with pytest.raises(InputError, match="expected a binary vector or matrix"):
        dict(read_archive(scp))
    assert not mark.exists()


BAD_ADDRESSES = {
    "touch {folder}/ran |": "is the output of a command, .*: it is not run",
    "{folder}/x.ark:2|": "is the output of a command",
    "{folder}/x.ark:-2": "expected archive:offset",
    "{folder}/x.ark:²": "expected archive:offset",
    "{folder}/x.ark:2[0:1]": "expected archive:offset",
    "{folder}/x.ark:0": "is not the entry at 0",
    "{folder}/x.ark:5": "is not the entry at 5",
    "{folder}/x.ark:999": "is at 999 of .*, which has 16 bytes",
    "{folder}/x.ark:" + "9" * 5000: "is at 9",
    "{folder}:2": "is in .*, which is no file",
    "/dev/zero:2": "is in /dev/zero, which is no file",
    ":2": "expected archive:offset",
}


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_an_address_of_another_form_is_named(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    scp = write_entry(tmp_path, vector(1.0))
    scp.write_text(f"a {address.format(folder=tmp_path)}\n")
    with pytest.raises(InputError, match=rf"x\.scp: a .*{BAD_ADDRESSES[address]}"):
        read_archive(scp)
    assert not (tmp_path / "ran").exists()


def test_an_offset_of_another_utterance_is_refused(tmp_path):
    write_archive(tmp_path / "x.ark", ROWS.items())
    table = read_table(tmp_path / "x.scp")
    (tmp_path / "x.scp").write_text(f"B {table['a']}\na {table['B']}\n")
    with pytest.raises(InputError, match="B is not the entry at"):
        read_archive(tmp_path / "x.scp")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    write_archive(folder / "x.ark", [(key, rng.normal(size=2).astype(np.float32)) for key in "abc"])
    return folder


@given(data=st.data())
@pytest.mark.parametrize("name", ["x.ark", "x.scp"])
def test_damage_is_an_input_error_or_leaves_finite_arrays(whole, name, data):
    content = bytearray((whole / name).read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    change = data.draw(st.sampled_from(["replace", "cut", "insert", "remove"]))
    extra = data.draw(st.binary(max_size=6))
    if change == "replace":
        content[position : position + len(extra)] = extra
    elif change == "cut":
        del content[position:]
    elif change == "insert":
        content[position:position] = extra
    else:
        del content[position : position + len(extra)]
    damaged = whole / "damaged"
    damaged.mkdir(exist_ok=True)
    for file in ("x.ark", "x.scp"):
        (damaged / file).write_bytes((whole / file).read_bytes())
    (damaged / name).write_bytes(content)
    table = (damaged / "x.scp").read_bytes().replace(bytes(whole), bytes(damaged))
    (damaged / "x.scp").write_bytes(table)
    try:
        arrays = dict(read_archive(damaged / "x.scp"))
    except InputError as error:
        assert "\n" not in str(error)
        return
    for array in arrays.values():
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
