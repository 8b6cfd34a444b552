"""Checkpoints as other people publish them: weights by name, out of whatever is around them.

No code of a file is run: torch reads weights only, and safetensors holds nothing else.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from wedefense_lite.files import InputError
from wedefense_lite.frontends.fairseq import remarks_for_options
from wedefense_lite.systems import checkpoint
from wedefense_lite.weights import check_tensors

# Names under which the state dict of a model stands in a checkpoint, in the order of preference.
WRAPPERS = ("state_dict", "model_state_dict", "model")
DATA_PARALLEL = "module."


def read_checkpoint(path: str) -> dict[str, Tensor]:
    """Weights by their official names.

    Understood are state dicts of ``torch.save`` and safetensors; a state dict under ``state_dict``,
    ``model`` or ``model_state_dict``, as trainings and fairseq save it; and names that all begin
    with ``module.``, as DataParallel makes them.

    Args:
        path: file.

    Raises:
        InputError: missing or damaged file; a whole pickled module; something else than weights.
    """
    state = _read(path)
    state = _unwrapped(path, state)
    names = list(state)
    for name in names:
        if not isinstance(name, str) or not isinstance(state[name], Tensor):
            raise InputError(
                f"{path}: not a state dict, expected names and tensors: "
                f"{name} is a {type(state[name]).__name__}"
            )
    if names and all(name.startswith(DATA_PARALLEL) for name in names):
        return {name.removeprefix(DATA_PARALLEL): value for name, value in state.items()}
    return state


def _read(path: str) -> dict:
    if Path(path).suffix == ".safetensors":
        # A pipe would be waited for.
        if Path(path).exists() and not Path(path).is_file():
            raise InputError(f"{path}: not a readable checkpoint: no regular file")
        try:
            state = safetensors.torch.load_file(path)
        except Exception as error:  # the library has no common class of errors
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: not a readable checkpoint: {reason}") from error
        check_tensors(path, state)
        return state
    try:
        with remarks_for_options(path):
            return checkpoint.load(path)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _unwrapped(path: str, state: Mapping) -> dict:
    """State dict inside a checkpoint; what stands beside it is logged."""
    for wrapper in WRAPPERS:
        inner = state.get(wrapper)
        if isinstance(inner, Mapping):
            beside = sorted(str(name) for name in state if name != wrapper)
            if beside:
                logging.info("%s: weights of %s; unused: %s", path, wrapper, ", ".join(beside))
            return dict(inner)
    return dict(state)
