"""Systems as graphs in ONNX files, compared with PyTorch before they are kept.

Letters: B utterances, T samples, F frames, D features of a frame, C classes [spoof, bonafide].
"""

import json
import logging
import warnings
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from wedefense_lite.files import InputError, atomic_path
from wedefense_lite.interop.onnx_runtime import (
    INPUTS,
    METADATA_KEY,
    METADATA_VERSION,
    OUTPUT,
    OnnxGraph,
)
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Detection

Features = Literal["inside", "outside"]
# Largest difference of a logit to that of PyTorch.
TOLERANCE = 1e-4
# Of the inputs that are compared. The lengths are no multiples of a hop, and the graph is written
# at another one.
CHECKED_SECONDS = (1.0, 1.917, 3.3019)
CHECKED_ROWS = (1, 3)
EXAMPLE_SECONDS = 2.4017
# Of the matrix products, convolutions and recurrences alone weights become integers.
QUANTISED = ["MatMul", "Gemm", "Conv", "LSTM", "GRU"]
WORDY = ("torch.onnx", "torch.fx", "onnxscript", "onnx_ir")  # loggers
HOW_TO_INSTALL = "pip install wedefense_lite[onnx]"


class Graph(nn.Module):
    """Logits of utterances of one length.

    Args:
        task: the system.
        features: ``inside`` takes ``wav_BT``; ``outside`` takes ``frames_BFD`` of its front end.
    """

    def __init__(self, task: Detection, features: Features):
        super().__init__()
        self.task = task
        self.features = features

    def forward(self, inputs: Tensor) -> Tensor:
        """``logits_BC``."""
        lengths_B = torch.full((inputs.shape[0],), inputs.shape[1], dtype=torch.int64)
        if self.features == "outside":
            return self.task.head(self.task.model(inputs, lengths_B))
        return self.task.logits(Batch([], inputs, lengths_B, lengths_B))


def export(
    task: Detection,
    path: str | PathLike,
    samples: int,
    metadata: dict[str, Any],
    features: Features = "inside",
) -> float:
    """Write the graph of a system, if its logits are those of PyTorch.

    Args:
        task: the system, on the CPU.
        path: file to write.
        samples: samples of an input; 0 for any number.
        metadata: JSON for the file: ``reading``, ``facts`` and hashes.
        features: what the graph takes.

    Returns:
        largest difference of a logit to that of PyTorch.

    Raises:
        InputError: a system that the exporter can't write, or logits that differ by more than 1e-4.
    """
    try:
        import onnx  # noqa: F401  the exporter says less of what is missing
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error.name} isn't installed: {HOW_TO_INSTALL}") from error
    graph = Graph(task.eval(), features)
    name = f"{type(task.frontend).__name__} and {type(task.model).__name__}"
    sample_rate = task.frontend.sample_rate
    seconds = [samples / sample_rate] if samples else CHECKED_SECONDS
    example = _input(graph, samples / sample_rate if samples else EXAMPLE_SECONDS, rows=2)
    program = _written(graph, example, bool(samples), name)
    # What a fixed graph without its front end takes is frames.
    fixed = example.shape[1] if samples else 0
    notes = {"version": METADATA_VERSION, "features": features, "samples": fixed}
    program.model.metadata_props[METADATA_KEY] = json.dumps(notes | metadata, allow_nan=False)
    with atomic_path(path) as temporary:
        program.save(str(temporary))
        difference = _largest_difference(graph, OnnxGraph(temporary), seconds)
        if not difference <= TOLERANCE:
            raise InputError(
                f"{path}: logits of {name} differ by {difference:.2g} from those of PyTorch, "
                f"expected at most {TOLERANCE:g}: not written"
            )
    return difference


def _written(graph: Graph, example: Tensor, is_fixed: bool, name: str) -> Any:
    """Program of the exporter, which says much that no user can act on."""
    shapes = {0: torch.export.Dim.DYNAMIC}
    if not is_fixed:
        shapes[1] = torch.export.Dim.DYNAMIC
    loggers = [logging.getLogger(name) for name in WORDY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=[INPUTS[graph.features]],
                output_names=[OUTPUT],
                verbose=False,
                # Its optimizer takes floors such as 1e-10 for 0 and leaves them out.
                optimize=False,
            )
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("<class")), lines[0])
        raise InputError(
            f"{name}: PyTorch {torch.__version__} can't write their graph: {reason}"
        ) from error
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


@torch.no_grad()
def _input(graph: Graph, seconds: float, rows: int) -> Tensor:
    """Noise whose second half is 40 dB softer, and the last quarter 120 dB, or its frames.

    There the floors under logarithms are heard.
    """
    sample_rate = graph.task.frontend.sample_rate
    samples = round(seconds * sample_rate)
    generator = torch.Generator().manual_seed(samples + rows)
    wav_BT = 0.1 * torch.randn(rows, samples, generator=generator)
    wav_BT[:, samples // 2 :] *= 0.01
    wav_BT[:, samples * 3 // 4 :] *= 1e-4
    if graph.features == "inside":
        return wav_BT
    frames_BFD, _ = graph.task.frontend(wav_BT, torch.full((rows,), samples))
    return frames_BFD.contiguous()


@torch.no_grad()
def _largest_difference(graph: Graph, exported: OnnxGraph, seconds: list[float]) -> float:
    """Largest difference of a logit over lengths and batches."""
    largest = 0.0
    for length in seconds:
        for rows in CHECKED_ROWS:
            inputs = _input(graph, length, rows)
            difference = np.abs(exported.logits(inputs.numpy()) - graph(inputs).numpy()).max()
            # Of NaN as well.
            largest = float(np.maximum(largest, difference))
    return largest


def quantise(path: str | PathLike, quantised_path: str | PathLike) -> None:
    """Write a graph whose weights are integers of 8 bits; activations are rounded as they come.

    The front end stays as it is: in 8 bits a spectrum has 48 dB.

    Args:
        path: file of ``export``.
        quantised_path: file to write.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kept = []
    for node in onnx.load(path).graph.node:
        origin = {entry.key: entry.value for entry in node.metadata_props}
        if "frontend" in origin.get("namespace", ""):
            kept.append(node.name)
    with atomic_path(quantised_path) as temporary:
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # its advice is logged to the root
        try:
            quantize_dynamic(
                Path(path),
                Path(temporary),
                op_types_to_quantize=QUANTISED,
                nodes_to_exclude=kept,
                # ONNX Runtime has no convolutions of signed weights.
                weight_type=QuantType.QUInt8,
            )
        finally:
            root.setLevel(level)
