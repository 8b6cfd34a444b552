"""Weights from files: their checksums, their types, their bounds, and strict loading."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from wedefense_lite.files import InputError, abbreviate

# Types of the numbers of a tensor. Complex ones would lose a half without a word, those of 8 bits
# and quantized ones can't be looked at.
FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
INTEGERS = {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool}
LARGEST_WEIGHT = 1e20  # no training gets there; sums of products would soon be infinite


def tensors_of(value, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors of a state with their dotted names, in order.

    Args:
        value: state dict, or a part of one.
        name: name of the part.
    """
    if isinstance(value, Tensor):
        yield name, value
        return
    items = []
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    for key, part in items:
        yield from tensors_of(part, f"{name}.{key}".lstrip("."))


def is_finite(tensor: Tensor) -> bool:
    """True if no element is infinite or NaN."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    return bool(tensor.isfinite().all())


def check_tensors(path: str | Path, state: Mapping) -> None:
    """Refuse tensors that are no plain arrays of numbers.

    Args:
        path: file of the state, for messages.
        state: state dict, or a dict that holds some.

    Raises:
        InputError: a tensor that is sparse, quantized, complex or without content.
    """
    for name, tensor in tensors_of(state):
        kind = str(tensor.dtype).removeprefix("torch.")
        if tensor.layout != torch.strided or tensor.is_nested:
            kind = "sparse"
        elif tensor.is_meta:
            kind = "without content"
        elif tensor.dtype in FLOATS or tensor.dtype in INTEGERS:
            continue
        raise InputError(
            f"{path}: not a readable checkpoint: {name} is {kind}, expected plain numbers"
        )


def check_kinds(
    path: str | Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Refuse what is no tensor, whole numbers where a model has fractions, and the other way round.

    Args:
        path: file of the weights, for messages.
        weights: state dict.
        expected: state dict of the model.

    Raises:
        InputError: names the first such weight.
    """
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise InputError(
                f"{path}: weights of another model: {name} is a {kind}, expected a tensor"
            )
        own = expected.get(name)
        if own is not None and own.is_floating_point() != value.is_floating_point():
            raise InputError(f"{path}: {name} is of type {value.dtype}, expected {own.dtype}")


def check_content(file_path: str | Path, path: str | Path) -> None:
    """Compare the parts of a checkpoint with their checksums.

    PyTorch itself doesn't, so a flipped bit would be a weight like others.

    Args:
        file_path: file to read. One that is no zip, as from before PyTorch 1.6, has no checksums.
        path: its name in messages.

    Raises:
        InputError: a damaged part.
    """
    if not zipfile.is_zipfile(file_path):
        return
    damage = f"{path}: not a readable checkpoint: it is damaged"
    try:
        with zipfile.ZipFile(file_path) as archive:
            for part in archive.infolist():
                # PyTorch stores. What is compressed may grow without a limit.
                if part.compress_type != zipfile.ZIP_STORED:
                    raise InputError(
                        f"{path}: not a readable checkpoint: {part.filename} is compressed"
                    )
            damaged_part = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{damage}: {error}") from error
    if damaged_part is not None:
        raise InputError(f"{damage}: the checksum of {damaged_part} is another")


def load_state(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    path: str | Path,
    owner: str = "the configuration's",
) -> None:
    """Load a state dict into a module, strictly.

    Args:
        module: module that has all weights of the state dict, and no other.
        weights: state dict.
        path: file of the weights, for messages.
        owner: model that the weights should be of, for messages.

    Raises:
        InputError: weights of another model, of another type, or weights that are infinite, NaN or
            beyond all bounds, by the name of their file.
    """
    check_kinds(path, weights, module.state_dict())
    try:
        module.load_state_dict(weights, strict=True)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        found = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise InputError(f"{path}: weights of another model than {owner}: {found}") from error
    # Looked at after loading: a number of 64 bits may be infinite in 32.
    for name, value in module.state_dict().items():
        if not is_finite(value):
            raise InputError(f"{path}: the weights of {name} are not finite")
        if value.is_floating_point() and value.numel() and value.abs().max() > LARGEST_WEIGHT:
            raise InputError(
                f"{path}: the weights of {name} are up to {value.abs().max():.0e}: they are damaged"
            )
    # PyTorch takes a model without the counters of batch norm. Other names may be older ones, which
    # it renames.
    lacking = module.state_dict().keys() - weights.keys()
    missing = sorted(name for name in lacking if name.endswith("num_batches_tracked"))
    if missing:
        raise InputError(f"{path}: it lacks {abbreviate(missing)}, expected all of the model")
