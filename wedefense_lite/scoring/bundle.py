"""A trained system as one folder: what it holds, and the detector that it gives back."""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.torch
import soundfile as sf
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, read_json
from wedefense_lite.labels import BONAFIDE, LABELS
from wedefense_lite.provenance import file_hash
from wedefense_lite.runtime import precision_context
from wedefense_lite.scoring.calibration import Affine
from wedefense_lite.scoring.llr import llr_from_logits
from wedefense_lite.scoring.sidecar import Sidecar
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.systems.samples import read_scoring_batch

CONFIG, WEIGHTS, FACTS = "config.yaml", "model.safetensors", "bundle.json"
SILENCE = 1e-4  # root mean square about the mean, full scale being 1: -80 dB, above dither and below speech
Audio = str | PathLike | ArrayLike


@dataclass(frozen=True)
class BundleFacts(Sidecar):
    """What ``bundle.json`` says beside what a sidecar does: from logits to a decision.

    Here ``class_prior`` is what stage 6 divides out, None for a head without a posterior.

    Attributes:
        scale: of the affine calibration.
        offset: of the same.
        decide_on: what thresholds are compared with: the LLR, or the logit of bona fide alone.
        threshold: what is above it is bona fide, where no other is given.
        thresholds: this and others, by name.
        hashes: of the files beside it.
        referenced: hash of the weights that are not here but come with the encoder by its name; or "".

    Raises:
        ValueError: values that contradict each other, or labels in another order than ours.
    """

    scale: float = 1.0
    offset: float = 0.0
    decide_on: Literal["llr", "bonafide_logit"] = "llr"
    threshold: float = 0.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    referenced: str = ""

    def __post_init__(self):
        super().__post_init__()
        if tuple(self.labels) != LABELS:
            raise ValueError(f"labels are {list(self.labels)}, expected {list(LABELS)}")

    def llr(self, logits: ArrayLike) -> np.ndarray:
        """LLRs ``(N,)`` of logits ``(N, 2)``, as stage 6 writes them."""
        odds = llr_from_logits(logits, self.class_prior)
        return Affine((self.scale,), self.offset)(odds)

    def evidence(self, logits: ArrayLike) -> np.ndarray:
        """What thresholds are compared with, ``(N,)``, of logits ``(N, 2)``."""
        return self.llr(logits) if self.decide_on == "llr" else np.float64(logits)[:, BONAFIDE]


class Detector:
    """A spoof detector; ``wedefense_lite.load`` makes one of a bundle.

    Audio is a path, or samples ``T``: floats in [-1, 1], or int16. It is mono, at ``data.sample_rate`` Hz, and of any
    length from what the system needs at least. Each is scored as in stage 4: whole or, where the configuration has
    ``eval_seconds``, by so much of it, the same every time.

    Args:
        folder: what ``bin/export_bundle.py`` wrote.
        device: where to compute.

    Attributes:
        facts: what the bundle says of itself.
        data: how audio is read.
        task: the system.

    Raises:
        InputError: a file that is missing, changed or contradicts another. The methods raise it for audio that can't
            be judged, silence included: detectors give it a score like any other, and some a high one.
    """

    def __init__(self, folder: str | PathLike, device: str = "cpu"):
        folder = Path(folder)
        self.facts, experiment = read_facts(folder / FACTS), load_experiment(folder / CONFIG)
        for name in (CONFIG, WEIGHTS):
            if (found := file_hash(folder / name)) != (expected := self.facts.hashes.get(name)):
                raise InputError(
                    f"{folder / name}: its hash is {found}, expected {expected}: damaged, or another's"
                )
        self.data, self.task, self.device = experiment.data, experiment.system, torch.device(device)
        weights = safetensors.torch.load_file(folder / WEIGHTS)
        if self.facts.referenced:
            self.task.frontend.load_pretrained()
            encoder = {
                name: value for name, value in self.task.state_dict().items() if name not in weights
            }
            if weights_hash(encoder) != self.facts.referenced:
                raise InputError(
                    f"{folder / CONFIG}: the encoder that it names has other weights than it had"
                )
            weights |= encoder
        checkpoint.load_state(self.task, weights, folder / WEIGHTS)
        self.task.eval().to(device, memory_format=torch.channels_last)

    def score(self, audio: Audio) -> float:
        """LLR in nats as stage 6 writes it, calibrated where the bundle is; higher is more bona fide."""
        return float(self.facts.llr(self.logits(audio)[None])[0])

    def classify(self, audio: Audio, threshold: float | None = None) -> str:
        """``bonafide`` or ``spoof``.

        Args:
            audio: path or samples.
            threshold: what ``facts.decide_on`` has to be above for ``bonafide``; unless given, ``facts.threshold``.
        """
        least = self.facts.threshold if threshold is None else threshold
        return LABELS[int(self.facts.evidence(self.logits(audio)[None])[0] > least)]

    def embed(self, audio: Audio) -> np.ndarray:
        """The embedding ``(E,)``, float32."""
        return self._of(audio, self.task.embed)

    def logits(self, audio: Audio) -> np.ndarray:
        """``[spoof, bonafide]``, float32."""
        return self._of(audio, self.task.logits)

    @torch.no_grad()
    def _of(self, audio: Audio, function: Callable[[Batch], Tensor]) -> np.ndarray:
        row = _as_utterance(audio, self.data.sample_rate)
        batch = read_scoring_batch([row], self.data).to(self.device)
        if (level := float(batch.wav_BT.std(correction=0))) < SILENCE:
            raise InputError(
                f"{row.path}: silence, a level of {level:.2g} in what is scored, expected speech"
            )
        with precision_context(self.device):
            return function(batch)[0].float().cpu().numpy()


def _as_utterance(audio: Audio, sample_rate: int) -> Utterance:
    """A file, or samples as the file that would hold them exactly."""
    if isinstance(audio, str | PathLike):
        if str(audio).endswith("|"):
            raise InputError(f"{audio}: a command, expected an audio file")
        return Utterance(Path(audio).name, str(audio))
    wav, buffer = np.asarray(audio), io.BytesIO()
    largest = np.abs(wav.astype(np.float64)).max(initial=0)
    if wav.ndim != 1 or not (wav.dtype == np.int16 or wav.dtype.kind == "f" and largest <= 1):
        found = f"samples are {wav.dtype} of shape {wav.shape}, the largest {largest:g}"
        raise InputError(f"{found}, expected one row of int16, or of floats in [-1, 1]")
    sf.write(
        buffer,
        wav,
        sample_rate,
        format="WAV",
        subtype="FLOAT" if wav.dtype.kind == "f" else "PCM_16",
    )
    return Utterance("samples", "samples", data=buffer.getvalue())


def read_facts(path: str | PathLike) -> BundleFacts:
    """``bundle.json`` of a bundle.

    Raises:
        InputError: it is missing, has other fields, or values that can't be right.
    """
    try:
        return BundleFacts(**read_json(path))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error


def packed(state: Mapping[str, Tensor]) -> bytes:
    """A state dict in the safetensors format, which takes dense tensors, none of them a part of another."""
    dense = {
        name: value.clone(memory_format=torch.contiguous_format) for name, value in state.items()
    }
    return safetensors.torch.save(dense)


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """First twelve hexadecimal digits of the SHA-256 of a state dict, names, types and shapes included."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:12]
