"""Stage 4: average the last epochs of a training."""

import logging
from pathlib import Path
from typing import Literal

from wedefense_lite import cli
from wedefense_lite.files import InputError
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.training.averaging import (
    check_same_training,
    last_epochs,
    mean_weights,
    recompute_batch_norm,
)
from wedefense_lite.training.exp_dir import last_epoch


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

    Models of two configurations or of other training data are not averaged, nor epochs that metrics.csv, in the
    folder above ``src_path``, does not have.

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
    trained = last_epoch(folder.absolute().parent)
    if trained is None:
        logging.info(
            "no metrics.csv beside %s: nothing but their hashes says which models go together",
            folder,
        )
    sources = [folder / "best_model.pt"]
    if num > 0:
        sources = last_epochs(folder, num, min_epoch, max_epoch, trained)
    logging.info("averaging %s", " ".join(path.name for path in sources))
    states = [checkpoint.load(path) for path in sources]
    check_same_training(sources, states)
    if num <= 0 and trained is not None and states[0].get("epoch", 0) > trained:
        found = f"of epoch {states[0]['epoch']}, but metrics.csv ends with epoch {trained}"
        raise InputError(f"{sources[0]}: {found}: train to the end, or take another --exp_dir")
    state = states[-1] | {"model": mean_weights([state["model"] for state in states])}
    if bn_data is not None and len(states) > 1:
        state["model"] = recompute_batch_norm(state, config, bn_data, data_type, gpus)
    checkpoint.save(dst_model, state)


if __name__ == "__main__":
    cli.run(average_model)
