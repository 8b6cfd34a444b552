"""The detector of an ONNX file. Neither this module nor what it imports needs PyTorch.

Letters: T samples.
"""

import math
from dataclasses import dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wedefense_lite.audio import reading
from wedefense_lite.audio.reading import as_float, open_audio
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.interop.onnx_runtime import OnnxGraph, OutputError
from wedefense_lite.scoring.detector import RecordingDetector
from wedefense_lite.scoring.facts import LATER_FIELDS, BundleError, BundleFacts
from wedefense_lite.scoring.sidecar import check_types, record_of

ENDING = ".onnx"
LONGEST_SECONDS = 3600  # of what is scored, as in configurations


@dataclass(frozen=True)
class ReadingFacts:
    """How recordings are read for a graph: what ``systems.config.DataConfig`` has of scoring.

    Attributes:
        sample_rate: rate in Hz of the system.
        channel: channel that is read of audio with several, from 1 on; 0 mixes all down.
        eval_seconds: length that is scored, filled up by repeating; 0 scores whole utterances.
        eval_crop: of longer recordings, score the beginning or the centre.
        pre_emphasis: coefficient a of y[t] = x[t] - a x[t-1]; 0 disables it.
    """

    sample_rate: int
    channel: int
    eval_seconds: float
    eval_crop: Literal["first", "centre"]
    pre_emphasis: float

    def __post_init__(self):
        check_types(self)
        ranges = {
            "sample_rate": (reading.LOWEST_RATE, reading.HIGHEST_RATE),
            "channel": (0, math.inf),
            "eval_seconds": (0, LONGEST_SECONDS),
            "pre_emphasis": (0, 1),
        }
        for name, (lowest, highest) in ranges.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise ValueError(f"{name} is {value:g}, expected {lowest:g} to {highest:g}")


class OnnxDetector(RecordingDetector):
    """Spoof detector of an ONNX file, with the scores of the bundle that it was exported from.

    Args:
        path: file that ``bin/export_onnx.py`` wrote.
        trim: default of the option.
        max_seconds: longer recordings are refused before they are decoded.
        threads: threads of a computation; 0 takes a thread a core.

    Attributes:
        facts: content of the ``bundle.json`` of the bundle.
        data: how recordings are read.
        graph: the graph.

    Raises:
        InputError: no such file, or a graph without its front end, which can't score audio.
    """

    data: ReadingFacts

    def __init__(
        self,
        path: str | PathLike,
        trim: bool = True,
        max_seconds: float = math.inf,
        threads: int = 0,
    ):
        self.folder = Path(path)
        self.trim = trim
        self.max_seconds = max_seconds
        self.graph = OnnxGraph(path, threads)
        metadata = self.graph.metadata
        if metadata["features"] != "inside":
            raise InputError(
                f"{path}: takes frames of a front end, not audio: export it with --features inside"
            )
        self.data = _record(path, metadata["reading"], ReadingFacts)
        self.facts = _record(path, metadata["facts"], BundleFacts)

    def _read(self, part: Utterance, data: ReadingFacts) -> np.ndarray:
        """Samples ``(T,)``, float32, as ``systems.samples.read_scoring_sample`` has them."""
        count = round(data.eval_seconds * data.sample_rate)
        with open_audio(part, data.sample_rate, data.channel) as file:
            spare = reading.spare_samples(file, count)
            offset = spare // 2 if data.eval_crop == "centre" else 0
            # Pre-emphasis needs the sample before.
            has_previous = data.pre_emphasis > 0 and offset > 0
            before = int(has_previous)
            wav_T = reading.decode(file, count + before if count else 0, offset - before)
        wav_T = np.float32(as_float(wav_T))
        if data.pre_emphasis:
            previous_T = np.concatenate((np.zeros(1, np.float32), wav_T[:-1]))
            wav_T = wav_T - np.float32(data.pre_emphasis) * previous_T
            wav_T = wav_T[before:]
        if len(wav_T) < count:
            wav_T = np.resize(wav_T, count)
        return wav_T

    def _level(self, window: np.ndarray) -> float:
        return float(window.std())

    def _logits(self, window: np.ndarray) -> np.ndarray:
        try:
            return self.graph.logits(window[None])[0]
        except OutputError as error:
            raise BundleError(str(error)) from error


def reading_facts(data: Any) -> ReadingFacts:
    """How recordings are read for a graph, of the configuration of a system."""
    values = {}
    for field in fields(ReadingFacts):
        value = getattr(data, field.name)
        # Plain numbers in place of the restricted ones of configurations.
        if isinstance(value, float):
            value = float(value)
        elif isinstance(value, int):
            value = int(value)
        values[field.name] = value
    return ReadingFacts(**values)


def _record(path: str | PathLike, content: Any, record: type) -> Any:
    """A record of the metadata of a file, without hashes of files that lie elsewhere."""
    values = record_of(f"{path}: metadata", content, record, LATER_FIELDS)
    return replace(values, hashes={}) if record is BundleFacts else values
