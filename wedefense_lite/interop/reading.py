"""Checkpoints as other people publish them: weights by name, out of whatever is around them.

No code of a file is run: torch reads weights only, and safetensors holds nothing else.
"""

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import safetensors.torch
import torch
from torch import Tensor

from wedefense_lite.files import InputError
from wedefense_lite.systems import checkpoint

# Names under which the state dict of a model stands in a checkpoint, in the order of preference.
WRAPPERS = ("state_dict", "model_state_dict", "model")
DATA_PARALLEL = "module."
# Packages whose objects stand beside the weights: options of a training and its log. In their place
# is put a Remark.
BESIDE_WEIGHTS = ("argparse", "omegaconf", "fairseq", "typing", "enum", "numpy", "hyperpyyaml")
# Without the directory of a zip, as from before PyTorch 1.6, globals aren't listed.
NAMESPACE = "argparse.Namespace"


class Remark:
    """Place of an object that is no weight, and whose class is not loaded."""

    def __init__(self, *values: object):
        """Take what would have made the object, and forget it."""

    def __new__(cls, *values: object) -> "Remark":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Forget the state of the object."""


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
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:  # the library has no common class of errors
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: not a readable checkpoint: {reason}") from error
    places = {}
    for name in _globals(path):
        package = name.partition(".")[0]
        if package not in BESIDE_WEIGHTS:
            raise InputError(
                f"{path}: it holds objects of {name}, which only its own code can load, expected "
                "weights: where you trust the file, load it there with weights_only=False and save "
                "its state_dict()"
            )
        places[name] = Remark
    with torch.serialization.safe_globals([(place, name) for name, place in places.items()]):
        return checkpoint.load(path)


def _globals(path: str) -> list[str]:
    """Classes and functions in a pickle, which torch doesn't load by itself.

    Of a file that isn't readable there are none: reading it says why.
    """
    if not Path(path).is_file():
        return []
    if not zipfile.is_zipfile(path):
        return _globals_of_old_file(path)
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    # Any bytes may come, and the unpickler has no list of the errors that it ends with.
    except Exception:
        return []


def _globals_of_old_file(path: str) -> list[str]:
    """The same of a file without a directory, as from before PyTorch 1.6."""
    try:
        torch.load(path, map_location="meta", weights_only=True)
    except UnpicklingError as error:
        words = str(error).split()
        if "GLOBAL" in words[:-1]:
            name = words[words.index("GLOBAL") + 1]
            return [NAMESPACE] if name == NAMESPACE else [name]
    except Exception:
        return []
    return []


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
