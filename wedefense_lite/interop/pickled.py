"""Labels and scores that somebody published as pickles, in ``.npy``, ``.npz`` and ``.pkl`` files.

A pickle names functions and calls them, so that the writer of the file decides what runs. Here
the few names that a dictionary of numpy arrays needs stand for classes of this module; any other
name is refused. Nothing of numpy is called with values from the file before they are checked.

The steps of a pickle are carried out here too, since those of Python's own reader can be made to
take any amount of memory or time: a place in its memory far behind the others, a key that is a
tuple of tuples of tuples. Time and memory of this reader are those of the length of the file.
"""

import io
import math
import pickletools
import tokenize
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from wedefense_lite.files import InputError, note_input, open_bytes, read_bytes
from wedefense_lite.labels import BONAFIDE, SPOOF

# Errors that a file which is none, or a hostile one, raises on its way through numpy's header and
# the classes below.
HOSTILE = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
    EOFError,
    SyntaxError,
    tokenize.TokenError,
    RecursionError,
    MemoryError,
)
MAX_SHOWN = 40  # characters of a wrong value in a message
NPY = b"\x93NUMPY"  # first bytes of files
NPZ = b"PK\x03\x04"
PICKLE = b"\x80"  # from protocol 2 on
# Beginnings of pickles of protocols 0 and 1: a dictionary, a list, or a name to call.
OLD_PICKLES = (b"(dp", b"(lp", b"}q", b"]q", b"cnumpy", b"ccollections")
PICKLE_END = b"."
MOST_BYTES = 1 << 31  # of a member of an archive, unpacked
LAST_CODE_POINT = 0x10FFFF
SMALLEST_ROOM = 1 << 16  # values that any file may have, whatever its length


class _Type:
    """Stands for ``numpy.dtype``: text and numbers, or ``O``; nothing with fields."""

    def __init__(self, name: str, *_):
        # Kinds of numpy: bool, integers, floats, text, bytes, objects; no records.
        if not isinstance(name, str) or name.lstrip("|<>=")[:1] not in set("biufUSO"):
            raise ValueError(f"values of type {str(name)[:MAX_SHOWN]!r}")
        self.type = np.dtype(name)

    def __setstate__(self, state: tuple):
        if self.type.kind != "O":
            self.type = self.type.newbyteorder(state[1])


def _buffer(data: bytes, dtype: np.dtype) -> np.ndarray:
    """Values in bytes; ValueError where a text has code points that are none."""
    values = np.frombuffer(data, dtype)
    if dtype.kind == "U":
        points = np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder))
        if (points > LAST_CODE_POINT).any():
            raise ValueError("a text that is none")
    return values


class _Array:
    """Stands for ``_reconstruct``: an array whose values come afterwards.

    Attributes:
        values: in one dimension.
        shape: as the file says; nothing relies on it before it is checked.
        is_fortran: whether the first index of the shape is that which runs fastest.
    """

    def __init__(self, *_):
        self.values = None
        self.shape = ()
        self.is_fortran = False

    def __setstate__(self, state: tuple):
        _, self.shape, dtype, self.is_fortran, data = state  # version first
        # Objects come as a list. np.frombuffer refuses them: bytes of a file would be addresses.
        self.values = data if dtype.type.kind == "O" else _buffer(data, dtype.type)

    def array(self) -> np.ndarray:
        """The values in their shape; ValueError where they are of another number."""
        shape = self.shape
        if not (isinstance(shape, tuple) and all(type(size) is int for size in shape)):
            raise ValueError("a shape that is none")
        if math.prod(shape) != len(self.values):
            raise ValueError(f"{len(self.values)} values in a shape of {math.prod(shape)}")
        values = _plain_values(self.values)
        return np.reshape(values, shape, order="F" if self.is_fortran else "C")


class _Scalar(_Array):
    """Stands for ``scalar``: an array of one value."""

    def __init__(self, dtype: _Type, data: bytes):
        super().__init__()
        self.values = _buffer(data, dtype.type)


class _FromBuffer(_Array):
    """Stands for ``_frombuffer``: an array as protocol 5 writes it."""

    def __init__(self, data: bytes, dtype: _Type, shape: tuple, order: str):
        super().__init__()
        self.values = _buffer(data, dtype.type)
        self.shape = shape
        self.is_fortran = order == "F"


