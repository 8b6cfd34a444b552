"""Averages of the weights of several epochs."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from wedefense_lite.audio.stream import Stream
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.progress import progress
from wedefense_lite.runtime import start_process
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.training.exp_dir import (
    data_hashes,
    epoch_models,
    epochs_of_lowest_eer,
    other_data,
    read_metrics,
)
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.weights import load_state

# Hashes of a checkpoint, and the meaning of a difference.
HASHES = {"config_hash": "with another configuration", "data_hashes": "on other data"}


def is_same_hash(first: str | dict | None, second: str | dict | None) -> bool:
    """Whether two hashes are equal; of several, those that both have."""
    if isinstance(first, dict) and isinstance(second, dict):
        return not other_data(first, second)
    return first == second


def check_same_training(paths: list[Path], states: list[dict]) -> None:
    """Refuse models of two trainings, by the hashes that they carry.

    Args:
        paths: the models, for messages.
        states: their contents.

    Raises:
        InputError: a hash that the last model doesn't have, or has otherwise, or weights of other
            names or shapes than the last model's.
    """
    last = states[-1]
    for path, state in zip(paths, states):
        for name, meaning in HASHES.items():
            if is_same_hash(state.get(name), last.get(name)):
                continue
            if state.get(name) is None or last.get(name) is None:
                raise InputError(
                    f"{path}: its {name} or that of {paths[-1]} is not known, the other is: "
                    "take models of one training"
                )
            raise InputError(
                f"{path}: trained {meaning} than {paths[-1]}: take models of one training"
            )
        if _shapes(state["model"]) != _shapes(last["model"]):
            raise InputError(f"{path}: weights of another model than {paths[-1]}")


def check_trained_on(data_list: str, index: Iterable[Utterance], state: dict) -> None:
    """Refuse another list than the one that a model was trained on, where the model knows it.

    Statistics of other data would make another system of it.

    Args:
        data_list: the list, for messages.
        index: its rows.
        state: content of the model.

    Raises:
        InputError: other utterances, another order of them, or other lengths.
    """
    saved = state.get("data_hashes") or {}
    utterances = data_hashes(index, [])["utterances"]
    if saved.get("utterances", utterances) != utterances:
        raise InputError(
            f"--bn_data {data_list}: not the utterances that the models were trained on, in the "
            "order of that list: give the --train_data of the training"
        )


def _shapes(weights: dict[str, Tensor]) -> dict[str, tuple]:
    shapes = {}
    for name, value in weights.items():
        shapes[name] = tuple(value.shape), value.dtype
    return shapes


def last_epochs(
    folder: Path, num: int, min_epoch: int, max_epoch: int | None, trained: int | None
) -> list[Path]:
    """Last ``num`` checkpoints ``model_N.pt`` between two epochs, in order.

    Args:
        folder: folder of the checkpoints.
        num: number of epochs.
        min_epoch: first epoch that may be taken.
        max_epoch: last epoch that may be taken, or None.
        trained: last epoch of the training, or None if unknown; later models are of another
            training.

    Raises:
        InputError: fewer than ``num`` exist.
    """
    epochs = {}
    for epoch, path in sorted(epoch_models(folder).items()):
        if trained is not None and epoch > trained:
            logging.warning("%s is not used: metrics.csv ends with epoch %d", path, trained)
        elif min_epoch <= epoch and (max_epoch is None or epoch <= max_epoch):
            epochs[epoch] = path
    if len(epochs) < num:
        present = " ".join(str(epoch) for epoch in sorted(epochs)) or "none"
        raise InputError(
            f"{folder}: {num} epochs to average, but found {present}: "
            "train.py keeps as many as its --num_avg says"
        )
    return [epochs[epoch] for epoch in sorted(epochs)[-num:]]


def best_epochs(folder: Path, min_epoch: int, max_epoch: int | None) -> list[Path]:
    """Checkpoints of epochs whose dev EER was no higher than that of any before, in order.

    Args:
        folder: folder of the checkpoints, beside ``metrics.csv``.
        min_epoch: first epoch that may be taken.
        max_epoch: last epoch that may be taken, or None.

    Raises:
        InputError: no epoch has a dev EER.
    """
    exp_dir = folder.absolute().parent
    paths = []
    for epoch in epochs_of_lowest_eer(read_metrics(exp_dir)):
        if min_epoch <= epoch and (max_epoch is None or epoch <= max_epoch):
            paths.append(folder / f"model_{epoch}.pt")
    if not paths:
        raise InputError(f"{exp_dir / 'metrics.csv'}: no dev EER in it, so no epoch is the best")
    return paths


def mean_weights(models: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of floating tensors, in double precision. Counters are those of the last model."""
    mean = dict(models[-1])
    for name, last_value in mean.items():
        if last_value.is_floating_point():
            values = [model[name].double() for model in models]
            mean[name] = torch.stack(values).mean(0).to(last_value.dtype)
    return mean


def recompute_batch_norm(
    state: dict, config: str, index: list[Utterance] | Stream, gpus: str | None
) -> dict[str, Tensor]:
    """Weights with batch-norm statistics of one pass over training crops without augmentation.

    ``torch.optim.swa_utils.update_bn`` would put the whole task into training mode, dropout
    included.

    Args:
        state: checkpoint with the averaged weights.
        config: configuration of the models.
        index: rows that were trained on.
        gpus: device.

    Raises:
        InputError: another configuration than that of the models.
    """
    experiment = load_experiment(config)
    process = start_process(gpus)
    if experiment.config_hash != state["config_hash"]:
        raise InputError(f"{config}: not the configuration that the models were trained with")
    task = experiment.system
    load_state(task, state["model"], "the averaged model")
    layers = []
    for module in task.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            layers.append(module)
    if not layers:
        return state["model"]
    task.to(process.device, memory_format=torch.channels_last).eval()
    for layer in layers:
        layer.reset_running_stats()
        # None: a plain average over all batches.
        layer.momentum = None
        layer.train()
    data = replace(experiment.data, augment=[])
    loader = TrainLoader(index, data, experiment.training.seed, rank=0, world=1)
    batches = progress(loader.epoch(1), loader.steps_per_epoch, "batch norm", "batch")
    with torch.no_grad():
        for batch in batches:
            task.embed(batch.to(process.device))
    return {name: value.cpu() for name, value in task.state_dict().items()}
