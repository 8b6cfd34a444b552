"""The folder of a training: what an earlier one left there is continued, refused or removed, and
never mixed.
"""

import csv
import hashlib
import logging
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.augment.base import Augment
from wedefense_lite.files import InputError, read_text, write_lines
from wedefense_lite.runtime import Process, broadcast_from_main
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import (
    COMPONENT_MODULE,
    FREE_KEYS,
    Experiment,
    drop_later_settings,
)
from wedefense_lite.training.last import check, settings

WAY_OUT = "take another --exp_dir, or --overwrite true, which removes that training"
EPOCH_MODEL = re.compile(r"model_(\d+)\.pt")
# Of the first epoch, these are written before last.pt: a run that is killed in between leaves them
# alone there.
FIRST_EPOCH = {"model_1.pt", "best_model.pt"}
# What each of the hashes of the data stands for, as options of train.py.
HASHED_OPTIONS = {
    "utterances": "--train_data",
    "labels": "--train_label",
    "noise_data": "--noise_data",
    "reverb_data": "--reverb_data",
    "list": "list than --train_data, --train_label, --noise_data or --reverb_data",
    "segments": "--train_segments",
    "stems": "--train_stems",
    "corpora": "--train_corpora",
    "sources": "--train_sources",
}


def data_hashes(index: Iterable[Utterance], augments: Iterable[Augment]) -> dict[str, str]:
    """Hashes of what a system is trained on.

    Args:
        index: training list, with segments or talkers where the task needs them.
        augments: augmentations; of these the lists that they draw from.

    Returns:
        SHA-256 of ``list`` (ids, labels, samples, lists of augmentations), of its parts
        ``utterances`` (ids, samples), ``labels`` (ids, labels), ``noise_data`` and ``reverb_data``,
        of ``segments`` (ids, times, classes), of ``stems`` (ids, labels), of ``corpora`` (ids,
        names) and of ``sources`` (ids, classes); what there is none of has the hash of nothing.
    """
    lines: dict[str, list[str]] = {name: [] for name in HASHED_OPTIONS}
    for row in index:
        lines["list"].append(f"{row.key} {row.label} {row.samples}")
        lines["utterances"].append(f"{row.key} {row.samples}")
        lines["labels"].append(f"{row.key} {row.label}")
        if row.source is not None:
            lines["sources"].append(f"{row.key} {row.source}")
        if row.segments is not None:
            for start, end, label in zip(*row.segments):
                lines["segments"].append(f"{row.key} {start:.6f} {end:.6f} {label}")
        for stem in row.stems:
            lines["stems"].append(f"{stem.key} {stem.label}")
        if row.corpus is not None:
            lines["corpora"].append(f"{row.key} {row.corpus.name}")
    for augment in augments:
        lines["list"].append(augment.source)
        option = getattr(augment, "option", "")
        if option in lines:
            lines[option].append(augment.source)
    return {name: hashlib.sha256("\n".join(lines[name]).encode()).hexdigest() for name in lines}


def other_data(saved: dict[str, str], hashes: dict[str, str]) -> str:
    """Option of ``train.py`` whose data differ; empty if none does.

    Args:
        saved: ``data_hashes`` of a checkpoint, which may be from before there were all of them.
        hashes: ``data_hashes`` that it is compared with.
    """
    for name, option in HASHED_OPTIONS.items():
        if name in saved and name in hashes and saved[name] != hashes[name]:
            return option
    return ""


def difference(last: dict, config_text: str, hashes: dict[str, str]) -> str:
    """Difference between the training of a ``last.pt`` and another one; empty if it continues it.

    Args:
        last: content of ``last.pt``.
        config_text: configuration of the other training.
        hashes: its ``data_hashes``.
    """
    # Modules of components may have moved between the two, which changes nothing.
    old_settings = settings(COMPONENT_MODULE.sub("", last["config"]))
    new_settings = yaml.safe_load(COMPONENT_MODULE.sub("", config_text))
    # Options that were not there when the one was trained change nothing either.
    drop_later_settings(old_settings)
    drop_later_settings(new_settings)
    changed = _changed_keys(old_settings, new_settings)
    if changed:
        return f"with another {', '.join(changed)}"
    # Before there were several hashes, there was that of the list.
    saved_hashes = last.get("data_hashes") or {"list": last["list_hash"]}
    option = other_data(saved_hashes, hashes)
    return f"on another {option}" if option else ""


