"""Bundles: a trained system as one folder, and the detector that it is loaded as.

Letters: E embedding size.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.provenance import file_hash
from wedefense_lite.runtime import precision_context
from wedefense_lite.scoring.detector import Audio, RecordingDetector
from wedefense_lite.scoring.experiment_facts import Origin, facts_of_experiment
from wedefense_lite.scoring.facts import read_facts
from wedefense_lite.scoring.sidecar import check_hashes
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.experiment import Experiment, load_experiment
from wedefense_lite.systems.samples import read_scoring_batch
from wedefense_lite.systems.tasks import Detection
from wedefense_lite.weights import check_tensors, load_state

# Files of a bundle.
CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
FACTS = "bundle.json"
MODEL = "models/avg_model.pt"  # of an experiment


class Detector(RecordingDetector):
    """Spoof detector of a bundle or an experiment; ``wedefense_lite.load`` makes one.

    Args:
        folder: folder that ``bin/export_bundle.py`` wrote, or an experiment after stage 6.
        device: device of the computation.
        trim: default of the option.
        max_seconds: longer recordings are refused before they are decoded.

    Attributes:
        facts: content of ``bundle.json``, or what an experiment has of it.
        data: configuration of reading.
        task: the system.

    Raises:
        InputError: a file of the bundle is missing, was changed, or contradicts another one.
    """

    def __init__(
        self,
        folder: str | PathLike,
        device: str = "cpu",
        trim: bool = True,
        max_seconds: float = math.inf,
    ):
        self.trim = trim
        self.max_seconds = max_seconds
        folder = Path(folder)
        self.folder = folder
        self.device = _device(device)
        if (folder / MODEL).exists() and not (folder / FACTS).exists():
            self._load_experiment(folder)
        else:
            self._load_bundle(folder)
        try:
            self.task.eval().to(device, memory_format=torch.channels_last)
        # PyTorch asserts that it was built for the device.
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device {device}: {str(error).splitlines()[0]}") from error

    def _load_bundle(self, folder: Path) -> None:
        """Facts, configuration and weights of a bundle.

        Raises:
            InputError: no bundle, and no experiment that was scored.
        """
        if not (folder / FACTS).exists():
            raise InputError(
                f"{folder}: neither {FACTS} nor {MODEL}, expected a bundle, or an experiment after "
                "stage 6"
            )
        self.facts = read_facts(folder / FACTS)
        # Before anything of them is used: a configuration says which code is run.
        check_hashes(folder / FACTS, self.facts.hashes, folder / CONFIG, folder / WEIGHTS)
        experiment = load_experiment(folder / CONFIG)
        self.data = experiment.data
        self.task = experiment.system
        weights = _read_weights(folder / WEIGHTS)
        if self.facts.referenced:
            weights |= self._referenced_weights(folder, weights)
        load_state(self.task, weights, folder / WEIGHTS)

    def _load_experiment(self, folder: Path) -> None:
        """The same of an experiment that was scored, with the averaged model."""
        experiment = load_experiment(folder / CONFIG)
        check_is_detection(experiment, folder / CONFIG)
        self.data = experiment.data
        self.task = experiment.system
        checkpoint.load_weights(folder / MODEL, self.task)
        origin = Origin(file_hash(folder / MODEL), experiment.config_hash)
        self.facts = facts_of_experiment(folder, origin)

    def _referenced_weights(self, folder: Path, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights that the bundle leaves to the encoder, which is looked for by its name."""
        self.task.frontend.load_pretrained()
        encoder = {}
        for name, value in self.task.state_dict().items():
            if name not in weights:
                encoder[name] = value
        if weights_hash(encoder) != self.facts.referenced:
            raise InputError(
                f"{folder / CONFIG}: the encoder that it names has other weights than it had"
            )
        return encoder

    def embed(
        self, audio: Audio, channel: int | None = None, trim: bool | None = None
    ) -> np.ndarray:
        """Embedding ``(E,)``, float32, of the first window."""
        recording = self._open(audio, channel)
        rows, _ = self._compute(recording, self._embedding, trim, "first")
        return rows[0]

    def batch(self, audio: Audio, channel: int | None = None) -> Batch:
        """The first window of a recording as the system takes it."""
        recording = self._open(audio, channel)
        return self._read(recording.utterance, recording.data)

    def _read(self, part: Utterance, data: DataConfig) -> Batch:
        return read_scoring_batch([part], data).to(self.device)

    def _level(self, window: Batch) -> float:
        return float(window.wav_BT.std(correction=0))

    def _logits(self, window: Batch) -> np.ndarray:
        return self._first_row(self.task.logits, window)

    def _embedding(self, window: Batch) -> np.ndarray:
        return self._first_row(self.task.embed, window)

    @torch.no_grad()
    def _first_row(self, function: Callable[[Batch], Tensor], window: Batch) -> np.ndarray:
        with precision_context(self.device):
            return function(window)[0].float().cpu().numpy()


def check_is_detection(experiment: Experiment, path: Path) -> None:
    """Refuse an experiment without one decision an utterance.

    Args:
        experiment: what was built.
        path: its configuration, for the error.

    Raises:
        InputError: its task is another one.
    """
    if type(experiment.system) is not Detection:
        name = type(experiment.system).__name__
        raise InputError(
            f"{path}: its task is {name}, expected Detection, which decides for utterances"
        )


def _device(name: str) -> torch.device:
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device {name!r}: expected cpu, cuda or cuda:0") from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    """State dict of a safetensors file, whose numbers must be finite."""
    try:
        weights = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}") from error
    check_tensors(path, weights)
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{path}: {name} has values that are not finite")
    return weights


def packed(state: Mapping[str, Tensor]) -> bytes:
    """A state dict in the safetensors format, which takes dense tensors, none of them a part of
    another.
    """
    dense = {}
    for name, value in state.items():
        dense[name] = value.clone(memory_format=torch.contiguous_format)
    return safetensors.torch.save(dense)


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """First twelve hexadecimal digits of the SHA-256 of a state dict, names, types and shapes
    included.
    """
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:12]
