"""Graphs in ONNX files, computed by ONNX Runtime: what a device needs that has no PyTorch.

Letters: B utterances, T samples, F frames, D features of a frame, C classes [spoof, bonafide].
"""

from os import PathLike
from typing import Any

import numpy as np

from wedefense_lite.files import InputError, check_file, parse_json
from wedefense_lite.labels import LABELS

# Of the metadata of a file: the JSON that the exporter writes, and its version.
METADATA_KEY = "wedefense_lite"
METADATA_VERSION = 1
# Names of the input, by what it takes, and of the output.
INPUTS = {"inside": "wav", "outside": "frames"}
OUTPUT = "logits"
HOW_TO_INSTALL = "pip install onnxruntime, or wedefense_lite[onnx]"


class OutputError(InputError):
    """Output that is no logits, whatever the input is."""


class OnnxGraph:
    """Graph of a detector.

    Args:
        path: file that ``bin/export_onnx.py`` wrote.
        threads: threads of a computation; 0 takes a thread a core.

    Attributes:
        metadata: what the exporter noted: ``features``, ``samples``, ``reading``, ``facts`` and
            hashes.
        samples: samples, or frames, that an input has to have; 0 for any number.

    Raises:
        InputError: no graph, none of this package, damaged metadata, or no ONNX Runtime.
    """

    def __init__(self, path: str | PathLike, threads: int = 0):
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(f"{path}: onnxruntime isn't installed: {HOW_TO_INSTALL}") from error
        self.path = str(path)
        check_file(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors, which are exceptions too
        try:
            self._session = onnxruntime.InferenceSession(
                self.path, options, providers=["CPUExecutionProvider"]
            )
        # Its exceptions have no common base but this one.
        except Exception as error:
            raise InputError(f"{path}: no graph for ONNX Runtime: {_first_line(error)}") from error
        self.metadata = self._read_metadata()
        self.samples = self.metadata["samples"]

    def _read_metadata(self) -> dict[str, Any]:
        properties = self._session.get_modelmeta().custom_metadata_map
        expected = "expected a file that bin/export_onnx.py wrote"
        if METADATA_KEY not in properties:
            raise InputError(f"{self.path}: no metadata {METADATA_KEY!r}, {expected}")
        try:
            metadata = parse_json(properties[METADATA_KEY])
        except ValueError as error:
            raise InputError(f"{self.path}: damaged metadata: {error}, {expected}") from error
        if not isinstance(metadata, dict):
            text = repr(metadata)[:80]
            raise InputError(f"{self.path}: damaged metadata: {text}, {expected}")
        version = metadata.get("version")
        if type(version) is not int or version != METADATA_VERSION:
            raise InputError(
                f"{self.path}: metadata of version {version!r}, expected {METADATA_VERSION}: "
                "export it again"
            )
        names = ("features", "samples", "reading", "facts", "model_hash", "config_hash")
        missing = [name for name in names if name not in metadata]
        if missing:
            raise InputError(f"{self.path}: no metadata {', '.join(missing)}, {expected}")
        features = metadata["features"]
        if not isinstance(features, str) or features not in INPUTS:
            text = repr(features)[:80]
            raise InputError(f"{self.path}: features is {text}, expected {' or '.join(INPUTS)}")
        samples = metadata["samples"]
        if type(samples) is not int or samples < 0:
            text = repr(samples)[:80]
            raise InputError(f"{self.path}: samples is {text}, expected a number from 0 on")
        return metadata

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """``logits_BC``, float32.

        Args:
            inputs: ``wav_BT`` in [-1, 1] at the rate of the system, or ``frames_BFD`` of a graph
                without its front end.

        Raises:
            OutputError: an output that is no logits.
            InputError: inputs that the graph doesn't take.
        """
        name = INPUTS[self.metadata["features"]]
        try:
            (logits_BC,) = self._session.run([OUTPUT], {name: np.float32(inputs)})
        except Exception as error:
            raise InputError(
                f"{self.path}: {name} of shape {np.shape(inputs)}: {_first_line(error)}"
            ) from error
        expected = (len(inputs), len(LABELS))
        if np.shape(logits_BC) != expected or logits_BC.dtype != np.float32:
            kind = getattr(logits_BC, "dtype", type(logits_BC).__name__)
            raise OutputError(
                f"{self.path}: its output has shape {np.shape(logits_BC)} and type {kind}, "
                f"expected {expected} and float32: logits of {LABELS}"
            )
        return logits_BC


def _first_line(error: Exception) -> str:
    """First line of the message of an exception."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
