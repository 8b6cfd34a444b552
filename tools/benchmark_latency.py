"""How long a decision takes: each stage, from audio in memory to the LLRs of the talkers.

Shapes: T samples, K streams (1 without a separator), E embedding size, C classes.
"""

import wedefense_lite
from wedefense_lite import cli

import time
from collections.abc import Callable

import numpy as np
import torch
from jsonargparse.typing import PositiveFloat

from wedefense_lite.audio.live import LiveWindow
from wedefense_lite.files import InputError
from wedefense_lite.mixtures.separation import separate, trained_separator
from wedefense_lite.report.tables import publish, table
from wedefense_lite.scoring.bundle import Detector
from wedefense_lite.scoring.live import live_rows
from wedefense_lite.scoring.recording_scores import Request, Scorer
from wedefense_lite.separators.base import Separator


def benchmark_latency(
    detector: str | None = None,
    separator_config: str | None = None,
    separator_model: str | None = None,
    windows: str = "1,2,4",
    repeats: int = 20,
    seed: int = 0,
    device: str = "cpu",
    hop: PositiveFloat | None = None,
    json: str | None = None,
) -> None:
    """Print seconds and real-time factor of each stage, and seconds to the first decision.

    Audio is noise. Times are medians; a first round that is not counted warms up. Streams are
    scored one after the other. The first decision comes when a window is full and all stages have
    worked on it.

    Args:
        detector: bundle of a detector.
        separator_config: exp/X/config.yaml of a separator; without it the detector scores the audio
            as it is.
        separator_model: checkpoint of that separator.
        windows: lengths of audio in seconds, separated by commas.
        repeats: rounds that are counted.
        seed: seed of the noise.
        device: where to compute, as cpu or cuda:0.
        hop: seconds from a window to the next of ``score --stream``; with it, a row of a stream is
            timed too, from the last sample of its window to the row.
        json: file for the results.

    Raises:
        InputError: neither a detector nor a separator, or windows that are no lengths.
    """
    if not detector and not separator_config:
        raise InputError("--detector and --separator_config: expected one of them or both")
    lengths = cli.checked(lambda: {typed: float(typed) for typed in windows.split(",")})
    if repeats < 1 or not all(0 < seconds < np.inf for seconds in lengths.values()):
        raise InputError(
            f"--windows {windows} --repeats {repeats}: expected seconds above 0, and 1 or more"
        )
    spoof_detector = wedefense_lite.load(detector, device, trim=False) if detector else None
    separator = None
    if separator_config:
        model_path = cli.needed("--separator_model", separator_model)
        separator = trained_separator(separator_config, model_path).to(device)
    sample_rate = spoof_detector.data.sample_rate if spoof_detector else separator.sample_rate

    scorer = None
    if hop is not None:
        model = cli.needed("--detector", detector)
        if separator_config or hop > min(lengths.values()):
            raise InputError(
                f"--hop {hop:g}, expected at most the shortest window, and no separator"
            )
        scorer = Scorer(Request(model, trim=False), device)
    by_window = {}
    for number, (typed, seconds) in enumerate(lengths.items()):
        samples = max(1, round(seconds * sample_rate))
        noise_T = np.random.default_rng([seed, number]).normal(scale=0.1, size=samples)
        wav_T = noise_T.clip(-1, 1).astype(np.float32)
        work = stages(spoof_detector, separator, sample_rate, device, seconds)
        seconds_by_stage = median_seconds(work, wav_T, repeats)
        by_stage = {}
        for stage, spent in seconds_by_stage.items():
            by_stage[stage] = {"seconds": spent, "real_time_factor": spent / seconds}
        by_window[typed] = {
            "stages": by_stage,
            "first_decision_seconds": seconds + seconds_by_stage["total"],
        }
        if scorer is not None:
            spent = median_row_seconds(scorer, wav_T, sample_rate, repeats)
            by_window[typed]["stream"] = {
                "seconds": spent,
                "real_time_factor": spent / hop,
                # What begins just behind the end of a window is in the next one, a hop later.
                "latest_row_seconds": hop + spent,
            }
    results = {
        "device": device,
        "threads": torch.get_num_threads(),
        "repeats": repeats,
        "windows": by_window,
    }
    publish(_lines(results), results, json)


