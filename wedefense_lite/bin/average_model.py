"""Stage 4: average the weights of the last epochs of a training."""

from wedefense_lite import cli

import contextlib
import logging
import os
from pathlib import Path
from typing import Literal

from wedefense_lite.audio.index import read_index
from wedefense_lite.files import InputError, check_writable, folder_lock, note_input
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.tracing.sources import with_sources
from wedefense_lite.training.averaging import (
    best_epochs,
    check_same_training,
    check_trained_on,
    last_epochs,
    mean_weights,
    recompute_batch_norm,
)
from wedefense_lite.training.exp_dir import last_epoch
from wedefense_lite.training.loader import training_rows


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
    bn_sources: str | None = None,
    source_column: str = "attack",
) -> None:
    """Average the weights of the last epochs of a training.

    Models of different configurations or training data are refused. Epochs that ``metrics.csv``, in
    the folder above ``src_path``, does not have are left out.

    Args:
        dst_model: the averaged model.
        src_path: folder of the checkpoints ``model_N.pt``.
        num: number of epochs to average, the last ones; 0 or less takes the best model instead. The
            default is ``num_avg`` of the configuration, or, with ``average: best`` there, each
            epoch whose dev EER was no higher than that of any before.
        min_epoch: first epoch that may be averaged.
        max_epoch: last epoch that may be averaged.
        bn_data: training list for new batch-norm statistics, because averaged weights have other
            activations than any of the models; a single model keeps its own. Another list than
            that of the training is refused.
        data_type: kind of that list.
        config: configuration of the model; the default is the one in the folder above ``src_path``.
        gpus: device for ``bn_data``.
        bn_sources: utt2attack or meta.tsv of ``bn_data``, for source tracing, which takes the
            utterances of its classes only.
        source_column: column of that table that has the classes.
    """
    check_writable(dst_model)
    folder = Path(src_path)
    exp_dir = folder.absolute().parent
    # Models of a training that still writes them are not averaged. One that somebody else may
    # read only can't be held, and nobody trains in it.
    with folder_lock(exp_dir, "averaging") if _is_writable(exp_dir) else contextlib.nullcontext():
        config = config or str(folder.parent / "config.yaml")
        state, is_single = _average(folder, num, min_epoch, max_epoch, config)
        if bn_data is not None and not is_single:
            experiment = load_experiment(config)
            classes = experiment.system.classes
            index = read_index(bn_data, data_type)
            if classes:
                table = cli.needed("--bn_sources", bn_sources)
                index = with_sources(index, table, source_column, classes)
            check_trained_on(bn_data, training_rows(index, experiment.data), state)
            state["model"] = recompute_batch_norm(state, config, index, gpus)
        checkpoint.save(dst_model, state)


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _average(
    folder: Path,
    num: int | None,
    min_epoch: int,
    max_epoch: int | None,
    config: str,
) -> tuple[dict, bool]:
    """Content of the averaged model, and whether it is a single one; arguments are those of
    ``average_model``.
    """
    takes_best = False
    if num is None:
        training = load_experiment(config).training
        num = training.num_avg
        takes_best = training.average == "best"
    trained = last_epoch(folder.absolute().parent)
    if trained is None:
        logging.info("no metrics.csv beside %s: hashes alone say which models go together", folder)
    if takes_best:
        paths = best_epochs(folder, min_epoch, max_epoch)
    elif num > 0:
        paths = last_epochs(folder, num, min_epoch, max_epoch, trained)
    else:
        paths = [folder / "best_model.pt"]
    logging.info("averaging %s", " ".join(path.name for path in paths))
    for path in (*paths, folder / "best_model.pt", folder / "last.pt"):
        note_input(path)
    states = [checkpoint.load_model(path) for path in paths]
    check_same_training(paths, states)
    if num <= 0 and not takes_best and trained is not None:
        # Left by a longer training of before.
        epoch = states[0]["epoch"]
        if epoch > trained:
            raise InputError(
                f"{paths[0]}: of epoch {epoch}, but metrics.csv ends with epoch {trained}: "
                "train to the end, or take another --exp_dir"
            )
    state = states[-1] | {"model": mean_weights([state["model"] for state in states])}
    return state, len(states) == 1


if __name__ == "__main__":
    cli.run(average_model, builds_systems=True)
