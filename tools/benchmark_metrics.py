"""Time our metrics on ASVspoof 5 track-1 sized sets, beside scikit-learn and a plain loop, in one run.

    python tools/benchmark_metrics.py [--trials 680774] [--bootstrap 1000]

Prints CPU time of all threads, and for the bootstrap also the time one waits. Scores are logistic, with
the size and the share of bona fide trials of that set.
"""

import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import det_curve

from wedefense_lite import cli
from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.costs import DEFAULT
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.tandem import min_adcf

LOOP_STEPS = 20_000  # the plain loop is timed on so many thresholds, and scaled


def logistic(count: int, mean: float, scale: float) -> np.ndarray:
    return np.random.default_rng(count).logistic(mean, scale, count)


def timed(
    name: str, function: Callable, runs: int = 5, scale: float = 1, against: float | None = None
) -> float:
    """Least CPU seconds of ``runs``, scaled and printed, with the ratio to other seconds."""
    spent = []
    for _ in range(runs):
        start = time.process_time()
        function()
        spent.append((time.process_time() - start) * scale)
    ratio = f"  {against / min(spent):8.1f} x faster" if against else ""
    print(f"{name:<48} {min(spent):9.4f} s{ratio}", flush=True)
    return min(spent)


def plain_loop(labels: list[bool], bonafide: int, spoof: int) -> tuple[float, float]:
    """EER and minDCF over the first thresholds, errors counted one by one."""
    miss, false_alarm, best = 0, spoof, (2.0, 0.0)
    for label in labels:
        miss, false_alarm = miss + label, false_alarm - (not label)
        rates = miss / bonafide, false_alarm / spoof
        cost = DEFAULT.miss_weight * rates[0] + DEFAULT.fa_weight * rates[1]
        best = min(best[0], abs(rates[0] - rates[1])), min(best[1], cost)
    return best


def track_1(bonafide: np.ndarray, spoof: np.ndarray) -> tuple:
    given = SortedScores(bonafide, spoof)
    return given.eer(), given.min_dcf(), given.act_dcf(), given.cllr()


def benchmark_metrics(trials: int = 680_774, bootstrap: int = 1000) -> None:
    """Print times and ratios.

    Args:
        trials: size of the set, of which 20.4 % are bona fide.
        bootstrap: number of bootstrap samples.
    """
    bonafide = logistic(round(trials * 138_688 / 680_774), 3.0, 1.2)
    spoof = logistic(trials - bonafide.size, -2.0, 1.5)
    scores, labels = (
        np.concatenate([bonafide, spoof]),
        np.repeat([1, 0], [bonafide.size, spoof.size]),
    )
    print(f"{bonafide.size} bona fide and {spoof.size} spoofed trials")
    library = timed("scikit-learn det_curve (EER)", lambda: det_curve(labels, scores), runs=3)
    first = labels[np.argsort(scores, kind="stable")][:LOOP_STEPS].tolist()
    plain = "plain loop (EER and minDCF), scaled from a part"
    loop = timed(
        plain, lambda: plain_loop(first, bonafide.size, spoof.size), scale=trials / len(first)
    )
    timed("EER, against scikit-learn", lambda: SortedScores(bonafide, spoof).eer(), against=library)
    timed("track 1, with actDCF and Cllr", lambda: track_1(bonafide, spoof), against=loop)
    parts = np.split(logistic(round(2.35 * trials), 0.0, 1.5), [trials // 4, trials // 2])
    timed(f"a-DCF of {round(2.35 * trials)} trials", lambda: min_adcf(*parts, DEFAULT))

    given, start = SortedScores(np.sort(bonafide), np.sort(spoof)), time.perf_counter()

    def eers() -> None:
        resampler = Resampler([bonafide.size, spoof.size])
        found = replicates(
            lambda *counts: {"eer": given.weighted(*counts).eer().value}, resampler, bootstrap
        )
        print("95 % interval of the EER: {:.5f} to {:.5f}".format(*interval(found["eer"])))

    timed(f"{bootstrap} bootstrap EERs", eers, runs=1, against=bootstrap * library)
    print(f"{'the same, in time of waiting':<48} {time.perf_counter() - start:9.4f} s")


if __name__ == "__main__":
    cli.run(benchmark_metrics)
