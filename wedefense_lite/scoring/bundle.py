"""Bundles: a trained system as one folder, and the detector that it is loaded as.

Letters: T samples, N trials, E embedding size.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from wedefense_lite.audio import reading
from wedefense_lite.audio.arrays import samples_utterance
from wedefense_lite.audio.reading import as_float, is_command, open_audio
from wedefense_lite.audio.resampling import resampled_length
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.provenance import file_hash
from wedefense_lite.runtime import precision_context
from wedefense_lite.scoring.experiment_facts import Origin, facts_of_experiment
from wedefense_lite.scoring.facts import BundleError, read_facts
from wedefense_lite.scoring.recordings import Span, Windows, merger, speech_span, windows_of
from wedefense_lite.scoring.sidecar import check_hashes
from wedefense_lite.scoring.traits import measure_traits, unlike
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
# Root mean square about the mean, against full scale: -80 dB, above dither and below speech.
SILENCE = 1e-4
# A logger of its own, so that commands of many files can count conversions in place of lines.
LOG = logging.getLogger(__name__)
Audio = str | PathLike | ArrayLike | Tensor | tuple[ArrayLike | Tensor, int]


class Window(NamedTuple):
    """A part of a recording that was scored by itself.

    Attributes:
        start: its begin in seconds.
        end: its end in seconds.
        llr: its LLR in nats.
    """

    start: float
    end: float
    llr: float


class Answer(NamedTuple):
    """What a detector says of a recording.

    Attributes:
        llr: LLR in nats, higher is more bona fide; None where it can't be scored.
        evidence: what thresholds are compared with; None as well.
        note: why it can't be scored, such as ``0.20 s of speech, 0.5 s needed``; else how it is
            unlike the recordings of dev; empty otherwise.
        windows: the windows that ``llr`` is merged from.
        seconds: length of the recording; None where it can't be read.
        conversion: what was done to its samples, such as ``resampled to 16000 Hz``; empty if
            nothing was.
    """

    llr: float | None
    evidence: float | None
    note: str
    windows: list[Window]
    seconds: float | None = None
    conversion: str = ""


class Recording(NamedTuple):
    """Audio that is about to be scored.

    Attributes:
        utterance: where it is, with its length and rate.
        data: how it is read.
        conversion: what reading does to its samples; empty for nothing.
    """

    utterance: Utterance
    data: DataConfig
    conversion: str


class Detector:
    """Spoof detector of a bundle or an experiment; ``wedefense_lite.load`` makes one.

    Audio is the path of a file of any kind, rate and channels, or samples at ``data.sample_rate``
    Hz, or ``(samples, rate)`` as ``soundfile.read`` and ``torchaudio.load`` give them: arrays or
    tensors of any shape and dtype that ``audio.arrays`` takes, floats with peaks of up to 2. It is
    resampled to the rate of the system, and channels are mixed down, or the one that ``channel``
    names, from 1 on, is taken. Its speech is scored: what comes before the first and behind the
    last segment of it is trimmed, and there has to be half a second of it. It is scored whole, or
    in windows of the ``eval_seconds`` of the configuration.

    Options of ``score``, ``answer`` and ``classify``:

    - ``channel``: channel of audio with several, from 1 on; 0 mixes all down; None is
      ``data.channel``.
    - ``trim``: False scores all of the recording, as stage 4 does.
    - ``windows``: ``first``, as stage 4 does, or ``all`` to the end of the speech.
    - ``merge``: score of several windows: ``mean`` of their LLRs, ``min``, or ``lowest3``, the mean
      of the three lowest.

    Args:
        folder: folder that ``bin/export_bundle.py`` wrote, or an experiment after stage 6.
        device: device of the computation.
        trim: default of the option.

    Attributes:
        facts: content of ``bundle.json``, or what an experiment has of it.
        data: configuration of reading.
        task: the system.

    Raises:
        InputError: a file of the bundle is missing, was changed, or contradicts another one.
            Methods raise it for audio that can't be scored. Silence is refused too: detectors give
            it a score like any other, and some a high one.
    """

    def __init__(self, folder: str | PathLike, device: str = "cpu", trim: bool = True):
        self.trim = trim
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

    def score(self, audio: Audio, channel: int | None = None, **options) -> float:
        """LLR in nats of stage 6, calibrated if the bundle is; higher is more bona fide.

        Args:
            audio: path or samples.
            channel: as the class says.
            options: ``trim``, ``windows`` and ``merge`` of the class.

        Raises:
            InputError: there is too little speech.
        """
        answer = self._answer(audio, channel, **options)
        return answer.llr

    def answer(self, audio: Audio, channel: int | None = None, **options) -> Answer:
        """Score of a recording with those of its windows, or why there is none.

        Args:
            audio: path or samples.
            channel: as the class says.
            options: ``trim``, ``windows`` and ``merge`` of the class.

        Raises:
            BundleError: the bundle can score nothing.
        """
        try:
            return self._answer(audio, channel, **options)
        except BundleError:
            raise
        except InputError as error:
            return Answer(None, None, str(error), [])

    def answers(self, recordings: Iterable[Audio], **options) -> list[Answer]:
        """An answer for each of several recordings; one that can't be scored ends nothing."""
        return [self.answer(audio, **options) for audio in recordings]

    def classify(
        self,
        audio: Audio,
        threshold: float | None = None,
        channel: int | None = None,
        **options,
    ) -> str:
        """``bonafide`` or ``spoof``.

        Args:
            audio: path or samples.
            threshold: evidence at or above it is bona fide; None: ``facts.threshold``.
            channel: as the class says.
            options: ``trim``, ``windows`` and ``merge`` of the class.
        """
        if threshold is None:
            threshold = self.facts.threshold
        answer = self._answer(audio, channel, **options)
        return self.facts.decide(answer.evidence, threshold)

    def embed(
        self, audio: Audio, channel: int | None = None, trim: bool | None = None
    ) -> np.ndarray:
        """Embedding ``(E,)``, float32, of the first window."""
        recording = self._open(audio, channel)
        rows, _ = self._compute(recording, self.task.embed, trim, "first")
        return rows[0]

    def logits(
        self, audio: Audio, channel: int | None = None, trim: bool | None = None
    ) -> np.ndarray:
        """Logits ``[spoof, bonafide]``, float32, of the first window."""
        recording = self._open(audio, channel)
        rows, _ = self._compute(recording, self.task.logits, trim, "first")
        return rows[0]

    def samples(self, audio: Audio, channel: int | None = None) -> np.ndarray:
        """All samples ``(T,)`` of a recording at the rate of the system, floats in [-1, 1]."""
        recording = self._open(audio, channel)
        return _read_whole(recording.utterance, recording.data)

    def batch(self, audio: Audio, channel: int | None = None) -> Batch:
        """The first window of a recording as the system takes it."""
        recording = self._open(audio, channel)
        return read_scoring_batch([recording.utterance], recording.data).to(self.device)

    def _answer(
        self,
        audio: Audio,
        channel: int | None = None,
        trim: bool | None = None,
        windows: Windows = "first",
        merge: str = "mean",
    ) -> Answer:
        """Score of a recording.

        Raises:
            InputError: it can't be scored.
        """
        merged = merger(merge)
        recording = self._open(audio, channel)
        logits_WC, spans = self._compute(recording, self.task.logits, trim, windows)
        llr_W = self.facts.llr(logits_WC)
        scored = []
        for span, llr in zip(spans, llr_W):
            start = span.first / self.data.sample_rate
            scored.append(Window(start, span.end / self.data.sample_rate, float(llr)))
        evidence = float(merged(self.facts.evidence(logits_WC)))
        return Answer(
            llr=float(merged(llr_W)),
            evidence=evidence,
            note=self._remark(recording),
            windows=scored,
            seconds=recording.utterance.samples / recording.utterance.rate,
            conversion=recording.conversion,
        )

    def _remark(self, recording: Recording) -> str:
        """How a recording is unlike those of dev; empty where nothing is known of these."""
        if not self.facts.dev_ranges:
            return ""
        wav_T = _read_whole(recording.utterance, recording.data)
        return unlike(measure_traits(wav_T, self.data.sample_rate), self.facts.dev_ranges)

    def _open(self, audio: Audio, channel: int | None) -> Recording:
        """Recording of which length, rate and channel are known."""
        data = self.data if channel is None else replace(self.data, channel=channel)
        return _described(_as_utterance(audio, data.sample_rate), data)

    @torch.no_grad()
    def _compute(
        self,
        recording: Recording,
        function: Callable[[Batch], Tensor],
        trim: bool | None,
        windows: Windows,
    ) -> tuple[np.ndarray, list[Span]]:
        """Outputs ``(W, ...)`` of a function for each window of a recording, and the windows."""
        if windows not in ("first", "all"):
            raise InputError(f"windows {windows!r}, expected first or all")
        utterance = recording.utterance
        data = recording.data
        size = round(data.eval_seconds * data.sample_rate)
        trims = self.trim if trim is None else trim
        if not trims and windows == "first":
            # Read as in stage 4, to the last bit.
            samples = resampled_length(utterance.samples, utterance.rate, data.sample_rate)
            spans = windows_of(Span(0, samples), size, windows, data.eval_crop)
            parts = [utterance]
        else:
            wav_T = _read_whole(utterance, data)
            span = Span(0, len(wav_T))
            if trims:
                try:
                    span = speech_span(wav_T, data.sample_rate)
                except InputError as error:
                    raise InputError(f"{utterance.path}: {error}") from None
            spans = windows_of(span, size, windows, data.eval_crop)
            parts = []
            for span in spans:
                part_T = np.float32(wav_T[span.first : span.end])
                parts.append(samples_utterance((part_T, data.sample_rate), 0, utterance.path))
            data = replace(data, channel=0)
        rows = []
        scored = []
        loudest = 0.0
        for part, span in zip(parts, spans):
            batch = read_scoring_batch([part], data).to(self.device)
            level = float(batch.wav_BT.std(correction=0))
            loudest = max(loudest, level)
            # A window within a long pause has no score; the others have.
            if level >= SILENCE:
                rows.append(self._row(batch, utterance.path, function))
                scored.append(span)
        if not rows:
            raise InputError(
                f"{utterance.path}: silence, a level of {loudest:.2g} in what is scored, "
                "expected speech"
            )
        return np.stack(rows), scored

    def _row(self, batch: Batch, path: str, function: Callable[[Batch], Tensor]) -> np.ndarray:
        """Output of a function for a window of a recording, whose path is for errors."""
        with precision_context(self.device):
            row = function(batch)[0].float().cpu().numpy()
        if not np.isfinite(row).all():
            raise BundleError(
                f"{self.folder}: its output for {path} is {row[~np.isfinite(row)][0]}, "
                "expected finite numbers: its weights are damaged"
            )
        return row


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


def _read_whole(utterance: Utterance, data: DataConfig) -> np.ndarray:
    """All samples of a recording at the rate of the system, float."""
    with open_audio(utterance, data.sample_rate, data.channel) as file:
        return as_float(reading.decode(file, 0, 0))


def _as_utterance(audio: Audio, sample_rate: int) -> Utterance:
    """Utterance of a file, or of samples, for which a WAV in memory holds them exactly."""
    if isinstance(audio, str | PathLike):
        if is_command(str(audio)):
            raise InputError(f"{audio}: a command, expected an audio file")
        return Utterance(Path(audio).name, str(audio))
    return samples_utterance(audio, sample_rate)


def _described(utterance: Utterance, data: DataConfig) -> Recording:
    """The recording of an utterance; the log says what is converted of it."""
    with open_audio(utterance, data.sample_rate, data.channel) as file:
        if file.conversion:
            LOG.info("%s: %s: %s", utterance.path, file.kind, file.conversion)
        # The length is known then, and read once more as what was listed.
        listed = replace(utterance, samples=file.decoder.samples, rate=file.decoder.rate)
        return Recording(listed, data, file.conversion)


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
