"""Published frame labels are read; a pickle that names anything else is refused before it runs."""

import io
import os
import pickle
import time
from collections import defaultdict
from contextlib import suppress

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from wedefense_lite.files import InputError
from wedefense_lite.interop.pickled import read_frame_labels


def npy(path, value, protocol=3, **names):
    """What ``np.save`` writes of one object, with names in the pickle replaced."""
    array = np.empty((), dtype=object)
    array[()] = value
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    pickled = pickle.dumps(array, protocol)
    for old, new in names.items():
        assert old.encode() in pickled
        pickled = pickled.replace(old.encode(), new.encode())
    path.write_bytes(buffer.getvalue() + pickled)
    return path


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_labels_as_numpy_1_and_2_write_them(tmp_path, core):
    published = defaultdict(list, a=np.array(["1", "0", "0"], dtype="<U21"), b=np.array([0, 1]))
    here = np.array(0).__reduce__()[0].__module__.removesuffix(".multiarray")
    path = npy(tmp_path / "x.npy", published, **{f"{here}.multiarray": f"{core}.multiarray"})
    labels = read_frame_labels(path)
    assert {name: row.tolist() for name, row in labels.items()} == {"a": [1, 0, 0], "b": [0, 1]}
    assert labels["a"].dtype == np.int8


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 1],
        ("0", "1", "1"),
        ["0", np.str_("1"), np.int64(1)],
        np.array(["0", "1", "1"], dtype=object),
        np.array([b"0", b"1", b"1"]),
        np.array([0, 1, 1], dtype=">i4"),
    ],
    ids=str,
)
def test_lists_and_arrays_of_numbers_and_text(tmp_path, values):
    np.save(tmp_path / "x.npy", {"a": values})
    assert read_frame_labels(tmp_path / "x.npy")["a"].tolist() == [0, 1, 1]


class Calls:
    """Pickled, it is the call of a function when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HIDDEN = {
    "itself": lambda call: call,
    "labels": lambda call: {"a": call},
    "a label": lambda call: {"a": [call]},
    "in an array": lambda call: {"a": np.array([call, "1"], dtype=object)},
    "a key": lambda call: {call: [1]},
    "an argument": lambda call: {"a": Calls(defaultdict, call)},
}


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN)
def test_nothing_that_a_pickle_names_is_run(tmp_path, hide, protocol):
    path, mark = tmp_path / "x.npy", tmp_path / "ran"
    for call, name in (
        (Calls(os.mkdir, str(mark)), "posix.mkdir"),
        (Calls(eval, f"open({str(mark)!r}, 'w')"), "eval"),
    ):
        npy(path, hide(call), protocol)
        with pytest.raises(InputError, match=rf"x.npy: .*{name} is named in it"):
            read_frame_labels(path)
        assert not mark.exists()
    with suppress(TypeError):  # after the call, of what it returns
        np.load(path, allow_pickle=True)
    assert mark.exists()  # it would have run


def test_what_numpy_has_besides_is_refused(tmp_path):
    for name, said in {"numpy.fromfile": "fromfile", "numpy.f2py.capi_maps.eval": "eval"}.items():
        module, function = name.rsplit(".", 1)
        path = tmp_path / "x.npy"
        path.write_bytes(npy(path, {}).read_bytes()[:128] + f"c{module}\n{function}\n.".encode())
        with pytest.raises(InputError, match=f"{said} is named in it"):
            read_frame_labels(path)


def test_names_that_are_admitted_build_labels_only(tmp_path):
    """A type with fields, an address for an object, bytes for a list: numpy never sees them."""
    array, text = np.array([1]), np.dtype("U1")
    rebuild, scalar = array.__reduce__()[0], np.int64(1).__reduce__()[0]
    objects = Calls(np.dtype, "O8")
    for value, said in {
        Calls(scalar, objects, b"\x00" * 8): "OBJECT",
        Calls(np.dtype, [("a", "O")]): "values of type",
        Calls(rebuild, list, (0,), b"b"): "",
        Calls(np.ndarray, (3,), text): "",
        Calls(np.dtype, "V8"): "values of type 'V8'",
    }.items():
        with pytest.raises(InputError, match=f"x.npy: .*{said}"):
            read_frame_labels(npy(tmp_path / "x.npy", {"a": value}))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [0, 2]}, "a has '2' among its labels"),
        ({"a": ["bonafide"]}, "a has 'bonafide' among its labels"),
        ({"a": [[0, 1]]}, "a has 2 dimensions"),
        ({"a": 1}, "'int' object is not iterable"),
        (["a"], "a list"),
        ("a", "a str"),
    ],
)
def test_other_values_are_refused(tmp_path, value, said):
    with pytest.raises(
        InputError,
        match=f"x.npy: {said}.*; expected a dictionary, an utterance to a list of 0 and 1",
    ):
        read_frame_labels(npy(tmp_path / "x.npy", value))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.npy"
    whole = npy(path, {"a": [0, 1]}).read_bytes()
    for data in (
        b"",
        b"PK\3\4 not npy at all",
        whole[:100],
        whole[:-5],
        whole[:6] + b"\x09" + whole[7:],
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match="x.npy: .*expected a dictionary"):
            read_frame_labels(path)
    np.save(path, np.arange(3))
    with pytest.raises(InputError, match="an array of int64"):
        read_frame_labels(path)
    with pytest.raises(InputError, match="none.npy: No such file"):
        read_frame_labels(tmp_path / "none.npy")


def header() -> bytes:
    """Header of a ``.npy`` file of one object."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    return buffer.getvalue()


