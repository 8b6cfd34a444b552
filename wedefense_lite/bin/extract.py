"""Stage 4: embeddings, or logits, of every utterance of a list, under ``torchrun`` or alone."""

from wedefense_lite import cli

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.stream import Stream
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import (
    InputError,
    check_writable,
    file_path,
    folder_lock,
    note_input,
    read_labels,
)
from wedefense_lite.provenance import code_commit, file_hash
from wedefense_lite.runtime import (
    Precision,
    Process,
    barrier,
    choose_precision,
    end_process,
    gather_objects,
    start_process,
)
from wedefense_lite.scoring.archives import write_archive
from wedefense_lite.scoring.joining import block, join, parse_part, part_path
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.scoring.recordings import Windows, window_rows
from wedefense_lite.scoring.run import run_inference
from wedefense_lite.scoring.sidecar import (
    Sidecar,
    begin_results,
    sidecar_path,
    write_sidecar,
)
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.checkpoint import load_weights
from wedefense_lite.systems.config import Workers
from wedefense_lite.systems.experiment import Experiment, load_experiment
from wedefense_lite.systems.tasks import Task


def extract(
    config: str,
    model_path: str,
    data_list: list[str] | str,
    embed_ark: list[str] | str,
    data_type: Literal["shard", "raw"] = "shard",
    output: Literal["embeddings", "logits"] = "embeddings",
    batch_size: PositiveInt | None = None,
    num_workers: Workers = "auto",
    precision: Precision = "fp32",
    gpus: str | None = None,
    label: list[str] | str | None = None,
    part: str | None = None,
    windows: Windows = "first",
) -> None:
    """Write the embedding, or the logits, of every utterance of one list or several.

    Of a system that localizes, the logits have a row for each frame.
    Each process writes its share; when all are done, process 0 checks that every utterance is there
    exactly once and joins the shares in list order.

    Args:
        config: exp/X/config.yaml.
        model_path: checkpoint.
        data_list: list made in stage 2, or several, which saves the start of a process for each.
        embed_ark: archive to write, one a list; a sorted ``.scp`` and a sidecar ``.json`` stand
            beside it.
        data_type: kind of the list.
        output: what is written; of frames, logits only, as their embeddings would fill disks.
        batch_size: utterances of equal length scored at once; it changes speed, and scores by
            rounding only. By default one, or ``data.batch_size`` where ``data.eval_seconds`` makes
            all of one length.
        num_workers: reading processes; auto chooses by cores, GPUs and processes.
        precision: of the model's forward pass; auto takes bf16 where the device has instructions
            for it.
        gpus: devices, as ``0,1`` or ``[0,1]``.
        label: utt2lab, one a list, whose utterances must be those of the list. A list that is
            streamed is read once more without it, to know its utterances.
        part: part of the list that this job extracts, such as ``3/8``, for which the archive goes
            into a folder of its own; bin/join_extraction.py joins all of them.
        windows: first: one of ``data.eval_seconds``, at the place of ``data.eval_crop``; all: as
            many as cover an utterance, a row each, of which stage 6 makes one score. It changes
            nothing for a system that scores whole utterances.
    """
    sets = cli.paired("--data_list, --embed_ark and --label", data_list, embed_ark, label)
    arks = [file_path(ark) for _, ark, _ in sets]
    if len(set(arks)) < len(arks):
        raise InputError(f"--embed_ark {arks[0]}: twice, expected an archive for each list")
    number, parts = parse_part(part) if part else (1, 1)
    process = start_process(gpus)
    experiment = load_experiment(config)
    model_hash = file_hash(model_path)
    note_input(model_path)
    state = load_weights(model_path, experiment.system)
    # A training that goes on replaces its models, perhaps between two processes.
    if len(set(gather_objects(process, model_hash))) > 1:
        raise InputError(f"{model_path}: it changed while the processes read it")
    if state["config_hash"] != experiment.config_hash:
        raise InputError(f"{model_path}: not trained with {config}")
    task = experiment.system
    _check_task(experiment, config, output)
    window_seconds = _window_seconds(windows, experiment)
    # All lists before the work on the first of them.
    indexes = []
    for number_of_set, (path, _, utt2lab) in enumerate(sets):
        labels = read_labels(utt2lab) if utt2lab else None
        index = read_index(path, data_type, labels, lists_streams=True)
        if part:
            if isinstance(index, Stream):
                raise InputError(f"{path}: a stream, which has no parts: extract it without --part")
            index = block(index, number, parts)
            arks[number_of_set] = part_path(arks[number_of_set], number, parts)
        if window_seconds is not None:
            index = _windows(index, experiment, path)
        indexes.append(index)
    sidecar = None
    if process.is_main:
        sidecar = _sidecar(model_path, model_hash, state, experiment)
        sidecar = replace(sidecar, window_seconds=window_seconds)
        for ark in arks:
            check_writable(ark, ark.with_suffix(".scp"), sidecar_path(ark))
        # All of them: what ends in the first list is not to leave old results of the second.
        for ark in arks:
            with folder_lock(ark.parent, "extraction"):
                begin_results(ark)
    task = task.to(process.device, memory_format=torch.channels_last)
    precision = choose_precision(process.device, precision)
    for index, ark in zip(indexes, arks):
        loader = EvalLoader(
            index, experiment.data, process.rank, process.world, batch_size, num_workers
        )
        function = task.logits if output == "logits" else task.embed
        batches = run_inference(task, loader, process, function, precision, output)
        _write(index, _rows(task, batches), ark, task, process, sidecar)
        loader.close()
    end_process()


