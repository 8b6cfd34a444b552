"""What one separation saves: separating once and five epochs, against separating in every epoch."""

import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from jsonargparse.typing import PositiveFloat, PositiveInt

from wedefense_lite import cli
from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.bin.separate import separate
from wedefense_lite.files import write_text
from wedefense_lite.labels import LABELS
from wedefense_lite.mixtures.stems import with_talkers
from wedefense_lite.mixtures.tasks import SeparatedTalkers, Separation
from wedefense_lite.runtime import Process, start_process
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import Experiment, load_experiment
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.trainer import Trainer


def benchmark_separation(
    mixtures_dir: str,
    separator: str = "conf/convtasnet.yaml",
    detector: str = "conf/resnet18_small.yaml",
    epochs: PositiveInt = 5,
    crop_seconds: PositiveFloat = 2.0,
    batch_size: PositiveInt = 4,
    gpus: str | None = None,
) -> None:
    """Train a detector on streams that were separated once, and on streams separated in each epoch.

    Weights are random, which costs as much as trained ones. Both trainings read the same mixtures
    and score as much audio.

    Args:
        mixtures_dir: output of bin/simulate_mixtures.py.
        separator: configuration of a separator.
        detector: configuration of the detector.
        epochs: number of epochs.
        crop_seconds: length of training crops.
        batch_size: mixtures in a batch; a batch of separated streams has all streams of so many.
        gpus: device, as 0.
    """
    process = start_process(gpus)
    separator_experiment = load_experiment(separator)
    separation = separator_experiment.system
    mixture_list = str(Path(mixtures_dir, "shard.list"))
    stem_list = str(Path(mixtures_dir, "stems", "shard.list"))
    stems = read_index(stem_list, "shard")
    mixtures = with_talkers(read_index(mixture_list, "shard"), stems, stem_list, audio=True)

    once = load_experiment(detector)
    once.data = replace(
        once.data, crop_seconds=crop_seconds, batch_size=batch_size * separation.num_talkers
    )
    every = load_experiment(detector)
    every.data = replace(every.data, crop_seconds=crop_seconds, batch_size=batch_size)
    every.system = _with_separator(every, separation)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_random_separator(folder, separator_experiment.text, separation)
        start = time.perf_counter()
        separate(
            mixtures_dir,
            str(folder / "streams"),
            str(folder / "config.yaml"),
            str(folder / "model.pt"),
            gpus=gpus,
        )
        separation_seconds = time.perf_counter() - start
        streams = read_index(str(folder / "streams/shard.list"), "shard")
        once_seconds = _train(once, streams, epochs, process, folder / "once")
        every_seconds = _train(every, mixtures, epochs, process, folder / "every")
    logging.info(
        "separated once: %.1f s, and %d epochs: %.1f s", separation_seconds, epochs, once_seconds
    )
    logging.info("separated in each of %d epochs: %.1f s", epochs, every_seconds)
    logging.info("ratio: %.3f", (separation_seconds + once_seconds) / every_seconds)


def _with_separator(experiment: Experiment, separation: Separation) -> SeparatedTalkers:
    """The detector of an experiment behind a separator."""
    detection = experiment.system
    return SeparatedTalkers(
        detection.frontend,
        lambda dim: detection.model,
        lambda dim: detection.head,
        separator=separation.separator,
    )


def _write_random_separator(folder: Path, config: str, separation: Separation) -> None:
    """Write a separator as if it had been trained: ``config.yaml`` and ``model.pt``."""
    write_text(folder / "config.yaml", config)
    state = {"model": separation.state_dict(), "labels": list(LABELS)}
    checkpoint.save(folder / "model.pt", state)


def _train(
    experiment: Experiment, rows: list[Utterance], epochs: int, process: Process, exp_dir: Path
) -> float:
    """Seconds of a training."""
    experiment.training = replace(experiment.training, num_epochs=epochs)
    loader = TrainLoader(rows, experiment.data, seed=1)
    start = time.perf_counter()
    Trainer(experiment, process, exp_dir, loader, None).fit()
    return time.perf_counter() - start


if __name__ == "__main__":
    cli.run(benchmark_separation, builds_systems=True)