def nested_key() -> bytes:
    """A key that is a tuple of two tuples of two tuples ..., of which each is kept once."""
    steps = b"}("
    for number in range(60):
        inner = b")" if number == 0 else b"h%c" % (number - 1)
        steps += inner + inner + b"\x86q%c0" % number
    return steps + b"h\x3bK\x01u"


def one_list_many_times() -> bytes:
    """A list of 30,000 labels that 30,000 utterances have."""
    steps = b"}](" + b"K\x01" * 30_000 + b"eq\x000("
    for number in range(30_000):
        steps += pickle.SHORT_BINUNICODE + b"\x05%05d" % number + b"h\x00"
    return steps + b"u"


BOMBS = {
    "a place far behind the others": b"}r\xff\xff\xff\x7f",
    "a key of nested tuples": nested_key(),
    "one list many times": one_list_many_times(),
    "text of 2 GB that isn't there": b"X\xff\xff\xff\x7fa",
    "bytes of 8 EB that aren't there": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa",
    "a number of 60,000 digits": b"L" + b"9" * 60_000 + b"L\n",
    "a set": b"\x8f",
    "no value": b"",
    "nothing marked": b"t",
}


@pytest.mark.parametrize("steps", BOMBS.values(), ids=BOMBS)
def test_a_pickle_that_asks_for_time_or_memory_gets_neither(tmp_path, steps):
    # An array of one object, as np.save writes a dictionary.
    opening = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    state = b"(K\x01)cnumpy\ndtype\nX\x02\x00\x00\x00O8K\x00K\x01\x87R\x89]"
    (tmp_path / "x.npy").write_bytes(header() + b"\x80\x04" + opening + state + steps + b"atb.")
    start = time.process_time()
    with suppress(InputError):
        assert read_frame_labels(tmp_path / "x.npy") == {}
    assert time.process_time() - start < 5


@examples(80)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from([3, 4]),
)
def test_a_damaged_file_is_refused_or_read_as_far_as_it_is_labels(tmp_path, changes, cut, protocol):
    labels = {"a": np.array(["1", "0", "0"]), "b": [0, 1, 1], "c": np.array([1, 1], dtype=np.int8)}
    data = bytearray(npy(tmp_path / "x.npy", labels, protocol).read_bytes())
    for position, value in changes:
        data[position % len(data)] = value
    if cut:
        del data[changes[0][0] % len(data) :]
    (tmp_path / "x.npy").write_bytes(data)
    with suppress(InputError):
        for row in read_frame_labels(tmp_path / "x.npy").values():
            assert set(row.tolist()) <= {0, 1}