def _write(
    index: list[Utterance] | Stream,
    rows: Iterable[tuple[str, np.ndarray]],
    ark: Path,
    task: Task,
    process: Process,
    sidecar: Sidecar | None,
) -> None:
    """Write the archive of a list.

    Args:
        index: the list.
        rows: outputs of the share of this process.
        ark: archive.
        task: the system.
        process: this process.
        sidecar: of the archive; process 0 has it.
    """
    shares = [ark.with_suffix(f".part{rank}.ark") for rank in range(process.world)]
    with ExitStack() as held:
        if process.is_main:
            held.enter_context(folder_lock(ark.parent, "extraction"))
            begin_results(ark)
            _remove_shares(ark)
        # No share is written before those of earlier runs are gone.
        barrier(process)
        write_archive(shares[process.rank], rows)
        barrier(process)
        if process.is_main:
            keys = []
            for row in index:
                keys.extend(task.names(row.key))
            join(keys, shares, ark)
            _remove_shares(ark)
            write_sidecar(ark, sidecar)


def _check_task(experiment: Experiment, config: str, output: str) -> None:
    """Refuse a system that has no such output.

    Raises:
        InputError: no detector, or one of frames whose embeddings or crops are asked for.
    """
    task = experiment.system
    if task.head is None:
        raise InputError(f"{config}: it trains no detector; bin/separate.py takes it")
    if task.frame_samples and (output != "logits" or experiment.data.eval_seconds):
        raise InputError(
            f"{config}: frames of whole utterances are scored: --output logits, eval_seconds 0"
        )


def _window_seconds(windows: Windows, experiment: Experiment) -> float | None:
    """Length of the windows that cover utterances; None where an utterance is scored at once."""
    if windows == "first":
        return None
    if not experiment.data.eval_seconds:
        logging.info("--windows all: eval_seconds is 0, so each utterance is scored as a whole")
        return None
    return experiment.data.eval_seconds


def _windows(
    index: list[Utterance] | Stream, experiment: Experiment, data_list: str
) -> list[Utterance]:
    """Rows of all windows of a list.

    Raises:
        InputError: the list is streamed, so that lengths are unknown; or the task gives an
            utterance several decisions, or sources.
    """
    if experiment.system.num_talkers or experiment.system.classes:
        raise InputError("--windows all is for detection, expected first")
    if isinstance(index, Stream):
        raise InputError(
            f"{data_list}: lengths that are unknown before reading, as of any stream, expected "
            "files, or shards on a disk; or --windows first"
        )
    size = round(experiment.data.eval_seconds * experiment.data.sample_rate)
    return window_rows(index, size, experiment.data.sample_rate)


def _sidecar(model_path: str, model_hash: str, state: dict, experiment: Experiment) -> Sidecar:
    """Sidecar of what a model gives.

    Raises:
        InputError: the model was trained on one class, or has no prior; names it.
    """
    task = experiment.system
    frame_seconds = None
    if task.frame_samples:
        frame_seconds = task.frame_samples / experiment.data.sample_rate
    try:
        return Sidecar(
            class_prior=state["class_prior"],
            has_posterior=task.head.has_posterior,
            model=model_path,
            model_hash=model_hash,
            config_hash=experiment.config_hash,
            commit=code_commit(),
            frame_seconds=frame_seconds,
            classes=task.classes,
        )
    except ValueError as error:
        raise InputError(f"{model_path}: {error}") from error


def _remove_shares(ark: Path) -> None:
    """Remove the shares of processes, also those of an earlier run of more of them."""
    share = re.compile(rf"{re.escape(ark.stem)}\.part\d+\.(ark|scp)")
    for path in ark.parent.iterdir():
        if share.fullmatch(path.name):
            path.unlink()


def _rows(task: Task, batches: Iterable[tuple[Batch, Tensor]]) -> Iterator[tuple[str, np.ndarray]]:
    """Id and output of each decision: of an utterance, or of each of its talkers."""
    for batch, outputs in batches:
        for key, output in zip(batch.keys, outputs.float().cpu().numpy()):
            rows = output if task.num_talkers else [output]
            yield from zip(task.names(key), rows)


if __name__ == "__main__":
    cli.run(extract, builds_systems=True)