def _changed_keys(old: dict, new: dict) -> list[str]:
    """Dotted names of the settings, other than ``FREE_KEYS``, that differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [""] if old != new else []
    changed = []
    for key in sorted(old.keys() | new.keys(), key=str):
        if key not in FREE_KEYS:
            for below in _changed_keys(old.get(key), new.get(key)):
                changed.append(f"{key}.{below}".rstrip("."))
    return changed


def continues(
    exp_dir: Path, experiment: Experiment, hashes: dict[str, str], process: Process, overwrite: bool
) -> bool:
    """Whether a training goes on from the ``last.pt`` of its folder; else it starts at epoch 1.

    Nothing is changed yet. Rank 0 looks, and all ranks get its answer.

    Args:
        exp_dir: folder of the training.
        experiment: system and settings of the training.
        hashes: ``data_hashes`` of its data.
        process: this process.
        overwrite: don't refuse a folder with checkpoints of another training.

    Raises:
        InputError: the folder holds checkpoints of another training.
    """
    has_last = (exp_dir / "models/last.pt").exists()
    obstacle = ""
    if process.is_main:
        obstacle = (
            _other_last(exp_dir, experiment, hashes)
            if has_last
            else _leftovers(exp_dir, experiment, hashes)
        )
    has_last, obstacle = broadcast_from_main(process, (has_last, obstacle))
    if obstacle and not overwrite:
        raise InputError(f"{obstacle}: {WAY_OUT}")
    return has_last and not obstacle


def _other_last(exp_dir: Path, experiment: Experiment, hashes: dict[str, str]) -> str:
    """Reason why ``last.pt`` can't be continued; empty if it can."""
    path = exp_dir / "models/last.pt"
    try:
        last = checkpoint.load(path, mmap=True)
        check(path, last)
    except InputError as error:
        return str(error)
    differing = difference(last, experiment.text, hashes)
    return f"{path} was trained {differing}" if differing else ""


def _leftovers(exp_dir: Path, experiment: Experiment, hashes: dict[str, str]) -> str:
    """Checkpoints of another training without its ``last.pt``, as a sentence; empty without any."""
    paths = models_of(exp_dir / "models")
    if not paths:
        return ""
    if all(_is_own_first_epoch(path, experiment, hashes) for path in paths):
        logging.info("%s: killed at the end of its first epoch, which is trained again", exp_dir)
        return ""
    names = ", ".join(path.name for path in paths[:3])
    if len(paths) > 3:
        names += f" and {len(paths) - 3} more"
    return f"{exp_dir}/models holds {names} of another training, and no last.pt to continue"


def _is_own_first_epoch(path: Path, experiment: Experiment, hashes: dict[str, str]) -> bool:
    if path.name not in FIRST_EPOCH:
        return False
    try:
        state = checkpoint.load(path, mmap=True)
    except InputError:  # damaged, so not what atomic writing left
        return False
    saved_hashes = state.get("data_hashes")
    if not isinstance(saved_hashes, dict) or other_data(saved_hashes, hashes):
        return False
    return state.get("config_hash") == experiment.config_hash and state.get("epoch") == 1


def models_of(folder: Path) -> list[Path]:
    """The models of a training and of its averaging in a folder, epochs in order; without
    ``last.pt``.
    """
    epochs = epoch_models(folder)
    paths = [epochs[epoch] for epoch in sorted(epochs)]
    for name in ("best_model.pt", "avg_model.pt"):
        if (folder / name).exists():
            paths.append(folder / name)
    return paths


def epoch_models(folder: Path) -> dict[int, Path]:
    """The checkpoints ``model_N.pt`` of a folder by their epochs."""
    epochs = {}
    for path in folder.glob("model_*.pt"):
        match = EPOCH_MODEL.fullmatch(path.name)
        if match:
            epochs[int(match[1])] = path
    return epochs


def last_epoch(exp_dir: Path) -> int | None:
    """The epoch of the last row of ``metrics.csv``, 0 without a row; None without the file.

    Raises:
        InputError: a row without an epoch.
    """
    path = exp_dir / "metrics.csv"
    if not path.exists():
        return None
    rows = read_metrics(exp_dir)
    if not rows:
        return 0
    epoch = rows[-1].get("epoch") or ""
    if not epoch.isdecimal():
        raise InputError(f"{path}:{len(rows) + 1}: epoch {epoch!r}, expected a number")
    return int(epoch)


def read_metrics(exp_dir: Path) -> list[dict[str, str]]:
    """Rows of ``metrics.csv``, in order."""
    return list(csv.DictReader(read_text(exp_dir / "metrics.csv").splitlines()))


def epochs_of_lowest_eer(rows: Iterable[Mapping]) -> list[int]:
    """Epochs whose dev EER was no higher than that of any before.

    Args:
        rows: rows of ``metrics.csv``, in order.
    """
    lowest = math.inf
    epochs = []
    for row in rows:
        eer = row.get("dev_eer")
        # An epoch without validation has none; NaN is not lower than anything.
        if eer not in (None, "") and float(eer) <= lowest:
            lowest = float(eer)
            epochs.append(int(row["epoch"]))
    return epochs


def remove_training(exp_dir: Path) -> None:
    """Remove what a training and its averaging wrote, and nothing else that lies in the folder."""
    models = exp_dir / "models"
    metrics = exp_dir / "metrics.csv"
    # In one step, no epoch counts any more: a run that is killed in here leaves models that
    # average_model refuses.
    if metrics.exists():
        write_lines(metrics, ["epoch"])
    # The next to go is last.pt, so that nothing is continued of which a part is gone.
    paths = [models / "last.pt", *models_of(models)]
    for name in ("train.log", "env.json", "config.yaml"):
        paths.append(exp_dir / name)
    paths.extend(sorted((exp_dir / "tensorboard").glob("events.out.tfevents.*")))
    paths.append(metrics)
    count = 0
    for path in paths:
        if path.exists():
            path.unlink()
            count += 1
    logging.info("%s: %d files of an earlier training removed", exp_dir, count)
