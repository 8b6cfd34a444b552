"""Averages of the weights of several epochs."""

import logging
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from wedefense_lite.audio.index import read_index
from wedefense_lite.files import InputError
from wedefense_lite.progress import progress
from wedefense_lite.runtime import start_process
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.training.exp_dir import epoch_models
from wedefense_lite.training.loader import TrainLoader


def check_same_training(sources: list[Path], states: list[dict]) -> None:
    """Refuse models of two trainings, by the hashes that they carry.

    Raises:
        InputError: other hashes than the last model's, or hashes in one of both only.
    """
    for path, state in zip(sources, states):
        for name, meaning in (
            ("config_hash", "with another configuration"),
            ("data_hashes", "on other data"),
        ):
            hashes = state.get(name), states[-1].get(name)
            if hashes[0] == hashes[1]:
                continue
            if None in hashes:
                found = f"its {name} or that of {sources[-1]} is not known, the other is"
                raise InputError(f"{path}: {found}: take models of one training")
            raise InputError(
                f"{path}: trained {meaning} than {sources[-1]}: take models of one training"
            )


def last_epochs(
    folder: Path, num: int, min_epoch: int, max_epoch: int | None, trained: int | None
) -> list[Path]:
    """The last ``num`` checkpoints ``model_N.pt`` between two epochs, in order.

    Args:
        folder: of the checkpoints.
        num: epochs to average.
        min_epoch: first epoch that may be taken.
        max_epoch: last epoch that may be taken, or None.
        trained: last epoch of the training, or None where it is not known; later ones are of another training.

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
        found = " ".join(str(epoch) for epoch in sorted(epochs)) or "none"
        raise InputError(
            f"{folder}: {num} epochs to average, but found {found}: train.py keeps as many as its --num_avg says"
        )
    return [epochs[epoch] for epoch in sorted(epochs)[-num:]]


def mean_weights(models: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of floating tensors, in double precision; counters keep the last model's value and type."""
    mean = dict(models[-1])
    for name, last in mean.items():
        if last.is_floating_point():
            values = [model[name].double() for model in models]
            mean[name] = torch.stack(values).mean(0).to(last.dtype)
    return mean


def recompute_batch_norm(
    state: dict, config: str, bn_data: str, data_type: str, gpus: str | None
) -> dict[str, Tensor]:
    """Weights with batch-norm statistics averaged over one pass of unaugmented training crops."""
    experiment, process = load_experiment(config), start_process(gpus)
    if experiment.config_hash != state["config_hash"]:
        raise InputError(f"{config}: not the configuration that the models were trained with")
    task = experiment.system
    task.load_state_dict(state["model"])
    layers = [
        module for module in task.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    if not layers:
        return state["model"]
    task.to(process.device, memory_format=torch.channels_last).eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over all batches
        layer.train()
    data = replace(experiment.data, augment=[])
    loader = TrainLoader(read_index(bn_data, data_type), data, experiment.training.seed, 0, 1)
    batches = progress(loader.epoch(1), loader.steps_per_epoch, "batch norm", "batch")
    with torch.no_grad():
        for batch in batches:
            task.embed(batch.to(process.device))
    return {name: value.cpu() for name, value in task.state_dict().items()}
