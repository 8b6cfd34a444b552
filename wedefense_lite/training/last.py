"""Content of ``last.pt``, checked before anything is continued from it."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from wedefense_lite.files import InputError
from wedefense_lite.systems.checkpoint import is_count
from wedefense_lite.yaml_text import parse_yaml

WAY_OUT = "take another --exp_dir, or remove the folder to train from the beginning"
# States of an optimizer that have the shape of their parameter.
FULL_SHAPES = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")


def check(path: Path, state: dict) -> None:
    """Refuse the ``last.pt`` of something else, or one whose fields are of another kind.

    Args:
        path: its path, for messages.
        state: its content.

    Raises:
        InputError: names the field.
    """
    for name, (is_valid, meaning) in FIELDS.items():
        if name not in state:
            raise InputError(f"{path}: not the last.pt of a training, it lacks {name}: {WAY_OUT}")
        if not is_valid(state[name]):
            raise InputError(
                f"{path}: {name} is a {type(state[name]).__name__} that can't be, "
                f"expected {meaning}: {WAY_OUT}"
            )
    if "data_hashes" not in state and "list_hash" not in state:
        raise InputError(f"{path}: not the last.pt of a training, it lacks data_hashes: {WAY_OUT}")
    # Fields of today that earlier ones lack.
    kept = state.get("kept", [])
    best_epoch = state.get("best_epoch") or 0
    drawn = state.get("drawn", 0)
    if not isinstance(kept, list) or not all(_is_positive(epoch) for epoch in kept):
        raise InputError(f"{path}: kept are no epochs: {WAY_OUT}")
    if not is_count(best_epoch):
        raise InputError(f"{path}: best_epoch is no epoch: {WAY_OUT}")
    if not is_count(drawn):
        raise InputError(f"{path}: drawn is no number of utterances: {WAY_OUT}")
    own_states = state.get("own_states")
    if own_states is not None and not _are_own_states(own_states, state["world"]):
        raise InputError(f"{path}: own_states are not those of its processes: {WAY_OUT}")
    hashes = state.get("data_hashes", {})
    if not isinstance(hashes, dict) or not all(isinstance(text, str) for text in hashes.values()):
        raise InputError(f"{path}: data_hashes are no hashes: {WAY_OUT}")


def settings(text: str) -> dict:
    """Settings of a configuration's text.

    Raises:
        ValueError: the text is no YAML with sections.
    """
    try:
        sections = parse_yaml(text, "its configuration")
    except InputError as error:
        raise ValueError("no YAML") from error
    if not isinstance(sections, dict):
        raise ValueError("no sections")
    return sections


def check_optimizer(path: Path, optimizer: torch.optim.Optimizer, options: list[dict]) -> None:
    """Refuse the loaded state of another optimizer.

    ``load_state_dict`` compares the numbers of groups and parameters alone.

    Args:
        path: file that the state comes from, for messages.
        optimizer: optimizer with the loaded state.
        options: ``numeric_options`` before, as the configuration gives them.

    Raises:
        InputError: another option, a state of another shape, or one that is no tensor or number.
    """
    for group, before in zip(optimizer.param_groups, options):
        for name, value in before.items():
            # The schedule has changed the rate since.
            if name != "lr" and name in group and group[name] != value:
                raise InputError(
                    f"{path}: its optimizer has {name} {group[name]!r}, "
                    f"the configuration {value!r}: {WAY_OUT}"
                )
        rate = group.get("lr")
        if not _is_numeric(rate) or not 0 <= rate < math.inf:
            raise InputError(f"{path}: its optimizer has the rate {rate!r}: {WAY_OUT}")
        for parameter in group["params"]:
            for name, value in optimizer.state.get(parameter, {}).items():
                _check_state(path, name, value, parameter)


def numeric_options(optimizer: torch.optim.Optimizer) -> list[dict]:
    """Options of an optimizer's groups that are numbers, for ``check_optimizer``."""
    groups = []
    for group in optimizer.param_groups:
        groups.append({name: value for name, value in group.items() if _is_numeric(value)})
    return groups


def _check_state(path: Path, name: str, value, parameter: Tensor) -> None:
    is_whole = name in FULL_SHAPES and value is not None
    if is_whole and not isinstance(value, Tensor):
        raise InputError(f"{path}: {name} of its optimizer is no tensor: {WAY_OUT}")
    if is_whole and value.shape != parameter.shape:
        raise InputError(
            f"{path}: {name} of its optimizer is {tuple(value.shape)}, the parameter is "
            f"{tuple(parameter.shape)}: {WAY_OUT}"
        )
    if name == "step" and not isinstance(value, Tensor) and not _is_numeric(value):
        raise InputError(f"{path}: the step of its optimizer is {value!r}: {WAY_OUT}")


def _is_numeric(value) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_numeric(part) for part in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_dict(value) -> bool:
    return isinstance(value, dict)


def _is_positive(value) -> bool:
    return is_count(value) and value > 0


def _is_history(value) -> bool:
    if not isinstance(value, list):
        return False
    for row in value:
        if not isinstance(row, dict) or not all(_is_numeric(cell) for cell in row.values()):
            return False
        if not _is_positive(row.get("epoch")):
            return False
    return True


def _is_best(value) -> bool:
    return value is None or isinstance(value, list) and len(value) == 2 and _is_numeric(value)


def _is_sums(value) -> bool:
    return isinstance(value, Tensor) and value.shape == (3,) and value.is_floating_point()


def _are_own_states(value, world: int) -> bool:
    if not isinstance(value, list) or len(value) != world:
        return False
    for own_state in value:
        if not isinstance(own_state, dict) or not _is_sums(own_state.get("sums")):
            return False
        if not _is_dict(own_state.get("model")) or not _is_dict(own_state.get("ema", {})):
            return False
    return True


def _is_configuration(value) -> bool:
    if not isinstance(value, str):
        return False
    try:
        settings(value)
    except ValueError:
        return False
    return True


FIELDS: dict[str, tuple[Callable, str]] = {
    "config": (_is_configuration, "a configuration in YAML"),
    "epoch": (_is_positive, "a number from 1"),
    "step": (is_count, "a number from 0"),
    "updates": (is_count, "a number from 0"),
    "bad_validations": (is_count, "a number from 0"),
    "world": (_is_positive, "a number of processes"),
    "history": (_is_history, "rows of metrics.csv"),
    "best": (_is_best, "EER and loss"),
    "sums": (_is_sums, "loss, correct decisions and utterances"),
    "model": (_is_dict, "weights by their names"),
    "optimizer": (_is_dict, "the state of an optimizer"),
    "schedule": (_is_dict, "the state of a schedule"),
    "scaler": (_is_dict, "the state of a scaler"),
}
