"""How fast a system trains and is scored, against the bare PyTorch loop on audio that lies on the
device already.

    python tools/benchmark_training.py --config conf/resnet18.yaml [--precision bf16 --num_workers
    8]

Audio is noise, weights are random: nothing is downloaded. A first epoch, which is not counted,
warms up.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import nn

from wedefense_lite import cli
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.labels import LABELS
from wedefense_lite.runtime import (
    Precision,
    Process,
    autocast,
    float32_precision,
    start_process,
)
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.scoring.run import run_inference
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.trainer import Trainer


def benchmark_training(
    config: str,
    steps: PositiveInt = 50,
    num_workers: NonNegativeInt = 0,
    precision: Precision | None = None,
) -> None:
    """Print utterances a second of the trainer, of the bare loop, and of scoring one by one and in
    batches.

    Args:
        config: YAML of a system that decides for utterances.
        steps: batches of an epoch; reading processes start anew with each, which few steps make
            look dear.
        num_workers: reading processes.
        precision: of training, by default the YAML's; scoring is in fp32.
    """
    process, experiment = start_process(), load_experiment(config)
    size, experiment.data.num_workers = experiment.data.batch_size, num_workers
    experiment.training.early_stop_patience = 0  # it would need a dev set
    experiment.training.precision = precision or experiment.training.precision
    with tempfile.TemporaryDirectory() as folder:
        index = noise(Path(folder), min(100, steps * size), experiment.data)
        index = (index * (steps * size))[: steps * size]
        loader = TrainLoader(index, experiment.data, experiment.training.seed)
        trainer = Trainer(experiment, process, Path(folder), loader, None)
        rates = {
            "the trainer": [timed(partial(epoch, trainer), len(index), process) for _ in range(2)][
                1
            ]
        }
        batch = next(loader.epoch(1)).to(process.device)
        rates["the bare loop"] = timed(
            partial(bare, trainer, batch, steps, process), len(index), process
        )
        for label, count in (("scoring one by one", 1), (f"scoring {size} at once", size)):
            scored = EvalLoader(
                list(dict.fromkeys(index)),
                experiment.data,
                batch_size=count,
                num_workers=num_workers,
            )
            rates[label] = [
                timed(partial(score, trainer, scored), len(scored.positions), process)
                for _ in range(2)
            ][1]
    for label, rate in rates.items():
        print(f"{label:<22} {rate:9.1f} utt/s", flush=True)
    print(
        f"the trainer takes {rates['the bare loop'] / rates['the trainer']:.2f} "
        "of the bare loop's time"
    )
    if process.device.type == "cuda":
        print(f"at most {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB on the GPU")


def noise(folder: Path, count: int, config: DataConfig) -> list[Utterance]:
    """Files of noise, a little longer than crops, of both classes in turn."""
    rng, rows, samples = (
        np.random.default_rng(0),
        [],
        round((config.crop_seconds + 0.1) * config.sample_rate),
    )
    for number in range(count):
        path = folder / f"{number}.flac"
        sf.write(path, rng.standard_normal(samples) * 0.1, config.sample_rate)
        rows.append(Utterance(str(number), str(path), samples=samples, label=LABELS[number % 2]))
    return rows


def epoch(trainer: Trainer) -> None:
    """Train on all batches once more."""
    trainer.epoch, trainer.step = trainer.epoch + 1, 0
    trainer.train_epoch()


def score(trainer: Trainer, loader: EvalLoader) -> None:
    """Bring all embeddings to the CPU."""
    for _, embedding in run_inference(trainer.task, loader, trainer.process, trainer.task.embed):
        embedding.cpu()


def bare(trainer: Trainer, batch: Batch, steps: int, process: Process) -> None:
    """What a training loop can't do without, on one batch again and again."""
    trainer.task.train()
    for _ in range(steps):
        with float32_precision(trainer.config.precision):
            with autocast(process.device, trainer.config.precision):
                loss = trainer.task(batch)[0]
            loss.backward()
        if trainer.config.clip_norm > 0:
            nn.utils.clip_grad_norm_(trainer.task.parameters(), trainer.config.clip_norm)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)


def timed(function: Callable, count: int, process: Process) -> float:
    """Utterances a second."""
    synchronize = torch.cuda.synchronize if process.device.type == "cuda" else lambda: None
    synchronize()
    start = time.perf_counter()
    function()
    synchronize()
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    cli.run(benchmark_training, builds_systems=True)
