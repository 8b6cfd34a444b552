"""Frame labels of PartialSpoof, published as pickled dictionaries in ``.npy`` files.

A pickle names functions and calls them, so that the writer of the file decides what runs. Here
the few names that a dictionary of numpy arrays needs stand for classes of this module; any other
name is refused. Nothing of numpy is called with values from the file before they are checked.
"""

import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np

from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, SPOOF

# Errors that a pickle which is none, or a hostile one, raises on its way through the classes below.
HOSTILE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
)


class _Type:
    """Stands for ``numpy.dtype``: text and whole numbers, or ``O``; nothing with fields."""

    def __init__(self, name: str, *_):
        # Kinds of numpy: bool, integers, text, bytes, objects. Floats and records are no labels.
        if not isinstance(name, str) or name.lstrip("|<>=")[:1] not in set("biuUSO"):
            raise ValueError(f"values of type {name!r}")
        self.type = np.dtype(name)

    def __setstate__(self, state: tuple):
        if self.type.kind != "O":
            self.type = self.type.newbyteorder(state[1])


class _Array:
    """Stands for ``_reconstruct``: an array whose values come afterwards. Its shape is ignored."""

    def __init__(self, *_):
        self.values = None

    def __setstate__(self, state: tuple):
        _, _, dtype, _, data = state  # version, shape, type, order, values
        # Objects come as a list. np.frombuffer refuses them: bytes of a file would be addresses.
        self.values = data if dtype.type.kind == "O" else np.frombuffer(data, dtype.type)


class _Scalar(_Array):
    """Stands for ``scalar``: an array of one value."""

    def __init__(self, dtype: _Type, data: bytes):
        self.values = np.frombuffer(data, dtype.type)


ADMITTED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("collections", "defaultdict"): defaultdict,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("builtins", "tuple"): tuple,
    ("builtins", "set"): set,
    # numpy 1 and numpy 2 name the same functions.
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy._core.multiarray", "scalar"): _Scalar,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(
                f"{module}.{name} is named in it, which labels don't need; nothing was run"
            )
        return ADMITTED[module, name]


def _classes(name: str, values) -> np.ndarray:
    """Class indices of a list or array of ``0`` and ``1``, numbers or text."""
    if isinstance(values, _Array):
        values = values.values
    if not isinstance(values, np.ndarray):
        values = [value.values[0] if isinstance(value, _Scalar) else value for value in values]
    text = np.asarray(values).astype(str)
    if text.ndim != 1:
        raise ValueError(f"{name} has {text.ndim} dimensions")
    is_bonafide = text == str(BONAFIDE)
    is_spoof = text == str(SPOOF)
    is_wrong = ~(is_bonafide | is_spoof)
    if is_wrong.any():
        raise ValueError(f"{name} has {str(text[is_wrong][0])!r} among its labels")
    return is_bonafide.astype(np.int8)


def read_frame_labels(path: str | Path) -> dict[str, np.ndarray]:
    """Labels of the frames of each utterance, as published.

    Returns:
        By utterance ``(G,)`` int8, 0 spoof and 1 bona fide; G frames.

    Raises:
        InputError: the file is no ``.npy`` file with a pickled dictionary of labels, or the pickle
            names anything else than arrays and containers; nothing that it names is run.
    """
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version of .npy")
            _, _, dtype = np.lib.format.read_array_header_1_0(file)
            if not dtype.hasobject:
                raise ValueError(f"an array of {dtype}")
            labels = _Unpickler(file).load().values
        # np.save wraps a dictionary in an array of one object.
        if isinstance(labels, list) and len(labels) == 1:
            labels = labels[0]
        if not isinstance(labels, dict):
            raise ValueError(f"a {type(labels).__name__}")
        # pop: the lists of a set are large, and are not needed once they are arrays.
        return {str(name): _classes(name, labels.pop(name)) for name in list(labels)}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except HOSTILE as error:
        raise InputError(
            f"{path}: {error}; expected a dictionary, an utterance to a list of 0 and 1"
        ) from None