def stages(
    detector: Detector | None,
    separator: Separator | None,
    sample_rate: int,
    device: str,
    seconds: float,
) -> dict[str, Callable]:
    """Functions by the names of the stages, in order; each takes the result of the one before.

    The first takes samples; results are streams, embeddings and LLRs.
    """

    def separate_window(wav_T: np.ndarray) -> np.ndarray:
        # A chunk of twice the window, so that the window is separated as one.
        streams_KT = separate(separator, wav_T, sample_rate, 2 * seconds, seconds / 2)
        return streams_KT / max(1.0, np.abs(streams_KT).max())

    def embed(wavs: np.ndarray) -> list[np.ndarray]:
        return [detector.embed(wav_T) for wav_T in np.atleast_2d(wavs)]

    def score(embeddings: list[np.ndarray]) -> np.ndarray:
        embedding_KE = torch.from_numpy(np.stack(embeddings)).to(device)
        logits_KC = detector.task.head(embedding_KE)
        return detector.facts.llr(logits_KC.cpu().numpy())

    work = {}
    if separator:
        work["separation"] = separate_window
    if detector:
        work["front end and model"] = embed
        work["scoring"] = score
    return work


@torch.no_grad()
def median_seconds(work: dict[str, Callable], wav_T: np.ndarray, repeats: int) -> dict[str, float]:
    """Median seconds of each stage, and of all together as ``total``."""
    rounds = []
    for _ in range(repeats + 1):
        value = wav_T
        times = [time.perf_counter()]
        for stage in work.values():
            value = stage(value)
            times.append(time.perf_counter())
        rounds.append([*np.diff(times), times[-1] - times[0]])
    medians = np.median(rounds[1:], axis=0)  # without the round that warms up
    return dict(zip([*work, "total"], medians.tolist()))


def median_row_seconds(scorer: Scorer, wav_T: np.ndarray, sample_rate: int, repeats: int) -> float:
    """Median seconds from the last sample of a window of a stream to its row."""
    window = LiveWindow(0, len(wav_T), wav_T)
    windows = iter([window] * (repeats + 1))
    rows = live_rows(windows, scorer, sample_rate, len(wav_T), threshold=1.0)
    times = [time.perf_counter()]
    for _ in rows:
        times.append(time.perf_counter())
    return float(np.median(np.diff(times)[1:]))  # without the row that warms up


def _lines(results: dict) -> list[str]:
    """A line about the conditions, and a table with two columns for each window."""
    windows = results["windows"]
    header = [""]
    decision_row = ["first decision after, s"]
    for typed, window in windows.items():
        header += [f"{typed} s: ms", f"{typed} s, real-time factor"]
        decision_row += [f"{window['first_decision_seconds']:.3f}", ""]
    rows = [header]
    first_window = next(iter(windows.values()))
    for stage in first_window["stages"]:
        row = [stage]
        for window in windows.values():
            spent = window["stages"][stage]
            row += [f"{1000 * spent['seconds']:.1f}", f"{spent['real_time_factor']:.4f}"]
        rows.append(row)
    if "stream" in first_window:
        stream_row = ["a row of a stream"]
        latest_row = ["a row of a change after at most, s"]
        for window in windows.values():
            stream = window["stream"]
            stream_row += [f"{1000 * stream['seconds']:.1f}", f"{stream['real_time_factor']:.4f}"]
            latest_row += [f"{stream['latest_row_seconds']:.3f}", ""]
        rows += [stream_row, latest_row]
    rows.append(decision_row)
    conditions = (
        f"{results['device']}, {results['threads']} threads, medians of {results['repeats']}"
    )
    return [conditions, *table(rows)]


if __name__ == "__main__":
    cli.run(benchmark_latency, from_hub=True, builds_systems=True)
