"""Frame labels of PartialSpoof, published as pickled dictionaries in ``.npy`` files, read without running any.

A pickle names functions and calls them, so whoever wrote the file decides what runs. Here the few names
that a dictionary of numpy arrays needs stand for classes of this module; any other name is refused.
"""

import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np

from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, SPOOF

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
    """Stands for ``numpy.dtype``: text and whole numbers, or ``O``, nothing with fields."""

    def __init__(self, name: str, *_):
        if not isinstance(name, str) or name.lstrip("|<>=")[:1] not in set("biuUSO"):
            raise ValueError(f"values of type {name!r}")
        self.type = np.dtype(name)

    def __setstate__(self, state: tuple):
        if self.type.kind != "O":
            self.type = self.type.newbyteorder(state[1])


class _Array:
    """Stands for ``_reconstruct``: an array that is filled afterwards; its shape is of no interest."""

    def __init__(self, *_):
        self.values = None

    def __setstate__(self, state: tuple):
        _, _, kind, _, data = state
        self.values = data if kind.type.kind == "O" else np.frombuffer(data, kind.type)


class _Scalar(_Array):
    """Stands for ``scalar``: an array of one value."""

    def __init__(self, kind: _Type, data: bytes):
        self.values = np.frombuffer(data, kind.type)


NUMPY = {"_reconstruct": _Array, "scalar": _Scalar}
ADMITTED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("collections", "defaultdict"): defaultdict,
    **{("builtins", kind.__name__): kind for kind in (dict, list, tuple, set)},
    **{
        (f"numpy.{core}.multiarray", name): kind
        for core in ("core", "_core")
        for name, kind in NUMPY.items()
    },
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
    values = values.values if isinstance(values, _Array) else values
    if not isinstance(values, np.ndarray):
        values = [value.values[0] if isinstance(value, _Scalar) else value for value in values]
    text = np.asarray(values).astype(str)
    if text.ndim != 1:
        raise ValueError(f"{name} has {text.ndim} dimensions")
    bonafide = text == str(BONAFIDE)
    if (wrong := ~bonafide & (text != str(SPOOF))).any():
        raise ValueError(f"{name} has {str(text[wrong][0])!r} among its labels")
    return bonafide.astype(np.int8)


def read_frame_labels(path: str | Path) -> dict[str, np.ndarray]:
    """Labels of the frames of each utterance: ``(T,)`` int8, 0 spoof and 1 bona fide, as published.

    Raises:
        InputError: no pickled dictionary of labels in an ``.npy`` file, or one that names anything else
            than arrays and containers: nothing that it names is run.
    """
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version of .npy")
            _, _, kind = np.lib.format.read_array_header_1_0(file)
            if not kind.hasobject:
                raise ValueError(f"an array of {kind}")
            found = _Unpickler(file).load().values
        labels = found[0] if isinstance(found, list) and len(found) == 1 else found
        if not isinstance(labels, dict):
            raise ValueError(f"a {type(labels).__name__}")
        return {str(name): _classes(name, labels.pop(name)) for name in list(labels)}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except HOSTILE as error:
        raise InputError(
            f"{path}: {error}; expected a dictionary, an utterance to a list of 0 and 1"
        ) from None
