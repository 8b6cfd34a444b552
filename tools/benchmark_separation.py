"""What it saves to separate once: seconds of separating and five epochs, against separating in every epoch."""

import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from jsonargparse.typing import PositiveFloat, PositiveInt

from wedefense_lite import cli
from wedefense_lite.audio.index import read_index
from wedefense_lite.bin.separate import separate
from wedefense_lite.files import write_text
from wedefense_lite.mixtures.stems import with_talkers
from wedefense_lite.mixtures.tasks import SeparatedTalkers, Separation
from wedefense_lite.runtime import start_process
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
    """Train a detector on talkers that were separated once, and on talkers that are separated in every epoch.

    Weights are random, which costs as much as trained ones. Both read the same mixtures and judge as much audio.

    Args:
        mixtures_dir: what ``bin/simulate_mixtures.py`` wrote.
        separator: configuration of a separator.
        detector: configuration of the detector.
        epochs: of training.
        crop_seconds: of training crops.
        batch_size: mixtures in a batch; of streams that are read, as many as these have.
        gpus: device, as ``0``.
    """
    once, every, system = (
        load_experiment(detector),
        load_experiment(detector),
        load_experiment(separator).system,
    )
    process = start_process(gpus)
    mixtures, stems = (str(Path(mixtures_dir, name, "shard.list")) for name in ("", "stems"))
    index = with_talkers(
        read_index(mixtures, "shard"), read_index(stems, "shard"), stems, audio=True
    )

    def seconds(experiment: Experiment, rows: list, size: int, exp_dir: Path) -> float:
        experiment.data = replace(experiment.data, crop_seconds=crop_seconds, batch_size=size)
        experiment.training = replace(experiment.training, num_epochs=epochs)
        loader = TrainLoader(rows, experiment.data, seed=1)
        start = time.perf_counter()
        Trainer(experiment, process, exp_dir, loader, None).fit()
        return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_text(folder / "config.yaml", load_experiment(separator).text)
        state = {
            "model": Separation(system.separator).state_dict(),
            "labels": ["spoof", "bonafide"],
        }
        checkpoint.save(folder / "model.pt", state)
        start = time.perf_counter()
        separate(
            mixtures_dir,
            str(folder / "streams"),
            str(folder / "config.yaml"),
            str(folder / "model.pt"),
            gpus=gpus,
        )
        separating = time.perf_counter() - start
        streams = read_index(str(folder / "streams/shard.list"), "shard")
        training = seconds(once, streams, batch_size * system.num_talkers, folder / "once")
        parts = every.system
        every.system = SeparatedTalkers(
            parts.frontend,
            lambda dim: parts.model,
            lambda dim: parts.head,
            separator=system.separator,
        )
        repeated = seconds(every, index, batch_size, folder / "every")
    logging.info("separated once: %.1f s, and %d epochs: %.1f s", separating, epochs, training)
    logging.info("separated in each of %d epochs: %.1f s", epochs, repeated)
    logging.info("ratio: %.3f", (separating + training) / repeated)


if __name__ == "__main__":
    cli.run(benchmark_separation)
