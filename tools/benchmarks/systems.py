"""Systems: training, scoring and extraction, beside bare loops over audio in memory."""

import math
from collections.abc import Iterator
from functools import partial

import kaldiio
import torch

from benchmarks.work import Bench, Comparison, wait_for
from wedefense_lite.audio.index import write_raw_list
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.bin.extract import extract
from wedefense_lite.labels import LABELS
from wedefense_lite.runtime import Process, autocast, float32_precision, start_process
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.scoring.run import run_inference
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.systems.tasks import Task
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.trainer import Trainer


def _unit(bench: Bench, process: Process) -> str:
    """Time that counts: that of the CPU doesn't hold what a GPU does, or living readers."""
    return "wall" if process.device.type == "cuda" or bench.num_workers else "cpu"


def training(bench: Bench) -> Iterator[Comparison]:
    """An epoch of the trainer, beside steps on one batch that lies on the device already."""
    process = start_process(bench.gpus)
    experiment = bench.experiment()
    rows = bench.noise_files()
    count = bench.size.batches * experiment.data.batch_size
    index = (rows * math.ceil(count / len(rows)))[:count]
    loader = TrainLoader(index, experiment.data, experiment.training.seed)
    trainer = Trainer(experiment, process, bench.folder, loader, None)
    batch = next(iter(loader.epoch(1))).to(process.device)

    def epoch() -> None:
        trainer.epoch += 1
        trainer.step = 0
        trainer.train_epoch()
        wait_for(process.device)

    goal = 1.05 if bench.num_workers else 1.15
    yield Comparison(
        "an epoch",
        epoch,
        partial(_bare_epoch, trainer, batch, bench.size.batches),
        "the bare loop",
        goal,
        count=count,
        unit=_unit(bench, process),
    )
    loader.close()


def _bare_epoch(trainer: Trainer, batch: Batch, batches: int) -> None:
    """What a training loop can't do without, on one batch again and again."""
    device = trainer.process.device
    trainer.task.train()
    for _ in range(batches):
        with float32_precision(trainer.precision):
            with autocast(device, trainer.precision):
                loss = trainer.task(batch)[0]
            loss.backward()
        if trainer.config.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(trainer.task.parameters(), trainer.config.clip_norm)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)
    wait_for(device)


def scoring(bench: Bench) -> Iterator[Comparison]:
    """Embeddings of files of different lengths, beside forward passes on audio in memory."""
    process = start_process(bench.gpus)
    experiment = bench.experiment()
    experiment.data.eval_seconds = 0.0
    task = experiment.system.to(process.device, memory_format=torch.channels_last).eval()
    rows = bench.noise_files(lengths_differ=True)
    batches = [batch.to(process.device) for batch in EvalLoader(rows, experiment.data)]
    for name, size in (("one by one", 1), ("16 at once", 16)):
        yield Comparison(
            name,
            partial(_score, task, rows, experiment.data, process, size),
            partial(_bare_scores, task, batches),
            "bare forward passes, one by one",
            count=len(rows),
            unit=_unit(bench, process),
        )


def _score(
    task: Task, rows: list[Utterance], data: DataConfig, process: Process, batch_size: int
) -> None:
    loader = EvalLoader(rows, data, batch_size=batch_size)
    for _, embedding in run_inference(task, loader, process, task.embed):
        embedding.cpu()


@torch.no_grad()
def _bare_scores(task: Task, batches: list[Batch]) -> None:
    for batch in batches:
        task.embed(batch).cpu()


def extraction(bench: Bench) -> Iterator[Comparison]:
    """The command ``extract.py``, beside decoding, forward passes and an archive."""
    process = start_process(bench.gpus)
    experiment = bench.experiment()
    task = experiment.system.to(process.device).eval()
    rows = bench.noise_files(lengths_differ=True)
    raw_list = bench.folder / "raw.list"
    model = bench.folder / "model.pt"
    write_raw_list(raw_list, rows)
    state = {"model": task.state_dict(), "labels": list(LABELS), "class_prior": [0.5, 0.5]}
    state |= {"epoch": 1, "config_hash": load_experiment(bench.config).config_hash}
    checkpoint.save(model, state)
    ark = str(bench.folder / "embed.ark")

    @torch.no_grad()
    def plain() -> None:
        embeddings = {}
        for batch in EvalLoader(rows, experiment.data):
            embedding = task.embed(batch.to(process.device))[0]
            embeddings[batch.keys[0]] = embedding.cpu().numpy()
        kaldiio.save_ark(str(bench.folder / "plain.ark"), embeddings)

    yield Comparison(
        "extract",
        partial(
            extract,
            bench.config,
            str(model),
            str(raw_list),
            ark,
            data_type="raw",
            num_workers=0,
            gpus=bench.gpus,
        ),
        plain,
        "read, forward, save_ark",
        count=len(rows),
        unit=_unit(bench, process),
    )
