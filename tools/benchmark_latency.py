"""How long a decision takes: each stage, from audio in memory to the LLRs of the talkers."""

import time
from collections.abc import Callable

import numpy as np
import torch

import wedefense_lite
from wedefense_lite import cli
from wedefense_lite.files import InputError
from wedefense_lite.mixtures.separation import separate, trained_separator
from wedefense_lite.report.tables import publish, table
from wedefense_lite.scoring.bundle import Detector
from wedefense_lite.separators.base import Separator


def benchmark_latency(
    detector: str | None = None,
    separator_config: str | None = None,
    separator_model: str | None = None,
    windows: str = "1,2,4",
    repeats: int = 20,
    seed: int = 0,
    device: str = "cpu",
    json: str | None = None,
) -> None:
    """Print seconds and real-time factors of each stage, and seconds from the first sample to the first decision.

    Audio is noise. Times are medians; a first round that is not counted warms up. Streams are judged one after
    the other. The first decision comes when a window is full and all stages have worked on it.

    Args:
        detector: bundle of a detector.
        separator_config: exp/X/config.yaml of a separator; without one, the detector judges the audio as it is.
        separator_model: its checkpoint.
        windows: comma list of lengths of audio, seconds.
        repeats: rounds that are counted.
        seed: of the noise.
        device: where to compute.
        json: file for the results.
    """
    if not detector and not separator_config:
        raise InputError("--detector and --separator_config: expected one of them or both")
    lengths = cli.checked(lambda: {typed: float(typed) for typed in windows.split(",")})
    if repeats < 1 or not all(0 < seconds < np.inf for seconds in lengths.values()):
        raise InputError(
            f"--windows {windows} --repeats {repeats}: expected seconds above 0, and 1 or more"
        )
    judge = wedefense_lite.load(detector, device) if detector else None
    separator = None
    if separator_config:
        separator = trained_separator(
            separator_config, cli.needed("--separator_model", separator_model)
        ).to(device)
    rate, found = judge.data.sample_rate if judge else separator.sample_rate, {}
    for number, (typed, seconds) in enumerate(lengths.items()):
        noise = np.random.default_rng([seed, number]).normal(
            scale=0.1, size=max(1, round(seconds * rate))
        )
        wav_T = noise.clip(-1, 1).astype(np.float32)
        spent = medians(stages(judge, separator, rate, device, seconds), wav_T, repeats)
        by_stage = {
            name: {"seconds": value, "real_time_factor": value / seconds}
            for name, value in spent.items()
        }
        found[typed] = {"stages": by_stage, "first_decision_seconds": seconds + spent["total"]}
    results = {
        "device": device,
        "threads": torch.get_num_threads(),
        "repeats": repeats,
        "windows": found,
    }
    publish(_lines(results), results, json)


def stages(
    judge: Detector | None, separator: Separator | None, rate: int, device: str, seconds: float
) -> dict[str, Callable]:
    """What is done one after the other, each with what the one before gave: samples, streams, embeddings, LLRs."""

    def separation(wav_T: np.ndarray) -> np.ndarray:
        streams_KT = separate(separator, wav_T, rate, 2 * seconds, seconds / 2)  # one chunk
        return streams_KT / max(1.0, np.abs(streams_KT).max())

    def embeddings(streams: np.ndarray) -> list[np.ndarray]:
        return [judge.embed(stream_T) for stream_T in np.atleast_2d(streams)]

    def scoring(embedding_KE: list[np.ndarray]) -> np.ndarray:
        logits_KC = judge.task.head(torch.from_numpy(np.stack(embedding_KE)).to(device))
        return judge.facts.llr(logits_KC.cpu().numpy())

    ours = {"separation": separation} if separator else {}
    return ours | ({"front end and model": embeddings, "scoring": scoring} if judge else {})


@torch.no_grad()
def medians(work: dict[str, Callable], wav_T: np.ndarray, repeats: int) -> dict[str, float]:
    """Median seconds of each stage, and of all together as ``total``."""
    spent = []
    for _ in range(repeats + 1):
        value, times = wav_T, [time.perf_counter()]
        for stage in work.values():
            value = stage(value)
            times.append(time.perf_counter())
        spent.append([*np.diff(times), times[-1] - times[0]])
    return dict(zip([*work, "total"], np.median(spent[1:], axis=0).tolist()))


def _lines(results: dict) -> list[str]:
    found = results["windows"]
    rows = [
        ["", *(f"{typed} s{what}" for typed in found for what in (": ms", ", real-time factor"))]
    ]
    for name in next(iter(found.values()))["stages"]:
        cells = [one["stages"][name] for one in found.values()]
        rows.append(
            [
                name,
                *(
                    f
                    for c in cells
                    for f in (f"{1000 * c['seconds']:.1f}", f"{c['real_time_factor']:.4f}")
                ),
            ]
        )
    ends = (f"{one['first_decision_seconds']:.3f}" for one in found.values())
    rows.append(["first decision after, s", *(cell for end in ends for cell in (end, ""))])
    return [
        f"{results['device']}, {results['threads']} threads, medians of {results['repeats']}",
        *table(rows),
    ]


if __name__ == "__main__":
    cli.run(benchmark_latency, from_hub=True)
