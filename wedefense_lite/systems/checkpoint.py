"""Checkpoints: written whole, loaded strictly."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from wedefense_lite.files import InputError, atomic_path
from wedefense_lite.labels import LABELS


def save(path: str | Path, state: dict) -> None:
    """Write a checkpoint under its final name only once it is complete and on disk."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load(path: str | Path, mmap: bool = False) -> dict:
    """Read a checkpoint to the CPU, without running code from it.

    Args:
        path: checkpoint.
        mmap: read tensors only when they are used, for a look at what stands beside them.

    Raises:
        InputError: missing or damaged file.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        lines = str(error).splitlines() or ["it ends too early"]
        reason = getattr(error, "strerror", None) or lines[0]
        raise InputError(f"{path}: not a readable checkpoint: {reason}") from error


def load_weights(path: str | Path, module: nn.Module) -> dict:
    """Load ``model_N.pt``, ``best_model.pt`` or ``avg_model.pt`` into a module, strictly.

    Returns:
        content of the file beside the weights: ``labels``, ``class_prior``, ``epoch``,
        ``config_hash`` and, where it was trained by this toolkit, ``data_hashes``.

    Raises:
        InputError: another model's weights, or another label order.
    """
    state = load(path)
    if tuple(state.get("labels", ())) != LABELS:
        raise InputError(f"{path}: label order {state.get('labels')}, expected {LABELS}")
    load_state(module, state.get("model", {}), path)
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
    for key, value in load(path)["model"].items():
        if key.startswith(prefix):
            weights[key.removeprefix(prefix)] = value
    if not (weights and hasattr(system, name)):
        lacking = path if hasattr(system, name) else "the system of the configuration"
        raise InputError(f"--{name} {path}: {lacking} has no {name}")
    load_state(getattr(system, name), weights, path)


def load_state(module: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Load a state dict into a module, strictly.

    Raises:
        InputError: weights of another model, by the name of their file.
    """
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        found = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise InputError(
            f"{path}: weights of another model than the configuration's: {found}"
        ) from error