class _Dictionary(dict):
    """Stands for ``defaultdict``: its function that makes values is not needed."""

    def __init__(self, *_):
        super().__init__()


class _Bytes(bytes):
    """Stands for ``_codecs.encode``, by which protocols 0 to 2 write bytes."""

    def __new__(cls, text: str, encoding: str):
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError("bytes of another encoding")
        return super().__new__(cls, text.encode("latin1"))


class _Container:
    """Stands for a container as an argument, such as the function of a ``defaultdict``."""

    def __init__(self, *_):
        raise ValueError("a container made by a call")


ADMITTED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("collections", "defaultdict"): _Dictionary,
    ("_codecs", "encode"): _Bytes,
    ("builtins", "dict"): _Container,
    ("builtins", "list"): _Container,
    ("builtins", "tuple"): _Container,
    ("builtins", "set"): _Container,
    # numpy 1 and numpy 2 name the same functions.
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy._core.multiarray", "scalar"): _Scalar,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer,
}
# Steps that push their argument, by the beginning or the end of their names in ``pickletools``.
VALUES = ("FLOAT", "INT", "INT1", "INT2", "LONG", "LONG1", "LONG4", "BYTES", "BYTES8", "BYTEARRAY8")
TEXTS = ("STRING", "UNICODE", "UNICODE8")


