"""What the cases of a benchmark work with: amounts, a folder, noise, and a system."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile as sf
import torch

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.labels import LABELS
from wedefense_lite.runtime import Precision
from wedefense_lite.systems.config import Workers
from wedefense_lite.systems.experiment import Experiment, load_experiment

RATE = 16_000  # Hz


@dataclass(frozen=True)
class Size:
    """Amounts of work.

    Attributes:
        utterances: files of the cases that read audio.
        seconds: length of each.
        batches: of training and of front ends.
        trials: of the metrics; by default those of track 1 of ASVspoof 5.
        bootstrap: samples of the bootstrap.
        rows: of the smallest list of ``scale``.
        is_smallest: whether the cases run for nothing but to show that they do.
    """

    utterances: int = 200
    seconds: float = 4.0
    batches: int = 20
    trials: int = 680_774
    bootstrap: int = 20
    rows: int = 1000
    is_smallest: bool = False


SMALLEST = Size(
    utterances=4, seconds=0.5, batches=1, trials=400, bootstrap=2, rows=4, is_smallest=True
)


@dataclass(frozen=True)
class Comparison:
    """Work, and the least that has to be done for it.

    Attributes:
        name: what is done.
        ours: does it.
        floor: does the least that must happen.
        floor_name: what that is.
        goal: highest ratio of the times; None where there is no goal.
        count: utterances, files or rows that are worked on.
        unit: time of which the ratio is: cpu, or wall where other processes or a GPU do a part.
        tells_memory: whether both functions return the memory in MB of processes of their own; None
            is unknown.
    """

    name: str
    ours: Callable[[], object]
    floor: Callable[[], object]
    floor_name: str
    goal: float | None = None
    count: int = 1
    unit: Literal["cpu", "wall"] = "cpu"
    tells_memory: bool = False


@dataclass
class Bench:
    """What all comparisons of a case work with.

    Attributes:
        folder: for files; each case has its own.
        size: amounts of work.
        config: YAML of a system that decides for utterances.
        num_workers: reading processes of the training.
        precision: of the training; None for the YAML's.
        compile: compile the training step.
        deterministic: let a GPU use deterministic kernels only.
        gpus: device, as 0.
    """

    folder: Path
    size: Size
    config: str
    num_workers: Workers = 0
    precision: Precision | None = None
    compile: bool = False
    deterministic: bool = True
    gpus: str | None = None

    def noise_files(self, extension: str = "flac", lengths_differ: bool = False) -> list[Utterance]:
        """Files of noise, of both classes by turns, in a folder of their own."""
        rng = np.random.default_rng(0)
        folder = self.folder / f"noise_{extension}"
        folder.mkdir()
        rows = []
        for number in range(self.size.utterances):
            samples = round(self.size.seconds * RATE)
            if lengths_differ:
                samples += 7 * number
            path = folder / f"u{number}.{extension}"
            sf.write(path, 0.1 * rng.standard_normal(samples), RATE)
            label = LABELS[number % 2]
            rows.append(Utterance(f"u{number}", str(path), samples=samples, label=label, rate=RATE))
        return rows

    def experiment(self) -> Experiment:
        """The system, with crops that are shorter than the noise."""
        experiment = load_experiment(self.config)
        seconds = min(experiment.data.crop_seconds, self.size.seconds / 2)
        size = min(experiment.data.batch_size, self.size.utterances)
        experiment.data = replace(
            experiment.data, crop_seconds=seconds, batch_size=size, num_workers=self.num_workers
        )
        training = experiment.training
        training.early_stop_patience = 0  # it would need a dev set
        training.precision = self.precision or training.precision
        training.compile = self.compile
        training.deterministic = self.deterministic
        return experiment


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()
