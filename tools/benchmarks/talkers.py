"""Mixtures of talkers: rendering, separation, and what separating once saves."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from benchmarks.work import RATE, Bench, Comparison
from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.bin.separate import separate as separate_list
from wedefense_lite.bin.simulate_mixtures import simulate_mixtures
from wedefense_lite.files import write_table, write_text
from wedefense_lite.labels import LABELS
from wedefense_lite.mixtures.plan import read_plan
from wedefense_lite.mixtures.separation import separate
from wedefense_lite.mixtures.stems import with_talkers
from wedefense_lite.mixtures.tasks import SeparatedTalkers, Separation
from wedefense_lite.runtime import Process, start_process
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import Experiment, load_experiment
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.trainer import Trainer

SEPARATOR = "conf/convtasnet.yaml"  # of the published size
MIXTURES_TRAINED = 8
MIXTURES_OF_BATCH = 4
EPOCHS = 3


def mixtures(bench: Bench) -> Iterator[Comparison]:
    """Rendering beside sums that are written, separation beside the forward pass, and a training
    on streams that were separated once beside one that separates in each epoch.
    """
    rows = bench.noise_files()
    data_dir = bench.folder / "data"
    write_table(data_dir / "wav.scp", {row.key: row.path for row in rows})
    write_table(data_dir / "utt2lab", {row.key: row.label for row in rows})
    write_table(data_dir / "utt2spk", {row.key: f"s{number}" for number, row in enumerate(rows)})
    seconds = f"{bench.size.seconds:.4f}"
    write_table(data_dir / "utt2dur", {row.key: seconds for row in rows})
    count = max(1, bench.size.utterances // 4)
    plan = _draw_plan(bench, data_dir, "many", count)
    yield Comparison(
        "rendering",
        partial(_render, data_dir, plan, bench.folder / "rendered"),
        partial(_add_and_write, plan, {row.key: row.path for row in rows}, bench.folder),
        "read, add, write FLAC",
        count=count,
    )
    separator_experiment = load_experiment(SEPARATOR)
    separator = separator_experiment.system.separator.eval()
    wav_T = 0.1 * np.random.default_rng(0).standard_normal(round(bench.size.seconds * RATE))
    wav_T = wav_T.astype(np.float32)
    yield Comparison(
        "separation",
        partial(separate, separator, wav_T, RATE),
        partial(_bare_forward, separator, torch.from_numpy(wav_T)[None]),
        "bare forward pass",
    )
    count = min(count, MIXTURES_TRAINED)
    mixtures_dir = bench.folder / "mixtures"
    _render(data_dir, _draw_plan(bench, data_dir, "few", count), mixtures_dir)
    _write_random_separator(bench.folder, separator_experiment)
    process = start_process(bench.gpus)
    yield Comparison(
        f"separated once, {EPOCHS} epochs",
        partial(_train_on_streams, bench, process, mixtures_dir),
        partial(_train_on_mixtures, bench, process, mixtures_dir),
        "separated in each epoch",
        goal=1.0,
        count=count * EPOCHS,
        unit="wall" if process.device.type == "cuda" else "cpu",
    )


def _draw_plan(bench: Bench, data_dir: Path, name: str, count: int) -> Path:
    plan = bench.folder / f"{name}.tsv"
    delay = bench.size.seconds / 4
    simulate_mixtures(
        str(data_dir), str(plan), "two_talker_published", count, 1, delay=delay, length="max"
    )
    return plan


def _render(data_dir: Path, plan: Path, out_dir: Path) -> None:
    simulate_mixtures(str(data_dir), str(plan), out_dir=str(out_dir), render_only=True, nj=1)


def _add_and_write(plan: Path, paths: dict[str, str], folder: Path) -> None:
    for number, mixture in enumerate(read_plan(str(plan))):
        wavs = []
        for talker in mixture.talkers:
            wav, _ = sf.read(paths[talker.source], dtype="float32")
            wavs.append(wav)
        for name, wav in zip(("mixture", "1", "2"), (sum(wavs), *wavs)):
            sf.write(folder / f"{number}-{name}.flac", wav, RATE)


@torch.no_grad()
def _bare_forward(separator: torch.nn.Module, wav_BT: torch.Tensor) -> None:
    separator(wav_BT)


def _write_random_separator(folder: Path, experiment: Experiment) -> None:
    """Write a separator as if it had been trained; random weights cost as much as trained ones."""
    write_text(folder / "separator.yaml", experiment.text)
    state = {"model": experiment.system.state_dict(), "labels": list(LABELS), "epoch": 1}
    state |= {"class_prior": [0.5, 0.5], "config_hash": experiment.config_hash}
    checkpoint.save(folder / "separator.pt", state)


def _train_on_streams(bench: Bench, process: Process, mixtures_dir: Path) -> None:
    """Separate all mixtures, and train the detector on the streams."""
    streams_dir = bench.folder / "streams"
    separate_list(
        str(mixtures_dir),
        str(streams_dir),
        str(bench.folder / "separator.yaml"),
        str(bench.folder / "separator.pt"),
        gpus=bench.gpus,
    )
    streams = read_index(str(streams_dir / "shard.list"), "shard")
    num_talkers = load_experiment(SEPARATOR).system.num_talkers
    detector = _detector(bench, MIXTURES_OF_BATCH * num_talkers)
    _train(detector, streams, process, bench.folder / "on_streams")


def _train_on_mixtures(bench: Bench, process: Process, mixtures_dir: Path) -> None:
    """Train the detector behind the separator."""
    stem_list = str(mixtures_dir / "stems" / "shard.list")
    stems = read_index(stem_list, "shard")
    rows = read_index(str(mixtures_dir / "shard.list"), "shard")
    rows = with_talkers(rows, stems, stem_list, audio=True)
    detector = _detector(bench, MIXTURES_OF_BATCH)
    separation = load_experiment(SEPARATOR).system
    detector.system = _with_separator(detector, separation)
    _train(detector, rows, process, bench.folder / "on_mixtures")


def _detector(bench: Bench, batch_size: int) -> Experiment:
    experiment = bench.experiment()
    experiment.data = replace(experiment.data, batch_size=batch_size)
    experiment.training = replace(experiment.training, num_epochs=EPOCHS)
    return experiment


def _with_separator(experiment: Experiment, separation: Separation) -> SeparatedTalkers:
    """The detector of an experiment behind a separator."""
    detection = experiment.system
    return SeparatedTalkers(
        detection.frontend,
        lambda dim: detection.model,
        lambda dim: detection.head,
        separator=separation.separator,
    )


def _train(experiment: Experiment, rows: list[Utterance], process: Process, exp_dir: Path) -> None:
    # A finished training of the round before would be continued, which is no work.
    shutil.rmtree(exp_dir, ignore_errors=True)
    loader = TrainLoader(rows, experiment.data, seed=1)
    Trainer(experiment, process, exp_dir, loader, None).fit()
