"""Stage 4: average the last epochs of a training."""

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from wedefense_lite import cli
from wedefense_lite.dataset.index import read_index
from wedefense_lite.dataset.loader import TrainLoader
from wedefense_lite.files import InputError
from wedefense_lite.training import checkpoint
from wedefense_lite.training.config import load_experiment
from wedefense_lite.training.distributed import join


def average_model(
    dst_model: str,
    src_path: str,
    num: int | None = None,
    min_epoch: int = 1,
    max_epoch: int | None = None,
    bn_data: str | None = None,
    data_type: Literal["shard", "raw"] = "shard",
    config: str | None = None,
    gpus: str | None = None,
) -> None:
    """Average the weights of the last epochs of a training.

    Args:
        dst_model: the averaged model.
        src_path: folder of the checkpoints ``model_N.pt``.
        num: epochs to average, the last ones; 0 or less takes the single best model instead. By default
            the ``num_avg`` of the configuration.
        min_epoch: leave out earlier epochs.
        max_epoch: leave out later epochs.
        bn_data: training list on which batch-norm statistics are computed anew, because averaged
            weights have other activations than any of the models had; a single model keeps its own.
        data_type: kind of that list.
        config: configuration of the model; by default the one in the folder above ``src_path``.
        gpus: device for ``bn_data``.
    """
    folder = Path(src_path)
    config = config or str(folder.parent / "config.yaml")
    num = load_experiment(config).training.num_avg if num is None else num
    best = [folder / "best_model.pt"]
    sources = last_epochs(folder, num, min_epoch, max_epoch) if num > 0 else best
    logging.info("averaging %s", " ".join(path.name for path in sources))
    states = [checkpoint.load(path) for path in sources]
    for path, state in zip(sources, states):
        if state["config_hash"] != states[-1]["config_hash"]:
            raise InputError(f"{path}: trained with another configuration than {sources[-1]}")
    state = states[-1] | {"model": mean_weights([state["model"] for state in states])}
    if bn_data is not None and len(states) > 1:
        state["model"] = recompute_batch_norm(state, config, bn_data, data_type, gpus)
    checkpoint.save(dst_model, state)


def last_epochs(folder: Path, num: int, min_epoch: int, max_epoch: int | None) -> list[Path]:
    """The last ``num`` checkpoints ``model_N.pt`` between two epochs, in order.

    Raises:
        InputError: fewer than ``num`` exist.
    """
    epochs = {}
    for path in folder.glob("model_*.pt"):
        match = re.fullmatch(r"model_(\d+)\.pt", path.name)
        epoch = int(match[1]) if match else 0
        if match and min_epoch <= epoch <= (epoch if max_epoch is None else max_epoch):
            epochs[epoch] = path
    if len(epochs) < num:
        found = " ".join(str(epoch) for epoch in sorted(epochs)) or "none"
        raise InputError(f"{folder}: {num} epochs to average, but found {found}")
    return [epochs[epoch] for epoch in sorted(epochs)[-num:]]


def mean_weights(models: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of floating tensors, in double precision; counters keep the last model's value and type."""
    mean = dict(models[-1])
    for name, last in mean.items():
        if last.is_floating_point():
            values = [model[name].double() for model in models]
            mean[name] = torch.stack(values).mean(0).to(last.dtype)
    return mean


def recompute_batch_norm(state: dict, config: str, bn_data: str, data_type: str, gpus: str | None) -> dict[str, Tensor]:
    """Weights with batch-norm statistics averaged over one pass of unaugmented training crops."""
    experiment, place = load_experiment(config), join(gpus)
    if experiment.config_hash != state["config_hash"]:
        raise InputError(f"{config}: not the configuration that the models were trained with")
    task = experiment.system
    task.load_state_dict(state["model"])
    layers = [module for module in task.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return state["model"]
    task.to(place.device, memory_format=torch.channels_last).eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over all batches
        layer.train()
    data = replace(experiment.data, augment=[])
    loader = TrainLoader(read_index(bn_data, data_type), data, experiment.training.seed, 0, 1)
    batches = cli.progress(loader.epoch(1), loader.steps_per_epoch, "batch norm", "batch")
    with torch.no_grad():
        for batch in batches:
            task.embed(batch.to(place.device))
    return {name: value.cpu() for name, value in task.state_dict().items()}


if __name__ == "__main__":
    cli.run(average_model)
