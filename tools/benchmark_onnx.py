"""Size, latency, real-time factor and memory of ONNX files, measured without PyTorch."""

from wedefense_lite import cli

import os
import resource
import sys
import time

import numpy as np
from jsonargparse.typing import PositiveFloat, PositiveInt

from wedefense_lite.files import InputError
from wedefense_lite.interop.onnx_runtime import OnnxGraph
from wedefense_lite.report.tables import publish, table

# getrusage(2) counts in KiB on Linux, and in bytes on macOS.
BYTES_PER_UNIT = 1 if sys.platform == "darwin" else 1024


def benchmark_onnx(
    models: list[str],
    seconds: PositiveFloat = 4.0,
    repeats: PositiveInt = 20,
    threads: PositiveInt = 1,
    json: str | None = None,
) -> None:
    """Print the size of each file, and latency, real-time factor and memory of a score.

    Audio is noise in memory. Latencies are medians and 95 % quantiles; a first score that is not
    counted warms up. Memory is the peak of this process so far, so the first file is measured best,
    and one file by itself best of all.

    Args:
        models: files that bin/export_onnx.py wrote.
        seconds: length of the audio; that of the graph, where it takes one length alone.
        repeats: scores that are counted.
        threads: threads of a computation.
        json: file for the results.
    """
    if not models:
        raise InputError("no files, expected ONNX files")
    results = {}
    for path in models:
        results[path] = measured(path, seconds, repeats, threads)
    rows = [["", "MB", "seconds of audio", "ms", "ms, 95 %", "real-time factor", "peak MB"]]
    for path, result in results.items():
        rows.append(
            [
                path,
                f"{result['bytes'] / 1e6:.2f}",
                f"{result['seconds_of_audio']:.2f}",
                f"{1000 * result['seconds']:.1f}",
                f"{1000 * result['seconds_95']:.1f}",
                f"{result['real_time_factor']:.4f}",
                f"{result['peak_bytes'] / 1e6:.0f}",
            ]
        )
    conditions = f"{threads} threads, medians of {repeats}"
    publish([conditions, *table(rows)], results, json)


def measured(path: str, seconds: float, repeats: int, threads: int) -> dict[str, float]:
    """Results of a file by their names.

    Raises:
        InputError: a graph without its front end, which takes no audio.
    """
    graph = OnnxGraph(path, threads)
    if graph.metadata["features"] != "inside":
        raise InputError(f"{path}: takes frames, expected a graph with --features inside")
    sample_rate = graph.metadata["reading"]["sample_rate"]
    samples = graph.samples or round(seconds * sample_rate)
    wav_BT = np.random.default_rng(0).normal(scale=0.1, size=(1, samples)).astype(np.float32)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        graph.logits(wav_BT)
        times.append(time.perf_counter() - start)
    counted = times[1:]  # without the score that warms up
    median = float(np.median(counted))
    return {
        "bytes": os.path.getsize(path),
        "seconds_of_audio": samples / sample_rate,
        "seconds": median,
        "seconds_95": float(np.quantile(counted, 0.95)),
        "real_time_factor": median * sample_rate / samples,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_UNIT,
    }


if __name__ == "__main__":
    cli.run(benchmark_onnx, several="models")
