"""Detectors of recordings, whatever computes their logits: reading, windows, scores, decisions.

Nothing here imports PyTorch, so that a device needs none to score a file.

Letters: T samples, W windows.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from wedefense_lite.audio import reading
from wedefense_lite.audio.arrays import samples_utterance
from wedefense_lite.audio.reading import as_float, is_command, open_audio
from wedefense_lite.audio.resampling import resampled_length
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.scoring.facts import BundleError, BundleFacts
from wedefense_lite.scoring.recordings import Span, Windows, merger, speech_span, windows_of
from wedefense_lite.scoring.traits import measure_traits, unlike

# Root mean square about the mean, against full scale: -80 dB, above dither and below speech.
SILENCE = 1e-4
# A logger of its own, so that commands of many files can count conversions in place of lines.
LOG = logging.getLogger(__name__)
# Samples may be a tensor as well, which this module doesn't name.
Audio = str | PathLike | Utterance | ArrayLike | tuple[ArrayLike, int]


class Reading(Protocol):
    """How recordings are read: these fields of ``systems.config.DataConfig``, a dataclass."""

    sample_rate: int
    channel: int
    eval_seconds: float
    eval_crop: Literal["first", "centre"]


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
    data: Reading
    conversion: str


class RecordingDetector(ABC):
    """Spoof detector of recordings.

    Audio is the path of a file of any kind, rate and channels, or an ``Utterance``, which may hold
    the bytes of such a file, or samples at ``data.sample_rate`` Hz, or ``(samples, rate)`` as
    ``soundfile.read`` and ``torchaudio.load`` give them: arrays or tensors of any shape and dtype
    that ``audio.arrays`` takes, floats with peaks of up to 2. It is resampled to the rate of the
    system, and channels are mixed down, or the one that ``channel`` names, from 1 on, is taken. Its
    speech is scored: what comes before the first and behind the last segment of it is trimmed, and
    there has to be half a second of it. It is scored whole, or in windows of the ``eval_seconds``
    of the configuration.

    Options of ``score``, ``answer`` and ``classify``:

    - ``channel``: channel of audio with several, from 1 on; 0 mixes all down; None is
      ``data.channel``.
    - ``trim``: False scores all of the recording, as stage 4 does.
    - ``windows``: ``first``, as stage 4 does, or ``all`` to the end of the speech.
    - ``merge``: score of several windows: ``mean`` of their LLRs, ``min``, or ``lowest3``, the mean
      of the three lowest.

    Methods raise InputError for audio that can't be scored. Silence is refused too: detectors give
    it a score like any other, and some a high one.

    Attributes:
        facts: the way from logits to a decision.
        data: how recordings are read.
        folder: where the detector lies, for errors.
        trim: default of the option.
        max_seconds: longer recordings are refused before they are decoded.
    """

    facts: BundleFacts
    data: Reading
    folder: Path
    trim: bool
    max_seconds: float

    @abstractmethod
    def _read(self, part: Utterance, data: Reading) -> Any:
        """A window as the system takes it."""

    @abstractmethod
    def _level(self, window: Any) -> float:
        """Root mean square of a window about its mean, against full scale."""

    @abstractmethod
    def _logits(self, window: Any) -> np.ndarray:
        """Logits ``[spoof, bonafide]``, float32, of a window."""

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

    def logits(
        self, audio: Audio, channel: int | None = None, trim: bool | None = None
    ) -> np.ndarray:
        """Logits ``[spoof, bonafide]``, float32, of the first window."""
        recording = self._open(audio, channel)
        rows, _ = self._compute(recording, self._logits, trim, "first")
        return rows[0]

    def samples(self, audio: Audio, channel: int | None = None) -> np.ndarray:
        """All samples ``(T,)`` of a recording at the rate of the system, floats in [-1, 1]."""
        recording = self._open(audio, channel)
        return _read_whole(recording.utterance, recording.data)

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
        logits_WC, spans = self._compute(recording, self._logits, trim, windows)
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
        recording = _described(_as_utterance(audio, data.sample_rate), data)
        seconds = recording.utterance.samples / recording.utterance.rate
        if seconds > self.max_seconds:
            raise InputError(
                f"{recording.utterance.path}: {seconds:.1f} s long, expected at most "
                f"{self.max_seconds:g} s"
            )
        return recording

    def _compute(
        self,
        recording: Recording,
        function: Callable[[Any], np.ndarray],
        trim: bool | None,
        windows: Windows,
    ) -> tuple[np.ndarray, list[Span]]:
        """Outputs ``(W, ...)`` of a function for each window of a recording, and the windows.

        Raises:
            InputError: there is too little speech.
            BundleError: outputs that are not finite.
        """
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
            window = self._read(part, data)
            level = self._level(window)
            loudest = max(loudest, level)
            # A window within a long pause has no score; the others have.
            if level >= SILENCE:
                rows.append(self._finite(function(window), utterance.path))
                scored.append(span)
        if not rows:
            raise InputError(
                f"{utterance.path}: silence, a level of {loudest:.2g} in what is scored, "
                "expected speech"
            )
        return np.stack(rows), scored

    def _finite(self, row: np.ndarray, path: str) -> np.ndarray:
        """The output for a window of a recording, whose path is for errors."""
        if not np.isfinite(row).all():
            raise BundleError(
                f"{self.folder}: its output for {path} is {row[~np.isfinite(row)][0]}, "
                "expected finite numbers: its weights are damaged"
            )
        return row


def _read_whole(utterance: Utterance, data: Reading) -> np.ndarray:
    """All samples of a recording at the rate of the system, float."""
    with open_audio(utterance, data.sample_rate, data.channel) as file:
        return as_float(reading.decode(file, 0, 0))


def _as_utterance(audio: Audio, sample_rate: int) -> Utterance:
    """Utterance of a file, or of samples, for which a WAV in memory holds them exactly."""
    if isinstance(audio, Utterance):
        return audio
    if isinstance(audio, str | PathLike):
        if is_command(str(audio)):
            raise InputError(f"{audio}: a command, expected an audio file")
        return Utterance(Path(audio).name, str(audio))
    return samples_utterance(audio, sample_rate)


def _described(utterance: Utterance, data: Reading) -> Recording:
    """The recording of an utterance; the log says what is converted of it."""
    with open_audio(utterance, data.sample_rate, data.channel) as file:
        if file.conversion:
            LOG.info("%s: %s: %s", utterance.path, file.kind, file.conversion)
        # The length is known then, and read once more as what was listed.
        listed = replace(utterance, samples=file.decoder.samples, rate=file.decoder.rate)
        return Recording(listed, data, file.conversion)
