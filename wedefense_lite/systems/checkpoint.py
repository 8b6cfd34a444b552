"""Checkpoints: written whole, read with their checksums, loaded strictly."""

import math
import sys
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn

from wedefense_lite.files import InputError, atomic_path
from wedefense_lite.labels import LABELS
from wedefense_lite.weights import (
    check_content,
    check_tensors,
    is_finite,
    load_state,
    tensors_of,
)


class CheckedFile:
    """File for ``torch.save`` that keeps the error of a write, for which PyTorch has other words.

    Args:
        file: file to write to.

    Attributes:
        error: first error of writing, None without one.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.error: OSError | None = None

    def write(self, content) -> int:
        """Write all of ``content``, or raise."""
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        self._file.flush()


def save(path: str | Path, state: dict) -> None:
    """Write a checkpoint under its final name only once it is complete and on disk.

    It is read again before it takes the name.

    Raises:
        FloatingPointError: a tensor that is not finite; nothing is written.
        InputError: a disk that is full or read-only.
    """
    for name, tensor in tensors_of(state):
        if not is_finite(tensor):
            raise FloatingPointError(
                f"{path} is not written: {name} is not finite, the training has diverged "
                "(a lower rate or --training.clip_norm may help)"
            )
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as file:
            checked_file = CheckedFile(file)
            try:
                torch.save(_with_shared_texts(state), checked_file)
            except RuntimeError:
                if checked_file.error is not None:
                    raise checked_file.error from None
                raise
        check_content(temporary, path)


def _with_shared_texts(value):
    """Copy of a state in which equal texts are one object, and nothing else is shared.

    Pickling writes an object once. Of a training that was continued some texts come from a file, so
    its checkpoints would hold the same values in other bytes.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        copy = OrderedDict() if isinstance(value, OrderedDict) else {}
        for key, part in value.items():
            copy[_with_shared_texts(key)] = _with_shared_texts(part)
        # Versions of modules, which the state dict of one carries.
        if hasattr(value, "_metadata"):
            copy._metadata = _with_shared_texts(value._metadata)
        return copy
    if type(value) in (list, tuple):
        return type(value)([_with_shared_texts(part) for part in value])
    return value


def load(path: str | Path, mmap: bool = False) -> dict:
    """Read a checkpoint to the CPU, without running code from it.

    Args:
        path: checkpoint.
        mmap: read tensors only when they are used, for a look at what stands beside them; their
            checksums are not compared.

    Raises:
        InputError: missing or damaged file, or one that holds something else.
    """
    try:
        # A pipe or a device would be waited for.
        if Path(path).exists() and not Path(path).is_file():
            raise InputError(f"{path}: not a readable checkpoint: no regular file")
        if not mmap:
            check_content(path, path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except InputError:
        raise
    # Any bytes may come, and the unpickler has no list of the errors that it ends with.
    except Exception as error:
        lines = str(error).splitlines() or ["it ends too early"]
        reason = getattr(error, "strerror", None) or lines[0]
        raise InputError(f"{path}: not a readable checkpoint: {reason}") from error
    if not isinstance(state, dict):
        raise InputError(
            f"{path}: not a checkpoint: it holds a {type(state).__name__}, expected a dict"
        )
    check_tensors(path, state)
    return state


def load_model(path: str | Path) -> dict:
    """Content of ``model_N.pt``, ``best_model.pt`` or ``avg_model.pt``, its fields checked.

    Returns:
        ``model``, ``labels``, ``class_prior``, ``epoch``, ``config_hash`` and, where it was trained
        by this toolkit, ``data_hashes``.

    Raises:
        InputError: another label order, or a field that is missing or of another kind.
    """
    state = load(path)
    labels = state.get("labels", ())
    if not isinstance(labels, list | tuple) or tuple(labels) != LABELS:
        raise InputError(f"{path}: label order {labels}, expected {LABELS}")
    expected = {
        "model": (_is_weights, "weights by their names"),
        "class_prior": (_is_prior, "two numbers from 0 to 1 whose sum is 1"),
        "epoch": (is_count, "a number of an epoch"),
        "config_hash": (_is_text, "a hash"),
    }
    for name, (is_valid, meaning) in expected.items():
        if name not in state:
            raise InputError(f"{path}: not a model of this toolkit: it lacks {name}")
        if not is_valid(state[name]):
            raise InputError(f"{path}: {name} is {_shortened(state[name])}, expected {meaning}")
    return state


def _is_weights(value) -> bool:
    return isinstance(value, dict) and all(isinstance(part, Tensor) for part in value.values())


def _is_prior(value) -> bool:
    if not isinstance(value, list | tuple) or len(value) != len(LABELS):
        return False
    for share in value:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            return False
    return math.isclose(sum(value), 1, abs_tol=1e-6)


def is_count(value) -> bool:
    """Whether a field is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value) -> bool:
    return isinstance(value, str)


def _shortened(value) -> str:
    """Text of a value for a message of one line."""
    if isinstance(value, Tensor | dict):
        return f"a {type(value).__name__}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]} ..."


def load_weights(path: str | Path, module: nn.Module) -> dict:
    """Load ``model_N.pt``, ``best_model.pt`` or ``avg_model.pt`` into a module, strictly.

    Returns:
        content of the file beside the weights, as ``load_model`` gives it.

    Raises:
        InputError: as ``load_model``, another model's weights, weights that are not finite, or a
            model with decisions that was trained on one class.
    """
    state = load_model(path)
    has_decisions = getattr(module, "head", None) is not None
    if has_decisions and min(state["class_prior"]) <= 0:
        raise InputError(
            f"{path}: class_prior is {state['class_prior']}: it was trained on one class alone"
        )
    load_state(module, state["model"], path)
    return {key: value for key, value in state.items() if key != "model"}


def load_part(path: str | Path, system: nn.Module, name: str) -> None:
    """Load one part of a system, strictly, from the model of another system with that part.

    Args:
        path: model of the other system.
        system: system whose part is loaded.
        name: attribute of the part, such as ``separator``.

    Raises:
        InputError: a system without the part, or weights of other shapes.
    """
    prefix = f"{name}."
    weights = {}
    for key, value in load_model(path)["model"].items():
        if key.startswith(prefix):
            weights[key.removeprefix(prefix)] = value
    if not (weights and hasattr(system, name)):
        lacking = path if hasattr(system, name) else "the system of the configuration"
        raise InputError(f"--{name} {path}: {lacking} has no {name}")
    load_state(getattr(system, name), weights, path)
