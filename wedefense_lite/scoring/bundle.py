"""Bundles: a trained system as one folder, and the detector that it is loaded as.

Letters: T samples, N trials, E embedding size.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.torch
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from wedefense_lite.audio.arrays import samples_utterance
from wedefense_lite.audio.reading import is_command, open_audio
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE
from wedefense_lite.runtime import precision_context
from wedefense_lite.scoring.calibration import Affine
from wedefense_lite.scoring.llr import llr_from_logits
from wedefense_lite.scoring.sidecar import Sidecar, check_hashes, read_record
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.systems.samples import read_scoring_batch

# Files of a bundle.
CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
FACTS = "bundle.json"
# Fields that bundles from before they existed don't have.
LATER_FIELDS = ("frame_seconds", "allow_negative_scale")
# Root mean square about the mean, against full scale: -80 dB, above dither and below speech.
SILENCE = 1e-4
Audio = str | PathLike | ArrayLike | Tensor | tuple[ArrayLike | Tensor, int]


class BundleError(InputError):
    """Bundle that can't score any audio, other than audio that can't be scored."""


@dataclass(frozen=True)
class BundleFacts(Sidecar):
    """Content of ``bundle.json``: a sidecar, and the way from logits to a decision.

    ``class_prior`` is the prior that stage 6 divides out, None for a head without a posterior.

    Attributes:
        scale: scale of the affine calibration.
        offset: offset of the affine calibration.
        decide_on: evidence for thresholds: the LLR, or the logit of bona fide alone.
        threshold: default threshold; evidence at or above it is bona fide.
        thresholds: thresholds by name, the default among them.
        referenced: hash of the weights that come with the encoder by its name; empty without any.
        allow_negative_scale: true where the calibration was asked to turn scores round.

    Raises:
        ValueError: values of another type or that contradict each other, a scale that turns scores
            round unasked.
    """

    scale: float = 1.0
    offset: float = 0.0
    decide_on: Literal["llr", "bonafide_logit"] = "llr"
    threshold: float = 0.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    referenced: str = ""
    allow_negative_scale: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.scale == 0:
            raise ValueError("scale is 0: every utterance would get the same score")
        if self.scale < 0 and not self.allow_negative_scale:
            raise ValueError(
                f"scale is {self.scale}, expected a positive number: a negative one turns scores "
                "round, which bin/logits_to_llr.py does with --allow_negative_slope true"
            )

    def llr(self, logits: ArrayLike) -> np.ndarray:
        """LLRs ``(N,)`` of logits ``(N, 2)``, as stage 6 writes them.

        Raises:
            BundleError: an LLR that is not finite.
        """
        odds = llr_from_logits(logits, self.class_prior)
        calibration = Affine((self.scale,), self.offset)
        llrs = calibration(odds)
        if not np.isfinite(llrs).all():
            raise BundleError(
                f"the scale {self.scale:g} and the offset {self.offset:g} of the bundle give an "
                "LLR that is not finite"
            )
        return llrs

    def evidence(self, logits: ArrayLike) -> np.ndarray:
        """Evidence ``(N,)`` for thresholds, of logits ``(N, 2)``."""
        if self.decide_on == "llr":
            return self.llr(logits)
        return np.float64(logits)[:, BONAFIDE]


class Detector:
    """Spoof detector of a bundle; ``wedefense_lite.load`` makes one.

    Audio is the path of a file of any kind, rate and channels, or samples at ``data.sample_rate``
    Hz, or ``(samples, rate)`` as ``soundfile.read`` and ``torchaudio.load`` give them: arrays or
    tensors of any shape and dtype that ``audio.arrays`` takes, floats with peaks of up to 2. It is
    resampled to the rate of the system, and channels are mixed down, or the one that ``channel``
    names, from 1 on, is taken. It is at least as long as the system needs, and scored as in stage
    4: whole, or the ``eval_seconds`` of the configuration.

    Args:
        folder: folder that ``bin/export_bundle.py`` wrote.
        device: device of the computation.

    Attributes:
        facts: content of ``bundle.json``.
        data: configuration of reading.
        task: the system.

    Raises:
        InputError: a file of the bundle is missing, was changed, or contradicts another one.
            Methods raise it for audio that can't be scored. Silence is refused too: detectors give
            it a score like any other, and some a high one.
    """

    def __init__(self, folder: str | PathLike, device: str = "cpu"):
        folder = Path(folder)
        self.folder = folder
        self.facts = read_facts(folder / FACTS)
        # Before anything of them is used: a configuration says which code is run.
        check_hashes(folder / FACTS, self.facts.hashes, folder / CONFIG, folder / WEIGHTS)
        experiment = load_experiment(folder / CONFIG)
        self.data = experiment.data
        self.task = experiment.system
        self.device = _device(device)
        weights = _read_weights(folder / WEIGHTS)
        if self.facts.referenced:
            weights |= self._referenced_weights(folder, weights)
        checkpoint.load_state(self.task, weights, folder / WEIGHTS)
        try:
            self.task.eval().to(device, memory_format=torch.channels_last)
        # PyTorch asserts that it was built for the device.
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device {device}: {str(error).splitlines()[0]}") from error

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

    def score(self, audio: Audio, channel: int | None = None) -> float:
        """LLR in nats of stage 6, calibrated if the bundle is; higher is more bona fide."""
        return float(self.facts.llr(self.logits(audio, channel)[None])[0])

    def classify(
        self, audio: Audio, threshold: float | None = None, channel: int | None = None
    ) -> str:
        """``bonafide`` or ``spoof``.

        Args:
            audio: path or samples.
            threshold: evidence at or above it is bona fide; None: ``facts.threshold``.
            channel: channel of audio with several, from 1 on; 0 mixes all down; None:
                ``data.channel``.
        """
        if threshold is None:
            threshold = self.facts.threshold
        evidence = self.facts.evidence(self.logits(audio, channel)[None])[0]
        return "bonafide" if evidence >= threshold else "spoof"

    def embed(self, audio: Audio, channel: int | None = None) -> np.ndarray:
        """Embedding ``(E,)``, float32."""
        return self._compute(audio, self.task.embed, channel)

    def logits(self, audio: Audio, channel: int | None = None) -> np.ndarray:
        """Logits ``[spoof, bonafide]``, float32."""
        return self._compute(audio, self.task.logits, channel)

    @torch.no_grad()
    def _compute(
        self, audio: Audio, function: Callable[[Batch], Tensor], channel: int | None
    ) -> np.ndarray:
        data = self.data if channel is None else replace(self.data, channel=channel)
        utterance = _as_utterance(audio, data.sample_rate)
        # The length is known then, and read once more as what was listed.
        utterance = _described(utterance, data)
        batch = read_scoring_batch([utterance], data).to(self.device)
        level = float(batch.wav_BT.std(correction=0))
        if level < SILENCE:
            raise InputError(
                f"{utterance.path}: silence, a level of {level:.2g} in what is scored, "
                "expected speech"
            )
        with precision_context(self.device):
            row = function(batch)[0].float().cpu().numpy()
        if not np.isfinite(row).all():
            raise BundleError(
                f"{self.folder}: its output for {utterance.path} is {row[~np.isfinite(row)][0]}, "
                "expected finite numbers: its weights are damaged"
            )
        return row


def _as_utterance(audio: Audio, sample_rate: int) -> Utterance:
    """Utterance of a file, or of samples, for which a WAV in memory holds them exactly."""
    if isinstance(audio, str | PathLike):
        if is_command(str(audio)):
            raise InputError(f"{audio}: a command, expected an audio file")
        return Utterance(Path(audio).name, str(audio))
    return samples_utterance(audio, sample_rate)


def _described(utterance: Utterance, data: DataConfig) -> Utterance:
    """The utterance with its length; the log says what is converted of it."""
    with open_audio(utterance, data.sample_rate, data.channel) as file:
        if file.conversion:
            logging.info("%s: %s: %s", utterance.path, file.kind, file.conversion)
        return replace(utterance, samples=file.decoder.samples, rate=file.decoder.rate)


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
    checkpoint.check_tensors(path, weights)
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{path}: {name} has values that are not finite")
    return weights


def read_facts(path: str | PathLike) -> BundleFacts:
    """Content of the ``bundle.json`` of a bundle.

    Raises:
        InputError: no such file, other fields, or values that can't be right.
    """
    return read_record(path, BundleFacts, LATER_FIELDS)


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
