"""Time our metrics on sets as large as ASVspoof 5 track 1, beside scikit-learn and a plain loop.

    python tools/benchmark_metrics.py [--trials 680774] [--bootstrap 1000]

Prints CPU time of all threads, and for the bootstrap also the time one waits. Scores are logistic,
with the size and the share of bona fide trials of that set.
"""

import math
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import det_curve

from wedefense_lite import cli
from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.costs import DEFAULT
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.tandem import min_adcf

# Sizes of the evaluation set of ASVspoof 5, track 1.
TRIALS = 680_774
BONAFIDE_TRIALS = 138_688
# Trials of track 2 for each trial of track 1.
TRACK_2_SIZE = 2.35
LOOP_STEPS = 20_000  # the plain loop is timed on so many thresholds, and its time scaled to all


def draw_scores(count: int, mean: float, scale: float) -> np.ndarray:
    """Logistic scores, the same for the same count."""
    return np.random.default_rng(count).logistic(mean, scale, count)


def print_time(
    name: str,
    function: Callable,
    runs: int = 5,
    scale: float = 1,
    reference_seconds: float | None = None,
) -> float:
    """Print the least CPU time of several calls.

    Args:
        name: of the line.
        function: called without arguments.
        runs: number of calls.
        scale: factor of the printed time, of a function that does a share of the work.
        reference_seconds: time of the other program, to print how many times faster this one is.

    Returns:
        Seconds.
    """
    times = []
    for _ in range(runs):
        start = time.process_time()
        function()
        times.append((time.process_time() - start) * scale)
    seconds = min(times)
    ratio = ""
    if reference_seconds:
        ratio = f"  {reference_seconds / seconds:8.1f} x faster"
    print(f"{name:<48} {seconds:9.4f} s{ratio}", flush=True)
    return seconds


def plain_loop(labels: list[int], bonafide_count: int, spoof_count: int) -> tuple[float, float]:
    """Smallest rate difference and minDCF over the first thresholds, errors counted one by one."""
    misses = 0
    false_alarms = spoof_count
    least_gap = math.inf
    least_cost = math.inf
    for label in labels:
        misses += label
        false_alarms -= not label
        miss = misses / bonafide_count
        false_alarm = false_alarms / spoof_count
        cost = DEFAULT.miss_weight * miss + DEFAULT.fa_weight * false_alarm
        least_gap = min(least_gap, abs(miss - false_alarm))
        least_cost = min(least_cost, cost)
    return least_gap, least_cost


def track_1(bonafide: np.ndarray, spoof: np.ndarray) -> tuple:
    """The four numbers of track 1."""
    scores = SortedScores(bonafide, spoof)
    return scores.eer(), scores.min_dcf(), scores.act_dcf(), scores.cllr()


def bootstrap_eers(bonafide: np.ndarray, spoof: np.ndarray, count: int) -> None:
    """Print the interval of the EER over bootstrap samples."""
    scores = SortedScores(bonafide, spoof)
    resampler = Resampler([bonafide.size, spoof.size])

    def resampled_eer(*counts: np.ndarray) -> dict[str, float]:
        return {"eer": scores.weighted(*counts).eer().value}

    low, high = interval(replicates(resampled_eer, resampler, count)["eer"])
    print(f"95 % interval of the EER: {low:.5f} to {high:.5f}")


def benchmark_metrics(trials: int = TRIALS, bootstrap: int = 1000) -> None:
    """Print times and ratios.

    Args:
        trials: size of the set, of which 20.4 % are bona fide.
        bootstrap: number of bootstrap samples.
    """
    bonafide = draw_scores(round(trials * BONAFIDE_TRIALS / TRIALS), 3.0, 1.2)
    spoof = draw_scores(trials - bonafide.size, -2.0, 1.5)
    scores = np.concatenate([bonafide, spoof])
    labels = np.repeat([1, 0], [bonafide.size, spoof.size])
    print(f"{bonafide.size} bona fide and {spoof.size} spoofed trials")

    library = print_time("scikit-learn det_curve (EER)", lambda: det_curve(labels, scores), runs=3)
    first_labels = labels[np.argsort(scores, kind="stable")][:LOOP_STEPS].tolist()
    loop = print_time(
        "plain loop (EER and minDCF), scaled from a part",
        lambda: plain_loop(first_labels, bonafide.size, spoof.size),
        scale=trials / len(first_labels),
    )
    print_time(
        "EER, against scikit-learn",
        lambda: SortedScores(bonafide, spoof).eer(),
        reference_seconds=library,
    )
    print_time(
        "track 1, with actDCF and Cllr", lambda: track_1(bonafide, spoof), reference_seconds=loop
    )

    track_2 = draw_scores(round(TRACK_2_SIZE * trials), 0.0, 1.5)
    target, nontarget, spoofed = np.split(track_2, [trials // 4, trials // 2])
    print_time(
        f"a-DCF of {track_2.size} trials", lambda: min_adcf(target, nontarget, spoofed, DEFAULT)
    )

    # Sorted, as split() sorts the trials of a table.
    sorted_bonafide = np.sort(bonafide)
    sorted_spoof = np.sort(spoof)
    start = time.perf_counter()
    print_time(
        f"{bootstrap} bootstrap EERs",
        lambda: bootstrap_eers(sorted_bonafide, sorted_spoof, bootstrap),
        runs=1,
        reference_seconds=bootstrap * library,
    )
    print(f"{'the same, in time of waiting':<48} {time.perf_counter() - start:9.4f} s")


if __name__ == "__main__":
    cli.run(benchmark_metrics)