class _Reader:
    """A pickle, step by step.

    Attributes:
        stack: values that are not yet part of another one.
        marks: lengths of the stack at which a container began.
        memory: values by the number under which the pickle keeps them.
    """

    def __init__(self):
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memory: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """The value of a pickle.

        Raises:
            ValueError: a name that is not admitted, or a step that arrays don't need.
        """
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name.endswith(VALUES + TEXTS):
                self.stack.append(argument)
            elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                self.memory[argument] = self.stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                self.stack.append(self.memory[argument])
            elif name == "GLOBAL":
                self.stack.append(_admitted(*argument.split(" ", 1)))
            elif name in STEPS:
                STEPS[name](self)
            else:
                raise ValueError(f"a step {name}, which arrays don't need")
        raise ValueError("no end")

    def memoize(self) -> None:
        self.memory[len(self.memory)] = self.stack[-1]

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def pop_marked(self) -> list:
        """Values above the last mark."""
        begin = self.marks.pop()
        values = self.stack[begin:]
        del self.stack[begin:]
        return values

    def name(self) -> None:
        name = self.stack.pop()
        module = self.stack.pop()
        self.stack.append(_admitted(module, name))

    def call(self) -> None:
        arguments = self.stack.pop()
        stand_in = self.stack.pop()
        if stand_in not in CLASSES or not isinstance(arguments, tuple):
            raise ValueError("a call of a value")
        self.stack.append(stand_in(*arguments))

    def build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Type | _Array):
            raise ValueError(f"a state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].__setstate__(state)

    def set_items(self, cells: list) -> None:
        labels = self.stack[-1]
        if not isinstance(labels, dict):
            raise ValueError(f"items of a {type(labels).__name__}")
        for key, value in zip(cells[::2], cells[1::2], strict=True):
            if not isinstance(key, str):
                raise ValueError(f"a key that is a {type(key).__name__}")
            labels[key] = value

    def append(self, values: list) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError(f"values of a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(values)

    def set_item(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self.set_items([key, value])

    def make_dictionary(self) -> None:
        cells = self.pop_marked()
        self.stack.append({})
        self.set_items(cells)

    def make_tuple(self, count: int) -> None:
        values = self.stack[-count:]
        if len(values) < count:
            raise ValueError("a tuple of too few values")
        self.stack[-count:] = [tuple(values)]


CLASSES = frozenset(ADMITTED.values())
CONTAINERS = (list, tuple, dict, np.ndarray)
STEPS: dict[str, Callable[[_Reader], None]] = {
    "PROTO": lambda reader: None,
    "FRAME": lambda reader: None,
    "MEMOIZE": _Reader.memoize,
    "MARK": _Reader.mark,
    "STACK_GLOBAL": _Reader.name,
    "REDUCE": _Reader.call,
    "BUILD": _Reader.build,
    "NONE": lambda reader: reader.stack.append(None),
    "NEWTRUE": lambda reader: reader.stack.append(True),
    "NEWFALSE": lambda reader: reader.stack.append(False),
    "EMPTY_LIST": lambda reader: reader.stack.append([]),
    "EMPTY_DICT": lambda reader: reader.stack.append({}),
    "EMPTY_TUPLE": lambda reader: reader.stack.append(()),
    "LIST": lambda reader: reader.stack.append(reader.pop_marked()),
    "TUPLE": lambda reader: reader.stack.append(tuple(reader.pop_marked())),
    "DICT": _Reader.make_dictionary,
    "TUPLE1": lambda reader: reader.make_tuple(1),
    "TUPLE2": lambda reader: reader.make_tuple(2),
    "TUPLE3": lambda reader: reader.make_tuple(3),
    "APPEND": lambda reader: reader.append([reader.stack.pop()]),
    "APPENDS": lambda reader: reader.append(reader.pop_marked()),
    "SETITEM": _Reader.set_item,
    "SETITEMS": lambda reader: reader.set_items(reader.pop_marked()),
}


def _admitted(module: str, name: str) -> type:
    """The class that stands for a name; ValueError for a name that is none of them."""
    if (module, name) not in ADMITTED:
        raise ValueError(
            f"{module}.{name} is named in it, which arrays don't need; nothing was run"
        )
    return ADMITTED[module, name]


def _classes(name: str, values, most: int) -> np.ndarray:
    """Class indices of a list or array of ``0`` and ``1``, numbers or text.

    Args:
        name: of the utterance.
        values: its labels.
        most: number of labels that the file can hold.
    """
    if isinstance(values, _Array):
        values = values.values
    if not isinstance(values, np.ndarray):
        values = list(iter(values))
        if any(isinstance(value, CONTAINERS) for value in values):
            raise ValueError(f"{name} has 2 dimensions")
        values = [value.values[0] if isinstance(value, _Scalar) else value for value in values]
    if len(values) > most:
        raise ValueError(f"{name} has more labels than the file has room for")
    text = np.asarray(values).astype(str)
    if text.ndim != 1:
        raise ValueError(f"{name} has {text.ndim} dimensions")
    is_bonafide = text == str(BONAFIDE)
    is_spoof = text == str(SPOOF)
    is_wrong = ~(is_bonafide | is_spoof)
    if is_wrong.any():
        raise ValueError(f"{name} has {str(text[is_wrong][0])[:MAX_SHOWN]!r} among its labels")
    return is_bonafide.astype(np.int8)


def _plain_values(values) -> np.ndarray:
    """Array ``(N,)`` of numbers or texts; objects of an array are such values themselves."""
    if isinstance(values, np.ndarray):
        return values
    plain = []
    for value in values:
        if isinstance(value, _Scalar):
            value = value.values[0]
        if isinstance(value, (*CONTAINERS, _Array)):
            raise ValueError("arrays in an array")
        plain.append(value)
    return np.asarray(plain)


class _Room:
    """Number of values that a file can hold: an honest one takes a byte or more.

    A pickle may name one list or array many times over.
    """

    def __init__(self, size: int):
        self.left = size

    def array_of(self, value) -> np.ndarray:
        """Value of a pickle as an array of numbers or texts."""
        if isinstance(value, _Scalar):
            array = value.values[0:1]
        elif isinstance(value, _Array):
            array = value.array()
        elif isinstance(value, list | tuple):
            members = [self._member(member) for member in value]
            is_table = any(isinstance(member, np.ndarray) for member in members)
            array = np.stack(members) if is_table else _plain_values(members)
        else:
            array = _plain_values([value])
        self._take(array.size)
        return array

    def _member(self, value):
        if isinstance(value, list | tuple | _Array) and not isinstance(value, _Scalar):
            return self.array_of(value)
        self._take(1)
        return value

    def _take(self, count: int) -> None:
        self.left -= count
        # Members of a list are counted twice, once alone.
        if self.left < -2 * SMALLEST_ROOM:
            raise ValueError("more values than the file has room for")


def is_pickled(path: str | Path) -> bool:
    """Whether a file begins like one that this module reads."""
    with open_bytes(path) as file:
        begin = file.read(max(map(len, OLD_PICKLES)))
        if not begin.startswith(OLD_PICKLES):
            return begin.startswith((NPY, NPZ, PICKLE))
        # A text may begin so, but none of ours ends with a point of its own.
        return (begin + file.read()).endswith(PICKLE_END)


def read_arrays(path: str | Path) -> dict[str, np.ndarray] | list[np.ndarray]:
    """Arrays of a ``.npy``, ``.npz`` or ``.pkl`` file, told by its first bytes; nothing is run.

    Returns:
        By name, of a dictionary or an archive; else a list, of an array alone or of a list of them.

    Raises:
        InputError: another file, or a pickle that names anything else than arrays and containers.
    """
    note_input(path)
    content = read_bytes(path)
    try:
        if content.startswith(NPZ):
            return _members(content)
        value = _value(content)
        room = _Room(len(content))
        if isinstance(value, dict):
            return {name: room.array_of(value[name]) for name in value}
        if isinstance(value, list):
            return [room.array_of(member) for member in value]
        return [room.array_of(value)]
    except (*HOSTILE, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{path}: {str(error)[:200]}; expected arrays, or a dictionary or list of them"
        ) from None


def _members(content: bytes) -> dict[str, np.ndarray]:
    """Arrays of an archive of numpy."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            if member.file_size > MOST_BYTES:
                raise ValueError(f"{member.filename} has {member.file_size} bytes")
            value = _value(archive.read(member))
            name = member.filename.removesuffix(".npy")
            arrays[name] = _Room(member.file_size).array_of(value)
    return arrays


def _value(content: bytes):
    """Value of a pickle, or of a ``.npy`` file, whose array of one object is that object."""
    if content.startswith((PICKLE, *OLD_PICKLES)):
        return _Reader().read(content)
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError("another version of .npy")
    shape, is_fortran, dtype = HEADERS[version](file)
    if dtype.hasobject:
        array = _Reader().read(file.read())
        if isinstance(array, _Array) and isinstance(array.values, list) and len(array.values) == 1:
            return array.values[0]
        return array
    if dtype.kind not in "biufUS":
        raise ValueError(f"an array of {dtype}")
    return _Given(_buffer(content[file.tell() :], dtype), shape, is_fortran)


class _Given(_Array):
    """Array of a ``.npy`` file without a pickle."""

    def __init__(self, values: np.ndarray, shape: tuple, is_fortran: bool):
        super().__init__()
        self.values = values
        self.shape = shape
        self.is_fortran = is_fortran


HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _pickle_in(file: BinaryIO) -> bytes:
    """Pickle of a file, which is all of it, or what follows the header of a ``.npy`` file.

    Raises:
        ValueError: neither.
    """
    begin = file.read(len(NPY))
    if begin.startswith((PICKLE, *OLD_PICKLES)):
        return begin + file.read()
    file.seek(0)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("another version of .npy")
    _, _, dtype = np.lib.format.read_array_header_1_0(file)
    if not dtype.hasobject:
        raise ValueError(f"an array of {dtype}")
    return file.read()


def read_frame_labels(path: str | Path) -> dict[str, np.ndarray]:
    """Labels of the frames of each utterance, as published.

    Returns:
        By utterance ``(G,)`` int8, 0 spoof and 1 bona fide; G frames.

    Raises:
        InputError: the file is no pickled dictionary of labels, in a ``.npy`` file or by itself, or
            the pickle names anything else than arrays and containers; nothing that it names is run.
    """
    try:
        with open(path, "rb") as file:
            data = _pickle_in(file)
        labels = _Reader().read(data)
        if isinstance(labels, _Array):
            labels = labels.values
        # np.save wraps a dictionary in an array of one object.
        if isinstance(labels, list) and len(labels) == 1:
            labels = labels[0]
        if not isinstance(labels, dict):
            raise ValueError(f"a {type(labels).__name__}")
        # A list may stand for many utterances; honest labels take a byte each or more.
        room = len(data)
        classes = {}
        for name in list(labels):
            # pop: the lists of a set are large, and are not needed once they are arrays.
            classes[name] = _classes(name, labels.pop(name), room)
            room -= len(classes[name])
        return classes
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except HOSTILE as error:
        raise InputError(
            f"{path}: {error}; expected a dictionary, an utterance to a list of 0 and 1"
        ) from None
