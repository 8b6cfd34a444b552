"""A trained system as an ONNX file, which scores recordings without PyTorch."""

from wedefense_lite import cli

import os
from dataclasses import asdict
from typing import Literal

import numpy as np

from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.stream import Stream
from wedefense_lite.files import InputError, check_writable, read_labels
from wedefense_lite.interop.onnx_export import export, quantise
from wedefense_lite.labels import LABELS
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.progress import progress
from wedefense_lite.report.tables import table
from wedefense_lite.scoring.bundle import Detector
from wedefense_lite.scoring.detector import RecordingDetector
from wedefense_lite.scoring.onnx_detector import ENDING, OnnxDetector, reading_facts
from wedefense_lite.scoring.scores import by_class


def export_onnx(
    model: str,
    output: str,
    features: Literal["inside", "outside"] = "inside",
    int8: str | None = None,
    data_list: str | None = None,
    data_type: Literal["shard", "raw"] = "shard",
    label: str | None = None,
) -> None:
    """Write the graph of a system to an ONNX file, with thresholds, calibration and labels.

    Logits are compared with those of PyTorch at three lengths and two batch sizes, and a graph that
    differs by more than 1e-4 is not written. A system with eval_seconds takes that length alone.

    Args:
        model: bundle, or experiment after stage 6.
        output: file to write, X.onnx.
        features: inside takes samples, and scores recordings; outside takes frames of the front
            end, for devices that compute them.
        int8: file for the same graph with weights of 8 bits.
        data_list: list of stage 2 of a labelled set, of which the largest difference of an LLR to
            that of PyTorch, and the EER of each graph, are printed.
        data_type: kind of the list.
        label: utt2lab of that set.
    """
    outputs = [path for path in (output, int8) if path is not None]
    for path in outputs:
        if not path.endswith(ENDING):
            raise InputError(f"{path}: expected a name that ends in {ENDING}")
    if (data_list is None) != (label is None):
        raise InputError("--data_list and --label: expected both or neither")
    if data_list is not None and features == "outside":
        raise InputError("--data_list: a graph with --features outside scores no recordings")
    check_writable(*outputs)
    detector = Detector(model, trim=False)
    data = detector.data
    if data.eval_seconds and data.pad != "repeat":
        raise InputError(
            f"{model}: data.pad is {data.pad}: a graph knows no padding, expected repeat"
        )
    facts = detector.facts
    metadata = {
        "reading": asdict(reading_facts(data)),
        "facts": asdict(facts) | {"hashes": {}},
        "model_hash": facts.model_hash,
        "config_hash": facts.config_hash,
    }
    samples = round(data.eval_seconds * data.sample_rate)
    difference = export(detector.task, output, samples, metadata, features)
    print(f"{output}: {_size(output)}, logits within {difference:.1g} of those of PyTorch")
    if int8 is not None:
        quantise(output, int8)
        print(f"{int8}: {_size(int8)}")
    if data_list is not None:
        detectors: dict[str, RecordingDetector] = {model: detector}
        for path in outputs:
            detectors[path] = OnnxDetector(path, trim=False)
        print("\n".join(_compared(detectors, data_list, data_type, label)))


def _size(path: str) -> str:
    return f"{os.path.getsize(path) / 1e6:.2f} MB"


def _compared(
    detectors: dict[str, RecordingDetector], data_list: str, data_type: str, label: str
) -> list[str]:
    """Lines of a table with the EER of each detector, and its difference to the first one.

    Args:
        detectors: detectors by name.
        data_list: list of a set.
        data_type: kind of the list.
        label: ``utt2lab`` of the set.

    Raises:
        InputError: a set that is streamed, or an utterance that can't be scored.
    """
    index = read_index(data_list, data_type, read_labels(label))
    if isinstance(index, Stream):
        raise InputError(f"{data_list}: shards that are streamed, expected files")
    llrs: dict[str, list[float]] = {name: [] for name in detectors}
    for utterance in progress(index, len(index), "scoring", unit="utterance"):
        for name, detector in detectors.items():
            llrs[name].append(detector.score(utterance))
    classes = np.array([utterance.label for utterance in index])
    rows = [["", "EER (%)", "change of EER", "largest difference of an LLR"]]
    reference = np.array(next(iter(llrs.values())))
    reference_eer = _eer(classes, reference, label)
    for name, values in llrs.items():
        scores = np.array(values)
        eer = _eer(classes, scores, label)
        change = f"{100 * (eer - reference_eer):+.2f}"
        rows.append([name, f"{100 * eer:.2f}", change, f"{np.abs(scores - reference).max():.1e}"])
    return table(rows)


def _eer(classes: np.ndarray, scores: np.ndarray, label: str) -> float:
    trials = by_class(classes, scores, LABELS, label)
    return SortedScores(**trials).eer().value


if __name__ == "__main__":
    cli.run(export_onnx, from_hub=True, builds_systems=True)
